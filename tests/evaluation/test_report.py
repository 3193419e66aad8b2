from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gzflow.errors import EvaluationError
from gzflow.evaluation.figures import contact_sheet, figure_jpeg, figure_png, training_curves
from gzflow.evaluation.galaxy_table import galaxy_table
from gzflow.evaluation.metrics import evaluate
from gzflow.evaluation.report import GalaxyCard, NextStep, Picture, Report, Section, render_report, write_report
from gzflow.evaluation.tables import Account, accounting_table, failure_table, headline_tiles, metric_table

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Elements that stay open, ids, links and images of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [values["id"]] if values.get("id") else []
        self.targets += [str(values["href"])[1:]] if str(values.get("href", "")).startswith("#") else []
        self.sources += [str(values[key]) for key in ("src", "srcset") if values.get(key)]
        if tag == "img":
            self.images.append(values)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.fixture(scope="module")
def report(sample) -> Report:
    evaluation = evaluate(sample.concentrations, sample.votes, sample.tree, sample.baseline, resamples=50)
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    sheet = Picture(figure_jpeg(contact_sheet(images)), "four galaxies", "as the shards hold them", shows_galaxies=True)
    chart = Picture(figure_png(training_curves([{"epoch": 1, "train/loss": 2.0, "val/loss": 3.0}])), "loss by epoch")
    flat = np.full(8, 0.5)
    card = GalaxyCard(galaxy_table("J<1>", flat, flat - 0.1, flat + 0.1, sample.tree, votes=sample.votes[0]), sheet)
    return Report(
        title="A survey & its catalogue",
        subtitle="<script>alert(1)</script>",
        tiles=headline_tiles(evaluation),
        sections=(
            Section(
                "Data",
                ("Every galaxy is accounted for.",),
                (
                    accounting_table([Account("ingest", 10, 7, 2, 1), Account("shard", 7, 6)]),
                    failure_table([("cutout", "no-coverage", 2, "J2")], fold=True),
                ),
            ),
            Section("Pictures", items=(sheet, chart)),
            Section("Scores", items=tuple(metric_table(evaluation, s) for s in ("half-asked", "asked", "confident"))),
            Section("One galaxy", items=(card,)),
        ),
        provenance={"model": "models:/gzflow-decals/1", "seed": "42"},
        acknowledgements=("Thanks to the volunteers.",),
        next_steps=(NextStep("gzflow predict decals", "Predict again."),),
    )


def test_the_page_is_well_formed_and_stands_alone(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "reports" / "index.html")
    page = (tmp_path / "reports" / "index.html").read_text("utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.targets) <= set(outline.ids)
    assert all(source.startswith("data:image/") for source in outline.sources)
    assert all(image["alt"] for image in outline.images)
    assert not re.search(r"https?://|<script|@import|url\(", page)


def test_what_users_wrote_is_escaped(report: Report) -> None:
    page = render_report(report)
    assert "&lt;script&gt;alert(1)" in page
    assert "J&lt;1&gt;" in page
    assert "A survey &amp; its catalogue" in page


def test_numbers_stand_beside_their_baseline_and_sample(report: Report) -> None:
    page = render_report(report)
    assert "constant Dirichlet" in page
    assert "majority answer" in page
    assert "10 votes or more" in page
    assert "does not add up" in page  # seven in, six out: the page does not hide it
    assert "Scores by question: half-asked" in page
    assert "Grey: fewer than 50 % of the volunteers would be asked" in page


def test_restricted_surveys_show_no_galaxy(report: Report) -> None:
    page = render_report(dataclasses.replace(report, image_rights="restricted"))
    outline = Outline(page)
    assert [image["alt"] for image in outline.images] == ["loss by epoch"]
    assert "may not be shown" in page


def test_an_empty_report_is_a_page() -> None:
    assert Outline(render_report(Report("t", "s"))).open == []


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(EvaluationError, match="is not an image"):
        render_report(Report("t", "s", sections=(Section("x", items=(Picture(b"<html>", "x"),)),)))


def test_no_failure_is_said_too() -> None:
    assert failure_table([]).note == "Nothing failed."


def test_questions_with_few_galaxies_are_greyed(sample) -> None:
    evaluation = evaluate(
        sample.concentrations[:12], sample.votes[:12], sample.tree, sample.baseline, resamples=20, floor=10
    )
    for row in metric_table(evaluation, "asked").rows:
        assert all(cell.tone == "muted" for cell in row if not isinstance(cell, str))
        assert sum(isinstance(cell, str) for cell in row) == 0
