"""File names of fetched images."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from gzflow.cutouts.services import Request

_ODD = re.compile(r"[^A-Za-z0-9._+-]")


def cutout_path(folder: Path, id_str: str, request: Request, recipe_name: str) -> Path:
    """``folder/ab/<id>-<digest>.jpg`` or ``.png``, safe for any id and any file system.

    The digest is over the id and everything that decides the pixels. So two ids never share a file, also where they
    differ in case or odd characters only, and an image that was asked for at another position, scale, size, layer or
    host is never taken for this one. The port is left out: services on this machine get a new one each time.

    Of a service that must look something up first, `request` is the one before the look-up: so a rerun finds the file
    without asking.
    """
    key: list[object] = [
        id_str,
        urlsplit(request.url).hostname,
        urlsplit(request.url).path,
        dict(request.params),
        recipe_name,
    ]
    if request.band_names or request.unit != 1:  # what the request does not say, and decides all the same
        key.append([request.band_names, request.unit])
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=6).hexdigest()
    readable = _ODD.sub("_", id_str)[:80].lstrip(".")
    return folder / digest[:2] / f"{readable}-{digest}{request.suffix}"
