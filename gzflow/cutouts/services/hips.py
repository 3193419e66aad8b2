"""CDS hips2fits: an image of any place from any HiPS, a survey stored as a pyramid of sky tiles."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gzflow.cutouts.check import check_fits, check_image, empty_share, refuse_unobserved
from gzflow.cutouts.services.service import (
    Pixels,
    Reply,
    Request,
    Service,
    common_problems,
    pictures_only,
    refuse_status,
    usable_target,
)
from gzflow.errors import BadPixels, BlankImage, NoCoverage
from gzflow.recipe import CutoutSpec

_OPTIONS = ("hips", "format", "nanomaggies", "projection", "rotation_angle", "stretch", "cmap", "min_cut", "max_cut")
_FORMATS = {"jpeg": "jpg", "png": "png", "fits": "fits"}
_KINDS: dict[str, Literal["jpeg", "png", "fits"]] = {"jpeg": "jpeg", "png": "png", "fits": "fits"}
_UNOBSERVED = 0.5


class Hips2Fits(Service):
    """``hips2fits`` of one HiPS: a JPEG or PNG, or one band as FITS for the recipe ``grey``.

    Options: ``hips`` (no default; such as ``CDS/P/DESI-Legacy-Surveys/DR10/color``), ``format`` (jpeg, png or fits),
    ``projection`` (TAN), ``rotation_angle``, ``stretch``, ``cmap``, ``min_cut`` and ``max_cut``. ``url`` is a mirror.
    Of FITS, ``nanomaggies`` is what one unit of a pixel's value is worth (no default: every HiPS has its own unit).

    Outside a HiPS the picture is blank: of one colour in all of it, or in parts. Whether that is black or white is
    unverified, so both are looked for. Its limit of 50 million pixels lies above the 3000 x 3000 a survey may ask for.
    """

    name = "hips2fits"

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options or formats, no HiPS, or a recipe that wants FITS."""
        found = common_problems(spec, _OPTIONS)
        if not spec.options.get("hips"):
            found.append("cutout.options.hips: missing: which HiPS, such as CDS/P/SDSS9/color")
        if _kind(spec) not in _FORMATS:
            found.append(f"cutout.options.format: {_kind(spec)!r}, but hips2fits delivers jpeg, png or fits")
        if _kind(spec) != "fits":
            return found + pictures_only(recipe_name, f"cutout.options.format is {_kind(spec)}")
        worth = spec.options.get("nanomaggies")
        if not isinstance(worth, (int, float)) or not 0 < worth < math.inf:
            found.append("cutout.options.nanomaggies: missing: what one unit of the HiPS' pixels is worth")
        if recipe_name not in {None, "grey"}:
            found.append(f"image.recipe: {recipe_name}, but a HiPS holds one band, for the recipe grey")
        return found

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """One request; the field of view is that of the larger side, in degrees."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        base = (spec.url or "https://alasky.cds.unistra.fr").rstrip("/").removesuffix("/hips2fits")
        params = {
            "hips": str(spec.options.get("hips", "")),
            "ra": f"{ra:.8f}",
            "dec": f"{dec:.8f}",
            "fov": f"{spec.pixels * pixscale / 3600:.10f}",
            "width": str(spec.pixels),
            "height": str(spec.pixels),
            "projection": str(spec.options.get("projection", "TAN")),
            "coordsys": "icrs",
            "format": _FORMATS[_kind(spec)],
        }
        params |= {key: str(spec.options[key]) for key in _OPTIONS[4:] if key in spec.options}
        path = "" if base.endswith("hips-image-services") else "/hips-image-services"
        return Request(
            f"{base}{path}/hips2fits",
            params,
            _KINDS[_kind(spec)],
            spec.pixels,
            spec.pixels,
            bands=1 if _kind(spec) == "fits" else 3,
            unit=float(spec.options.get("nanomaggies", 1.0)),
        )

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded picture, or (1, H, W) nanomaggies."""
        refuse_status(request, reply)
        if request.format == "fits":
            return self._band(request, reply)
        try:
            pixels = check_image(reply.content, size=(request.width, request.height), what=request.where).pixels
        except BlankImage as error:
            raise NoCoverage(
                f"{request.params['hips']} does not cover this place (uniform picture)", where=request.where
            ) from error
        share = max(empty_share(pixels, 0), empty_share(pixels, 255))
        if share >= _UNOBSERVED:
            raise BadPixels(
                f"{share:.0%} of the picture is blank", where=request.where, expected=f"less than {_UNOBSERVED:.0%}"
            )
        return pixels

    def _band(self, request: Request, reply: Reply) -> Pixels:
        shape = (1, request.height, request.width)
        pixels = check_fits(reply.content, shape=shape, what=request.where, bad_share=math.inf).pixels
        if not (np.isfinite(pixels) & (pixels != 0)).any():
            raise NoCoverage(f"{request.params['hips']} does not cover this place (no pixel)", where=request.where)
        refuse_unobserved(pixels, [request.params["hips"]], request.where)
        return np.multiply(pixels, request.unit, dtype=np.float32)


def _kind(spec: CutoutSpec) -> str:
    return str(spec.options.get("format", "jpeg"))
