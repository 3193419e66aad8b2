from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gzflow.durable import replacing, write_json, write_many


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


def test_many_files_in_many_folders(tmp_path: Path):
    files = {tmp_path / f"{k % 7}" / f"{k}.bin": bytes([k]) * k for k in range(50)}
    write_many(files)
    write_many({})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files


def test_when_one_of_many_files_cannot_be_written_there_is_no_litter(tmp_path: Path):
    old = tmp_path / "a" / "old.bin"
    write_many({old: b"old"})
    (tmp_path / "b").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="b"):
        write_many({old: b"new", tmp_path / "b" / "x.bin": b"x"})
    assert old.read_bytes() == b"old"
    assert list(tmp_path.rglob("*.tmp")) == []


def test_kill_at_any_instant_leaves_whole_files(tmp_path: Path):
    script = (
        "from pathlib import Path; from gzflow.durable import write_many\n"
        f"n = 0\nwhile True:\n    n += 1; write_many({{Path({str(tmp_path)!r}) / f'{{k % 3}}' / f'{{k}}.bin':"
        " bytes([n % 250]) * 5000 for k in range(40)})"
    )
    for pause in (0.0, 0.02, 0.05):
        child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        while not list(tmp_path.rglob("*.bin")) and child.poll() is None:
            time.sleep(0.005)
        time.sleep(pause)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        contents = [path.read_bytes() for path in tmp_path.rglob("*.bin")]
        assert contents
        assert all(len(content) == 5000 and len(set(content)) == 1 for content in contents)
