"""The folder mlflow/ holds settings; one Python file in it would hide the package of the same name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_folder_holds_no_python() -> None:
    assert (ROOT / "mlflow").is_dir()
    assert list((ROOT / "mlflow").rglob("*.py")) == []


def test_the_package_wins_from_the_repositorys_root() -> None:
    code = "import importlib.util as u; print(u.find_spec('mlflow').origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.strip().endswith("__init__.py")
    assert not Path(found.stdout).is_relative_to(ROOT / "mlflow")


def test_the_package_can_start_runs() -> None:
    import mlflow

    assert hasattr(mlflow, "start_run")
