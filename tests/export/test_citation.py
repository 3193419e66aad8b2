"""The citation file of a release."""

from __future__ import annotations

import yaml

from gzflow.export.citation import citation_file


def test_keywords_are_the_surveys_own() -> None:
    facts = {"version": "1", "licence": "", "also": "", "abstract": "a"}
    assert yaml.safe_load(citation_file("t", (), **facts))["keywords"] == ["galaxies", "morphology"]
    rings = yaml.safe_load(citation_file("t", (), keywords=("rings", "Hoag's object"), **facts))
    assert rings["keywords"] == ["galaxies", "morphology", "rings", "Hoag's object"]
