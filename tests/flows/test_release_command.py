"""``gzflow diff`` and ``gzflow release``, as they are typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.errors import SettingsError
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart

TREE = load_survey("gz2").tree


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which thirty galaxies of GZ2 are predicted twice, the first ten otherwise."""
    monkeypatch.setenv("GZFLOW_HOME", str(tmp_path / "home"))
    for name, first in (("v1-a", 90.0), ("v2-b", 1.0)):
        folder = tmp_path / "home" / "predictions" / "gz2" / name
        alpha = np.full((30, 1, len(TREE.answers)), 10.0, np.float32)
        alpha[:, :, 0] = 90
        alpha[:10, :, 0] = first
        part = PredictionPart([str(10**17 + i) for i in range(30)], np.zeros(30), np.zeros(30), alpha)
        write_part(folder / "part-test-00000.parquet", part_table(part, TREE, {"survey": "gz2"}))
        entries = [{"file": "part-test-00000.parquet", "n": 30, "split": "test"}]
        write_json(folder / "manifest.json", {"entries": entries})
    return tmp_path / "home"


def test_changes_are_printed_and_written(home: Path, tmp_path: Path) -> None:
    rows, picture = tmp_path / "changed.csv", tmp_path / "changed.png"
    said = CliRunner().invoke(
        app, ["diff", "gz2/v1", "gz2/v2", "--rows", str(rows), "--picture", str(picture), "--all"]
    )
    assert said.exit_code == 0, said.output
    assert "30 in both, 0 only in the first, 0 only in the second" in said.output
    line = next(line for line in said.output.splitlines() if line.startswith("smooth-or-featured"))
    assert line.split()[:5] == ["smooth-or-featured", "30", "10", "33.3", "%"]
    assert len(rows.read_text().splitlines()) > 10
    assert picture.is_file()
    assert [path.name for path in home.iterdir()] == ["predictions"]


def test_a_release_needs_a_survey_and_a_folder_or_one_to_check(tmp_path: Path) -> None:
    for words in ([], ["gz2"], ["gz2", "--to", "a", "--check", "b"], ["--to", "a"]):
        said = CliRunner().invoke(app, ["release", *words])
        assert isinstance(said.exception, SettingsError)
        assert "gzflow release --check FOLDER" in str(said.exception)
    assert not (tmp_path / "a").exists()
