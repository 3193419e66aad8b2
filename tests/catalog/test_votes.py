from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.catalog.votes import whole_votes
from gzflow.errors import VotesDisagree
from gzflow.surveys import Survey

Make = Callable[..., Survey]
FRACTIONS = (
    'count = "{question}_{answer}"\ntotal = "{question}_total"',
    'fraction = "{question}_{answer}"\ntotal = "{question}_total"',
)
ONE_TOTAL = ('total = "{question}_total"', 'total = "all_votes"')
DROP = ('answers = ["strong", "weak", "no"]', 'answers = ["strong", "weak", "no"]\noff_total = "drop"')


def frame(rows: list[list[object]], columns: str = "disk_yes disk_no disk_total bar_strong bar_weak bar_no bar_total"):
    return pl.DataFrame(rows, schema=columns.split(), orient="row", strict=False)


SOUND = [4, 1, 5, 1, 0, 3, 4]


def test_counts_are_read_as_they_are(survey: Make) -> None:
    found = whole_votes(survey(), frame([SOUND, [0, 0, 0, 0, 0, 0, 0]]), where="t.csv")
    assert found.counts.tolist() == [[4, 1, 1, 0, 3], [0, 0, 0, 0, 0]]
    assert found.counts.dtype == np.int32
    assert found.residual == 0
    assert found.problems == ()


@given(st.lists(st.integers(0, 200), min_size=5, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
def test_fractions_of_three_decimals_give_the_counts_back(survey: Make, counts: list[int]) -> None:
    disk, bar = sum(counts[:2]), sum(counts[2:])
    shares = [round(c / disk, 3) if disk else None for c in counts[:2]]
    shares += [round(c / bar, 3) if bar else None for c in counts[2:]]
    rows = frame([[*shares[:2], disk, *shares[2:], bar]])
    found = whole_votes(survey(FRACTIONS), rows, where="t.csv")
    assert found.counts.tolist() == [counts]
    assert found.residual <= 0.0005 * max(disk, bar) + 1e-9
    assert found.problems == ()


def test_rounding_is_half_to_even_and_the_residual_is_reported(survey: Make) -> None:
    rows = frame([[0.5, 0.5, 5, 0.5, 0.5, 0.0, 3]])
    found = whole_votes(survey(FRACTIONS), rows, where="t.csv")
    assert found.counts.tolist() == [[2, 2, 2, 2, 0]]
    assert found.residual == 0.5


def test_weighted_counts_are_rounded(survey: Make) -> None:
    found = whole_votes(survey(), frame([[4.25, 0.75, 5, 1, 0, 3, 4]]), where="t.csv")
    assert found.counts.tolist() == [[4, 1, 1, 0, 3]]
    assert found.residual == 0.25


@pytest.mark.parametrize("total", [0, None, float("nan")])
def test_no_value_means_no_votes_where_nobody_was_asked(survey: Make, total: float | None) -> None:
    for change in ((), (FRACTIONS,)):
        disk = [4, 1, 5] if not change else [0.8, 0.2, 5]
        found = whole_votes(survey(*change), frame([[*disk, None, None, float("nan"), total]]), where="t.csv")
        assert found.counts.tolist() == [[4, 1, 0, 0, 0]]
        assert found.problems == ()


@pytest.mark.parametrize(
    ("bar", "value"),
    [
        ([None, 0, 3, 3], "bar_strong = None"),
        ([None, None, None, 4], "bar_total = 4"),
        ([-1, 2, 3, 4], "bar_strong = -1"),
        ([1, 0, 3, -4], "bar_total = -4"),
        (["many", 0, 3, 4], "bar_strong = many"),
        ([3e9, 0, 3, 3e9 + 3], "bar_strong = 3000000000"),
    ],
)
def test_votes_that_cannot_be_read_are_a_problem_of_their_row(survey: Make, bar: list[object], value: str) -> None:
    rows = [[str(v) if v is not None else None for v in row] for row in ([4, 1, 5, *bar], SOUND, SOUND)]
    found = whole_votes(survey(), frame(rows), where="t.csv")
    assert found.counts.tolist() == [[0] * 5, [4, 1, 1, 0, 3], [4, 1, 1, 0, 3]]
    ((row, reason, detail),) = found.problems
    assert (row, reason) == (0, "bad-votes")
    assert detail.startswith("bar: ")
    assert value in detail


@pytest.mark.parametrize("fraction", [1.5, -0.1])
def test_fractions_outside_the_unit_interval_are_bad(survey: Make, fraction: float) -> None:
    rows = frame([[fraction, 0.0, 5, None, None, None, 0]])
    assert whole_votes(survey(FRACTIONS), rows, where="t.csv").problems[0][1] == "bad-votes"


def test_a_fraction_without_total_is_bad(survey: Make) -> None:
    rows = frame([[0.5, 0.5, None, None, None, None, 0]])
    assert whole_votes(survey(FRACTIONS), rows, where="t.csv").problems[0][1] == "bad-votes"


def test_votes_that_disagree_with_their_total_name_both(survey: Make) -> None:
    found = whole_votes(survey(), frame([SOUND, [4, 1, 7, 1, 0, 3, 4], SOUND]), where="t.csv")
    assert found.problems == ((1, "votes-disagree", "disk: the answers add up to 5 votes, disk_total says 7"),)
    assert found.counts[1].tolist() == [0] * 5


def test_the_parent_question_is_never_the_total(survey: Make) -> None:
    """Fewer are asked about the bar than saw a disk, or more: both are as published."""
    found = whole_votes(survey(), frame([[4, 1, 5, 9, 0, 0, 9]]), where="t.csv")
    assert found.problems == ()


def test_one_total_for_all_questions(survey: Make) -> None:
    columns = "disk_yes disk_no all_votes bar_strong bar_weak bar_no"
    rows = frame([[4, 1, 9, 1, 0, 3], [4, 1, 9, 1, 0, 2], [5, 0, 5, None, None, None]], columns)
    found = whole_votes(survey(ONE_TOTAL), rows, where="t.csv")
    assert [problem[:2] for problem in found.problems] == [(1, "votes-disagree")]
    assert "all questions together: the answers add up to 8 votes, all_votes says 9" in found.problems[0][2]
    assert found.counts[2].tolist() == [5, 0, 0, 0, 0]


def test_a_question_may_lose_its_votes_instead_of_the_galaxy(survey: Make) -> None:
    found = whole_votes(survey(DROP), frame([SOUND, [4, 1, 5, 1, 0, 0, 4], SOUND]), where="t.csv")
    assert found.counts.tolist() == [[4, 1, 1, 0, 3], [4, 1, 0, 0, 0], [4, 1, 1, 0, 3]]
    assert found.problems == ()
    assert found.notes == (
        "1 of 3 galaxies lose their votes of one question (bar: the answers add up to 1 votes, bar_total says 4)",
    )


def test_mostly_wrong_totals_mean_wrong_columns(survey: Make) -> None:
    with pytest.raises(VotesDisagree, match=r"in 2 of 3 rows") as caught:
        whole_votes(survey(), frame([[4, 1, 9, 1, 0, 3, 4]] * 2 + [SOUND]), where="t.csv")
    text = str(caught.value)
    assert "t.csv" in text
    assert "2 of 3 galaxies with votes; row 1: disk: the answers add up to 5 votes, disk_total says 9" in text
    assert "bar:" not in text


def test_one_wrong_question_among_many_rows_is_found(survey: Make) -> None:
    """A question asked of few galaxies cannot hide behind those that were not asked it."""
    asked, unasked = [4, 1, 5, 1, 0, 2, 4], [5, 0, 5, 0, 0, 0, 0]
    with pytest.raises(VotesDisagree, match="in 30 of 130 rows"):
        whole_votes(survey(), frame([asked] * 30 + [unasked] * 100), where="t.csv")


def test_a_survey_without_votes_has_zero_votes(survey: Make) -> None:
    without = survey(('[catalog.votes]\ncount = "{question}_{answer}"\ntotal = "{question}_total"\n', ""))
    assert whole_votes(without, pl.DataFrame({"name": ["a", "b"]}), where="t.csv").counts.tolist() == [[0] * 5] * 2


def test_a_thousandth_of_slack_in_every_fraction_is_not_a_disagreement() -> None:
    """Six answers of 0.167 add up to 1.002."""
    survey = load_survey("candels")
    rows = {column: [0.0] for column, _ in survey.vote_columns()} | {total: [0.0] for _, total in survey.vote_columns()}
    for answer, (column, total) in zip(survey.tree.answers, survey.vote_columns(), strict=True):
        if answer.startswith("clump-count"):
            rows |= {column: [0.167], total: [30.0]}
    found = whole_votes(survey, pl.DataFrame(rows), where="t.csv")
    assert found.problems == ()
    assert found.counts[0, survey.tree.slices[survey.tree.index("clump-count")]].tolist() == [5] * 6
