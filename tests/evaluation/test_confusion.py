from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from gzflow.evaluation.confusion import ConfusionMatrix, confusion_matrices
from gzflow.evaluation.figures import confusion_figure
from gzflow.evaluation.selection import selected
from gzflow.posterior import fractions


def test_rows_are_the_volunteers_and_columns_the_model() -> None:
    matrix = ConfusionMatrix("merging", ("none", "merger"), np.array([[5, 1], [3, 0]]), "asked", 10)
    assert matrix.n == 9
    assert matrix.majority_answer == "none"  # six volunteers' rows, although the model said it eight times
    assert matrix.majority_accuracy == 6 / 9
    assert matrix.accuracy == 5 / 9
    np.testing.assert_allclose(matrix.recall, [5 / 6, 0])


def test_the_seeds_merging_table_loses_to_its_constant_when_columns_are_the_volunteers() -> None:
    counts = np.array([[36093, 133, 230, 785], [2145, 159, 123, 159], [441, 31, 287, 155], [1327, 14, 39, 1152]])
    names = ("none", "minor-disturbance", "major-disturbance", "merger")
    matrix = ConfusionMatrix("merging", names, counts.T, "asked", 1)
    assert round(matrix.accuracy, 3) == 0.871
    assert round(matrix.majority_accuracy, 4) == 0.9245


def test_every_matrix_agrees_with_scikit_learn(sample) -> None:
    predicted = fractions(sample.concentrations, sample.tree)
    for q, matrix in enumerate(confusion_matrices(predicted, sample.votes, sample.tree, selection="asked", floor=10)):
        rows, part = selected(sample.votes, sample.tree, "asked", 10)[:, q], sample.tree.slices[q]
        truth, model = sample.votes[rows, part].argmax(axis=1), predicted[rows, part].argmax(axis=1)
        labels = list(range(len(matrix.answers)))
        np.testing.assert_array_equal(matrix.counts, confusion_matrix(truth, model, labels=labels))
        np.testing.assert_allclose(matrix.macro_f1, f1_score(truth, model, average="macro"))
        np.testing.assert_allclose(matrix.weighted_f1, f1_score(truth, model, average="weighted"))


def test_no_galaxy_gives_nan(sample) -> None:
    matrices = confusion_matrices(np.ones(sample.votes.shape), sample.votes, sample.tree, floor=10_000)
    assert all(
        m.n == 0 and np.isnan([m.accuracy, m.majority_accuracy, m.macro_f1, m.weighted_f1]).all() for m in matrices
    )
    assert matrices[0].majority_answer is None


def test_the_intervals_are_those_of_drawing_galaxies(sample) -> None:
    matrix = confusion_matrices(fractions(sample.concentrations, sample.tree), sample.votes, sample.tree)[0]
    found = matrix.agreement(seed=1)
    spread = (matrix.accuracy * (1 - matrix.accuracy) / matrix.n) ** 0.5
    np.testing.assert_allclose(
        [found.accuracy.lower, found.accuracy.upper], matrix.accuracy + np.array([-1, 1]) * 1.96 * spread, atol=0.01
    )
    assert found.macro_f1.lower < matrix.macro_f1 < found.macro_f1.upper
    assert found.weighted_f1.lower < matrix.weighted_f1 < found.weighted_f1.upper
    assert found.lead.lower > 0
    assert found == matrix.agreement(seed=1)


def test_the_seeds_merging_table_is_shown_to_be_worse_than_a_constant() -> None:
    counts = np.array([[36093, 133, 230, 785], [2145, 159, 123, 159], [441, 31, 287, 155], [1327, 14, 39, 1152]])
    names = ("none", "minor-disturbance", "major-disturbance", "merger")
    found = ConfusionMatrix("merging", names, counts.T, "asked", 1).agreement()
    assert found.lead.upper < -0.05
    as_rows = ConfusionMatrix("merging", names, counts, "asked", 1).agreement()
    assert 0 < as_rows.lead.lower < as_rows.lead.upper < 0.02


def test_the_figure_of_the_seeds_merging_table_prints_the_baseline_that_beats_it() -> None:
    counts = np.array([[36093, 133, 230, 785], [2145, 159, 123, 159], [441, 31, 287, 155], [1327, 14, 39, 1152]])
    names = ("none", "minor-disturbance", "major-disturbance", "merger")
    figure = confusion_figure(ConfusionMatrix("merging", names, counts.T, "asked", 1))
    words = " ".join(text.get_text() for text in figure.texts)
    assert "87.1% of 43,273 galaxies agree; always “none” would score" in words
    assert "92.5%" in words
