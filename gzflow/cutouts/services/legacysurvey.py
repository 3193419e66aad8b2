"""The DESI Legacy Surveys viewer: JPEG and FITS cutouts of many layers."""

from __future__ import annotations

import math

from gzflow.cutouts.check import check_fits, check_image, empty_share
from gzflow.cutouts.formats import beginning
from gzflow.cutouts.services.service import (
    Pixels,
    Reply,
    Request,
    Service,
    band_problems,
    common_problems,
    pictures_only,
    refuse_status,
    usable_target,
)
from gzflow.errors import BadPixels, BlankImage, NoCoverage, Refused
from gzflow.recipe import CutoutSpec

_OPTIONS = ("layer", "format", "bands")
_LARGEST = 3000
_NATIVE = {"sdss": 0.396, "hsc-dr2": 0.168, "hsc-dr3": 0.168}
_NATIVE_ELSEWHERE = 0.262
_LARGEST_NATIVE = 512
_TILE = {"sdss": 22}
_TILE_ELSEWHERE = 32
_UNOBSERVED = 0.2


class LegacySurvey(Service):
    """``jpeg-cutout`` and ``fits-cutout`` of the viewer.

    Options: ``layer`` (ls-dr9), ``format`` (jpeg or fits), ``bands`` (grz). ``url`` is another host, with
    ``/viewer/...`` appended.

    A JPEG is asked for at the wanted scale and size. FITS is asked for as Galaxy Zoo DECaLS did, at the camera's own
    scale (0.262 arcsec per pixel, of the layer sdss 0.396), so that noise keeps its grain, or in 512 pixels where the
    galaxy is larger than that.

    Where it has no images, the viewer answers 200 with a uniform grey JPEG, or 500 to a request for FITS. Since 500 may
    also be trouble, a small JPEG of the same place decides (`second_opinion`). An unknown layer is 200 with a sentence;
    sizes above 3000 pixels would silently be cut to that, so they are refused before they are sent.
    """

    name = "legacysurvey"

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options, too many pixels, and bands or formats that the recipe cannot use."""
        found = common_problems(spec, _OPTIONS)
        kind = _kind(spec)
        if kind not in {"jpeg", "fits"}:
            found.append(f"cutout.options.format: {kind!r}, but the viewer delivers jpeg or fits")
        if spec.pixels > _LARGEST:
            found.append(f"cutout.pixels: {spec.pixels}, but the viewer draws at most {_LARGEST} pixels")
        if kind != "fits":
            return found + pictures_only(recipe_name, f"cutout.options.format is {kind}")
        return found + band_problems(_bands(spec), recipe_name)

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """One request; `pixscale` is arcsec per pixel at ``spec.pixels``, whatever is then asked for."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        kind = _kind(spec)
        size, scale = spec.pixels, pixscale
        if kind == "fits":
            extent = spec.pixels * pixscale
            grain = _NATIVE.get(_layer(spec), _NATIVE_ELSEWHERE)
            native = math.ceil(round(extent / grain, 6))  # 48 pixels of the grain are 48, not 49 for a rounding error
            size, scale = (native, grain) if native < _LARGEST_NATIVE else (_LARGEST_NATIVE, extent / _LARGEST_NATIVE)
        base = (spec.url or "https://www.legacysurvey.org").rstrip("/").removesuffix("/viewer")
        params = {
            "ra": f"{ra:.8f}",
            "dec": f"{dec:.8f}",
            "layer": _layer(spec),
            "pixscale": f"{scale:.8f}",
            "size": str(size),
            "bands": _bands(spec),
        }
        fits = kind == "fits"
        return Request(
            f"{base}/viewer/{'fits' if fits else 'jpeg'}-cutout",
            params,
            "fits" if fits else "jpeg",
            size,
            size,
            bands=len(_bands(spec)) if fits else 3,
        )

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded JPEG, or FITS bands in nanomaggies."""
        refuse_status(request, reply)
        layer = request.params["layer"]
        if reply.content[:64].strip().lower().startswith(b"no such layer"):
            raise Refused(
                f"the viewer has no layer {layer!r}: it said {beginning(reply.content)!r}",
                where=request.where,
                expected="a layer such as ls-dr9, ls-dr10, decals-dr5, ls-dr8 or sdss",
                fix="correct cutout.options.layer in the survey's TOML",
            )
        if request.format == "fits":
            shape = (request.bands, request.height, request.width)
            image = check_fits(reply.content, shape=shape, what=request.where)
            if image.bands not in {"", request.params["bands"]}:
                raise Refused(
                    f"the viewer delivered the bands {image.bands}",
                    where=request.where,
                    expected=request.params["bands"],
                    fix="ask for bands, in an order, that the layer has",
                )
            return image.pixels
        try:
            pixels = check_image(reply.content, size=(request.width, request.height), what=request.where).pixels
        except BlankImage as error:
            raise NoCoverage(
                f"layer {layer} has no images of this place (uniform tile)", where=request.where
            ) from error
        share = empty_share(pixels, _TILE.get(layer, _TILE_ELSEWHERE))
        if share >= _UNOBSERVED:
            raise BadPixels(
                f"{share:.0%} of the picture was not observed (stripes of the grey that stands for nothing)",
                where=request.where,
                expected=f"less than {_UNOBSERVED:.0%}",
            )
        return pixels

    def second_opinion(self, request: Request, status: int, /) -> Request | None:
        """A 64 px JPEG of the same field after FITS answered 500: blank means that there is nothing to deliver."""
        if request.format != "fits" or status != 500:
            return None
        scale = float(request.params["pixscale"]) * request.width / 64
        params = {**request.params, "pixscale": f"{scale:.8f}", "size": "64"}
        return Request(request.url.replace("/fits-cutout", "/jpeg-cutout"), params, "jpeg", 64, 64)


def _kind(spec: CutoutSpec) -> str:
    return str(spec.options.get("format", "jpeg"))


def _layer(spec: CutoutSpec) -> str:
    return str(spec.options.get("layer", "ls-dr9"))


def _bands(spec: CutoutSpec) -> str:
    return str(spec.options.get("bands", "grz"))
