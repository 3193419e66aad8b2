"""``gzflow export``, as it is typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from flows.cli import app
from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart

TREE = load_survey("gz2").tree


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which one galaxy of GZ2 is predicted."""
    monkeypatch.setenv("GZFLOW_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "predictions" / "gz2" / "v1-a"
    alpha = np.full((1, 1, len(TREE.answers)), 3.0, np.float32)
    part = PredictionPart(["587722981741166700"], np.zeros(1), np.zeros(1), alpha)
    write_part(folder / "part-test-00000.parquet", part_table(part, TREE, {"survey": "gz2"}))
    write_json(folder / "manifest.json", {"entries": [{"file": "part-test-00000.parquet", "n": 1, "split": "test"}]})
    return tmp_path / "home"


def test_a_catalogue_is_written_and_said(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "gz2.fits"
    said = CliRunner().invoke(app, ["export", "gz2", "--out", str(file), "--asked", "0.5", "--no-log"])
    assert said.exit_code == 0, said.output
    assert "1 galaxies" in said.output
    assert str(file) in said.output
    table = Table.read(file, mask_invalid=False)
    assert table["id_str"][0] == "587722981741166700"
    assert np.isnan(table["bar_yes_fraction"][0])
    assert table["smooth-or-featured_smooth_fraction"][0] == pytest.approx(1 / 3)
    assert not (home / "mlflow").exists()


def test_the_format_may_be_said(home: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app, ["export", "gz2", "--format", "votable", "--out", str(tmp_path / "gz2.dat"), "--no-log"]
    )
    assert said.exit_code == 0, said.output
    assert Table.read(tmp_path / "gz2.dat", format="votable")["ra"].unit == "deg"
