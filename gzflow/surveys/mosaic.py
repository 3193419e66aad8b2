"""The ``[mosaic]`` table: where a survey's FITS tiles lie in a folder, and how cutouts are made from them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

_TOKEN = re.compile(r"\{([A-Za-z_]\w*)\}|\*\*/|\*|\?")

Form: TypeAlias = Literal["png", "png-compressed", "jpeg"]


class Mosaic(BaseModel):
    """FITS tiles with a WCS: one file a band and tile.

    Attributes
    ----------
    bands
        Band name -> pattern of its files' paths, in the order that the recipe wants. ``*`` and ``?`` stand for
        anything within a name, ``**/`` for any folders; ``{tile}`` (or several such, ``{tract}_{patch}``) for what
        the files of one tile have in common and other tiles have not. A pattern may begin anywhere below the folder.
    hdu
        Number or name of the unit that holds the image; None is the first with two axes.
    zero_point
        AB magnitude of one unit of the tiles' pixels, for all bands or each: 22.5 for nanomaggies, 31.4 for nJy, the
        header's own for counts. Recipes count nanomaggies; None hands the pixels on as they are.
    pixels, pixscale
        Side of the picture and arcsec per pixel at that side, as in ``[cutout]``; given here only where the survey has
        no ``[cutout]``, since one catalog has one scale.
    format
        ``png`` (as it is, the fastest), ``png-compressed`` (the same pixels in about three quarters of the space), or
        ``jpeg`` (quality 95, a sixth).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Annotated[dict[str, str], Field(min_length=1)]
    hdu: Annotated[int, Field(ge=0)] | str | None = None
    zero_point: float | dict[str, float] | None = None
    pixels: Annotated[int, Field(ge=16, le=3000)] | None = None
    pixscale: str | Annotated[float, Field(gt=0)] | None = None
    format: Form = "png"

    def nanomaggies(self) -> tuple[float, ...]:
        """For each band what one unit of its pixels is in nanomaggies, or 1 where they are taken as they are."""
        if self.zero_point is None:
            return (1.0,) * len(self.bands)
        given = self.zero_point
        points = [given[band] if isinstance(given, dict) else given for band in self.bands]
        return tuple(10 ** (0.4 * (22.5 - point)) for point in points)

    def problems(self, *, has_cutout: bool, has_positions: bool) -> list[str]:
        """What is wrong with the table in a survey that has these other parts."""
        found = []
        given = self.pixels is not None or self.pixscale is not None
        if has_cutout and given:
            found.append("mosaic: pixels and pixscale are those of [cutout]; leave them out here")
        if not has_cutout and (self.pixels is None or self.pixscale is None):
            found.append("mosaic: give pixels and pixscale, since the survey has no [cutout] that says them")
        if not has_positions:
            found.append("mosaic: catalog.ra and catalog.dec are needed to find a galaxy on its tile")
        if isinstance(self.zero_point, dict) and self.zero_point.keys() != self.bands.keys():
            found.append(f"mosaic.zero_point: give one number, or one for each of {', '.join(self.bands)}")
        names = {band: placeholders(pattern) for band, pattern in self.bands.items()}
        if len(set(names.values())) > 1:
            listed = ", ".join(f"{band}: {' '.join(sorted(some)) or 'none'}" for band, some in names.items())
            found.append(f"mosaic.bands: all patterns must use the same placeholders ({listed})")
        for band, pattern in self.bands.items():
            if set("{}") & set(_TOKEN.sub("", pattern)):
                found.append(f"mosaic.bands.{band}: {pattern!r} has braces that are no placeholder such as {{tile}}")
            if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
                found.append(f"mosaic.bands.{band}: {pattern!r} must stay below the folder given with --images")
        return found


def placeholders(pattern: str) -> frozenset[str]:
    """Names in braces of a band's pattern."""
    return frozenset(name for name in _TOKEN.findall(pattern) if name)


def matcher(pattern: str) -> re.Pattern[str]:
    """A regular expression for whole relative paths (``/`` between parts); groups are the pattern's placeholders."""
    parts, known, at = ["(?:.*/)?"], set[str](), 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[at : token.start()]))
        at = token.end()
        name = token[1]
        if name:
            parts.append(f"(?P={name})" if name in known else f"(?P<{name}>[^/]+?)")
            known.add(name)
        else:
            parts.append({"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}[token[0]])
    parts.append(re.escape(pattern[at:]))
    return re.compile("".join(parts))
