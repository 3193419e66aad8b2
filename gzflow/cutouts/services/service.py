"""What every cutout service has in common: requests, replies, and the meaning of HTTP status codes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from numpy.typing import NDArray

from gzflow.cutouts.formats import beginning
from gzflow.cutouts.politeness import retry_after
from gzflow.cutouts.rgb import RECIPE_BANDS
from gzflow.errors import PermanentCutoutError, RateLimited, Refused, ServiceUnavailable, TransientCutoutError
from gzflow.recipe import CutoutSpec

Pixels = NDArray[Any]
"""(H, W, 3) uint8 RGB of a delivered picture, or (bands, H, W) float32 of a delivered FITS image."""

_ASK_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Request:
    """One GET request and the size of the image that must come back.

    Attributes
    ----------
    url, params
        Where, and the query.
    format
        What the answer holds: ``jpeg``, ``png``, ``fits`` bands that become a picture by the survey's recipe, or
        ``text`` of a look-up.
    width, height
        Pixels.
    bands
        Number of planes of a FITS image; 3 for a picture.
    band_names
        Filters that are picked from what comes, where the request itself cannot name them.
    unit
        What one unit of a FITS image's values is worth, in the recipe's.
    """

    url: str
    params: Mapping[str, str] = field(hash=False)
    format: Literal["jpeg", "png", "fits", "text"]
    width: int
    height: int
    bands: int = 3
    band_names: tuple[str, ...] = ()
    unit: float = 1.0

    @cached_property
    def where(self) -> str:
        """The whole URL, for messages: it can be pasted into a browser."""
        return f"{self.url}?{urlencode(self.params)}"

    @property
    def suffix(self) -> str:
        """Of the file that the image is kept in: pictures as they came, FITS as the PNG that a recipe made of it."""
        return ".jpg" if self.format == "jpeg" else ".png"

    @property
    def host(self) -> str:
        """Host and port that the rate limit and the circuit breaker are about."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are lower case."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    reason: str = ""


class Service(ABC):
    """What fetching needs to know about a service; implementations hold no state.

    Most services are asked once for each galaxy. One that must be asked where its images lie before it can cut any
    offers a `preparation`, and turns that look-up's reply into the request for the image with `prepared`.
    """

    name: str

    @abstractmethod
    def problems(self, spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
        """Why the service, or the FITS -> RGB recipe after it, would refuse the spec: found before anything is sent."""

    @abstractmethod
    def request(self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None) -> Request:
        """The request for one galaxy: degrees, and arcsec per pixel at ``spec.pixels``.

        Of a service with a `preparation` it lacks what the look-up will tell, and is not sent: it says what is wanted,
        which is enough for the name of the file.

        Raises
        ------
        PermanentCutoutError
            A position or scale that no service can be asked about.
        """

    @abstractmethod
    def interpret(self, request: Request, reply: Reply) -> Pixels:
        """The decoded image, checked.

        Raises
        ------
        CutoutError
            Everything that is no usable image, also where the status code says that all is well.
        """

    def preparation(
        self, _spec: CutoutSpec, _ra: float | None, _dec: float | None, _pixscale: float | None, /
    ) -> Request | None:
        """The look-up that must come before the request for the image; None where nothing is looked up."""
        return None

    def prepared(
        self, spec: CutoutSpec, ra: float | None, dec: float | None, pixscale: float | None, _reply: Reply, /
    ) -> Request:
        """The request for the image, from the reply to `preparation`.

        Raises
        ------
        CutoutError
            The look-up failed, or `NoCoverage`: there is no image of this place.
        """
        return self.request(spec, ra, dec, pixscale)

    def second_opinion(self, _request: Request, _status: int, /) -> Request | None:
        """A cheaper request whose answer tells what an unclear status meant; None where a status is clear."""
        return None


def usable_target(ra: float | None, dec: float | None, pixscale: float | None) -> tuple[float, float, float]:
    """The three numbers, when a service can be asked about them; ra within 0..360.

    Raises
    ------
    PermanentCutoutError
        Missing, not finite, or out of range: all of them at once.
    """
    limits = {"ra": (ra, -360.0, 360.0), "dec": (dec, -90.0, 90.0), "pixscale": (pixscale, 1e-6, 3600.0)}
    bad = [
        f"{name} is {value}"
        for name, (value, low, high) in limits.items()
        if value is None or not math.isfinite(value) or not low <= value <= high
    ]
    if ra is None or dec is None or pixscale is None or bad:
        raise PermanentCutoutError(
            f"no cutout can be asked for: {', '.join(bad)}",
            expected="ra 0..360 and dec -90..90 in degrees, pixscale above 0 in arcsec per pixel",
            fix="correct the catalog's columns, or filter these galaxies with catalog.where",
        )
    return ra % 360, dec, pixscale


def refuse_status(request: Request, reply: Reply) -> None:
    """Raise the error that a status other than 200 stands for, with the service's own wish to be left alone."""
    if reply.status == 200:
        return
    label = f"HTTP {reply.status}{f' {reply.reason}' if reply.reason else ''}"
    wish = retry_after(reply.headers.get("retry-after"))
    if reply.status == 429:
        raise _with_wish(RateLimited(f"the service asked us to slow down ({label})", where=request.where), wish)
    if reply.status >= 500 or reply.status in _ASK_AGAIN:
        raise _with_wish(ServiceUnavailable(f"the service is in trouble ({label})", where=request.where), wish)
    said = beginning(reply.content)
    raise Refused(
        f"the service refused the request ({label}){f': {said!r}' if said else ''}",
        where=request.where,
        fix="open the URL in a browser; then correct [cutout] in the survey's TOML or the galaxy's position",
    )


def common_problems(spec: CutoutSpec, known: Sequence[str]) -> list[str]:
    """One sentence for each option that the service does not have, and for a URL that is none."""
    found = [
        f"cutout.options: {spec.service} has no option {key!r} (it has {', '.join(known)})"
        for key in spec.options
        if key not in known
    ]
    if spec.url is not None and (urlsplit(spec.url).scheme not in {"http", "https"} or not urlsplit(spec.url).netloc):
        found.append(f"cutout.url: {spec.url!r} is no http:// or https:// address")
    return found


def pictures_only(recipe_name: str | None, delivered: str) -> list[str]:
    """The sentence about a recipe that needs FITS bands, where pictures come."""
    if recipe_name in {None, "as-delivered"}:
        return []
    return [f"image.recipe: {recipe_name} needs FITS bands, but {delivered}"]


def band_problems(bands: Sequence[str], recipe_name: str | None) -> list[str]:
    """The sentence about FITS bands without a recipe, or with one that wants others."""
    if recipe_name is None:
        return []
    wanted = RECIPE_BANDS.get(recipe_name)
    if wanted is None:
        return [f"image.recipe: {recipe_name}, but FITS needs a recipe to become a picture (gzdecals)"]
    if [band.lower() for band in bands] == [band.lower() for band in wanted] or (
        wanted == ("any",) and len(bands) == 1
    ):
        return []
    mark = "," if max(map(len, wanted)) > 1 else ""
    return [f"cutout.options.bands: {mark.join(bands)}, but image.recipe {recipe_name} needs {mark.join(wanted)}"]


def comma_separated(spec: CutoutSpec, option: str) -> tuple[str, ...]:
    """The entries of an option such as ``F435W,F606W``, without blanks."""
    return tuple(word.strip() for word in str(spec.options.get(option, "")).split(",") if word.strip())


def _with_wish(error: TransientCutoutError, wish: float | None) -> TransientCutoutError:
    error.retry_after = wish
    return error
