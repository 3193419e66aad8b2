"""HATS: a survey's galaxies for tools above memory, and the match of catalogs that no memory holds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from gzflow.catalog.store import CatalogStore
from gzflow.errors import StoreError
from gzflow.settings import Settings, without_password
from gzflow.sky import How
from gzflow.surveys import load_survey

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HatsExport:
    """A survey as a HATS collection: ``id_str``, ``ra``, ``dec``."""

    survey: str
    folder: Path
    n_galaxies: int
    n_unpositioned: int

    def sentence(self) -> str:
        """One line for people."""
        without = f", {self.n_unpositioned:,} without a position left out" if self.n_unpositioned else ""
        return f"{self.n_galaxies - self.n_unpositioned:,} galaxies of {self.survey}{without}: {self.folder}"


def export(survey_name: str, folder: Path, settings: Settings, *, margin_arcsec: float) -> HatsExport:
    """Write an ingested survey as a HATS collection with its margin; ids and positions are held in memory meanwhile.

    Raises
    ------
    StoreError
        The survey was never ingested, or has no galaxy.
    SettingsError
        LSDB is not installed.
    """
    from gzflow.sky.hats import write_hats  # loads LSDB and Dask: seconds that nothing else need pay

    name = load_survey(survey_name).name
    with CatalogStore(settings.catalog_url) as store:
        galaxies = store.galaxies(name).select("id_str", "ra", "dec")
    if galaxies.is_empty():
        raise StoreError(
            f"survey {name} has no galaxy",
            where=without_password(settings.catalog_url),
            fix=f"run `gzflow ingest {survey_name} --catalog FILE` first",
        )
    n_unpositioned = write_hats(galaxies, folder.absolute(), name=name, margin_arcsec=margin_arcsec)
    done = HatsExport(name, folder.absolute(), len(galaxies), n_unpositioned)
    logger.info("%s", done.sentence())
    return done


def crossmatch(
    left: Path,
    right: Path,
    out: Path,
    radius_arcsec: float,
    how: How,
    *,
    left_id: str,
    right_id: str,
    cluster: str | int | None,
) -> str:
    """Match two HATS catalogs with `gzflow.sky.hats.crossmatch_hats`, and say what came of it."""
    from gzflow.sky.hats import crossmatch_hats

    done = crossmatch_hats(
        left.absolute(),
        right.absolute(),
        out.absolute(),
        radius_arcsec,
        how,
        left_id=left_id,
        right_id=right_id,
        cluster=cluster,
    )
    sentence = (
        f"{done.n_pairs:,} pairs within {radius_arcsec:g} arcsec ({how}) of {done.n_left:,} and {done.n_right:,}"
        f" galaxies: {done.folder}"
    )
    logger.info("%s", sentence)
    return sentence
