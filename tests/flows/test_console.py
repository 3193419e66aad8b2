"""Errors on the command line: the foreseen ones as what, where, expected and fix."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.console import explained_errors


def test_a_prefect_server_that_is_away_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hidden@127.0.0.1:1/api")
    with pytest.raises(SystemExit) as end, explained_errors():
        raise RuntimeError("Failed to reach API at http://127.0.0.1:1/api")
    assert end.value.code == 2
    said = capsys.readouterr().err
    for words in (
        "StackError: the Prefect server does not answer",
        "where: PREFECT_API_URL=http://me:***@127.0.0.1:1/api",
        "to fix: start it with `gzflow up`, or correct or unset PREFECT_API_URL",
    ):
        assert words in said


def test_an_error_in_a_task_has_one_line_before_it_is_explained():
    script = """
import logging
from flows.console import show_logs
from gzflow.errors import EmptyCatalog
import prefect

show_logs()
logger = logging.getLogger("prefect.task_runs")
for error in (EmptyCatalog("the catalog has no rows"), RuntimeError("unforeseen")):
    behind = (type(error), error, None)
    logger.error("Task run failed with exception: %r", error, exc_info=behind)
    logger.error("Finished in state Failed(%r)", error)
    logger.error("Encountered exception during execution: %r", error, exc_info=behind)
"""
    environment = os.environ | {"PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}  # as every command has it
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert said.count("the catalog has no rows") == 1
    assert said.count("Task run failed with exception: RuntimeError('unforeseen')") == 1


def test_what_a_command_does_at_its_exit_is_not_cut_off_by_sigterm():
    script = """
import atexit, os, signal, sys
from flows.cli import main

def tidy():
    os.kill(os.getpid(), signal.SIGTERM)
    print("all is put away")

atexit.register(tidy)
sys.argv = ["gzflow", "--version"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all is put away" in done.stdout
    assert "Traceback" not in done.stderr


def test_another_runtime_error_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="unforeseen"), explained_errors():
        raise RuntimeError("unforeseen")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_is_said_without_a_traceback(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("GZFLOW_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as end, explained_errors():
        raise OSError(code, os.strerror(code))  # as a write does: without a file's name
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("DiskError: the disk ")
    assert f"where: {tmp_path}" in said
    assert "to fix:" in said


def test_a_file_that_may_not_be_written_is_named_and_another_os_error_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
):
    with pytest.raises(SystemExit), explained_errors():
        raise PermissionError(errno.EACCES, "Permission denied", "/there/file")
    assert "DiskError: permission is denied\n  where: /there/file" in capsys.readouterr().err
    with pytest.raises(PermissionError), explained_errors():
        raise PermissionError(errno.EACCES, "Permission denied")  # a port, say


def test_a_signal_keeps_its_exit_code_when_what_it_interrupted_makes_another_error_of_it(
    capsys: pytest.CaptureFixture[str],
):
    def interrupted() -> None:
        try:
            raise SystemExit(143)
        except SystemExit as stop:
            raise RuntimeError("the server did not start") from stop

    with pytest.raises(SystemExit) as end, explained_errors():
        interrupted()
    assert end.value.code == 143
    assert "run the same command again" in capsys.readouterr().err


def test_a_signal_is_known_also_when_an_error_says_nothing_of_it():
    program = """
import os, signal, time
from flows.console import explained_errors
with explained_errors():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    except SystemExit:
        pass
    raise RuntimeError("SystemExit: 143")  # as pydantic's serializer says it
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 143, done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
