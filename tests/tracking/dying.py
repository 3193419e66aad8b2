"""A process that promotes and is killed (SIGKILL) just before its k-th write to MLflow; then another that comes after.

python dying.py HOME SURVEY VERSION CHAMPION K...: for each k, on a copy of the home's store. Prints one JSON line a k:
whether the first process was killed, and what the second one found and left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.succession import Succession

WRITES = {
    "set_model_version_tag", "delete_model_version_tag", "log_model_params", "set_registered_model_alias",
    "delete_registered_model_alias", "log_text", "set_tag",
}  # fmt: skip


class Mortal:
    """A client that kills its process before the k-th write."""

    def __init__(self, client, k: int) -> None:
        self.client, self.left = client, k

    def __getattr__(self, name: str):
        if name in WRITES:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.client, name)


def promote(home: Path, survey: str, version: str, champion: str, k: int) -> None:
    settings = Settings.load({}, home=home)
    client = Mortal(connect(settings), k)
    Succession(client, settings, survey).promote(
        version, expected_champion=champion, approved=True, reasons=["better"], table=[{"question": "all", "n": 1}]
    )


def come_after(home: Path, survey: str, version: str, champion: str, report: Path) -> None:
    """What `gzflow promote` does when it is run again."""
    settings = Settings.load({}, home=home)
    succession = Succession(connect(settings), settings, survey)
    found, finished = succession.champion(), succession.settle()
    if succession.champion() != version:
        succession.promote(version, expected_champion=succession.champion(), approved=True, reasons=["better"])
    tags = succession.client.get_model_version(succession.name, version).tags
    state = {
        "found": found,
        "finished": len(finished),
        "champion": succession.champion(),
        "challenger": succession.alias("challenger"),
        "moves": [(one.champion, one.version) for one in succession.history() if one.moved],
        "intents": sum(key.startswith("gzflow.intent.") for key in tags),
        "said": tags["gzflow.decision"],
    }
    report.write_text(json.dumps(state))


def in_a_process(action, *arguments) -> int:
    """Its exit status; a fork, so that the imports are paid for once."""
    if (child := os.fork()) == 0:
        try:
            action(*arguments)
        except BaseException as error:  # noqa: BLE001 - the child must never go on as its parent
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    home, survey, version, champion, *ks = sys.argv[1:]
    for k in map(int, ks):
        copy = Path(home).with_name(f"copy-{k}")
        (copy / "mlflow").mkdir(parents=True)
        shutil.copyfile(Path(home) / "mlflow" / "mlflow.db", copy / "mlflow" / "mlflow.db")
        status = in_a_process(promote, copy, survey, version, champion, k)
        report = copy / "report.json"
        if in_a_process(come_after, copy, survey, version, champion, report) != 0:
            sys.exit(f"the second process failed after a kill before write {k}")
        found = {"k": k, "killed": status == -signal.SIGKILL} | json.loads(report.read_text())
        sys.stdout.write(json.dumps(found) + "\n")
