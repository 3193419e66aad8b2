"""How a command ends that has the compute core alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gzflow.terminal import plain_command


def test_a_full_disk_is_said_with_the_folder_that_was_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end, plain_command(tmp_path):
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f"DiskError: the disk is full\n  where: {tmp_path}\n  - No space left on device" in said
    assert "the same command again" in said


def test_an_error_that_nobody_foresaw_keeps_its_traceback(tmp_path: Path):
    with pytest.raises(OSError, match="odd"), plain_command(tmp_path):
        raise OSError("odd")
