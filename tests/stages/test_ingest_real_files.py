"""Ingest and shard of the real files that surveys publish, in their real layout."""

from __future__ import annotations

import csv
from pathlib import Path

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.stages import ingest, shard
from gzflow.stages.counts import Counts, total


def ingested(source: ingest.IngestSource, settings: Settings) -> ingest.IngestSummary:
    ingest.read(source, settings)
    plan = ingest.plan(source, settings)
    for chunk in plan.chunks:
        ingest.run_chunk(chunk, settings)
    return ingest.finish(source, settings)


def sharded(survey: str, settings: Settings, pixels: int) -> shard.ShardSummary:
    plan = shard.plan(survey, settings, pixels=pixels)
    return shard.finish(plan, total(shard.run_chunk(chunk, settings) for chunk in plan.chunks))


def decals(data: Path, **changes) -> ingest.IngestSource:
    folder = data / "gz_samples" / "galaxy_zoo_decals"
    images = tuple(str(folder / f"gz_decals_dr5_png_part{part}") for part in (1, 2, 3, 4))
    catalog = str(folder / "gz_decals_volunteers_5.csv")
    return ingest.IngestSource(**{"survey": "decals", "catalog": catalog, "images": images} | changes)


def test_decals_rows_get_their_images_and_the_other_twelve_are_reported(shared_data: Path, settings: Settings):
    summary = ingested(decals(shared_data), settings)
    assert summary.counts == Counts(n_in=6, done=6)
    assert len(summary.unclaimed) == 12
    listing = settings.reports("decals") / "unclaimed-images.csv"
    assert len(listing.read_text().splitlines()) == 13

    shards = ShardSet.open(sharded("decals", settings, 64).folder)
    assert shards.n() == 6
    assert all(shards.n(split) for split in ("train", "validation", "test"))
    assert any("forced" in note or "moved" in note for note in shards.manifest.notes)
    with (shared_data / "gz_samples/galaxy_zoo_decals/gz_decals_volunteers_5.csv").open() as stream:
        published = {row["iauname"]: int(row["smooth-or-featured_smooth"]) for row in csv.DictReader(stream)}
    column = shards.tree.answers.index("smooth-or-featured_smooth")
    assert dict(zip(shards.ids(), shards.votes()[:, column].tolist(), strict=True)) == published


def test_a_second_run_asks_for_nothing_and_changes_nothing(shared_data: Path, settings: Settings):
    ingested(decals(shared_data), settings)
    first = sharded("decals", settings, 64)
    plan = ingest.plan(decals(shared_data), settings)
    assert plan.chunks == ()
    assert plan.counts == Counts(n_in=6, done=6, reused=6)
    manifest = first.folder / "manifest.json"
    again = sharded("decals", settings, 64)
    assert again.counts == Counts(n_in=6, done=6, reused=6)
    assert (again.fingerprint, again.splits) == (first.fingerprint, first.splits)
    assert manifest.exists()


def test_gz2_finds_its_images_through_the_published_mapping(shared_data: Path, settings: Settings):
    folder = shared_data / "gz_samples" / "galaxy_zoo_2"
    source = ingest.IngestSource(
        survey="gz2",
        catalog=str(folder / "gz2_hart16.csv"),
        mapping=str(folder / "gz2_filename_mapping.csv"),
        images=(str(folder / "images"),),
    )
    summary = ingested(source, settings)
    assert summary.counts.n_in == 3
    assert summary.counts.done + summary.counts.filtered == 3
    assert summary.unclaimed == ()
    with CatalogStore(settings.catalog_url) as store:
        assert "587726016142835881" in store.galaxies("gz2")["id_str"].to_list()
    assert sharded("gz2", settings, 64).counts.failed == 0


def test_every_row_of_stripe_82_comes_in(shared_data: Path, settings: Settings):
    catalog = shared_data / "gz2_stripe82" / "table5.csv.gz"
    source = ingest.IngestSource(survey="gz2_stripe82", catalog=str(catalog), images=(str(shared_data / "ferengi"),))
    assert ingest.read(source, settings) == Counts(n_in=19761, done=19761)
    with CatalogStore(settings.catalog_url) as store:
        assert len(store.galaxies("gz2_stripe82")) == 19761


def user_survey(folder: Path, name: str, rows: list[tuple[str, str, int]]) -> tuple[str, str]:
    toml, table = folder / f"{name}.toml", folder / f"{name}.csv"
    toml.write_text(
        f'[survey]\nname = "{name}"\n[catalog]\nid = "id_str"\nimage = "file"\n'
        '[catalog.votes]\ncount = "{question}_{answer}"\n[[question]]\nname = "ring"\nanswers = ["yes", "no"]\n'
    )
    lines = [f"{id_str},{file},{yes},{1 - yes}" for id_str, file, yes in rows]
    table.write_text("\n".join(["id_str,file,ring_yes,ring_no", *lines]) + "\n")
    return str(toml), str(table)


def test_fifty_five_real_images_and_the_truncated_one(shared_data: Path, settings: Settings, tmp_path: Path):
    folder = shared_data / "ferengi" / "images"
    rows = [(path.stem, path.name, index % 2) for index, path in enumerate(sorted(folder.glob("*.jpg")))]
    toml, table = user_survey(tmp_path, "rings", rows)
    summary = ingested(ingest.IngestSource(survey=toml, catalog=table, images=(str(folder),)), settings)
    assert summary.counts == Counts(n_in=56, done=55, failed=1)
    assert summary.reasons == {"truncated": 1}
    with CatalogStore(settings.catalog_url) as store:
        failures = store.failures("rings")
    assert failures["id_str"].to_list() == ["5249ce0c3ae74072a3003b73"]
    assert sharded(toml, settings, 64).counts == Counts(n_in=55, done=55)
