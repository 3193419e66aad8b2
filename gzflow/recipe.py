"""How an image of a galaxy is made: what surveys name and cutouts implement."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

ServiceName = Literal["sdss", "legacysurvey", "zcut", "hapcut", "hla", "hips2fits", "panstarrs"]
RecipeName = Literal[
    "as-delivered", "gzdecals", "legacy", "sdss", "stripe82", "hubble-vi", "hubble-vz", "goods", "candels", "grey"
]
SERVICES: tuple[str, ...] = get_args(ServiceName)
RECIPES: tuple[str, ...] = get_args(RecipeName)

MANNERS = ("rate", "connections", "attempts", "deadline", "patience")
"""Keys of `CutoutSpec` that decide how a service is asked, and nothing about its images."""

Scalar = str | int | float | bool


class CutoutSpec(BaseModel):
    """What to ask a cutout service for.

    Attributes
    ----------
    service
        Name of the protocol, implemented in `gzflow.cutouts.services`.
    options
        What the protocol lets one choose: layer, data release, format, bands.
    url
        Another host that speaks the same protocol; None is the public one.
    pixels
        Side of the image asked for.
    pixscale
        Arcsec per pixel at `pixels`: a number, or a polars SQL expression over the catalog's columns.
    rate
        Requests per second to one host.
    connections
        Requests to one host that are on their way at a time.
    attempts
        Requests for a galaxy, at most, while the service is in trouble or its answers are damaged.
    deadline
        Seconds that a galaxy may take from its first request to its last, without the time in which it waits for its
        turn; one request may take half of it.
    patience
        Seconds that a host is waited for which fails for everyone, or asks to be left alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    options: dict[str, Scalar] = {}
    url: str | None = None
    pixels: Annotated[int, Field(ge=16, le=3000)] = 424
    pixscale: str | Annotated[float, Field(gt=0)]
    rate: Annotated[float, Field(gt=0)] = 4.0
    connections: Annotated[int, Field(ge=1, le=256)] = 8
    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    deadline: Annotated[float, Field(gt=0)] = 120.0
    patience: Annotated[float, Field(ge=0)] = 900.0


class ImageRecipe(BaseModel):
    """All that decides how a galaxy looks in a shard; a model remembers the recipe that it was trained on.

    Attributes
    ----------
    name
        ``as-delivered`` or a FITS -> RGB recipe.
    bands
        Bands behind the channels, in the file's order; empty when unknown.
    channels
        Channel order of the array.
    scale_rule
        The rule for arcsec per pixel, as the survey writes it; ``file`` when images come from files alone.
    pixels
        Side in the shard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: RecipeName = "as-delivered"
    bands: tuple[str, ...] = ()
    channels: Literal["RGB", "L"] = "RGB"
    scale_rule: str = "file"
    pixels: Annotated[int, Field(ge=16, le=1024)] = 300

    def differences(self, other: ImageRecipe) -> list[str]:
        """One sentence for each key in which two recipes differ; empty when images may be mixed."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [f"{key}: {mine[key]!r} here, {theirs[key]!r} there" for key in mine if mine[key] != theirs[key]]

    @property
    def n_channels(self) -> int:
        """Length of the channel axis."""
        return len(self.channels)


def options_text(options: dict[str, Any]) -> str:
    """Options in one stable line, for ledgers and manifests."""
    return ",".join(f"{key}={options[key]}" for key in sorted(options))
