"""The command and its flows, as a user meets them: in a process of their own, with no server running."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def pipeline(gzflow, rings: Path):
    return gzflow(
        "pipeline", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images",
        "--pixels", "32", "--epochs", "1",
    )  # fmt: skip


def test_a_users_labels_become_a_catalogue_and_a_report(pipeline, home: Path):
    report = home / "reports" / "rings" / "report.html"
    assert str(report) in pipeline.stdout
    page = report.read_text()
    assert "Every galaxy accounted for" in page
    assert "missing-image" in page
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", re.sub(r'href="[^"]*"', "", page)).split("<body")[0]
    parts = list((home / "predictions" / "rings").glob("*/part-*.parquet"))
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 40
    assert "ring_yes_fraction" in pq.read_schema(parts[0]).names


def test_progress_and_scores_are_said_with_their_baselines(pipeline):
    said = pipeline.stderr + pipeline.stdout
    for words in (
        "41 in = 40 done + 1 failed",
        "epoch 1: train",
        "constant Dirichlet",
        "majority answer",
        "predict: 100 %",
    ):
        assert words in said
    assert "Traceback" not in said


def test_nothing_is_written_outside_the_home(pipeline, home: Path):
    assert {path.name for path in home.iterdir()} >= {"catalog.db", "mlflow", "prefect", "shards", "training"}
    assert list(home.parent.iterdir()) == [home]


def test_the_flow_run_has_one_page_with_the_accounting_tables_and_pictures(pipeline, home: Path):
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        pages = [json.loads(data) for (data,) in database.execute("select data from artifact where type = 'markdown'")]
        others = dict(database.execute("select key, type from artifact where type != 'markdown'"))
        states = [state for (state,) in database.execute("select state_type from flow_run")]
    assert states == ["COMPLETED"]
    (page,) = pages
    for words in (
        "# pipeline-rings", "| pixels | 32 |", "## Ingest of rings", "41 in = 40 done + 1 failed",
        "| missing-image | 1 |",
        "## Shards of rings", "40 in = 40 done", "## Model for rings", "![Loss by epoch](data:image/png;base64,",
        "| ring |", "## Predictions for rings", "![Top galaxies by answer](data:image/jpeg;base64,", "## Next",
    ):  # fmt: skip
        assert words in page
    assert len(page) < 2_000_000
    assert "None/" not in page  # a link that leads nowhere
    assert others == {
        "ingest-progress": "progress", "shard-progress": "progress", "train-progress": "progress",
        "predict-progress": "progress", "ingest-failures": "table", "evaluate-scores": "table",
    }  # fmt: skip


def test_the_second_run_reuses_everything(pipeline, gzflow, rings: Path):
    again = gzflow(
        "pipeline", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images",
        "--pixels", "32", "--epochs", "1",
    )  # fmt: skip
    assert "this model was trained before" in again.stderr
    assert "epoch 1: train" not in again.stderr


def test_status_tells_how_far_it_came(pipeline, gzflow):
    said = gzflow("status").stdout
    assert re.search(r"rings\s+41\s+40\s+0\s+0\s+1\s", said)
    assert "rings: shards 32px, 40 galaxies" in said
    assert "1 missing-image" in said


@pytest.mark.slow
def test_single_commands_do_the_same_steps(gzflow, rings: Path):
    gzflow("ingest", rings / "rings.toml", "--catalog", rings / "labels.csv", "--images", rings / "images")
    assert "40 done" in gzflow("shard", rings / "rings.toml", "--pixels", "32").stdout
    assert "next: gzflow predict" in gzflow("train", rings / "rings.toml", "--pixels", "32", "--epochs", "1").stdout
    assert "40 galaxies predicted by gzflow-rings" in gzflow("predict", rings / "rings.toml", "--pixels", "32").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingest", "decalls"], "one of candels, decals"),
        (["ingest", "hubble"], "give its images with --images"),
        (["ingest", "decals", "--catalog", "nowhere.csv"], "no such file: nowhere.csv"),
        (["ingest", "gz2", "--join", "gz2sample"], "is not NAME=FILE"),
        (["train", "decals"], "gzflow shard decals"),
        (["crossmatch", "decals", "gz2"], "not in the catalog store"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_command_says_what_to_do_and_shows_no_traceback(arguments, words, gzflow):
    done = gzflow(*arguments, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_surveys(gzflow):
    assert "crossmatch" in gzflow("--help").stdout
    table = gzflow("surveys").stdout
    for name in ("gz2", "gz2_stripe82", "decals", "hubble", "candels"):
        assert name in table
    assert gzflow("--version").stdout.startswith("gzflow ")


def test_deployments_name_flows_that_exist():
    import importlib

    import yaml

    deployments = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    assert {(entry["entrypoint"], entry["name"]) for entry in deployments} >= {
        ("flows/demo.py:demo_pipeline", "demo"),
        ("flows/predict.py:predict", "decals"),
    }
    for entry in deployments:
        path, _, name = entry["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        flow.validate_parameters(entry.get("parameters", {}))
        assert json.dumps(flow.parameters.model_dump(), default=str)


@pytest.mark.slow
def test_real_decals_files_go_through_the_flows(gzflow, home: Path, shared_data: Path):
    folder = shared_data / "gz_samples" / "galaxy_zoo_decals"
    images = [word for part in (1, 2, 3, 4) for word in ("--images", folder / f"gz_decals_dr5_png_part{part}")]
    catalog = folder / "gz_decals_volunteers_5.csv"
    said = gzflow("pipeline", "decals", "--catalog", catalog, *images, "--pixels", "64", "--epochs", "1").stderr
    assert "12 images belong to no catalog row" in said
    assert "6 galaxies predicted by gzflow-decals" in said
    page = (home / "reports" / "decals" / "report.html").read_text()
    assert "Walmsley" in page


@pytest.mark.slow
def test_three_real_gz2_rows_go_through_the_flows(gzflow, shared_data: Path):
    folder = shared_data / "gz_samples" / "galaxy_zoo_2"
    said = gzflow(
        "pipeline", "gz2", "--catalog", folder / "gz2_hart16.csv", "--mapping", folder / "gz2_filename_mapping.csv",
        "--images", folder / "images", "--pixels", "64", "--epochs", "1",
    ).stderr  # fmt: skip
    assert re.search(r"[123] galaxies predicted by gzflow-gz2 version 1", said)
