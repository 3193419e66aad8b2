"""Training in two processes (gloo, on the CPU): whoever dies, nobody is left and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from gzflow.errors import TrainingError
from gzflow.model.losses import dirichlet_multinomial_nll
from gzflow.shards.reader import ShardSet
from gzflow.training.config import TrainConfig
from gzflow.training.launch import _run, launch
from gzflow.training.metrics import EpochMetrics
from gzflow.training.result import TrainResult
from gzflow.training.worker import Job, death

SCRIPT = Path(__file__).with_name("launch_toy.py")
CONFIG = TrainConfig(encoder="mobilenet_v3_small", epochs=5, batch_size=16, devices=2, lr=3e-3)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, make_set: Callable[..., ShardSet]) -> ShardSet:
    """In validation the first process has a batch more than the second."""
    return make_set(tmp_path_factory.mktemp("uneven") / "shards", {"train": 96, "validation": 513, "test": 8})


def ranks(folder: Path, role: str = "rank") -> list[psutil.Process]:
    """The living processes that train in `folder`, or torchrun."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if str(folder) in words and role in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def lives(pid: int) -> bool:
    """False as well for a zombie, which somebody else has to bury."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(folder: Path) -> bool:
    """Whether soon nobody works in the folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not ranks(folder) + ranks(folder, "torchrun"):
            return True
        time.sleep(0.05)
    return False


def what_counts(result: TrainResult) -> tuple[bytes, list[object]]:
    numbers = [(e["train_loss"], e["validation_loss"], e["validation_nll"], e["lr"]) for e in result.history]
    return (result.folder / "model.safetensors").read_bytes(), list(numbers)


def killing(role: str, folder: Path, at: int) -> Callable[[EpochMetrics], None]:
    """Kill -9 the last process of that role after an epoch, or when the next ones were faster after one of those."""

    def on_epoch(epoch: EpochMetrics) -> None:
        if epoch.epoch >= at and (there := ranks(folder, role)):
            there[-1].kill()

    return on_epoch


@pytest.fixture(scope="module")
def whole(uneven: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    seen: list[EpochMetrics] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        result = launch(uneven, CONFIG, folder, on_epoch=seen.append)
    assert result.finished
    assert [epoch.to_dict() for epoch in seen] == result.history
    assert gone(folder)
    return result


@pytest.mark.slow
def test_what_all_processes_validated_is_what_the_first_one_saved(uneven: ShardSet, whole: TrainResult) -> None:
    """They share their batch statistics; the head alone was trained on since, from there."""
    images = np.concatenate([reader.images(slice(None)) for reader in uneven.readers("validation")])
    votes = torch.from_numpy(uneven.votes("validation"))
    with torch.no_grad():
        nll = dirichlet_multinomial_nll(votes, whole.model(images), uneven.tree)
    assert whole.refit is not None
    assert whole.refit.loss_before == pytest.approx(whole.history[whole.best_epoch]["validation_loss"], rel=1e-5)
    assert whole.refit.loss == pytest.approx(float(nll.sum(1).mean()), rel=1e-5)


@pytest.mark.slow
def test_a_process_is_killed_and_the_run_goes_on_to_the_same_bits(
    uneven: ShardSet, whole: TrainResult, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"a training process died(.|\n)*of 2 ended with SIGKILL"):
        launch(uneven, CONFIG, tmp_path, on_epoch=killing("rank", tmp_path, 0))
    assert gone(tmp_path)
    with pytest.raises(TrainingError, match="torchrun ended with code -9"):
        launch(uneven, CONFIG, tmp_path, on_epoch=killing("torchrun", tmp_path, 1))
    assert gone(tmp_path)
    rest = launch(uneven, CONFIG, tmp_path)
    assert what_counts(rest) == what_counts(whole)
    again = launch(uneven, CONFIG, tmp_path, on_epoch=lambda _: pytest.fail("it trained again"))
    assert again.history == rest.history


@pytest.mark.slow
def test_the_parent_is_killed_or_wants_to_stop(uneven: ShardSet, whole: TrainResult, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(uneven.folder), str(tmp_path), CONFIG.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "0\n"
        assert len(ranks(tmp_path)) == 2
        parent.kill()
    assert gone(tmp_path)
    seen: list[int] = []
    part = launch(uneven, CONFIG, tmp_path, on_epoch=lambda epoch: seen.append(epoch.epoch), stop=lambda: bool(seen))
    assert not part.finished
    assert gone(tmp_path)
    assert len(part.history) >= 2
    assert what_counts(launch(uneven, CONFIG, tmp_path)) == what_counts(whole)


@pytest.mark.slow
def test_an_error_of_a_process_is_the_callers(uneven: ShardSet, tmp_path: Path) -> None:
    diverging = CONFIG.model_copy(update={"lr": 1e30, "warmup": 0.0, "clip": 1e30, "average": 0.0})
    with pytest.raises(TrainingError, match=r"the loss is undefined(.|\n)*training diverged: use a lower lr"):
        launch(uneven, diverging, tmp_path / "run")
    assert gone(tmp_path / "run")


@pytest.mark.slow
def test_what_a_process_raised_reaches_the_caller(uneven: ShardSet, tmp_path: Path) -> None:
    """Here both find their task unreadable; nobody at home foresaw that."""
    job = Job(tmp_path)
    job.place.mkdir()
    (job.place / "task.json").write_text("{")
    with pytest.raises(
        TrainingError, match=r"process [01] of 2 ended with exit code 1: JSONDecodeError: Exp"
    ) as raised:
        _run(job, 2, lambda _: None, lambda: False)
    assert raised.value.fix is not None
    assert "mend what the error names" in raised.value.fix
    assert gone(tmp_path)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("exit code 1: OutOfMemoryError: CUDA out of memory. Tried", "smaller batch_size"),
        ("exit code 1: OSError: [Errno 28] No space left on device", "free space"),
        ("SIGKILL", "the machine ran out of memory"),
    ],
)
def test_the_advice_fits_what_a_process_died_of(said: str, advice: str, tmp_path: Path) -> None:
    error = death(Job(tmp_path), [f"process 0 of 2 ended with {said}"])
    assert advice in (error.fix or "")
    assert "goes on after the last finished epoch" in (error.fix or "")


def test_an_error_that_the_disk_does_not_take_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ranks").write_text("no folder can be made here")
    Job(tmp_path).fail(TrainingError("the loss is undefined", fix="use a lower lr"))
    assert "the loss is undefined\n  to fix: use a lower lr" in capsys.readouterr().err


@pytest.mark.slow
def test_an_error_of_the_caller_ends_the_processes(uneven: ShardSet, tmp_path: Path) -> None:
    def on_epoch(_: EpochMetrics) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(uneven, CONFIG, tmp_path / "run", on_epoch=on_epoch)
    assert gone(tmp_path / "run")


@pytest.mark.parametrize(
    ("n_train", "n_validation", "batch_size", "problem"),
    [
        (3, 4, 16, "the smallest batch has 3"),
        (96, 4, 3, "the smallest batch has 3"),
        (5, 4, 4, "the smallest batch has 2"),
        (96, 1, 16, "1 validation galaxies"),
    ],
)
def test_batches_too_small_to_divide_are_refused(
    make_set: Callable[..., ShardSet], tmp_path: Path, n_train: int, n_validation: int, batch_size: int, problem: str
) -> None:
    shards = make_set(tmp_path / "shards", {"train": n_train, "validation": n_validation})
    with pytest.raises(TrainingError, match=rf"cannot be divided between 2 devices(.|\n)*{problem}"):
        launch(shards, CONFIG.model_copy(update={"batch_size": batch_size}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_devices_that_are_not_there(uneven: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match=r"at most the 1 accelerators(.|\n)*CUDA_VISIBLE_DEVICES"):
        launch(uneven, CONFIG, tmp_path / "run")


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    """Also when that is killed before the kernel was asked to watch it."""
    child = (
        "import os, sys, time\nfrom gzflow.training.lifeline import die_with\n"
        "{}\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    parent = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    watch = child.format("die_with(int(sys.argv[1]))")
    with subprocess.Popen([sys.executable, "-c", parent, watch], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        started.kill()
        started.wait()
        deadline = time.monotonic() + 60
        while lives(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert not lives(pid)
    too_late = subprocess.run(
        [sys.executable, "-c", child.format("die_with(1234567)")], capture_output=True, timeout=200, check=False
    )
    assert (too_late.returncode, too_late.stdout) == (1, b"")
