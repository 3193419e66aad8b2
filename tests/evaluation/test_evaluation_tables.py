from __future__ import annotations

import numpy as np
import pytest

from gzflow.evaluation.evaluation_tables import (
    agreement_table,
    answer_table,
    calibration_table,
    slice_table,
    weight_table,
)
from gzflow.evaluation.figures import figure_png, transforms_figure
from gzflow.evaluation.metrics import Evaluation, evaluate
from gzflow.evaluation.report import Report, Section, render_report
from gzflow.evaluation.slices import GalaxyScores, category_slices, slice_scores
from gzflow.evaluation.tables import headline_tiles
from gzflow.evaluation.weighting import cells_of, weighted_scores
from gzflow.tree import DecisionTree


@pytest.fixture(scope="module")
def evaluation(sample) -> Evaluation:
    votes = sample.votes.copy()
    votes[:, sample.tree.slices[2]] = 0  # nobody is asked the last question
    return evaluate(sample.concentrations, votes, sample.tree, sample.baseline, resamples=50)


def test_every_table_says_its_sample_and_renders(sample, evaluation) -> None:
    scores = GalaxyScores.of(sample.concentrations, sample.votes, sample.tree, sample.baseline, floor=10)
    parts = category_slices("telescope", ["a", "b"] * 200)
    names = [question.name for question in sample.tree.questions]
    tables = (
        agreement_table(evaluation, "half-asked"),
        agreement_table(evaluation, "confident"),
        answer_table(evaluation),
        calibration_table(evaluation),
        slice_table(slice_scores(scores, parts, names), "telescope", 10),
        weight_table(weighted_scores(scores, cells_of(parts, 400), scores.counted, names), ["telescope"], 10),
    )
    for table in tables:
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert "votes or more" in table.note or "or more, all answers" in table.note
    assert "20 votes or more" in tables[1].note
    assert "17%" in tables[1].note
    page = render_report(Report("t", "s", sections=(Section("all", items=tables),)))
    assert "nan" not in page


def test_the_transforms_are_drawn_also_for_nobody(evaluation) -> None:
    assert evaluation.calibrations[2].n == 0
    assert figure_png(transforms_figure(evaluation.calibrations)).startswith(b"\x89PNG")
    assert np.isfinite(evaluation.total.mae)


def test_the_page_prints_the_baseline_that_beats_the_seeds_agreement() -> None:
    """The seed's Table 4: the model's answers in rows, the volunteers' in columns."""
    counts = np.array([[36093, 133, 230, 785], [2145, 159, 123, 159], [441, 31, 287, 155], [1327, 14, 39, 1152]])
    answers = ["none", "minor-disturbance", "major-disturbance", "merger"]
    tree = DecisionTree.from_dict([{"name": "merging", "answers": answers}])
    model, volunteers = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    votes = (10 * np.eye(4, dtype=np.int32))[volunteers].astype(np.int32)
    baseline = np.array([5.0, 0.5, 0.5, 0.5])
    evaluation = evaluate((1 + 4 * np.eye(4))[model][:, None], votes, tree, baseline, resamples=20)
    table = agreement_table(evaluation, "asked")
    _, n, accuracy, majority, lead, *_ = table.rows[0]
    assert (n, accuracy) == ("43,273", "87.1% (86.8% to 87.4%)")
    assert (majority.text, majority.title) == ("92.5 %", "always “none”")
    assert lead.tone == "bad"
    assert lead.text.startswith("−5.3")
    section = Section("Agreement", items=(table,))
    page = render_report(Report("Merging", "Table 4", headline_tiles(evaluation), (section,)))
    assert "always “none”: 92.5 %" in page
