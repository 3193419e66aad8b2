"""CITATION.cff: how a catalogue wants to be cited, as the Citation File Format 1.2.0 has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gzflow import __version__
from gzflow.errors import ExportError

ANONYMOUS = "anonymous"
"""Stands for the authors where nobody was named."""
REQUIRED = ("cff-version", "message", "title", "authors")
_ORCID = re.compile(r"(?:https://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")
_LICENCE = re.compile(r"CC-(0|BY(-NC)?(-SA|-ND)?)-\d\.\d")


def author(text: str) -> dict[str, str]:
    """A person (``Family, Given`` or ``Family, Given, ORCID``), or, without a comma, a group by its name.

    Raises
    ------
    ExportError
        It is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    orcid = _ORCID.fullmatch(parts[2]) if len(parts) == 3 else None
    if not all(parts) or len(parts) > 3 or (len(parts) == 3 and orcid is None):
        raise ExportError(
            f"{text!r} names no author",
            expected="Family, Given, or Family, Given, 0000-0002-1825-0097 (an ORCID), or the name of a group",
        )
    if len(parts) == 1:
        return {"name": parts[0]}
    person = {"family-names": parts[0], "given-names": parts[1]}
    return person | ({"orcid": f"https://orcid.org/{orcid[1]}"} if orcid else {})


def citation_file(
    title: str,
    authors: Sequence[str],
    *,
    version: str,
    licence: str,
    also: str,
    abstract: str,
    keywords: Sequence[str] = (),
    doi: str | None = None,
    date: str | None = None,
) -> bytes:
    """The file.

    Parameters
    ----------
    licence
        Written where it is one of Creative Commons', the names of which all archives know.
    also
        Works to cite beside the catalogue, as its survey names them.
    keywords
        Of the survey, beside those that every catalogue of galaxies' shapes has.
    date
        Of the release, ``YYYY-MM-DD``.
    """
    message = "If you use this catalogue, please cite it" + (f", and also: {also}." if also else ".")
    known = re.sub(r"\s+", "-", licence.strip().upper())
    value: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": message,
        "type": "dataset",
        "title": title,
        "abstract": abstract,
        "authors": [author(text) for text in authors or (ANONYMOUS,)],
        "version": version,
        "keywords": ["galaxies", "morphology", *keywords],
    }
    value |= {"license": known} if _LICENCE.fullmatch(known) else {}
    value |= {"doi": doi} if doi else {}
    value |= {"date-released": date} if date else {}
    software = {"type": "software", "title": "gzflow", "version": __version__, "license": "BSD-3-Clause"}
    value["references"] = [software | {"authors": [{"name": "the gzflow developers"}]}]
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).encode()


def citation_problems(content: bytes) -> list[str]:
    """What keeps a file from being a citation file."""
    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        return [f"it is no YAML: {error}"]
    if not isinstance(value, Mapping):
        return ["it holds no mapping"]
    return [f"it lacks {key}" for key in REQUIRED if not value.get(key)]
