"""Room on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_space(folder: Path) -> int:
    """Bytes that are free where `folder` lies or would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
