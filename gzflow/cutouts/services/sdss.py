"""SDSS SkyServer ImgCutout: colour JPEG of any place in the SDSS imaging."""

from __future__ import annotations

from gzflow.cutouts.check import check_image, refuse_uniform
from gzflow.cutouts.services.service import (
    Pixels,
    Reply,
    Request,
    Service,
    common_problems,
    refuse_status,
    usable_target,
)
from gzflow.errors import NoCoverage
from gzflow.recipe import CutoutSpec

_OPTIONS = ("release", "opt")
_LIMITS = (64, 2048)
_OUTSIDE = b"outside the SDSS footprint"
_BLACK_SHARE = 0.5


class Sdss(Service):
    """``getjpeg`` of the data releases 8 and later; pixels in i, r, g as R, G, B.

    ``options.release`` is dr17 unless given; ``options.opt`` are SkyServer's drawing letters (none: nothing is drawn
    over the galaxy). ``url`` is another host, with the release's path appended, or a whole URL that ends in getjpeg.

    Outside the footprint it answers 404, another status with a sentence, or 200 with a black tile that carries the
    sentence as a picture: more than half of such a tile is exactly zero, of real sky less than 8 %.
    """

    name = "sdss"

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options, a size outside 64..2048 pixels, or a recipe that wants FITS."""
        found = common_problems(spec, _OPTIONS)
        low, high = _LIMITS
        if not low <= spec.pixels <= high:
            found.append(f"cutout.pixels: {spec.pixels}, but SkyServer draws {low} to {high} pixels")
        if recipe_name not in {None, "as-delivered"}:
            found.append(f"image.recipe: {recipe_name} needs FITS bands, but SkyServer delivers JPEG")
        return found

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """One getjpeg request, with the scale and size that are wanted."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        base = (spec.url or "https://skyserver.sdss.org").rstrip("/")
        release = spec.options.get("release", "dr17")
        whole = base if "getjpeg" in base else f"{base}/{release}/SkyServerWS/ImgCutout/getjpeg"
        params = {
            "ra": f"{ra:.8f}",
            "dec": f"{dec:.8f}",
            "scale": f"{pixscale:.8f}",
            "width": str(spec.pixels),
            "height": str(spec.pixels),
            "opt": str(spec.options.get("opt", "")),
        }
        return Request(whole, params, "jpeg", spec.pixels, spec.pixels)

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded JPEG."""
        if reply.status != 200 and (_OUTSIDE in reply.content or _OUTSIDE.decode() in reply.reason):
            raise self._outside(request)
        refuse_status(request, reply)
        size = (request.width, request.height)
        checked = check_image(reply.content, size=size, what=request.where, allow_blank=True)
        if (checked.pixels.max(axis=-1) == 0).mean() > _BLACK_SHARE:
            raise self._outside(request)
        refuse_uniform(checked.pixels, request.where)
        return checked.pixels

    def _outside(self, request: Request) -> NoCoverage:
        return NoCoverage("outside the SDSS footprint", where=request.where)
