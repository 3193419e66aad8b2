"""Which files in a folder are the tiles of a mosaic."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gzflow.errors import SettingsError
from gzflow.surveys.mosaic import Mosaic, matcher

ONLY_TILE = "mosaic"
"""Name of the tile where patterns have no placeholder: the survey is one image."""


def tile_files(folders: Sequence[Path], mosaic: Mosaic) -> dict[str, dict[str, Path]]:
    """Tile name -> band -> file, sorted by name; a tile may lack bands.

    Parameters
    ----------
    folders
        Searched through all their subfolders; links to files are followed, links to folders are not.

    Raises
    ------
    SettingsError
        All at once: something that is no folder, a folder that cannot be read, a band without any file, two files for
        one band of a tile, one file for two bands.
    """
    problems = [f"{folder}: tiles are read from folders" for folder in folders if not folder.is_dir()]
    patterns = {band: matcher(pattern) for band, pattern in mosaic.bands.items()}
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    shared: dict[tuple[str, ...], Path] = {}
    for folder in filter(Path.is_dir, folders):
        for relative in _walk(folder, problems):
            path = folder / relative
            matches = {band: match for band, pattern in patterns.items() if (match := pattern.fullmatch(relative))}
            if len(matches) > 1:
                shared.setdefault(tuple(matches), path)
            for band, match in matches.items():
                name = _name(match.groupdict())
                earlier = found[name].setdefault(band, path)
                if earlier != path:
                    problems.append(f"tile {name}, band {band}: two files, {earlier} and {path}")
    problems += [
        f"bands {', '.join(bands)}: one file for all of them, {path}; `hdu` is the same for all, so that each needs"
        " its own file"
        for bands, path in shared.items()
    ]
    searched = ", ".join(map(str, folders))
    for band, pattern_text in mosaic.bands.items():
        if not any(band in files for files in found.values()):
            problems.append(f"band {band}: no file below {searched} matches {pattern_text!r}")
    if problems:
        raise SettingsError(
            "the tiles cannot be found",
            problems=problems,
            expected="one FITS file for each band of a tile, as [mosaic] bands names them",
            fix="correct the patterns in the survey's TOML, or give another folder with --images",
        )
    return {name: {band: found[name][band] for band in mosaic.bands if band in found[name]} for name in sorted(found)}


def _walk(folder: Path, problems: list[str]) -> Iterator[str]:
    """Paths of all files, relative to `folder`, with ``/`` between parts; folders that cannot be read are problems."""

    def unreadable(error: OSError) -> None:
        # Passed over, its galaxies would be said to lie on no tile.
        problems.append(f"{error.filename}: this folder cannot be read: {error.strerror}")

    for where, inside, names in os.walk(folder, onerror=unreadable):
        inside.sort()
        below = Path(where).relative_to(folder)
        for name in sorted(names):
            yield (below / name).as_posix()


def _name(groups: Mapping[str, str]) -> str:
    return "-".join(groups[key] for key in sorted(groups)) or ONLY_TILE
