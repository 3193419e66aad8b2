"""SHA256SUMS: what a folder's files must be, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"


def checksums(folder: Path) -> bytes:
    """A line a file below the folder, by name; the list itself is left out."""
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in _files(folder)).encode()


def listed(content: bytes) -> dict[str, str]:
    """Checksum by name, as a list says it; lines of another form are left out."""
    lines = (line.split("  ", 1) for line in content.decode("utf-8", "replace").splitlines())
    return {entry[1]: entry[0] for entry in lines if len(entry) == 2}


def checksum_problems(folder: Path, content: bytes) -> list[str]:
    """Files that are missing, not in the list, or not what it says."""
    wanted, there = listed(content), _files(folder)
    problems = [f"{name} is missing" for name in wanted if name not in there]
    problems += [f"{name} is not in {SUMS}" for name in there if name not in wanted]
    return problems + [
        f"{name} is not the file that was released"
        for name in there
        if name in wanted and _sha256(folder / name) != wanted[name]
    ]


def _files(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
