"""A PostgreSQL of a test's own, to be stopped and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port


class PostgreSQL:
    """Runs as user postgres where the tests run as root, who may not."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.data = folder / "data"
        self.socket = folder
        self.port = free_port()
        self.place = f"gzflow@127.0.0.1:{self.port}/postgres"
        self._call("initdb", "-D", str(self.data), "-A", "trust", "-U", "gzflow")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.socket} -h 127.0.0.1"
        self._call("pg_ctl", "-D", str(self.data), "-o", options, "-l", str(self.socket / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._call("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def query(self, statement: str) -> None:
        """One statement, in the database that every server has."""
        self._call("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "gzflow", "-c", statement, "postgres")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, cwd="/")
        assert done.returncode == 0, done.stderr


@contextmanager
def own_postgres() -> Iterator[PostgreSQL]:
    """A server with an empty database; skips where its programs are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("no PostgreSQL server programs under /usr/lib/postgresql")
    # Beside pytest's own folders, which are closed to other users.
    folder = Path(subprocess.check_output(["mktemp", "-d", "-t", "gzflow-postgres.XXXXXX"], text=True).strip())
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = PostgreSQL(found[-1].parent, folder)
        try:
            server.start()
            yield server
        finally:
            if (server.data / "postmaster.pid").exists():
                server.stop("immediate")
    finally:
        shutil.rmtree(folder)
