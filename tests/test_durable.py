from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gzflow.durable import replacing, write_json


def test_an_exception_leaves_the_old_file_and_no_litter(tmp_path: Path):
    path = tmp_path / "a.json"
    write_json(path, {"version": 1})

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert json.loads(path.read_text()) == {"version": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_kill_at_any_instant_leaves_a_whole_file(tmp_path: Path):
    path = tmp_path / "a.json"
    script = (
        "from pathlib import Path; from gzflow.durable import write_json\n"
        f"n = 0\nwhile True:\n    n += 1; write_json(Path({str(path)!r}), {{'n': n, 'all': list(range(n % 500))}})"
    )
    for pause in (0.0, 0.01, 0.05):
        child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        while not path.exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(pause)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        value = json.loads(path.read_text())
        assert value["all"] == list(range(value["n"] % 500))
