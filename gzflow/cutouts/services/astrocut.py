"""MAST's cutouts of Hubble mosaics: zcut for the deep fields, HAPCut for every visit."""

from __future__ import annotations

import json
import math
import re
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.check import CheckedFits, check_fits, refuse_unobserved
from gzflow.cutouts.formats import sniff
from gzflow.cutouts.services.service import (
    Pixels,
    Reply,
    Request,
    Service,
    band_problems,
    comma_separated,
    common_problems,
    refuse_status,
    usable_target,
)
from gzflow.cutouts.services.zipped import members
from gzflow.errors import NoCoverage, NotAnImage, WrongSize
from gzflow.recipe import CutoutSpec

_LINEAR = re.compile(r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]|(CD|PC)[12]_[12]|LONPOLE|LATPOLE|EQUINOX|RADESYS")
_ROUNDING = 1.5
"""Pixels by which a cutout's side may differ from the degrees that were asked for."""


class Astrocut(Service):
    """``astrocut`` of one of MAST's services: a ZIP of FITS files, one for each mosaic that covers the place.

    Options: ``bands``, filters from blue to red such as ``F606W,F850LP`` (no default). The field is asked for in
    degrees, and each cutout keeps its mosaic's pixels; so the returned size is compared through its WCS, and coarser
    bands are brought to the finest one's pixels, their flux per pixel with them. A filter is recognised by FILTER,
    FILTER1 or FILTER2 of the header or by the file's name; of several mosaics in one filter, the one with most observed
    pixels is taken.

    Where it has no images it answers 200 with JSON whose ``msg`` says so.
    """

    path: str
    options: tuple[str, ...] = ("bands",)

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options, no bands, or a recipe that wants others."""
        bands = comma_separated(spec, "bands")
        found = common_problems(spec, self.options)
        if not bands:
            return [*found, "cutout.options.bands: missing: filters from blue to red, such as F606W,F850LP"]
        return found + band_problems(bands, recipe_name)

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """One request, in degrees; the picture that the recipe makes has `spec.pixels`."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        base = (spec.url or "https://mast.stsci.edu").rstrip("/")
        side = f"{spec.pixels * pixscale / 3600:.10f}"
        params = {"ra": f"{ra:.8f}", "dec": f"{dec:.8f}", "x": side, "y": side, "units": "d"}
        params |= {key: str(spec.options[key]) for key in self.options if key != "bands" and key in spec.options}
        bands = comma_separated(spec, "bands")
        return Request(
            f"{base}/{self.path}", params, "fits", spec.pixels, spec.pixels, bands=len(bands), band_names=bands
        )

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """(bands, H, W) in the finest band's pixels."""
        refuse_status(request, reply)
        if sniff(reply.content) == "JSON":
            raise _message(request, reply)
        found: dict[str, CheckedFits] = {}
        for name, content in members(reply.content, request.where):
            if not name.lower().endswith((".fits", ".fit")):
                continue
            what = f"{request.where} ({name})"
            image = check_fits(content, shape=None, what=what, bad_share=math.inf)
            band = _band(name, image.header, request.band_names)
            if band is None:
                continue
            _refuse_other_size(image, request, what)
            if band not in found or _observed(image) > _observed(found[band]):
                found[band] = image
        missing = [band for band in request.band_names if band not in found]
        if missing:
            raise NoCoverage(f"no mosaic in {', '.join(missing)} covers this place", where=request.where)
        pixels = _on_one_grid([found[band].pixels[0] for band in request.band_names])
        refuse_unobserved(pixels, request.band_names, request.where)
        return pixels


class Zcut(Astrocut):
    """CANDELS, GOODS, 3D-HST and other deep fields. Option ``survey`` restricts to one of them."""

    name = "zcut"
    path = "zcut/api/v0.1/astrocut"
    options = ("bands", "survey")


class HapCut(Astrocut):
    """Hubble Advanced Products: every visit's drizzled images."""

    name = "hapcut"
    path = "hapcut/api/v0.1/astrocut"


def _message(request: Request, reply: Reply) -> NoCoverage | NotAnImage:
    try:
        said = json.loads(reply.content)
    except (ValueError, RecursionError) as error:
        return NotAnImage(f"JSON that cannot be read: {error}", where=request.where, expected="a ZIP of FITS files")
    if isinstance(said, dict) and "msg" in said:
        return NoCoverage(f"the service has no images of this place: {said['msg']}", where=request.where)
    return NotAnImage(
        f"JSON without a msg: {str(said)[:80]}", where=request.where, expected="a ZIP of FITS files, or JSON with msg"
    )


def _band(name: str, header: dict[str, Any], bands: tuple[str, ...]) -> str | None:
    said = [str(header.get(key, "")).strip().lower() for key in ("FILTER", "FILTER1", "FILTER2")]
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    return next((band for band in bands if band.lower() in said or band.lower() in words), None)


def _refuse_other_size(image: CheckedFits, request: Request, what: str) -> None:
    """Raise where a cutout is no image of one band, or does not span the degrees that were asked for."""
    if len(image.pixels) != 1:
        raise WrongSize(f"the FITS image has {len(image.pixels)} planes", where=what, expected="one plane in each file")
    across, up = _pixel_scales(image.header, what)
    height, width = image.pixels.shape[1:]
    asked = float(request.params["x"])
    if abs(width - asked / across) > _ROUNDING or abs(height - asked / up) > _ROUNDING:
        raise WrongSize(
            f"the FITS image is {width} x {height} pixels of {across * 3600:.3f} arcsec",
            where=what,
            expected=f"{asked * 3600:.2f} arcsec a side, {asked / across:.1f} x {asked / up:.1f} pixels",
        )


def _pixel_scales(header: dict[str, Any], what: str) -> tuple[float, float]:
    """Degrees per pixel along both axes, of the projection without its distortions."""
    from astropy.io import fits
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(fits.Header({key: value for key, value in header.items() if _LINEAR.fullmatch(key)}), naxis=2)
            across, up = proj_plane_pixel_scales(wcs) if wcs.has_celestial else (0.0, 0.0)
        except (ValueError, TypeError) as error:
            raise NotAnImage(f"the FITS image's WCS is damaged: {error}", where=what) from error
    if not (0 < across < math.inf and 0 < up < math.inf):
        raise NotAnImage("the FITS image does not say where on the sky it lies", where=what, expected="a celestial WCS")
    return float(across), float(up)


def _observed(image: CheckedFits) -> float:
    return float(((image.pixels != 0) & np.isfinite(image.pixels)).mean())


def _on_one_grid(planes: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(bands, H, W) of the finest plane's shape; flux per pixel shrinks with the pixel's area."""
    height, width = max(plane.shape[0] for plane in planes), max(plane.shape[1] for plane in planes)
    regridded = [
        plane
        if plane.shape == (height, width)
        else cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) * (plane.size / (height * width))
        for plane in planes
    ]
    return np.stack(regridded).astype(np.float32)
