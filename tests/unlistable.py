"""A folder that nobody can list, not even the superuser, who may read everything else."""

from __future__ import annotations

import os
from pathlib import Path


def bury(folder: Path) -> None:
    """Make folders in `folder` until their path is longer than the system takes."""
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=inner)
        outer, inner = inner, os.open("d" * 250, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
