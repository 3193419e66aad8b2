from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.stages.pace import PAUSE, latest_pace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def times(*lines: tuple[float, int]) -> pl.DataFrame:
    """A ledger in which so many rows were written at so many seconds after noon, each with an image of 2 kB."""
    return pl.DataFrame(
        {
            "updated": [(NOW + timedelta(seconds=at)).isoformat(timespec="seconds") for at, _ in lines],
            "rows": [n for _, n in lines],
            "images": [n for _, n in lines],
            "bytes": [2000 * n for _, n in lines],
            "attempts": [n + 1 for _, n in lines],
        }
    )


def test_what_was_written_first_is_not_counted_as_made_in_no_time():
    pace = latest_pace(times((0, 500), (10, 40), (20, 60)))
    assert pace is not None
    assert pace.galaxies_per_s == pytest.approx(5.0)
    assert pace.bytes_per_image == 2000
    assert pace.attempts_per_galaxy == pytest.approx(603 / 600)
    assert pace.last == NOW + timedelta(seconds=20)
    assert pace.seconds(100) == pytest.approx(20)
    assert not pace.going_on


def test_a_pause_ends_a_run():
    long = PAUSE.total_seconds() + 1
    pace = latest_pace(times((0, 1000), (1, 1000), (long + 1, 10), (long + 11, 10)))
    assert pace is not None
    assert pace.galaxies_per_s == pytest.approx(1.0)
    assert latest_pace(times((0, 1000), (1, 1000), (long + 1, 10))) is None


@pytest.mark.parametrize("lines", [[], [(0, 5)]], ids=["empty", "one"])
def test_too_short_a_ledger_tells_nothing(lines):
    assert latest_pace(times(*lines)) is None


@given(rate=st.integers(1, 1000), every=st.integers(1, 600), writes=st.integers(2, 50))
def test_a_steady_run_is_measured_exactly(rate: int, every: int, writes: int):
    pace = latest_pace(times(*((every * k, rate * every) for k in range(writes))))
    assert pace is not None
    assert pace.galaxies_per_s == pytest.approx(rate)
