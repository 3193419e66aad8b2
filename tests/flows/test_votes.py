from __future__ import annotations

from pathlib import Path

from tests.catalog.zooniverse.exports import RINGS, TASKS, answered, row, write


def test_votes_are_counted_from_the_shell(gzflow, tmp_path: Path) -> None:
    (tmp_path / "rings.toml").write_text(RINGS)
    (tmp_path / "tasks.toml").write_text(TASKS)
    rows = [row(1, 100, answered(T0="Smooth")), row(2, 100, answered(T0="Round")), row(3, 100, answered(T0="Smooth"))]
    export = write(tmp_path / "classifications.csv", rows)
    command = ["votes", export, tmp_path / "rings.toml", "--out", tmp_path / "votes.csv"]
    refused = gzflow(*command, check=False)
    assert refused.returncode == 2
    assert "votes.tasks.toml" in refused.stderr
    done = gzflow(*command, "--tasks", tmp_path / "tasks.toml")
    assert "3 rows = 2 counted + 1 no-votes; 2 votes for 1 galaxies" in done.stdout
    assert "give a table that has them with --catalog: redshift" in done.stdout
    assert "gzflow ingest" in done.stdout
    assert (tmp_path / "votes.csv").read_text().splitlines()[1].startswith("J100,2,0,0,0,2,0,10.5,-0.25")
