from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import gzflow
from gzflow.tracking.checkout import code_tags


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """A gzflow in a repository, not yet committed."""
    folder = tmp_path / "gzflow"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setattr(gzflow, "__file__", str(folder / "__init__.py"))
    return folder


def test_a_checkout_is_named_by_its_commit(package: Path) -> None:
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "second")
    tags = code_tags.__wrapped__()
    assert tags["gzflow.git_commit"] == tags["mlflow.source.git.commit"] == git(package, "rev-parse", "HEAD")
    assert tags["gzflow.git_dirty"] == "false"
    (package / "__init__.py").write_text("x = 1\n")
    assert code_tags.__wrapped__()["gzflow.git_dirty"] == "true"


def test_a_repository_around_an_installed_package_says_nothing(package: Path) -> None:
    assert code_tags.__wrapped__() == {"gzflow.version": gzflow.__version__}
