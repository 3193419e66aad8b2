"""Folders of HATS catalogs: what is one, and how a new one takes an old one's place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gzflow.errors import SettingsError
from gzflow.lock import exclusive

_NAMES = ("collection.properties", "hats.properties", "properties")


def is_hats(folder: Path) -> bool:
    """Whether a HATS catalog or collection stands there."""
    return any((folder / name).is_file() for name in _NAMES)


@contextmanager
def replacing(folder: Path, *inputs: Path) -> Iterator[Path]:
    """A path beside `folder`; what is written there takes its place on a clean exit, and leaves nothing otherwise.

    Parameters
    ----------
    folder
        Absent, empty or a HATS catalog: whatever else it holds is not ours to remove.
    inputs
        Catalogs that are read meanwhile and must outlive it.

    Raises
    ------
    SettingsError
        Something else stands there, or one of the inputs.
    Busy
        Another process writes the same catalog.
    """
    folder = folder.absolute()
    _check(folder, inputs)
    beside = folder.with_name(f".{folder.name}.part")
    with exclusive(beside, f"writing {folder}", patience_s=0):
        new, old = beside / "new", beside / "old"
        for left_over in (new, old):  # of a killed process
            shutil.rmtree(left_over, ignore_errors=True)
        try:
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _check(folder: Path, inputs: tuple[Path, ...]) -> None:
    if folder.exists() and not (folder.is_dir() and (is_hats(folder) or not any(folder.iterdir()))):
        raise SettingsError(
            "what stands there is no HATS catalog, and would be lost",
            where=str(folder),
            expected="a new folder, an empty one, or a HATS catalog that may be replaced",
            fix="name another folder",
        )
    place = folder.resolve()
    for given in inputs:
        source = given.resolve()
        if place.is_relative_to(source) or source.is_relative_to(place):
            raise SettingsError(
                "the result would take the place of a catalog that is matched",
                where=str(folder),
                expected=f"a folder outside {given}",
                fix="name another folder",
            )
