"""Stages that are killed at any moment, and what their homes must hold afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from gzflow.catalog.store import CatalogStore
from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.simulation.faults import Fault
from gzflow.simulation.services import LoopbackServices
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.tracking.registry import Registry

N, PIXELS = 48, 32
CONFIG = {"encoder": "mobilenet_v3_small", "epochs": 2, "batch_size": 8, "seed": 1, "precision": "32-true"}
SLOW = Fault("drip", share=0.3, seconds=0.2)
TROUBLE = (
    # By chance at every attempt, so that each rerun has its own.
    Fault("rate-limited", share=0.03, retry_after=0.05),
    Fault("error", share=0.02),
    Fault("truncated", share=0.02),
    Fault("reset", share=0.02),
    Fault("html", attempts=1, share=0.02),
    SLOW,
)
HOLES = 0.1
TUNING = {"epochs": 2, "batch_size": 8, "seed": 1, "precision": "32-true"}
SKIES = {name: SimulatedSurvey.draw(name, N, 5, pixels=PIXELS) for name in ("decals", "hubble")}

Outcome = Callable[[Settings], Mapping[str, Any]]
"""What a home holds after a stage: equal for two homes that no one can tell apart."""


@dataclass(frozen=True)
class Ended:
    """How a victim went.

    Attributes
    ----------
    killed
        It was interrupted in its work.
    result
        What its stage returned.
    log
        What it said.
    """

    killed: bool
    result: Any
    seconds: float
    log: str


class Nursery:
    """The process that forks victims; see victim.py."""

    def __init__(self) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("GZFLOW_", "MLFLOW_TRACK"))}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victim.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=mine | single,
        )
        self._unread = b""
        assert self._line() == "ready"

    def close(self) -> None:
        """Let it end."""
        self._process.communicate(timeout=200)

    def run(
        self,
        stage: str,
        home: Path,
        words: Mapping[str, Any],
        kill_after: float | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        may_fail: bool = False,
    ) -> Ended:
        """Run a stage to its end, or kill -9 its process group after so many seconds."""
        log = home.with_name(f"{home.name}.log")
        log.unlink(missing_ok=True)
        request = {"stage": stage, "home": str(home), "log": str(log), "environment": environment or {}, **words}
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(request)}\n".encode())
        self._process.stdin.flush()
        began = self._line()
        assert began.startswith("began "), f"{began}\n{log.read_text()}"
        start, result = time.monotonic(), None
        while True:
            wait = None if kill_after is None else max(0.0, start + kill_after - time.monotonic())
            line = self._line(wait)
            if line == "":
                os.killpg(int(began.removeprefix("began ")), signal.SIGKILL)
                kill_after = None
            elif line.startswith("result "):
                result = json.loads(line.removeprefix("result "))
            else:
                break
        status = int(line.removeprefix("ended "))
        killed = os.WIFSIGNALED(status) and result is None
        said = log.read_text()
        assert killed or status == 0 or may_fail, f"{stage} failed in {home}:\n{said}"
        return Ended(killed, result, time.monotonic() - start, said)

    def _line(self, wait: float | None = None) -> str:
        """The next line; an empty one when none came in time."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], wait)[0]:
                return ""
            received = os.read(descriptor, 65536)
            assert received, "the nursery has died"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


@dataclass(frozen=True)
class Stage:
    """A stage whose uninterrupted run is known.

    Attributes
    ----------
    words
        Its arguments.
    before
        A home in which it can begin.
    undisturbed
        The home after one run to the end.
    seconds
        How long that took.
    outcome
        What is compared.
    """

    name: str
    words: Mapping[str, Any]
    before: Path
    undisturbed: Path
    seconds: float
    outcome: Outcome | None

    def compare(self, settings: Settings, when: str) -> None:
        """Assert that this home holds what the undisturbed one does."""
        assert self.outcome is not None
        expected, found = self.outcome(Settings.load({}, home=self.undisturbed)), self.outcome(settings)
        for what in expected | found:
            assert found.get(what) == expected.get(what), f"{self.name}: {what} differs {when}"


def ingested(settings: Settings) -> dict[str, Any]:
    """Store and files, which must agree with each other."""
    home = settings.home
    with CatalogStore(settings.catalog_url) as store:
        galaxies, ledger, failures = (read("decals-sim") for read in (store.galaxies, store.cutouts, store.failures))
    state = dict(ledger.select("id_str", "state").iter_rows())
    done = ledger.filter(ledger["state"] == "done")
    assert len(galaxies) == len(ledger) == len(state), "a galaxy without a row in the ledger, or with two"
    assert set(state) == set(galaxies["id_str"])
    assert not {"to-do"} & set(state.values())
    kept = set(done["id_str"])
    failed = failures.filter(failures["stage"] == "ingest")["id_str"].to_list()
    assert sorted(failed) == sorted(set(state) - kept), "each galaxy in the output or in the failure table"
    files = {path for path in (home / "cutouts").rglob("*") if path.is_file() and path.suffix not in {".tmp", ".lock"}}
    assert files == {Path(path) for path in done["path"]}
    for path, size, sha256 in done.select("path", "bytes", "sha256").iter_rows():
        content = Path(path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    return {
        "ledger": ledger.select("id_str", "state", "source", "bytes", "sha256", "reason").sort("id_str").rows(),
        "failures": failures.select("id_str", "stage", "reason").sort("id_str").rows(),
        "galaxies": galaxies.sort("id_str").rows(),
        "listings": {path.name for path in (home / "reports").rglob("*.csv")},
    }


def sharded(settings: Settings) -> dict[str, Any]:
    """A closed set, its files to the byte, and nobody in it twice."""
    folder = settings.shards("decals-sim", PIXELS)
    shards = ShardSet.open(folder)
    shards.verify()
    with CatalogStore(settings.catalog_url) as store:
        expected = store.cutouts("decals-sim", states=["done"])["id_str"].to_list()
    ids = [i for split in ("train", "validation", "test") for reader in shards.readers(split) for i in reader.ids]
    assert sorted(ids) == sorted(expected)
    files = [path for path in folder.iterdir() if path.suffix not in {".tmp", ".lock"}]
    return {"fingerprint": shards.fingerprint, **{path.name: path.read_bytes() for path in files}}


def trained(settings: Settings) -> dict[str, Any]:
    """One run, and one version of its model."""
    return _tracked(settings, "decals-sim", runs=1)


def finetuned(settings: Settings) -> dict[str, Any]:
    """A run with two others below it, the fine-tune and the one from scratch, and one version."""
    return _tracked(settings, "hubble-sim", runs=3)


def _tracked(settings: Settings, survey: str, runs: int) -> dict[str, Any]:
    """Saved models to the byte, what MLflow has of them, and the one that is registered."""
    client = Registry(settings).client
    experiment = client.get_experiment_by_name(f"gzflow-{survey}")
    assert experiment is not None
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(found) == len(client.search_runs([experiment.experiment_id])) == runs
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    (version,) = client.search_model_versions(f"name = 'gzflow-{survey}'")
    (logged,) = client.search_logged_models([experiment.experiment_id])
    assert version.run_id == logged.source_run_id
    assert Registry(settings).alias(survey, "champion") == str(version.version) == "1"
    registered = Registry(settings).champion(survey).folder
    folder = settings.training(survey)
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.suffix not in {".tmp", ".lock"}}
    saved = {str(name): path.read_bytes() for name, path in files.items() if path.parent.name == "model"}
    for name in ("model.json", "model.safetensors"):
        assert (registered / name).read_bytes() in saved.values()
    return {
        **saved,
        "files": set(map(str, files)),
        "tests": {str(name): _arrays(path) for name, path in files.items() if path.name == "test.npz"},
        "histories": {str(name): _history(path) for name, path in files.items() if path.name == "training.json"},
        "parents": {run.info.run_name: _parent(client, run) for run in found.values()},
        "params": {name: run.data.params for name, run in found.items()},
        "metrics": {name: _metrics(client, run) for name, run in found.items()},
        "artifacts": {name: _artifacts(client, run.info.run_id) for name, run in found.items()},
    }


def predicted(settings: Settings) -> dict[str, Any]:
    """Parts to the byte, with every galaxy of the shards once."""
    (folder,) = settings.predictions("decals-sim").iterdir()
    parts = {path.name: path for path in folder.glob("part-*.parquet")}
    ids = [i for path in parts.values() for i in pq.read_table(path, columns=["id_str"])["id_str"].to_pylist()]
    shards = ShardSet.open(settings.shards("decals-sim", PIXELS))
    assert sorted(ids) == sorted(i for s in ("train", "validation", "test") for r in shards.readers(s) for i in r.ids)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["file"] for entry in manifest["entries"]} == set(parts)
    return {
        "entries": manifest["entries"],
        "pinned": manifest["pinned"],
        **{name: path.read_bytes() for name, path in parts.items()},
        "gallery": (folder / "top-galaxies.jpg").read_bytes(),
    }


def _history(description: Path) -> list[dict[str, Any]]:
    epochs = json.loads(description.read_text())["history"]
    return [{key: epoch[key] for key in epoch if key not in {"seconds", "images_per_s"}} for epoch in epochs]


def _arrays(path: Path) -> dict[str, bytes]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name].tobytes() for name in stored}


def _parent(client: MlflowClient, run: Any) -> str | None:
    above = run.data.tags.get("mlflow.parentRunId")
    return client.get_run(above).info.run_name if above else None


def _metrics(client: MlflowClient, run: Any) -> dict[str, list[tuple[int, str]]]:
    """Every point of every curve, as often as it was logged; of those that tell the time, the steps."""
    return {
        key: sorted(
            (point.step, "" if key in {"seconds", "images_per_s"} else repr(point.value))
            for point in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
    }


def _artifacts(client: MlflowClient, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder or None):
        found |= _artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many kills fell into work."""
    for report in terminalreporter.stats.get("passed", ()):
        for kind, said in report.user_properties:
            if kind == "kills":
                terminalreporter.write_line(said)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    running = Nursery()
    yield running
    running.close()


@pytest.fixture(scope="session")
def services() -> Iterator[LoopbackServices]:
    with LoopbackServices(SKIES["decals"].sky(holes=HOLES), faults=(SLOW,), seed=5) as running:
        yield running


@pytest.fixture(scope="session")
def stages(
    nursery: Nursery, services: LoopbackServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Stage]]:
    """The stages, each run once without trouble in a copy of the home that the one before it left."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "nothing").mkdir()
    known: dict[str, Stage] = {}
    with LoopbackServices(SKIES["hubble"].sky()) as others:
        decals = SKIES["decals"].write(root / "skies", services.url, rate=5000.0)
        hubble = SKIES["hubble"].write(root / "skies", others.url, rate=5000.0)
        near, far = {"survey": str(decals.toml)}, {"survey": str(hubble.toml)}
        described: dict[str, tuple[str, str, dict[str, Any], Outcome | None]] = {
            "ingest": ("nothing", "ingest", near | {"catalog": str(decals.catalog)}, ingested),
            "shard": ("ingest", "shard", near | {"pixels": PIXELS}, sharded),
            "train": ("shard", "train", near | {"config": CONFIG}, trained),
            "predict": ("train", "predict", near, predicted),
            "hubble images": ("train", "ingest", far | {"catalog": str(hubble.catalog)}, None),
            "hubble shards": ("hubble images", "shard", far | {"pixels": PIXELS}, None),
            "finetune": ("hubble shards", "finetune", far | {"parent": "decals-sim", "config": TUNING}, finetuned),
        }

        def stage(name: str) -> Stage:
            if name not in known:
                earlier, runs, words, outcome = described[name]
                before = stage(earlier).undisturbed if earlier in described else root / earlier
                home = root / name.replace(" ", "-")
                shutil.copytree(before, home)
                services.faults = (SLOW,)
                known[name] = Stage(runs, words, before, home, nursery.run(runs, home, words).seconds, outcome)
            return known[name]

        yield stage


@pytest.fixture
def kill_and_rerun(nursery: Nursery, services: LoopbackServices, tmp_path: Path) -> Callable[[Stage, int, int], int]:
    """Interrupts a stage up to `kills` times, runs it to its end, and compares; returns how often it interrupted."""

    def trial(stage: Stage, seed: int, kills: int) -> int:
        home, chance = tmp_path / f"{stage.name}-{seed}", random.Random(f"{stage.name} {seed}")
        shutil.copytree(stage.before, home)
        services.faults, killed = TROUBLE, 0
        for _ in range(kills):
            killed += nursery.run(stage.name, home, stage.words, chance.uniform(0, 0.8 * stage.seconds)).killed
        assert nursery.run(stage.name, home, stage.words).result is not None
        stage.compare(Settings.load({}, home=home), f"after {killed} kills, seed {seed}")
        shutil.rmtree(home)
        return killed

    return trial
