"""SDSS SkyServer ImgCutout: colour JPEG of any place in the SDSS imaging."""

from __future__ import annotations

from gzflow.cutouts.check import check_image, empty_share, refuse_uniform
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
from gzflow.errors import BadPixels, NoCoverage
from gzflow.recipe import CutoutSpec

_OPTIONS = ("release", "opt")
_LIMITS = (64, 2048)
_OUTSIDE = b"outside the SDSS footprint"
_BLACK_SHARE = 0.5
_UNOBSERVED = 0.2
"""Share of black blocks at the edge of the imaging; of real sky less than 8 % of the pixels are black."""
_NEWEST, _LETTERS = 19, "GLPSOBFMQI"
_OLD_HOST, _HOST = "http://skyservice.pha.jhu.edu", "https://skyserver.sdss.org"
_OLD = range(7, 12)
"""Releases served by the older host and path. DR7 and DR8 are verified; that DR9 to DR11 lie there too is not."""


class Sdss(Service):
    """``getjpeg`` of the data releases 7 to 19; pixels in i, r, g as R, G, B.

    ``options.release`` is dr17 unless given; the imaging of dr8 and later is one reduction, dr7 (which Galaxy Zoo 2's
    volunteers saw) another. ``options.opt`` are SkyServer's drawing letters (none: nothing is drawn over the galaxy).
    ``url`` is another host, with the release's path appended, or a whole URL that has getjpeg in it.

    Outside the footprint it answers 404, another status with a sentence, or 200 with a black tile that carries the
    sentence as a picture: more than half of such a tile is exactly zero, of real sky less than 8 %.
    """

    name = "sdss"

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options and releases, a size outside 64..2048 pixels, or a recipe that wants FITS."""
        found = common_problems(spec, _OPTIONS)
        low, high = _LIMITS
        if not low <= spec.pixels <= high:
            found.append(f"cutout.pixels: {spec.pixels}, but SkyServer draws {low} to {high} pixels")
        if _release(spec) is None:
            found.append(f"cutout.options.release: {spec.options['release']!r} is none of dr7 to dr{_NEWEST}")
        if not set(str(spec.options.get("opt", "")).upper()) <= set(_LETTERS):
            found.append(f"cutout.options.opt: {spec.options['opt']!r} has other letters than {_LETTERS}")
        return found + pictures_only(recipe_name, "SkyServer delivers JPEG")

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """One getjpeg request, with the scale and size that are wanted."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        params = {
            "ra": f"{ra:.8f}",
            "dec": f"{dec:.8f}",
            "scale": f"{pixscale:.8f}",
            "width": str(spec.pixels),
            "height": str(spec.pixels),
            "opt": str(spec.options.get("opt", "")),
        }
        return Request(_url(spec), params, "jpeg", spec.pixels, spec.pixels)

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
        share = empty_share(checked.pixels, 0)
        if share >= _UNOBSERVED:
            raise BadPixels(
                f"{share:.0%} of the picture is black", where=request.where, expected=f"less than {_UNOBSERVED:.0%}"
            )
        return checked.pixels

    def _outside(self, request: Request) -> NoCoverage:
        return NoCoverage("outside the SDSS footprint", where=request.where)


def _release(spec: CutoutSpec) -> int | None:
    text = str(spec.options.get("release", "dr17")).lower()
    number = int(text[2:]) if text[:2] == "dr" and text[2:].isdecimal() else 0
    return number if 7 <= number <= _NEWEST else None


def _url(spec: CutoutSpec) -> str:
    release = _release(spec)
    old = release in _OLD
    base = (spec.url or (_OLD_HOST if old else _HOST)).rstrip("/")
    if "getjpeg" in base:
        return base
    if old:
        return f"{base}/DR{release}/ImgCutout/getjpeg.aspx"
    return f"{base}/dr{release}/SkyServerWS/ImgCutout/getjpeg"
