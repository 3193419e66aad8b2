from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_after(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    tail = "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_import_is_light():
    assert not loaded_after("import gzflow") & {"torch", "polars", "prefect", "mlflow", "astropy", "numpy"}


@pytest.mark.parametrize("command", [["--help"], ["surveys"], ["status"], ["ingest", "--help"]], ids=" ".join)
def test_looking_loads_neither_torch_nor_prefect(command: list[str], tmp_path, monkeypatch):
    monkeypatch.setenv("GZFLOW_HOME", str(tmp_path / "home"))
    code = f"import sys; sys.argv = ['gzflow', *{command!r}]\nfrom flows.cli import app\n"
    code += "try: app()\nexcept SystemExit: pass"
    assert not loaded_after(code) & {"torch", "prefect", "mlflow", "lightning"}
    assert not (tmp_path / "home").exists()


def test_exports_are_what_can_be_imported():
    import gzflow

    assert sorted(gzflow.__all__) == gzflow.__all__
    for name in gzflow.__all__:
        assert getattr(gzflow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gzflow.nothing
