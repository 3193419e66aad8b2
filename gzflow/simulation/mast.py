"""MAST's cutouts of the simulated deep fields: zcut and HAPCut."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

import numpy as np
from astropy.io import fits

from gzflow.simulation.answer import Answer, Asked, number
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.telescopes import TELESCOPES, Telescope

COUNTS_PER_NANOMAGGY = 25.0
"""Counts a second, at a zero point of 26 mag, as Hubble's cameras have about."""
_MOSAICS = (("hubble", ("F606W", "F775W", "F850LP")), ("candels", ("F814W", "F125W", "F160W")))


class MastService:
    """``/zcut/api/v0.1/astrocut`` and ``/hapcut/api/v0.1/astrocut``: a ZIP with a FITS file for each mosaic."""

    def __init__(self, sky: SimulatedSky) -> None:
        self._sky = sky

    def answer(self, asked: Asked) -> Answer | None:
        """A ZIP; JSON with a ``msg``, and 200, where no mosaic covers the place."""
        if asked.path not in {"/zcut/api/v0.1/astrocut", "/hapcut/api/v0.1/astrocut"}:
            return None
        query = asked.parameters
        ra, dec, side = number(query, "ra"), number(query, "dec"), number(query, "x", 5.0)
        if ra is None or dec is None or side is None:
            return Answer(b"ra, dec and x are numbers", "text/plain", 400)
        stream = BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, filters in _MOSAICS:
                telescope = TELESCOPES[name]
                if not self._sky.covers(ra, dec, telescope) or query.get("survey", name) != name:
                    continue
                degrees = query.get("units") == "d"
                pixels = max(1, round(side * 3600 / telescope.native_pixscale) if degrees else int(side))
                image = self._sky.look(
                    ra, dec, telescope, width=pixels, height=pixels, pixscale=telescope.native_pixscale
                )
                for band, plane in zip(filters, image, strict=True):
                    member = f"hlsp_{name}_hst_{band.lower()}_v1.0_drz_{ra:.6f}_{dec:.6f}_astrocut.fits"
                    archive.writestr(member, _cutout(plane[::-1] * COUNTS_PER_NANOMAGGY, band, telescope, ra, dec))
            empty = not archive.namelist()
        if empty:
            return Answer(json.dumps({"msg": "No cutouts found.", "results": []}).encode(), "application/json")
        return Answer(stream.getvalue(), "application/zip")


def _cutout(plane: np.ndarray, band: str, telescope: Telescope, ra: float, dec: float) -> bytes:
    """FITS with an empty first unit and the image in an extension, row 0 the southern edge."""
    header = fits.Header()
    header["FILTER"] = band
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"] = header["CRPIX2"] = plane.shape[0] / 2 + 0.5
    header["CD1_1"], header["CD2_2"] = -telescope.native_pixscale / 3600, telescope.native_pixscale / 3600
    stream = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane.astype(np.float32), header, name="CUTOUT")]).writeto(stream)
    return stream.getvalue()
