"""SDSS SkyServer's ImgCutout: colour JPEG of the SDSS imaging."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from gzflow.simulation.answer import Answer, Asked, jpeg, number
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import TELESCOPES

Outside = Literal["tile", "not-found", "text"]
OUTSIDE_TEXT = "Requested (ra, dec) is outside the SDSS footprint."
SMALLEST, LARGEST = 64, 2048
_PATH = re.compile(r"/imgcutout(dr\d+)?/getjpeg(\.aspx)?$", re.IGNORECASE)


class SkyServerService:
    """``getjpeg`` of every release and spelling.

    Parameters
    ----------
    outside
        How it says that a place was not observed: ``tile``, 200 with a black picture that carries the sentence;
        ``not-found``, 404 with the sentence as reason; ``text``, 400 with the sentence as body.
    """

    def __init__(self, sky: SimulatedSky, outside: Outside = "tile") -> None:
        self._sky = sky
        self._outside = outside

    def answer(self, asked: Asked) -> Answer | None:
        """A picture of `width` x `height` pixels, `scale` arcsec each."""
        if not _PATH.search(asked.path):
            return None
        query = {name.lower(): value for name, value in asked.parameters.items()}
        ra, dec = number(query, "ra"), number(query, "dec")
        width, height = int(number(query, "width") or 512), int(number(query, "height") or 512)
        if ra is None or dec is None:
            return Answer(b"Parameters ra and dec are required.", "text/plain", 400)
        if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
            return Answer(f"width and height must lie in {SMALLEST}..{LARGEST}".encode(), "text/plain", 400)
        telescope = TELESCOPES["sdss"]
        scale = number(query, "scale") or telescope.native_pixscale
        if not self._sky.covers(ra, dec, telescope):
            return self._nothing(width, height)
        image = self._sky.look(ra, dec, telescope, width=width, height=height, pixscale=scale)
        picture = Image.fromarray(colour_picture(image, telescope))
        if query.get("opt", ""):
            # Grids, labels and outlines cover the pixels: a client that asks for them spoils its images.
            draw = ImageDraw.Draw(picture)
            draw.line([(width / 2, 0), (width / 2, height)], fill=(0, 255, 0))
            draw.line([(0, height / 2), (width, height / 2)], fill=(0, 255, 0))
        return jpeg(np.asarray(picture), 92)

    def _nothing(self, width: int, height: int) -> Answer:
        if self._outside == "not-found":
            return Answer(b"", "text/plain", 404, f"NOT FOUND. {OUTSIDE_TEXT}")
        if self._outside == "text":
            return Answer(OUTSIDE_TEXT.encode(), "text/plain", 400)
        tile = Image.new("RGB", (width, height))
        half = OUTSIDE_TEXT.index("outside")
        ImageDraw.Draw(tile).text(
            (4, height // 3), f"{OUTSIDE_TEXT[:half]}\n{OUTSIDE_TEXT[half:]}", fill=(255, 255, 255)
        )
        return jpeg(np.asarray(tile), 92)
