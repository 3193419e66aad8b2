"""Images for galaxies out of a folder of FITS tiles: each tile opened once for all the galaxies of a chunk."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.catalog.store import CatalogStore, CutoutRecord
from gzflow.cutouts.mosaics import NOWHERE, Tile, TileIndex, encoded, opened, picture_on_tile
from gzflow.cutouts.mosaics.files import tile_files
from gzflow.cutouts.rgb import RECIPE_BANDS
from gzflow.durable import replacing
from gzflow.errors import CutoutError, NoCoverage, SettingsError
from gzflow.settings import Settings
from gzflow.stages.images import failed_record, unaskable
from gzflow.surveys import Survey
from gzflow.surveys.mosaic import Mosaic

CHUNK = 4096
"""Galaxies of a chunk: about ten seconds of work for a core."""
_ODD = re.compile(r"[^A-Za-z0-9._+-]")


def on_tiles(survey: Survey, images: Sequence[str]) -> bool:
    """Whether ``--images`` names folders of tiles: with a ``[mosaic]`` table in the survey it does."""
    return survey.mosaic is not None and bool(images)


def problems(survey: Survey, images: Sequence[str]) -> list[str]:
    """What keeps cutouts from being made, as far as the names of files and the TOML tell."""
    mosaic = _mosaic(survey)
    found = []
    wanted = RECIPE_BANDS.get(survey.image.recipe)
    bands = tuple(mosaic.bands)
    if wanted is None:
        known = ", ".join(sorted(RECIPE_BANDS))
        found.append(f"image.recipe {survey.image.recipe!r} makes no picture of tiles: name one of {known}")
    elif len(bands) != len(wanted) or (sorted(bands) == sorted(wanted) and bands != wanted):
        # Names are the survey's own (HSC-G, VIS), so only their number, and the order of those known, can be wrong.
        found.append(
            f"mosaic.bands are {', '.join(bands)}: recipe {survey.image.recipe} wants {len(wanted)}, from blue to red"
            f" ({', '.join(wanted)})"
        )
    try:
        tile_files([Path(path) for path in images], mosaic)
    except SettingsError as error:
        found += error.problems
    return found


def chunks(
    survey: Survey, images: Sequence[str], pages: Iterable[pl.Series], store: CatalogStore, settings: Settings
) -> Iterator[Sequence[str]]:
    """Ids grouped by tile, at most `CHUNK` together; small tiles share a chunk, so that no tile is in two for nothing.

    Reads the headers of tiles that are new since the last run, and writes the index that `from_tiles` works with.

    Parameters
    ----------
    pages
        Ids of the galaxies to cut, some thousands in each.

    Raises
    ------
    SettingsError
        Tiles that cannot be used, all at once.
    """
    file = _index_file(survey, settings)
    index = TileIndex.build([Path(path) for path in images], _mosaic(survey), TileIndex.load(file))
    index.save(file)
    # All at once: a page has galaxies on every tile, and each tile costs the same for one position as for a thousand.
    ids, ra, dec = [pl.Series("id_str", [], pl.String)], [_degrees([])], [_degrees([])]
    for page in pages:
        found = store.galaxies(survey.name, ids=page.to_list())
        ids.append(found["id_str"])
        ra.append(found["ra"].fill_null(np.nan).to_numpy())
        dec.append(found["dec"].fill_null(np.nan).to_numpy())
    tile = index.locate(np.concatenate(ra), np.concatenate(dec)).tile
    order = np.argsort(tile, kind="stable")
    sorted_ids, ends = pl.concat(ids).gather(order), np.flatnonzero(np.diff(tile[order])) + 1
    start = 0
    for end in _cuts(ends.tolist(), len(order)):
        yield sorted_ids[start:end].to_list()
        start = end


def _cuts(ends: Sequence[int], n: int) -> Iterator[int]:
    """Where chunks end, in rows sorted by tile: `ends` are the ends of all tiles but the last, `n` that of the last."""
    start = last = 0
    for end in (*ends, n):
        if end - start > CHUNK and last > start:
            yield last
            start = last
        while end - start > CHUNK:
            start += CHUNK
            yield start
        last = end
    if n > start:
        yield n


def from_tiles(
    survey: Survey, rows: Sequence[Mapping[str, Any]], images: Sequence[str], settings: Settings
) -> Iterable[list[CutoutRecord]]:
    """Ledger rows of galaxies cut from tiles; their pictures lie in one ZIP, which is whole before a row is given.

    One file for thousands of pictures, since a hundred million small files are more than most file systems bear; they
    are read in place like those of a published archive.
    """
    mosaic = _mosaic(survey)
    index = _index(survey, images, settings)
    odd = {row["id_str"]: error for row in rows if (error := unaskable(row)) is not None}
    yield [failed_record(id_str, error) for id_str, error in odd.items()]
    good = [row for row in rows if row["id_str"] not in odd]
    places = index.locate(_degrees(row["ra"] for row in good), _degrees(row["dec"] for row in good))
    yield [
        failed_record(row["id_str"], NoCoverage("no tile holds this position", where=f"galaxy {row['id_str']}"))
        for row, tile in zip(good, places.tile, strict=True)
        if tile == NOWHERE
    ]
    inside = np.flatnonzero(places.tile != NOWHERE)
    if not len(inside):
        return
    # Row by row within a tile: the disk is read forwards.
    order = inside[np.lexsort((places.y[inside], places.tile[inside]))]
    archive = _archive(survey, index.tiles[places.tile[order[0]]], [row["id_str"] for row in rows], settings)
    records: list[CutoutRecord] = []
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as pictures:
        for of_tile in np.split(order, np.flatnonzero(np.diff(places.tile[order])) + 1):
            tile = index.tiles[places.tile[of_tile[0]]]
            batch = ((good[at], float(places.x[at]), float(places.y[at])) for at in of_tile)
            for row, answer in _pictures(survey, mosaic, tile, batch):
                records.append(
                    failed_record(row["id_str"], answer)
                    if isinstance(answer, CutoutError)
                    else _stored(row["id_str"], *answer, tile, pictures, archive)
                )
    if not any(record.state == "done" for record in records):
        archive.unlink()
    yield records


def _pictures(
    survey: Survey, mosaic: Mosaic, tile: Tile, batch: Iterable[tuple[Mapping[str, Any], float, float]]
) -> Iterator[tuple[Mapping[str, Any], tuple[str, bytes] | CutoutError]]:
    """Each galaxy of one tile with (suffix, content) of its picture or why there is none."""
    bands, pixels, flux = tuple(mosaic.bands), survey.pixels or 0, mosaic.nanomaggies()
    try:
        with opened(tile, bands) as images:
            for row, x, y in batch:
                try:
                    picture = picture_on_tile(
                        images,
                        tile,
                        bands,
                        x,
                        y,
                        pixels=pixels,
                        pixscale=row["pixscale"],
                        recipe_name=survey.image.recipe,
                        nanomaggies=flux,
                        what=f"galaxy {row['id_str']}: tile {tile.name}",
                    )
                    yield row, encoded(picture, mosaic.format, grey=survey.image.recipe == "grey")
                except CutoutError as error:
                    yield row, error
    except CutoutError as error:  # the tile itself: raised before its first galaxy
        for row, _, _ in batch:
            yield row, error


def _stored(
    id_str: str, suffix: str, content: bytes, tile: Tile, pictures: zipfile.ZipFile, archive: Path
) -> CutoutRecord:
    member = f"{len(pictures.filelist):05d}-{_ODD.sub('_', id_str)[:80]}{suffix}"
    # Without the time of day, so that a chunk that is made again has the same bytes.
    pictures.writestr(zipfile.ZipInfo(member), content)
    return CutoutRecord(
        id_str=id_str,
        state="done",
        path=str(archive),
        member=member,
        source=f"tile({tile.name})",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _archive(survey: Survey, first: Tile, ids: Sequence[str], settings: Settings) -> Path:
    """A name that only the same galaxies of the same survey description share: no finished picture is written over."""
    key = json.dumps([survey.fingerprint, sorted(ids)])
    digest = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    return _folder(survey, settings) / digest[:2] / f"{_ODD.sub('_', first.name)[:80].lstrip('.')}-{digest}.zip"


def _mosaic(survey: Survey) -> Mosaic:
    if survey.mosaic is None:  # callers ask `on_tiles` first
        raise SettingsError(
            f"survey {survey.name} has no [mosaic]", fix="name its tiles there, as docs/mosaics.md shows"
        )
    return survey.mosaic


def _folder(survey: Survey, settings: Settings) -> Path:
    return settings.cutouts(survey.name) / "mosaics"


def _index_file(survey: Survey, settings: Settings) -> Path:
    return _folder(survey, settings) / "index.json"


def _index(survey: Survey, images: Sequence[str], settings: Settings) -> TileIndex:
    """The index that `chunks` wrote, read once a process; made anew where it is gone."""
    file = _index_file(survey, settings)
    written = _read_index(file, file.stat().st_mtime_ns) if file.exists() else None
    return written or TileIndex.build([Path(path) for path in images], _mosaic(survey))


@lru_cache(maxsize=4)
def _read_index(file: Path, mtime_ns: int) -> TileIndex | None:  # noqa: ARG001 - a newer file is another index
    return TileIndex.load(file)


def _degrees(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
