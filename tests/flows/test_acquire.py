from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from gzflow.simulation.services import LoopbackServices


@pytest.mark.slow  # two runs, each with a Prefect server of its own
def test_files_of_a_record_are_listed_fetched_and_read_in_place(gzflow, tmp_path: Path) -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("J081/J081.png", b"pixels")
    files = {"images part1.zip": stream.getvalue(), "votes.csv": b"id\n1\n", "schema.md": b"#"}
    with LoopbackServices(records={7: files}) as services:
        page = f"{services.url}/records/7"
        listed = gzflow("acquire", page, "--list")
        assert all(name in listed.stdout for name in files)
        assert services.count("content") == 0
        done = gzflow("acquire", page, "--files", "*.csv", "--files", "*part*", "--to", tmp_path / "archive")
        assert "2 files" in done.stdout
        assert "2 of them new" in done.stdout
        assert sorted(path.name for path in (tmp_path / "archive").iterdir() if path.suffix) == [
            "images part1.zip",
            "votes.csv",
        ]
        again = gzflow("acquire", page, "--files", "*.csv", "--files", "*part*", "--to", tmp_path / "archive")
        assert "0 of them new" in again.stdout
        wrong = gzflow("acquire", page, "--files", "*.parquet", check=False)
        assert wrong.returncode == 2
        assert "schema.md" in wrong.stderr
