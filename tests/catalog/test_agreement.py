from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.catalog.agreement import Agreement, QuestionAgreement
from gzflow.catalog.votes import part_votes, whole_votes
from gzflow.errors import VotesDisagree

NAMES = ("disk", "bar")


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    numbers = st.integers(0, 50)
    questions = [
        QuestionAgreement(name, name == "bar", draw(numbers), draw(numbers), draw(st.text())) for name in NAMES
    ]
    return Agreement(draw(numbers), draw(numbers), tuple(questions))


@given(st.lists(agreements(), min_size=1, max_size=6), st.integers(0, 6))
def test_it_does_not_matter_how_a_table_is_cut(parts: list[Agreement], cut: int) -> None:
    together = Agreement.of([Agreement.of(parts[:cut]), Agreement.of(parts[cut:])])
    assert together == Agreement.of(parts)
    assert together.rows == sum(p.rows for p in parts)
    assert [q.off for q in together.questions] == [sum(p.questions[i].off for p in parts) for i in range(2)]


def test_parts_of_a_real_table_are_judged_as_the_whole(shared_data) -> None:
    survey = load_survey("gz2_stripe82")
    columns = [name for pair in survey.vote_columns() for name in pair]
    frame = pl.read_csv(shared_data / "gz2_stripe82/table5.csv.gz", columns=list(dict.fromkeys(columns)))
    whole = whole_votes(survey, frame, where="table5")
    parts = [part_votes(survey, frame[start : start + 7000], first_row=start) for start in range(0, len(frame), 7000)]
    assert np.array_equal(np.concatenate([p.counts for p in parts]), whole.counts)
    assert Agreement.of([p.agreement for p in parts]) == whole.agreement
    broken = frame.with_columns(
        pl.when(pl.int_range(pl.len()) > 7000).then(1).otherwise("total_votes").alias("total_votes")
    )
    parts = [part_votes(survey, broken[start : start + 7000], first_row=start) for start in range(0, len(frame), 7000)]
    parts[0].agreement.judge("the first part alone is sound")
    with pytest.raises(VotesDisagree, match=r"12,760 of 19,761 rows") as caught:
        Agreement.of([p.agreement for p in parts]).judge("table5")
    assert "row 7002: all questions together" in str(caught.value)
