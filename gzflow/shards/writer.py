"""Shards: HDF5 files written once, whole or not at all, and the manifest that closes a set of them.

Layout of a shard: ``images`` uint8 (n, H, W, C), contiguous, or with codec jpeg one line of bytes and ``image_offsets``
int64 (n + 1,); ``votes`` int32 (n, n_answers); ``id_str`` UTF-8; ``ra``, ``dec``, ``pixscale`` float64. One shard
never changes after its rename, and the same galaxies give the same bytes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gzflow import __version__
from gzflow.durable import replacing, write_json
from gzflow.errors import ShardError
from gzflow.shards.content import ContentHash, ShardContent
from gzflow.shards.header import (
    MANIFEST,
    SHARD_SIZE,
    SPLITS,
    Manifest,
    SetHeader,
    ShardEntry,
    ShardHeader,
    set_fingerprint,
)
from gzflow.shards.pixel_file import room_for_images
from gzflow.shards.shard_file import ShardReader

__all__ = ["SHARD_SIZE", "begin_set", "write_manifest", "write_shard"]

logger = logging.getLogger(__name__)

# What `plan_shards` calls its files; nothing else in a set's folder is ever removed.
_PLANNED = re.compile(rf"^({'|'.join(SPLITS)})-\d{{5}}\.h5$")


def begin_set(folder: Path) -> None:
    """Open a folder for writing: it is no finished set until `write_manifest` says so again.

    Finished shards stay, for `reusable` to judge; what a killed writer left half-written goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def write_shard(
    path: Path, header: ShardHeader, *, images: Any, votes: Any, ids: Sequence[str], ra: Any, dec: Any, pixscale: Any
) -> ShardEntry:
    """Write one shard, whole or not at all; returns its line of the manifest.

    Parameters
    ----------
    images
        Codec raw: uint8 (n, H, W, C), or a sequence of (H, W, C) arrays, which may be made one at a time. Codec jpeg:
        a sequence of bytes, each one whole JPEG of the recipe's size.
    votes
        (n, n_answers) whole numbers, in the order of ``tree.answers``; zeros where nobody voted.
    ids
        n distinct strings.
    ra, dec, pixscale
        (n,) degrees, degrees, arcsec per pixel of the image as it is here; NaN where unknown.

    Raises
    ------
    ShardError
        All that does not fit, before anything is written; an image that does not fit; or the set is closed.
    """
    if (path.parent / MANIFEST).exists():
        raise ShardError(
            "this set of shards is finished and cannot get another shard",
            where=str(path.parent),
            fix="call begin_set(folder) first, or write to another folder",
        )
    content = ShardContent.checked(
        str(path), header, images=images, votes=votes, ids=ids, ra=ra, dec=dec, pixscale=pixscale
    )
    with replacing(path) as temporary:
        # Format v110: checksums on the metadata, no limit on the size of a tree; read by every HDF5 since 2016.
        with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            fingerprint = _fill(file, header, content)
        size = temporary.stat().st_size
    return ShardEntry(
        file=path.name,
        split=header.split,
        n=len(content.ids),
        bytes=size,
        fingerprint=fingerprint,
        source_fingerprint=header.source_fingerprint,
    )


def write_manifest(
    folder: Path,
    header: SetHeader,
    entries: Iterable[ShardEntry],
    *,
    counts: Mapping[str, int] | None = None,
    notes: Iterable[str] = (),
    survey_info: Mapping[str, Any] | None = None,
) -> Manifest:
    """Close a set; returns its manifest. From here on `ShardSet.open` accepts the folder.

    Parameters
    ----------
    header
        Of any shard of the set.
    counts
        What to keep beside the galaxies per split, as failed and filtered.

    Raises
    ------
    ShardError
        No entries, a shard that is not there or other than its entry, or a galaxy that stands in two shards.
    """
    entries = tuple(entries)
    if problems := _set_problems(folder, entries):
        raise ShardError(
            "these shards do not form a set",
            where=str(folder),
            problems=problems,
            expected="one or more shards as write_shard returned them, every galaxy in one of them",
            fix="write the shards named above again",
        )
    manifest = Manifest(
        **header.model_dump(include=set(SetHeader.model_fields)),
        created_by=f"gzflow {__version__}",
        entries=entries,
        counts={split: sum(e.n for e in entries if e.split == split) for split in SPLITS} | dict(counts or {}),
        notes=tuple(notes),
        survey_info=dict(survey_info or {}),
        fingerprint=set_fingerprint(entries),
    )
    listed = {entry.file for entry in entries}
    for path in sorted(folder.glob("*.h5")):
        if path.name not in listed and _PLANNED.match(path.name):
            logger.info("removing %s, left by an earlier plan", path)
            path.unlink()
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _fill(file: h5py.File, header: ShardHeader, content: ShardContent) -> str:
    names = [name.encode() for name in content.ids]
    file.create_dataset("id_str", data=np.array(names, h5py.string_dtype("utf-8", max(map(len, names)))))
    for name in ("ra", "dec", "pixscale", "votes"):
        file.create_dataset(name, data=getattr(content, name))
    digest = ContentHash(header)
    digest.columns(content.ids, content.ra, content.dec, content.pixscale, content.votes)
    if header.codec == "raw":
        with room_for_images(file, (len(names), *header.image_shape)) as images:
            for pixels in content.each_image(header):
                images.append(pixels)
                digest.image(pixels)
    else:
        parts = list(content.each_image(header))
        for pixels in parts:
            digest.image(pixels)
        file.create_dataset("images", data=np.concatenate(parts))
        file.create_dataset("image_offsets", data=np.cumsum([0, *(part.size for part in parts)], dtype=np.int64))
    file.attrs["format_version"] = header.format_version
    texts = {
        "survey": header.survey,
        "tree": json.dumps(header.tree, separators=(",", ":")),
        "image_recipe": header.recipe.model_dump_json(),
        "codec": header.codec,
        "split": header.split,
        "source_fingerprint": header.source_fingerprint,
        "fingerprint": digest.hexdigest(),
    }
    for name, text in texts.items():
        # Of fixed length, for HDF5 keeps a checksum of those and none of strings of variable length.
        file.attrs[name] = np.array(text.encode(), h5py.string_dtype("utf-8", max(1, len(text.encode()))))
    return digest.hexdigest()


def _set_problems(folder: Path, entries: Sequence[ShardEntry]) -> list[str]:
    if not entries:
        return ["there is no shard"]
    problems = []
    home: dict[str, str] = {}
    for entry in entries:
        try:
            reader = ShardReader(folder / entry.file)
            if reader.fingerprint != entry.fingerprint:
                problems.append(f"{entry.file}: its content is not that of its entry")
            twice = [name for name in reader.ids if home.setdefault(name, entry.file) != entry.file]
        except ShardError as error:
            problems.append(f"{entry.file}: {error.what}")
            continue
        if twice:
            problems.append(f"{len(twice)} galaxies of {entry.file} stand in {home[twice[0]]} too, as {twice[0]!r}")
    for file in sorted({e.file for e in entries if sum(e.file == other.file for other in entries) > 1}):
        problems.append(f"{file} is listed twice")
    return problems
