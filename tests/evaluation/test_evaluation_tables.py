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
from gzflow.evaluation.weighting import cells_of, weighted_scores


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
