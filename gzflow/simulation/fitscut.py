"""The Hubble Legacy Archive and Pan-STARRS: look-ups of files, and pictures that fitscut cuts from them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from astropy.io.votable import writeto
from astropy.table import Table
from PIL import Image

from gzflow.simulation.answer import Answer, Asked, jpeg, number
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import TELESCOPES

LARGEST = 6000
"""Native pixels a side; more are cut to this without a word."""
SOUTHERN_LIMIT = -30.0
_STACK_PIXSCALE = 0.25
_STACKS = ("g", "r", "i")
_HUBBLE = ("f606w", "f775w", "f850lp")
_COLUMNS = "projcell subcell ra dec filter mjd type filename shortname badflag"


class FitscutService:
    """``ps1filenames.py`` and ``hlaSIAP.cgi``, and ``fitscut.cgi`` for the files that both name.

    Pan-STARRS has g, r and i here, with SDSS' eyes; Hubble F606W, F775W and F850LP.
    """

    def __init__(self, sky: SimulatedSky) -> None:
        self._sky = sky

    def answer(self, asked: Asked) -> Answer | None:
        """A table, a VOTable, or a picture."""
        name = asked.path.rpartition("/")[2]
        known = {"ps1filenames.py": self._stacks, "hlaSIAP.cgi": self._datasets, "fitscut.cgi": self._cut}
        return known[name](asked.parameters) if name in known else None

    def _stacks(self, query: dict[str, str]) -> Answer:
        ra, dec = number(query, "ra"), number(query, "dec")
        if ra is None or dec is None:
            return Answer(b"ra and dec are needed", "text/plain", 400)
        lines = [_COLUMNS]
        if dec > SOUTHERN_LIMIT and self._sky.covers(ra, dec, TELESCOPES["sdss"]):
            for band in _STACKS:
                if band in query.get("filters", "grizy"):
                    short = f"rings.v3.skycell.1000.001.stk.{band}.unconv.fits"
                    path = f"/rings.v3.skycell/1000/001/{short}"
                    lines.append(f"1000 001 {ra:.6f} {dec:.6f} {band} 0 stack {path} cutout_{short} 0")
        return Answer(("\n".join(lines) + "\n").encode(), "text/plain")

    def _datasets(self, query: dict[str, str]) -> Answer:
        try:
            ra, dec = (float(part) for part in query["POS"].split(","))
        except (KeyError, ValueError):
            return Answer(b"POS=ra,dec is needed", "text/plain", 400)
        asked = [band for band in query.get("Spectral_Elt", "").lower().split(",") if band in _HUBBLE]
        found = asked if self._sky.covers(ra, dec, TELESCOPES["hubble"]) else []
        table = Table(
            {
                "Dataset": np.array([f"HST_1_{n}_ACS_WFC_{band.upper()}" for n, band in enumerate(found)], "U40"),
                "Spectral_Elt": np.array([band.upper() for band in found], "U10"),
            }
        )
        stream = BytesIO()
        writeto(table, stream)
        return Answer(stream.getvalue(), "text/xml")

    def _cut(self, query: dict[str, str]) -> Answer:
        query = {key.lower(): value for key, value in query.items()}
        ra, dec = number(query, "ra"), number(query, "dec")
        if ra is None or dec is None or "red" not in query:
            return Answer(b"red, ra and dec are needed", "text/plain", 400)
        hubble = query["red"].startswith("HST_")
        telescope = TELESCOPES["hubble" if hubble else "sdss"]
        native = telescope.native_pixscale if hubble else _STACK_PIXSCALE
        size = int(np.clip(number(query, "size") or 240, 1, LARGEST))
        side = int(np.clip(number(query, "output_size") or size, 1, LARGEST))
        if not self._sky.covers(ra, dec, telescope):
            picture = np.zeros((side, side, 3), np.uint8)
        else:
            image = self._sky.look(ra, dec, telescope, width=side, height=side, pixscale=size * native / side)
            colours = colour_picture(image, telescope)
            channels = [query.get(channel, query["red"]) for channel in ("red", "green", "blue")]
            picture = np.stack([colours[..., 2 - _band(file)] for file in channels], axis=-1)
        if query.get("format", "jpg") != "png":
            return jpeg(picture, 92)
        stream = BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        return Answer(stream.getvalue(), "image/png")


def _band(file: str) -> int:
    """Where a file's filter stands among its telescope's bands, from blue to red."""
    if file.startswith("HST_"):
        return _HUBBLE.index(file.rpartition("_")[2].lower())
    return _STACKS.index(file.split(".stk.")[1][0])
