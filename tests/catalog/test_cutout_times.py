from __future__ import annotations

from collections.abc import Iterator

import pytest

from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.catalog.store import cutouts as module


@pytest.fixture
def store(url: str) -> Iterator[CatalogStore]:
    with CatalogStore(url) as opened:
        yield opened


def test_the_ledger_tells_when_how_much_was_written(store: CatalogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.cutout_times("bars").is_empty()
    records = [
        [CutoutRecord("a", "done", path="a", bytes=2**33), CutoutRecord("b", "failed", reason="refused", attempts=3)],
        [CutoutRecord("c", "done", path="c.jpg", bytes=2**33)],
        [CutoutRecord("d", "to-do", reason="service-unavailable")],
    ]  # fmt: skip
    for minute, some in enumerate(records):
        monkeypatch.setattr(module, "now", lambda minute=minute: f"2026-03-01T12:0{minute}:00+00:00")
        store.record_cutouts("bars", some)
    store.record_cutouts("others", records[0])
    times = store.cutout_times("bars")
    assert times["updated"].to_list() == [f"2026-03-01T12:0{minute}:00+00:00" for minute in range(3)]
    assert times.drop("updated").rows() == [(2, 1, 2**33, 4), (1, 1, 2**33, 1), (1, 0, None, 1)]
    assert len(store.cutout_times("bars", latest=2)) == 2
