"""Cutout services: how each is asked, and what its answers really mean.

A new service is one file here with a class that follows `Service`, one entry in `SERVICES`, and its name in
`gzflow.recipe.ServiceName`.
"""

from __future__ import annotations

from gzflow.cutouts.services.astrocut import HapCut, Zcut
from gzflow.cutouts.services.fitscut import HubbleLegacyArchive, PanStarrs
from gzflow.cutouts.services.hips import Hips2Fits
from gzflow.cutouts.services.legacysurvey import LegacySurvey
from gzflow.cutouts.services.sdss import Sdss
from gzflow.cutouts.services.service import Pixels, Reply, Request, Service
from gzflow.recipe import CutoutSpec

SERVICES: dict[str, Service] = {
    service.name: service
    for service in (Sdss(), LegacySurvey(), Zcut(), HapCut(), HubbleLegacyArchive(), Hips2Fits(), PanStarrs())
}
"""The service objects by the name that surveys use."""


def problems(spec: CutoutSpec, recipe_name: str | None = None) -> list[str]:
    """One sentence for each reason why the spec's service, or the recipe after it, would refuse; empty is good."""
    return SERVICES[spec.service].problems(spec, recipe_name)


__all__ = ["SERVICES", "Pixels", "Reply", "Request", "Service", "problems"]
