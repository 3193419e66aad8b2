from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gzflow.errors import Busy
from gzflow.lock import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from gzflow.lock import exclusive
with exclusive(Path(sys.argv[1]), "training decals"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_works_there(tmp_path: Path, holder: subprocess.Popen[str]):
    with pytest.raises(Busy, match="another process") as caught, exclusive(tmp_path, "training", patience_s=0.2):
        pass
    assert f"training decals: process {holder.pid} on" in str(caught.value)


def test_kill_9_of_the_holder_frees_the_folder(tmp_path: Path, holder: subprocess.Popen[str]):
    os.kill(holder.pid, signal.SIGKILL)
    with exclusive(tmp_path, "training", patience_s=30):  # the holder would have slept for longer
        pass


def test_it_is_free_again_afterwards_also_after_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="x"), exclusive(tmp_path / "new", "a"):
        raise ValueError("x")
    with exclusive(tmp_path / "new", "b", patience_s=0):
        pass
