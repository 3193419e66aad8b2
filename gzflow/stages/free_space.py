"""Room on a disk, and bytes as people read them."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_space(folder: Path) -> int:
    """Bytes that are free where `folder` lies or would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def readable(n: float) -> str:
    """Bytes for people, in powers of 1000 as disks are sold."""
    if n < 1000:
        return f"{n:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        n /= 1000
        if n < 1000:
            return f"{n:.1f} {unit}"
    return f"{n / 1000:,.1f} TB"
