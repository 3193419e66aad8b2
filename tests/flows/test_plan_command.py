"""``gzflow plan`` and ``gzflow status`` as a user meets them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from gzflow.settings import Settings
from gzflow.stages import ingest


def test_a_plan_says_what_an_ingest_would_do_and_does_nothing(gzflow, rings: Path, tmp_path: Path):
    said = gzflow(
        "plan", "ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images"
    ).stdout  # fmt: skip
    assert re.search(r"^to do +41$", said, re.MULTILINE)
    assert re.search(r"^images from +files$", said, re.MULTILINE)
    assert re.search(r"^size +[\d.]+ kB; read in place$", said, re.MULTILINE)
    assert re.search(r"^time +[\d.]+ s,", said, re.MULTILINE)


def test_a_plan_of_what_cannot_be_says_what_to_do(gzflow, rings: Path):
    done = gzflow("plan", "ingest", "hubble", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert gzflow("plan", "predict", "decals", check=False).returncode == 2


def test_the_failure_table_is_exported(gzflow, rings: Path, home: Path, tmp_path: Path):
    source = ingest.IngestSource.of(
        str(rings / "rings.toml"), rings / "labels.csv", images=[rings / "images"]
    )  # fmt: skip
    settings = Settings.load({}, home=home)
    ingest.read(source, settings)
    for chunk in ingest.plan(source, settings).chunks:
        ingest.run_chunk(chunk, settings)
    ingest.finish(source, settings)
    said = gzflow("status", "rings", "--failures", tmp_path / "failures.csv").stdout
    assert f"failure table, 1 rows: {tmp_path / 'failures.csv'}" in said
    with (tmp_path / "failures.csv").open(newline="", encoding="utf-8") as stream:
        assert [(row["id_str"], row["reason"]) for row in csv.DictReader(stream)] == [("lost", "missing-image")]
    assert gzflow("status", "--failures", tmp_path / "no.csv", check=False).returncode == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.6, "10 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3599, "1 h 00 min"),
     (7500, "2 h 05 min"), (200_000, "2 d 8 h")],
    ids=str,
)  # fmt: skip
def test_lengths_of_time_are_read_at_a_glance(seconds: float, words: str):
    from flows.duration import duration

    assert duration(seconds) == words


def test_a_plan_with_images_of_something_else_says_so(gzflow, rings: Path, tmp_path: Path):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "other.png").write_bytes((rings / "images" / "0.png").read_bytes())
    command = ["plan", "ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images"]
    done = gzflow(*command, tmp_path / "wrong", check=False)
    assert done.returncode == 2
    assert re.search(r"^rests on +\d+ galaxies tried just now: 0% got an image", done.stdout, re.MULTILINE)
    assert re.search(r"not one of the \d+ galaxies tried has an image", done.stderr)
    assert "among 1 images" in done.stderr
