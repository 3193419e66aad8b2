"""CDS hips2fits: a colour picture of any place from any HiPS, a survey stored as a pyramid of sky tiles."""

from __future__ import annotations

from gzflow.cutouts.check import check_image, empty_share
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

_OPTIONS = ("hips", "format", "projection", "rotation_angle", "stretch", "cmap", "min_cut", "max_cut")
_FORMATS = {"jpeg": "jpg", "png": "png"}
_UNOBSERVED = 0.5


class Hips2Fits(Service):
    """``hips2fits`` with a JPEG or PNG of a HiPS.

    Options: ``hips`` (no default; such as ``CDS/P/DESI-Legacy-Surveys/DR10/color``), ``format`` (jpeg or png),
    ``projection`` (TAN), ``rotation_angle``, ``stretch``, ``cmap``, ``min_cut`` and ``max_cut``. ``url`` is a mirror.
    FITS is not asked for: a HiPS of calibrated pixels holds one band, and a recipe wants several.

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
            found.append(f"cutout.options.format: {_kind(spec)!r}, but gzflow asks hips2fits for jpeg or png")
        return found + pictures_only(recipe_name, "hips2fits is asked for pictures")

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
            "format": _FORMATS.get(_kind(spec), "jpg"),
        }
        params |= {key: str(spec.options[key]) for key in _OPTIONS[3:] if key in spec.options}
        path = "" if base.endswith("hips-image-services") else "/hips-image-services"
        return Request(
            f"{base}{path}/hips2fits",
            params,
            "png" if _kind(spec) == "png" else "jpeg",
            spec.pixels,
            spec.pixels,
        )

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded picture."""
        refuse_status(request, reply)
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


def _kind(spec: CutoutSpec) -> str:
    return str(spec.options.get("format", "jpeg"))
