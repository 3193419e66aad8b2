"""Two archives at STScI that are asked twice: which files show a place, then for a picture cut from them by fitscut."""

from __future__ import annotations

import math
import re
import warnings
from abc import abstractmethod
from io import BytesIO

from gzflow.cutouts.check import check_image, empty_share
from gzflow.cutouts.formats import beginning, sniff
from gzflow.cutouts.services.service import (
    Pixels,
    Reply,
    Request,
    Service,
    comma_separated,
    common_problems,
    pictures_only,
    refuse_status,
    usable_target,
)
from gzflow.errors import BadPixels, BlankImage, NoCoverage, NotAnImage, PermanentCutoutError, TruncatedImage
from gzflow.recipe import CutoutSpec

_UNOBSERVED = 0.5
_CHANNELS = {1: ("red",), 3: ("blue", "green", "red")}


class Fitscut(Service):
    """What both have in common: a look-up of files by filter, and a JPEG or PNG stretched by the service.

    Options: ``bands``, one filter for a grey picture or three from blue to red; ``format`` (jpeg or png); and fitscut's
    ``asinh`` and ``autoscale``, the per cent of each image's pixels that its stretch spans. That stretch follows every
    image's own histogram, so brightness means something else in each: for calibrated pictures take FITS elsewhere.

    The field is cut in the files' own pixels and then resized. A field of more pixels than fitscut cuts is refused here
    rather than clamped there. Pictures of one colour, or half black, count as not observed; how fitscut answers outside
    a file is unverified.
    """

    host: str
    largest: int
    options: tuple[str, ...] = ("bands", "format", "asinh", "autoscale")

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Unknown options, formats or numbers of bands, a field that is too wide, or a recipe that wants FITS."""
        found = common_problems(spec, self.options)
        kind = str(spec.options.get("format", "jpeg"))
        if kind not in {"jpeg", "png"}:
            found.append(f"cutout.options.format: {kind!r}, but {spec.service} delivers jpeg or png")
        bands = self.bands(spec)
        if len(bands) not in _CHANNELS:
            found.append(f"cutout.options.bands: {len(bands)} filters, but a picture takes 1, or 3 from blue to red")
        scale = self.native_pixscale(spec)
        if scale is None:
            found.append("cutout.options.native_pixscale: missing: the archive's arcsec per pixel, such as 0.05")
        elif not isinstance(spec.pixscale, str):
            found += self._too_wide(spec, float(spec.pixscale), scale)
        return found + pictures_only(recipe_name, f"{spec.service} delivers pictures")

    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """What is wanted, with the names of filters in place of files."""
        ra, dec, pixscale = usable_target(ra, dec, pixscale)
        native = self.native_pixscale(spec) or pixscale
        if too_wide := self._too_wide(spec, pixscale, native):
            raise PermanentCutoutError(too_wide[0], fix="ask for fewer arcsec, or leave these galaxies out")
        kind = str(spec.options.get("format", "jpeg"))
        params = {
            **self.place(ra, dec),
            "size": str(_native_pixels(spec, pixscale, native)),
            "output_size": str(spec.pixels),
            "format": "jpg" if kind == "jpeg" else "png",
            "filters": ",".join(self.bands(spec)),
        }
        params |= {key: str(spec.options[key]) for key in ("asinh", "autoscale") if key in spec.options}
        base = (spec.url or self.host).rstrip("/")
        return Request(
            f"{base}/cgi-bin/fitscut.cgi", params, "png" if kind == "png" else "jpeg", spec.pixels, spec.pixels
        )

    def prepared(
        self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None, reply: Reply, /
    ) -> Request:
        """The request with the files that the look-up names."""
        lookup = self.preparation(spec, ra, dec, pixscale)
        refuse_status(lookup, reply)
        files = self.files(lookup, reply)
        bands = self.bands(spec)
        missing = [band for band in bands if band.lower() not in files]
        if missing:
            raise NoCoverage(f"{spec.service} has no image of this place in {', '.join(missing)}", where=lookup.where)
        wanted = self.request(spec, ra, dec, pixscale)
        channels = {channel: files[band.lower()] for channel, band in zip(_CHANNELS[len(bands)], bands, strict=True)}
        params = {key: value for key, value in wanted.params.items() if key != "filters"} | channels
        return Request(wanted.url, params, wanted.format, wanted.width, wanted.height)

    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded picture."""
        refuse_status(request, reply)
        try:
            pixels = check_image(reply.content, size=(request.width, request.height), what=request.where).pixels
        except BlankImage as error:
            raise NoCoverage("the files have no pixels here (uniform picture)", where=request.where) from error
        share = empty_share(pixels, 0)
        if share >= _UNOBSERVED:
            raise BadPixels(
                f"{share:.0%} of the picture is black", where=request.where, expected=f"less than {_UNOBSERVED:.0%}"
            )
        return pixels

    @abstractmethod
    def preparation(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None, /) -> Request:
        """The look-up of files."""

    @abstractmethod
    def bands(self, spec: CutoutSpec) -> tuple[str, ...]:
        """The filters that are asked for."""

    @abstractmethod
    def native_pixscale(self, spec: CutoutSpec) -> float | None:
        """Arcsec per pixel of the files; None where the survey must say it and does not."""

    @abstractmethod
    def place(self, ra: float, dec: float) -> dict[str, str]:
        """The position as this fitscut spells it."""

    @abstractmethod
    def files(self, lookup: Request, reply: Reply) -> dict[str, str]:
        """The first file of each filter (lower case) that the look-up lists."""

    def _too_wide(self, spec: CutoutSpec, pixscale: float, native: float) -> list[str]:
        wide = _native_pixels(spec, pixscale, native)
        if wide <= self.largest:
            return []
        field = f"{spec.pixels} pixels of {pixscale:g} arcsec are {wide:,} of the archive's own"
        return [f"cutout.pixscale: {field}, but {spec.service} cuts at most {self.largest:,}"]


class PanStarrs(Fitscut):
    """Pan-STARRS stacks: ``ps1filenames.py``, then ``fitscut.cgi``. Filters g, r, i, z, y; 0.25 arcsec per pixel.

    South of dec -30 the look-up answers with its header line alone.
    """

    name = "panstarrs"
    host = "https://ps1images.stsci.edu"
    largest = 6000

    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """As of every fitscut, and filters that the telescope does not have."""
        found = super().problems(spec, recipe_name)
        if unknown := sorted(set(self.bands(spec)) - set("grizy")):
            found.append(f"cutout.options.bands: {', '.join(unknown)}, but Pan-STARRS observed in g, r, i, z, y")
        return found

    def preparation(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None, /) -> Request:
        """The table of stacked images."""
        ra, dec, _ = usable_target(ra, dec, pixscale)
        base = (spec.url or self.host).rstrip("/")
        params = {**self.place(ra, dec), "filters": "".join(self.bands(spec)), "type": "stack"}
        return Request(f"{base}/cgi-bin/ps1filenames.py", params, "text", 0, 0)

    def bands(self, spec: CutoutSpec) -> tuple[str, ...]:
        """Letters, ``gri`` unless given."""
        return tuple(str(spec.options.get("bands", "gri")))

    def native_pixscale(self, _spec: CutoutSpec) -> float:
        """0.25 arcsec."""
        return 0.25

    def place(self, ra: float, dec: float) -> dict[str, str]:
        """``ra`` and ``dec``."""
        return {"ra": f"{ra:.8f}", "dec": f"{dec:.8f}"}

    def files(self, lookup: Request, reply: Reply) -> dict[str, str]:
        """From a table whose columns are set apart by blanks."""
        rows = [line.split() for line in reply.content.decode("utf-8", "replace").splitlines() if line.strip()]
        if not rows or not {"filter", "filename"} <= set(rows[0]):
            raise NotAnImage(
                f"{sniff(reply.content)} where a table of files should be: {beginning(reply.content)!r}",
                where=lookup.where,
                expected="a header line with the columns filter and filename",
            )
        letter, filename = rows[0].index("filter"), rows[0].index("filename")
        if any(len(row) != len(rows[0]) for row in rows):
            raise TruncatedImage("the table of files ends within a line", where=lookup.where)
        return {row[letter].lower(): row[filename] for row in reversed(rows[1:])}


class HubbleLegacyArchive(Fitscut):
    """The Hubble Legacy Archive: data sets by Simple Image Access (``hlaSIAP.cgi``), then ``fitscut.cgi``.

    Options beside fitscut's: ``bands`` such as ``F435W,F606W,F850LP`` (no default), ``native_pixscale``, the arcsec per
    pixel of the data sets (no default: instruments differ), ``inst`` (ACS). Of several data sets of a filter the first
    that the archive lists is taken.
    """

    name = "hla"
    host = "https://hla.stsci.edu"
    largest = 6000
    """Of its sister at Pan-STARRS; a limit of this archive's own is not published."""
    options = (*Fitscut.options, "native_pixscale", "inst")

    def preparation(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None, /) -> Request:
        """A VOTable of the best images that show the place."""
        ra, dec, _ = usable_target(ra, dec, pixscale)
        base = (spec.url or self.host).rstrip("/")
        params = {
            "POS": f"{ra:.8f},{dec:.8f}",
            "SIZE": "0.001",
            "imagetype": "best",
            "inst": str(spec.options.get("inst", "ACS")),
            "Spectral_Elt": ",".join(band.lower() for band in self.bands(spec)),
            "proprietary": "false",
        }
        return Request(f"{base}/cgi-bin/hlaSIAP.cgi", params, "text", 0, 0)

    def bands(self, spec: CutoutSpec) -> tuple[str, ...]:
        """Names of filters."""
        return comma_separated(spec, "bands")

    def native_pixscale(self, spec: CutoutSpec) -> float | None:
        """The survey's own word."""
        given = spec.options.get("native_pixscale")
        return float(given) if isinstance(given, (int, float)) and given > 0 else None

    def place(self, ra: float, dec: float) -> dict[str, str]:
        """``RA`` and ``Dec``."""
        return {"RA": f"{ra:.8f}", "Dec": f"{dec:.8f}"}

    def files(self, lookup: Request, reply: Reply) -> dict[str, str]:
        """From the columns Dataset and Spectral_Elt."""
        from astropy.io.votable import parse_single_table
        from astropy.io.votable.exceptions import VOWarning

        if sniff(reply.content) != "XML":
            raise NotAnImage(
                f"{sniff(reply.content)} where a VOTable should be: {beginning(reply.content)!r}", where=lookup.where
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table = parse_single_table(BytesIO(reply.content), verify="ignore").to_table()
            names, filters = ([str(value).strip() for value in table[key]] for key in ("Dataset", "Spectral_Elt"))
        except (ValueError, LookupError, TypeError, VOWarning) as error:
            raise NotAnImage(f"the VOTable cannot be read: {error}", where=lookup.where) from error
        rows = [(_filter(text), name) for text, name in zip(filters, names, strict=True) if name]
        return {band: name for band, name in reversed(rows) if band}


def _filter(text: str) -> str | None:
    """The one filter of a data set, lower case: ``F606W;CLEAR2L`` has one, a colour image has several."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word and not word.startswith("clear")]
    return words[0] if len(words) == 1 else None


def _native_pixels(spec: CutoutSpec, pixscale: float, native: float) -> int:
    # A thousandth of a pixel of grace: 424 x 0.25 / 0.25 must not become 425.
    return max(1, math.ceil(spec.pixels * pixscale / native - 1e-3))
