"""The Legacy Survey viewer's cutouts: JPEG and FITS."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gzflow.simulation.answer import Answer, Asked, jpeg, number, page
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import TELESCOPES, Telescope

LARGEST = 3000
"""Pixels a side; more are cut to this without a word, as the viewer does."""
EMPTY_GREY = {"sdss": 22}
EMPTY_GREY_ELSEWHERE = 32
_LAYERS = frozenset({"decals-dr5", "decals-dr7", "ls-dr8", "ls-dr9", "ls-dr10", "ls-dr10-grz", "ls-dr11", "sdss"})
_ALIASES = {"dr8": "ls-dr8", "sdss2": "sdss"}
# The layer holds u, g, r, i and z; telescopes here look through three filters at a time.
_SDSS_GRZ = replace(TELESCOPES["sdss"], bands=("g", "r", "z"), microns=(0.475, 0.622, 0.905), depth=(23.1, 22.7, 20.7))
_JPEG_PATHS = ("/jpeg-cutout", "/cutout.jpg")
_FITS_PATHS = ("/fits-cutout", "/cutout.fits")


class LegacySurveyService:
    """``/viewer/jpeg-cutout`` and ``/viewer/fits-cutout``, also spelt ``cutout.jpg`` and ``cutout.fits``."""

    def __init__(self, sky: SimulatedSky) -> None:
        self._sky = sky

    def answer(self, asked: Asked) -> Answer | None:
        """A cutout; 400 without a position, 200 with a sentence for an unknown layer."""
        wants_fits = asked.path.endswith(_FITS_PATHS)
        if not wants_fits and not asked.path.endswith(_JPEG_PATHS):
            return None
        query = asked.parameters
        ra, dec = number(query, "ra"), number(query, "dec")
        if ra is None or dec is None:
            return Answer(b"Need ra,dec keywords", "text/plain", 400)
        layer = query.get("layer", "ls-dr9").replace(" ", "+")
        layer = _ALIASES.get(layer, layer)
        if layer not in _LAYERS:
            return Answer(b"no such layer", "text/plain")
        bands = query.get("bands") or ("gri" if layer == "sdss" else "grz")
        telescope = self._sky.camera
        if layer == "sdss":
            telescope = _SDSS_GRZ if wants_fits and "z" in bands else TELESCOPES["sdss"]
        pixscale = number(query, "pixscale")
        if pixscale is None or pixscale <= 0:
            pixscale = telescope.native_pixscale * 2 ** (14 - (number(query, "zoom") or 14))
        size = number(query, "size") or 256
        width, height = (int(np.clip(number(query, side) or size, 1, LARGEST)) for side in ("width", "height"))
        covered = self._sky.covers(ra, dec, telescope)
        if wants_fits and not covered:
            return Answer(page("Server Error (500)"), status=500)
        if not covered:
            return jpeg(np.full((height, width, 3), _empty_grey(layer), np.uint8), 90)
        image = self._sky.look(ra, dec, telescope, width=width, height=height, pixscale=pixscale)
        if wants_fits:
            return _fits(image, bands, telescope, layer, (ra, dec), pixscale)
        picture = colour_picture(image, telescope)
        picture[(image == 0).all(axis=0)] = _empty_grey(layer)
        return jpeg(picture, 90)


def _empty_grey(layer: str) -> int:
    return EMPTY_GREY.get(layer, EMPTY_GREY_ELSEWHERE)


def _fits(
    image: NDArray[np.float32],
    bands: str,
    telescope: Telescope,
    layer: str,
    place: tuple[float, float],
    pixscale: float,
) -> Answer:
    """FITS as the viewer writes it: float32 (bands, H, W), one band alone (H, W), row 0 the southern edge."""
    letters = [band[0] for band in telescope.bands] if telescope.name in {"sdss", "decals"} else ["g", "r", "z"]
    chosen = [letter for letter in bands if letter in letters]
    if not chosen:
        return Answer(page("Server Error (500)"), status=500)
    pixels = image[[letters.index(letter) for letter in chosen], ::-1]
    height, width = pixels.shape[1:]
    header = fits.Header()
    header["SURVEY"] = "LegacySurvey"
    header["VERSION"] = layer.rpartition("-")[2].upper()
    header["IMAGETYP"] = "image"
    header["BANDS"] = "".join(chosen)
    for i, letter in enumerate(chosen):
        header[f"BAND{i}"] = letter
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = place
    header["CRPIX1"], header["CRPIX2"] = width / 2 + 0.5, height / 2 + 0.5
    header["CD1_1"], header["CD1_2"] = -pixscale / 3600, 0.0
    header["CD2_1"], header["CD2_2"] = 0.0, pixscale / 3600
    header["IMAGEW"], header["IMAGEH"] = float(width), float(height)
    stream = BytesIO()
    fits.PrimaryHDU(pixels[0] if len(chosen) == 1 else pixels, header).writeto(stream)
    name = f"cutout_{place[0]:.4f}_{place[1]:.4f}.fits"
    return Answer(stream.getvalue(), "image/fits", headers={"Content-Disposition": f'attachment; filename="{name}"'})
