"""One of several processes that train a model together, and torchrun, which starts them.

``python -m gzflow.training.worker torchrun LAUNCHER N JOB`` is started by `gzflow.training.launch` and starts N times
``python -m gzflow.training.worker rank JOB``. Each dies with the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gzflow import errors
from gzflow.durable import write_json
from gzflow.training.lifeline import die_with

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    from gzflow.shards.reader import ShardSet
    from gzflow.training.config import TrainConfig

_TORCHRUN = "GZFLOW_TORCHRUN_PID"
_AGAIN = "run the same command again: it goes on after the last finished epoch"
_ADVICE = {
    ("out of memory", "OutOfMemory"): "use a smaller batch_size, or more devices; then {again}",
    ("No space left", "quota exceeded"): "free space on the disk; then {again}",
    ("SIGKILL",): "{again}. Killed by SIGKILL without anybody's doing, the machine ran out of memory: use a smaller"
    " batch_size or fewer workers",
    ("exit code",): "mend what the error names; then {again}",
}
"""What helps, by a word of what was said; the first that is found counts."""
_LAST_LINES = 6


@dataclass(frozen=True)
class Job:
    """What launcher and processes tell each other, as files in one folder.

    Attributes
    ----------
    folder
        Of the training run; theirs is ``ranks/`` in it.
    """

    folder: Path

    @property
    def place(self) -> Path:
        """Their folder."""
        return self.folder / "ranks"

    @property
    def epochs(self) -> Path:
        """One JSON line a finished epoch, from the first process."""
        return self.place / "epochs.jsonl"

    @property
    def error(self) -> Path:
        """Why training cannot go on, from whoever noticed first."""
        return self.place / "error.json"

    def prepare(self, shards: ShardSet, config: TrainConfig, parent: Path | None) -> None:
        """Write down what is to be done; nothing of an earlier attempt stays."""
        for left in (self.epochs, self.error):
            left.unlink(missing_ok=True)
        task = {
            "shards": str(shards.folder.absolute()),
            "config": config.model_dump(mode="json"),
            "parent": str(parent.absolute()) if parent else None,
        }
        write_json(self.place / "task.json", task)

    def task(self) -> dict[str, Any]:
        """What is to be done."""
        task: dict[str, Any] = json.loads((self.place / "task.json").read_text("utf-8"))
        return task

    def fail(self, error: errors.GzflowError) -> None:
        """Keep an error for the launcher, which reads it here or, if the disk takes no more, in the output's end."""
        if self.error.exists():  # the first one counts
            return
        try:
            write_json(self.error, {"kind": type(error).__name__, **error.__dict__})
        except OSError as reason:
            sys.stderr.write(f"{error}\n(not written: {reason})\n")

    def failure(self) -> errors.GzflowError | None:
        """The error that was kept."""
        if not self.error.is_file():
            return None
        stored = json.loads(self.error.read_text("utf-8"))
        kind: type[errors.GzflowError] = getattr(errors, stored.pop("kind"))
        return kind(stored.pop("what"), **stored)


def torchrun(launcher: int, n: int, job: Job) -> None:
    """Start `n` processes and wait for them; when one dies, the others are stopped and the reason is kept."""
    die_with(launcher)
    os.environ[_TORCHRUN] = str(os.getpid())
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        here = ("--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(n))
        main([*here, "-m", __spec__.name, "rank", str(job.folder)])
    except ChildFailedError as error:
        # Signals first: an exit code is often only the answer to another process's death, SIGTERM torchrun's own.
        ends = sorted(
            error.failures.items(), key=lambda end: (end[1].exitcode == -15, end[1].exitcode >= 0, end[1].timestamp)
        )
        job.fail(
            death(job, [f"process {rank} of {n} ended with {_end(one.exitcode)}{_reason(one)}" for rank, one in ends])
        )
        sys.exit(1)


def death(job: Job, problems: Iterable[str], what: str = "a training process died") -> errors.TrainingError:
    """The error of processes that ended without one of gzflow's, with advice that fits what they said."""
    problems = list(problems)
    said = "\n".join(problems)
    advice = next((text for words, text in _ADVICE.items() if any(word in said for word in words)), "{again}")
    return errors.TrainingError(what, where=str(job.folder), problems=problems, fix=advice.format(again=_AGAIN))


def _reason(failure: ProcessFailure) -> str:
    """Type and message of the exception that a process ended with; empty if a signal ended it."""
    noted = failure.message
    if not isinstance(noted, dict):
        return ""
    first, *rest = str(noted["message"]).strip().splitlines()
    return "\n    ".join([f": {first}", *rest[-_LAST_LINES:]])


def rank(job: Job) -> None:
    """Train this process's share."""
    die_with(int(os.environ[_TORCHRUN]))
    from gzflow.shards.joint import open_shards
    from gzflow.training.config import FineTuneConfig, TrainConfig
    from gzflow.training.metrics import EpochMetrics
    from gzflow.training.trainer import fit_epochs

    def report(epoch: EpochMetrics) -> None:
        with job.epochs.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(epoch.to_dict()) + "\n")

    task = job.task()
    parent = Path(task["parent"]) if task["parent"] else None
    config = (FineTuneConfig if parent else TrainConfig)(**task["config"])
    try:
        fit_epochs(open_shards(Path(task["shards"])), config, job.folder, parent=parent, on_epoch=report)
    except errors.GzflowError as error:
        job.fail(error)
        raise


def _end(code: int) -> str:
    from signal import Signals

    return Signals(-code).name if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    if sys.argv[1] == "torchrun":
        torchrun(int(sys.argv[2]), int(sys.argv[3]), Job(Path(sys.argv[4])))
    else:
        from torch.distributed.elastic.multiprocessing.errors import record

        record(rank)(Job(Path(sys.argv[2])))  # torchrun learns which exception ends it
