from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from gzflow import load_survey
from gzflow.catalog.failure import Failure
from gzflow.catalog.read import read_catalog, spool_catalog
from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.errors import StoreError
from gzflow.surveys import Survey

Make = Callable[..., Survey]
Row = Callable[..., dict[str, object]]
Table = Callable[..., Path]


@pytest.fixture
def store(url: str) -> Iterator[CatalogStore]:
    with CatalogStore(url) as opened:
        yield opened


def ids_of(frame: pl.DataFrame) -> list[str]:
    return frame["id_str"].to_list()


def test_galaxies_and_votes_come_back_as_they_were_read(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    carrying = survey(('dec = "dec"', 'dec = "dec"\ncarry = ["z"]'))
    read = read_catalog(carrying, table(row("b", z=0.1), row("a", ra=None, z=None), row("8647474690312307154", z=2)))
    store.upsert_catalog(carrying, read)
    assert store.galaxies("bars").equals(read.galaxies.sort("id_str"))
    assert store.votes(carrying).equals(read.votes.sort("id_str"))
    assert store.survey_names() == ["bars"]


def test_ingesting_the_same_file_again_changes_nothing(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey()
    read = read_catalog(bars, table(row("a"), row("b"), row("c", dec=99)))
    frames = []
    for _ in range(2):
        store.upsert_catalog(bars, read)
        failures = store.failures("bars").drop("at")
        frames.append((store.galaxies("bars"), store.votes(bars), failures, store.counts("bars")))
    for first, second in zip(*frames, strict=True):
        assert first.equals(second) if isinstance(first, pl.DataFrame) else first == second
    assert len(frames[0][2]) == 1


def test_an_updated_file_updates_and_keeps_the_ledger(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b", dec=99))))
    store.record_cutouts("bars", [CutoutRecord("a", "done", path="a.jpg")])
    store.upsert_catalog(bars, read_catalog(bars, table(row("a", ra=11, disk_yes=5, disk_total=6), row("b"), row("c"))))
    assert store.galaxies("bars")["ra"].to_list() == [11.0, 10.0, 10.0]
    assert store.votes(bars)["disk_yes"].to_list() == [5, 4, 4]
    assert store.failures("bars").is_empty()
    assert ids_of(store.cutouts("bars")) == ["a"]


def test_a_galaxy_that_now_fails_is_taken_out(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b"))))
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b", dec=99))))
    assert ids_of(store.galaxies("bars")) == ids_of(store.votes(bars)) == ["a"]
    assert store.failures("bars", "catalog").select("id_str", "reason").rows() == [("b", "bad-position")]


def test_two_files_of_one_survey_add_up(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("x", dec=99))))
    store.upsert_catalog(bars, read_catalog(bars, table(row("b"), name="second.csv")))
    assert ids_of(store.galaxies("bars")) == ["a", "b"]
    assert ids_of(store.failures("bars")) == ["x"]


def test_some_ids_can_be_asked_for(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(*(row(f"g{i:02d}") for i in range(20)))))
    assert ids_of(store.galaxies("bars", ["g03", "g01", "unknown"])) == ["g01", "g03"]
    assert ids_of(store.votes(bars, ["g05"])) == ["g05"]
    assert store.galaxies("bars", []).schema == store.galaxies("bars").schema
    assert len(store.galaxies("bars", [])) == 0


def test_more_ids_than_a_query_takes(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b"))))
    assert ids_of(store.galaxies("bars", [*(f"x{i}" for i in range(25_000)), "b"])) == ["b"]
    store.record_failures("bars", [Failure("b", "shard", "r"), Failure("a", "shard", "r")])
    store.clear_failures("bars", "shard", [*(f"x{i}" for i in range(25_000)), "b"])
    assert ids_of(store.failures("bars")) == ["a"]


def test_two_surveys_do_not_see_each_other(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    one, two = survey(), survey(('name = "bars"', 'name = "bars-2"'))
    store.upsert_catalog(one, read_catalog(one, table(row("a"), row("b"))))
    store.upsert_catalog(two, read_catalog(two, table(row("b"), row("c"))))
    store.record_cutouts("bars", [CutoutRecord("b", "done")])
    assert store.survey_names() == ["bars", "bars-2"]
    assert ids_of(store.galaxies("bars-2")) == ["b", "c"]
    store.drop_survey("bars-2")
    assert store.survey_names() == ["bars"]
    assert ids_of(store.votes(one)) == ["a", "b"]


def test_the_widest_shipped_tree_fits(store: CatalogStore) -> None:
    survey = load_survey("hubble")
    votes = pl.DataFrame({"id_str": ["a"]} | {answer: [i] for i, answer in enumerate(survey.tree.answers)})
    votes = votes.cast(dict.fromkeys(survey.tree.answers, pl.Int32))
    galaxies = pl.DataFrame(
        {"id_str": ["a"], "ra": [1.0], "dec": [2.0], "pixscale": [None], "image": [None], "carried": ["{}"]},
        schema_overrides={"pixscale": pl.Float64, "image": pl.String},
    )
    from gzflow.catalog.read import CatalogTable

    store.upsert_catalog(survey, CatalogTable(galaxies, votes, 1, 0, (), 0.0, ()))
    assert store.votes(survey).equals(votes)


def test_other_answers_are_refused_with_what_to_do(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    path = table(row("a", bar_maybe=0))
    store.upsert_catalog(bars, read_catalog(bars, path))
    changed = survey(('"strong", "weak", "no"', '"strong", "maybe", "no"'))
    for act in (lambda: store.upsert_catalog(changed, read_catalog(changed, path)), lambda: store.votes(changed)):
        with pytest.raises(StoreError, match="other answers than when its votes were stored") as caught:
            act()
        assert "new: bar_maybe" in str(caught.value)
        assert "gone: bar_weak" in str(caught.value)
        assert "drop_survey('bars')" in str(caught.value)
    turned = survey(('"strong", "weak", "no"', '"no", "weak", "strong"'))
    with pytest.raises(StoreError, match="other answers") as caught:
        store.votes(turned)
    assert "another order" in str(caught.value)
    assert len(store.votes(bars)) == 1
    store.drop_survey("bars")
    store.upsert_catalog(changed, read_catalog(changed, path))
    assert store.votes(changed)["bar_maybe"].to_list() == [0]


def test_a_new_route_between_the_same_answers_is_accepted(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"))))
    rerouted = survey(('asked_after = ["disk=yes"]', 'asked_after = ["disk=no"]'))
    store.upsert_catalog(rerouted, read_catalog(rerouted, table(row("a"))))
    assert len(store.votes(rerouted)) == 1


def test_a_survey_that_was_never_ingested_is_named(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    with pytest.raises(StoreError, match="survey 'bars' is not in the catalog store") as caught:
        store.galaxies("bars")
    assert "gzflow ingest bars --catalog FILE" in str(caught.value)
    store.upsert_catalog(survey(), read_catalog(survey(), table(row("a"))))
    with pytest.raises(StoreError, match="survey 'gz2' is not") as caught:
        store.votes(load_survey("gz2"))
    assert "one of bars" in str(caught.value)


def test_the_ledger_keeps_the_last_word_and_adds_attempts(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(*(row(name) for name in "abcde"))))
    store.record_cutouts(
        "bars",
        [
            CutoutRecord("a", "done", path="x.zip", member="a.jpg", source="x.zip", bytes=3_000_000_000, sha256="f0"),
            CutoutRecord("b", "to-do", reason="rate-limited", detail="slow down", attempts=5),
            CutoutRecord("c", "no-coverage", reason="no-coverage"),
            CutoutRecord("d", "failed", reason="truncated", detail="NUL \0 in it"),
        ],
    )
    store.record_cutouts("bars", [CutoutRecord("b", "failed", reason="refused", attempts=2)])
    ledger = store.cutouts("bars")
    assert ledger.row(0) == ("a", "done", "x.zip", "a.jpg", "x.zip", 3_000_000_000, "f0", None, None, 1)
    assert ledger.row(1)[-4:] == (None, "refused", None, 7)
    assert "\0" not in ledger["detail"][3]
    assert ids_of(store.cutouts("bars", states=["failed"])) == ["b", "d"]
    assert ids_of(store.cutouts("bars", states=["failed", "done"], ids=["a", "b", "c"])) == ["a", "b"]
    assert store.counts("bars") == {
        "galaxies": 5, "with-position": 5, "to-do": 1, "done": 1, "no-coverage": 1, "failed": 2, "failures": 0,
    }  # fmt: skip


def test_failures_are_replaced_filtered_and_cleared(store: CatalogStore) -> None:
    store.record_failures("s", [Failure("a", "ingest", "blank", "one"), Failure("a", "shard", "blank")])
    store.record_failures("s", [Failure("a", "ingest", "blank", "two"), Failure("b", "ingest", "truncated")])
    assert store.failures("s").select("stage", "id_str", "reason", "detail").rows() == [
        ("ingest", "a", "blank", "two"),
        ("ingest", "b", "truncated", ""),
        ("shard", "a", "blank", ""),
    ]
    assert store.failures("s")["at"].str.contains(r"^\d{4}-\d\d-\d\dT.*\+00:00$").all()
    store.clear_failures("s", "ingest", ["a"])
    assert ids_of(store.failures("s", "ingest")) == ["b"]
    store.clear_failures("s", "ingest")
    assert ids_of(store.failures("s")) == ["a"]
    assert store.failures("other").is_empty()


def test_reading_a_catalog_again_leaves_other_stages_failures(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey()
    read = read_catalog(bars, table(row("a")))
    store.upsert_catalog(bars, read)
    store.record_failures("bars", [Failure("a", "cutout", "blank")])
    store.upsert_catalog(bars, read)
    assert store.failures("bars").select("stage", "reason").rows() == [("cutout", "blank")]


def files(store: CatalogStore) -> list[tuple[str, int]]:
    """Name and number of left-out rows of each ingested file."""
    rows = store.ingests("bars").select("source", "counts").rows()
    return [(Path(source).name, json.loads(counts)["filtered"]) for source, counts in rows]


def test_a_copy_elsewhere_is_the_same_catalog(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "sample = 1"'))
    rows = [row("a", sample=1), row("b", sample=2), row(None, sample=1)]
    for name in ("one.csv", "one.csv", "copy.csv"):
        assert store.upsert_catalog(chosen, read_catalog(chosen, table(*rows, name=name))) == 0
    assert files(store) == [("copy.csv", 1)]
    assert ids_of(store.galaxies("bars")) == ["a"]
    assert ids_of(store.failures("bars")) == ["row 3 of copy.csv"]
    store.upsert_catalog(chosen, read_catalog(chosen, table(row("c", sample=1), row("d", sample=2), name="two.csv")))
    assert files(store) == [("copy.csv", 1), ("two.csv", 1)]
    assert ids_of(store.failures("bars")) == ["row 3 of copy.csv"]


def test_rows_that_vanished_from_a_file_are_retired(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("other"), name="other.csv")))
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b"), row("c", dec=99), row(None))))
    store.record_failures("bars", [Failure("b", "shard", "blank")])
    assert store.upsert_catalog(bars, read_catalog(bars, table(row("a", ra=11), row("new")))) == 1
    assert ids_of(store.galaxies("bars")) == ids_of(store.votes(bars)) == ["a", "new", "other"]
    assert store.failures("bars").select("id_str", "stage").rows() == [("b", "shard")]


def test_an_interrupted_ingest_is_taken_up_by_the_next(
    store: CatalogStore, survey: Make, row: Row, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = survey()
    store.upsert_catalog(bars, read_catalog(bars, table(row("a"), row("b"))))
    second = read_catalog(bars, table(row("b"), row("c")))
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(store, "_retire", killed)
        with pytest.raises(KeyboardInterrupt):
            store.upsert_catalog(bars, second)
    assert files(store) == [("catalog.csv", 0)]  # the accounting is still that of the file that is whole
    assert store.upsert_catalog(bars, second) == 1
    assert ids_of(store.galaxies("bars")) == ["b", "c"]
    assert len(files(store)) == 1


def test_a_large_catalog_comes_in_parts(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\ncarry = ["note"]\nwhere = "sample = 1"'))
    text = 'it\'s "quoted", with\nlines, 100 % \\N and 漢'
    rows = [row(f"g{i:03d}", note=text, sample=int(i % 5 > 0), dec=99 if i % 7 == 0 else 1) for i in range(200)]
    path = table(*rows, row("g000", sample=1), name="t.csv")  # the filter leaves out the other g000
    whole = read_catalog(chosen, path)
    for _ in range(2):
        with spool_catalog(chosen, path, folder=path.parent, rows=17) as spool:
            assert store.upsert_catalog(chosen, spool) == 0
        assert store.galaxies("bars").equals(whole.galaxies.sort("id_str"))
        assert store.votes(chosen).equals(whole.votes.sort("id_str"))
        assert ids_of(store.failures("bars")) == sorted(failure.id_str for failure in whole.failures)


def test_the_ledger_comes_in_pages(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey(('dec = "dec"', 'dec = "dec"\nimage = "file"'))
    store.upsert_catalog(bars, read_catalog(bars, table(*(row(f"g{i}", file=f"{i}.png") for i in range(7)))))
    store.record_cutouts("bars", [CutoutRecord("g3", "done", path="3.png", bytes=5)])
    pages, after = [], None
    while len(page := store.ledger_page("bars", after, size=3)):
        pages.append(page)
        after = page["id_str"][-1]
    assert [len(page) for page in pages] == [3, 3, 1]
    together = pl.concat(pages)
    assert ids_of(together) == [f"g{i}" for i in range(7)]
    assert together.row(3) == ("g3", "3.png", "done", "3.png", None, 5)
    assert together["state"].null_count() == 6


def test_matches_replace_those_of_an_earlier_run(store: CatalogStore) -> None:
    first = pl.DataFrame({"left_id": ["b", "a"], "right_id": ["y", "x"], "separation_arcsec": [0.5, 0.1]})
    store.record_crossmatch("left", "right", 2.0, "nearest", first)
    assert store.crossmatch("left", "right").rows() == [("a", "x", 0.1), ("b", "y", 0.5)]
    store.record_crossmatch("left", "right", 1.0, "best", first.head(1))
    assert store.crossmatch("left", "right").rows() == [("b", "y", 0.5)]
    store.record_crossmatch("left", "right", 0.1, "best", first.clear())
    assert store.crossmatch("left", "right").schema == first.schema
    assert store.crossmatch("left", "right").is_empty()
    with pytest.raises(StoreError, match="right and left were not cross-matched") as caught:
        store.crossmatch("right", "left")
    assert "gzflow crossmatch right left" in str(caught.value)


def test_the_store_is_found_again_with_all_it_held(url: str, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    with CatalogStore(url) as store:
        store.upsert_catalog(bars, read_catalog(bars, table(row("a"))))
    with CatalogStore(url) as store:
        assert ids_of(store.galaxies("bars")) == ["a"]


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    CatalogStore(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE gzflow_store SET value = '99' WHERE name = 'format_version'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="has format 99, this version of gzflow reads 2"):
        CatalogStore(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 30)
    with pytest.raises(StoreError, match="the catalog store refused") as caught:
        CatalogStore(f"sqlite:///{path}")
    assert "not a database" in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("not a url", "not an SQLAlchemy URL"),
        ("mysql://host/db", "cannot be a mysql database"),
        ("postgresql+nodriver://user:secret@host/db", "no driver"),
        ("sqlite:////proc/nowhere/catalog.db", "cannot be made"),
    ],
)
def test_addresses_that_cannot_work_are_refused_without_the_password(bad: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        CatalogStore(bad)
    assert "secret" not in str(caught.value)


def test_a_name_too_long_for_postgresql_is_refused_there(url: str, survey: Make, row: Row, table: Table) -> None:
    name = "a-question-with-a-name-that-goes-on-and-on-and-on-for-ever-and-ever"
    long = survey(('name = "disk"', f'name = "{name}"'), ("disk=yes", f"{name}=yes"))
    renamed = {key.replace("disk", name): value for key, value in row("a").items()}
    read = read_catalog(long, table(renamed))
    with CatalogStore(url) as store:
        if url.startswith("sqlite"):
            store.upsert_catalog(long, read)
            assert len(store.votes(long)) == 1
            return
        with pytest.raises(StoreError, match="cuts names after 63 bytes"):
            store.upsert_catalog(long, read)
        assert store.survey_names() == []


def test_sqlite_writes_ahead_and_waits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    with CatalogStore(url) as store, store._database.reading() as connection:
        names = ("journal_mode", "busy_timeout", "synchronous")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert found == ["wal", 30_000, 1]


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    with CatalogStore(f"sqlite:///{tmp_path / 'catalog.db'}") as store:
        store.upsert_catalog(bars, read_catalog(bars, table(row("a"))))
        with store._database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM galaxies")
            assert ids_of(store.galaxies("bars")) == ["a"]
        assert ids_of(store.galaxies("bars")) == []


def test_an_image_name_with_a_nul_fails_its_galaxy_alone(
    store: CatalogStore, survey: Make, row: Row, table: Table
) -> None:
    bars = survey(('dec = "dec"', 'dec = "dec"\nimage = "file"'))
    store.upsert_catalog(bars, read_catalog(bars, table(row("a", file="a.png"), row("b", file="b\0.png"), row("c"))))
    assert ids_of(store.galaxies("bars")) == ids_of(store.votes(bars)) == ["a", "c"]
    assert store.failures("bars").select("id_str", "reason").rows() == [("b", "bad-image-name")]


def test_failures_are_counted_by_reason(store: CatalogStore) -> None:
    rows = [("a", "ingest", "refused"), ("b", "ingest", "refused"), ("a", "shard", "refused"), ("c", "ingest", "blank")]
    store.record_failures("bars", [Failure(name, stage, reason, "") for name, stage, reason in rows])
    store.record_failures("others", [Failure("a", "ingest", "text-tile", "")])
    assert store.failure_reasons("bars") == {"blank": 1, "refused": 3}
    assert store.failure_reasons("nobody") == {}


def test_some_positions_are_of_this_survey_and_known(store: CatalogStore, survey: Make, row: Row, table: Table) -> None:
    bars = survey()
    rows = [row(f"g{n}", ra=float(n)) for n in range(40)] + [row("nowhere", ra=None, dec=None)]
    store.upsert_catalog(bars, read_catalog(bars, table(*rows)))
    found = store.some_positions("bars", 100)
    assert set(found.select("id_str", "ra").rows()) == {(f"g{n}", float(n)) for n in range(40)}
    assert 9 <= len(set(ids_of(store.some_positions("bars", 10)))) <= 10
    assert store.some_positions("others", 10).is_empty()
