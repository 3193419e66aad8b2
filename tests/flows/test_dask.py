"""Flows on a Dask cluster whose workers die: the result is the same as that of threads."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import dask
import numpy as np
import pyarrow.parquet as pq
import pytest
from prefect import task
from prefect.task_runners import ThreadPoolTaskRunner

from flows import runner
from flows.cluster import ClusterRunner
from gzflow.catalog.store import CatalogStore
from gzflow.errors import SettingsError, StackError
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import ingest, shard
from gzflow.stages.counts import total
from gzflow.surveys import load_survey
from tests.flows.cluster import cluster, spell
from tests.flows.prefect_server import REPOSITORY
from tests.survey_files import RINGS

N, PIXELS = ingest.CHUNK + 300, 32


@pytest.mark.parametrize(
    ("setting", "address", "kwargs"),
    [
        ("dask", None, {"n_workers": os.cpu_count(), "threads_per_worker": 1, "dashboard_address": None}),
        ("dask:3", None, {"n_workers": 3, "threads_per_worker": 1, "dashboard_address": None}),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786", {}),
    ],
    ids=["local", "three workers", "scheduler"],
)
def test_one_setting_names_the_cluster(monkeypatch: pytest.MonkeyPatch, setting: str, address, kwargs) -> None:
    monkeypatch.setenv(runner.SETTING, setting)
    chosen = runner.task_runner(2)
    assert isinstance(chosen, ClusterRunner)
    assert (chosen.address, chosen.cluster_kwargs) == (address, kwargs)
    assert chosen.duplicate() == chosen


@pytest.mark.parametrize("setting", ["", "threads"])
def test_threads_are_the_default(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(runner.SETTING, setting)
    assert isinstance(runner.task_runner(2), ThreadPoolTaskRunner)


@pytest.mark.parametrize("setting", ["ray", "dask:0", "dask:many", "10.0.0.1:8786", "http://10.0.0.1"])
def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(runner.SETTING, setting)
    with pytest.raises(SettingsError, match="GZFLOW_TASK_RUNNER is"):
        runner.task_runner(2)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """rings.toml, labels.csv, a folder of images for three chunks, and a model."""
    folder = tmp_path / "sky"
    (folder / "images").mkdir(parents=True)
    survey = SimulatedSurvey.draw("decals", 20, 11, pixels=48)
    for row in range(20):
        cv2.imwrite(str(folder / "images" / f"{row}.png"), np.ascontiguousarray(survey.picture(row)[..., ::-1]))
    lines = ["id_str,file,ring_yes,ring_no"]
    for row in range(N):
        if row >= 20:
            shutil.copy(folder / "images" / f"{row % 20}.png", folder / "images" / f"{row}.png")
        lines.append(f"g{row},{row}.png,{row % 7},{3 + row % 2}")
    (folder / "labels.csv").write_text("\n".join([*lines, "lost,nowhere.png,1,0"]) + "\n")
    (folder / "rings.toml").write_text(RINGS)
    rings = load_survey(folder / "rings.toml")
    spec = ModelSpec(
        encoder="mobilenet_v3_small",
        trees=(SurveyTree(survey="rings", tree=rings.tree.to_dict()),),
        recipe=rings.image_recipe(PIXELS),
        input_pixels=PIXELS,
        mean=(90.0, 90.0, 90.0),
        std=(60.0, 60.0, 60.0),
    )
    Morphology(spec).save(folder / "model")
    return folder


def in_threads(sky: Path, home: Path) -> Settings:
    """The same in this process, without any cluster."""
    settings, toml = Settings.load({}, home=home), str(sky / "rings.toml")
    source = ingest.IngestSource(toml, str(sky / "labels.csv"), images=(str(sky / "images"),))
    ingest.read(source, settings)
    for chunk in ingest.plan(source, settings).chunks:
        ingest.run_chunk(chunk, settings)
    plan = shard.plan(toml, settings, pixels=PIXELS)
    shard.finish(plan, total(shard.run_chunk(chunk, settings) for chunk in plan.chunks))
    return settings


@pytest.mark.slow
def test_a_host_is_asked_by_one_worker_of_the_cluster_at_a_time(tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    turns.mkdir()
    with cluster(tmp_path, os.environ | {"PYTHONPATH": str(REPOSITORY)}, n_workers=2) as workers:
        workers.client.gather([workers.client.submit(spell, str(turns), n) for n in range(6)])
    spells = sorted(tuple(map(float, file.read_text().split())) for file in turns.iterdir())
    assert len(spells) == 6
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spells))


@pytest.mark.slow
def test_a_worker_is_killed_in_each_of_three_flows_and_the_result_is_complete(sky: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "GZFLOW_"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}
    toml = str(sky / "rings.toml")
    parameters = [
        {"survey": toml, "catalog": str(sky / "labels.csv"), "images_from": [str(sky / "images")]},
        {"survey": toml, "pixels": PIXELS},
        {"survey": toml, "model": str(sky / "model"), "samples": 3},
    ]
    (tmp_path / "workers").mkdir()
    with cluster(tmp_path / "workers", environment, n_workers=2) as workers:
        command = [sys.executable, "-m", "tests.flows.on_cluster", json.dumps(parameters)]
        mine = environment | {"GZFLOW_HOME": str(home), runner.SETTING: workers.address}
        said = []
        with (
            (tmp_path / "flows.log").open("w") as log,
            subprocess.Popen(
                command, env=mine, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            ) as flows,
        ):
            try:
                for task in ("images", "write_shard", "predict_part"):
                    workers.wait_for_workers(2)
                    flows.stdin.write("go\n")
                    flows.stdin.flush()
                    workers.kill_one_at_work(task, 100)
                    workers.worker()
                    said.append(flows.stdout.readline().strip())
            finally:
                flows.stdin.close()
                if len(said) < 3:
                    flows.kill()
        assert flows.returncode == 0, (tmp_path / "flows.log").read_text()
    n = f"{N:,}"
    assert said == [
        f"ingest: {N + 1:,} in = {n} done + 1 failed",
        f"shard: {n} in = {n} done",
        f"predict: {n} in = {n} done",
    ]
    settings, alone = Settings.load({}, home=home), in_threads(sky, tmp_path / "alone")
    with CatalogStore(settings.catalog_url) as here, CatalogStore(alone.catalog_url) as there:
        assert here.cutouts("rings").drop("attempts").equals(there.cutouts("rings").drop("attempts"))
    shards = [ShardSet.open(one.shards("rings", PIXELS)) for one in (settings, alone)]
    shards[0].verify()
    assert shards[0].fingerprint == shards[1].fingerprint
    (manifest,) = settings.predictions("rings").glob("*/manifest.json")
    ids = [i for part in manifest.parent.glob("part-*.parquet") for i in pq.read_table(part)["id_str"].to_pylist()]
    assert sorted(ids) == sorted(f"g{row}" for row in range(N))


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    @task
    def work() -> int:
        return 1

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        ClusterRunner(address="tcp://127.0.0.1:1") as gone,
        pytest.raises(StackError, match="no Dask scheduler answers"),
    ):
        gone.submit(work, {})
