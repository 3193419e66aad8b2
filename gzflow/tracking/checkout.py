"""Which gzflow this is."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import gzflow


@cache
def code_tags() -> dict[str, str]:
    """Tags that name the code: its version, and the git commit when it runs from a checkout of its own."""
    folder = Path(gzflow.__file__).parent
    tags = {"gzflow.version": gzflow.__version__}
    # A repository around the environment that gzflow is installed in says nothing about gzflow.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is not None:
        commit = _git(folder, "rev-parse", "HEAD")
        if commit:
            tags["mlflow.source.git.commit"] = tags["gzflow.git_commit"] = commit
            tags["gzflow.git_dirty"] = str(bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))).lower()
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [program, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
