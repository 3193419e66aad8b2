"""CDS hips2fits over the simulated sky."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from astropy.io import fits
from PIL import Image

from gzflow.simulation.answer import Answer, Asked, jpeg, number
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import TELESCOPES, Telescope

MOST_PIXELS = 50_000_000
_TELESCOPES = {"sdss": "sdss", "hst": "hubble"}


class HipsService:
    """``/hips-image-services/hips2fits``: JPEG, PNG and FITS; black, or NaN, where the HiPS ends."""

    def __init__(self, sky: SimulatedSky) -> None:
        self._sky = sky

    def answer(self, asked: Asked) -> Answer | None:
        """A picture; 400 without a HiPS or place, or with too many pixels."""
        if not asked.path.endswith("/hips2fits"):
            return None
        query = asked.parameters
        ra, dec, fov = number(query, "ra"), number(query, "dec"), number(query, "fov")
        width, height = int(number(query, "width") or 0), int(number(query, "height") or 0)
        if not query.get("hips") or ra is None or dec is None or fov is None or min(width, height) < 1:
            return Answer(b"hips, ra, dec, fov, width and height are needed", "text/plain", 400)
        if width * height > MOST_PIXELS:
            return Answer(b"The generated image would be too large", "text/plain", 400)
        names = [name for word, name in _TELESCOPES.items() if word in query["hips"].lower()]
        telescope = TELESCOPES[names[0]] if names else self._sky.camera
        if query.get("format") == "fits":
            return self._fits(ra, dec, telescope, width, height, fov * 3600 / max(width, height))
        picture = np.zeros((height, width, 3), np.uint8)
        if self._sky.covers(ra, dec, telescope):
            scale = fov * 3600 / max(width, height)
            image = self._sky.look(ra, dec, telescope, width=width, height=height, pixscale=scale)
            picture = colour_picture(image, telescope)
        if query.get("format") != "png":
            return jpeg(picture, 92)
        stream = BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        return Answer(stream.getvalue(), "image/png")

    def _fits(self, ra: float, dec: float, telescope: Telescope, width: int, height: int, scale: float) -> Answer:
        """The middle band, row 0 the southern edge."""
        plane = np.full((height, width), np.nan, np.float32)
        if self._sky.covers(ra, dec, telescope):
            plane = self._sky.look(ra, dec, telescope, width=width, height=height, pixscale=scale)[1, ::-1]
        stream = BytesIO()
        fits.PrimaryHDU(plane).writeto(stream)
        return Answer(stream.getvalue(), "image/fits")
