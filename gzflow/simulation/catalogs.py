"""Catalog tables with the columns of the released ones, for simulated galaxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.simulation.cosmology import distance_modulus
from gzflow.simulation.galaxies import ELLIPTICAL, IRREGULAR, Galaxies
from gzflow.simulation.telescopes import TELESCOPES, Telescope
from gzflow.simulation.volunteers import Votes
from gzflow.surveys import Survey

Columns = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """How one survey publishes its galaxies.

    Attributes
    ----------
    telescope
        Who took the pictures.
    leading
        The table's columns in front of the votes, of (galaxies, numbers of volunteers, generator).
    joined
        Further tables that the survey joins, by name, of (galaxies, leading columns).
    """

    telescope: Telescope
    leading: Callable[[Galaxies, NDArray[np.int64], np.random.Generator], Columns]
    joined: Callable[[Galaxies, Columns], Mapping[str, Columns]] | None = None


def iau_names(ra: NDArray[Any], dec: NDArray[Any]) -> list[str]:
    """Names as the NASA-Sloan Atlas has them, ``J081412.47+220853.0``: truncated, as the IAU asks."""
    centiseconds = np.floor(ra / 15 * 360_000).astype(int) % (24 * 360_000)
    tenths = np.floor(np.abs(dec) * 36_000).astype(int)
    return [
        f"J{h // 360_000:02d}{h // 6000 % 60:02d}{h % 6000 / 100:05.2f}"
        f"{'-' if south else '+'}{d // 36_000:02d}{d // 600 % 60:02d}{d % 600 / 10:04.1f}"
        for h, d, south in zip(centiseconds.tolist(), tenths.tolist(), (dec < 0).tolist(), strict=True)
    ]


def petrosian_radii(galaxies: Galaxies, telescope: Telescope) -> tuple[NDArray[Any], NDArray[Any]]:
    """(n,) radii that hold 50 and 90 % of the Petrosian light, arcsec, in circular apertures and with seeing.

    Ratios of a de Vaucouleurs profile and an exponential disk (3.3 and 2.3); a Petrosian aperture misses the wings of
    the former, so its half-light radius comes out at 0.7 of the true one. Bulges make disks more concentrated.
    """
    elliptical = galaxies["kind"] == ELLIPTICAL
    circular = 0.45 + 0.55 * galaxies.axis_ratio
    half = galaxies["radius"] * circular * np.where(elliptical, 0.7, 1 - 0.35 * galaxies["bulge"])
    half = half * np.where(galaxies["kind"] == IRREGULAR, 1.1, 1.0)
    ninety = half * np.where(elliptical, 3.3, 2.3 + 0.8 * galaxies["bulge"])
    seeing = 0.5 * telescope.psf_fwhm
    return np.hypot(half, seeing), np.hypot(ninety, 1.5 * seeing)


def vote_table(survey: Survey, votes: Votes) -> Columns:
    """The votes in the survey's own columns: counts or fractions, and totals."""
    tree, columns = survey.tree, {}
    form = survey.catalog.votes
    if form is None:
        return {}
    per_question = form.total is not None and any(mark in form.total for mark in ("{question}", "{task}"))
    sums = np.stack([votes.counts[:, where].sum(axis=1) for where in tree.slices], axis=1)
    for i, (column, total_column) in enumerate(survey.vote_columns()):
        total = sums[:, tree.question_of_answer[i]] if per_question else sums.sum(axis=1)
        if total_column is not None:
            columns[total_column] = total.astype(np.int64)
        asked = sums[:, tree.question_of_answer[i]]
        fraction = np.where(asked > 0, votes.counts[:, i] / np.maximum(asked, 1), np.nan)
        columns[column] = votes.counts[:, i].astype(np.int64) if form.count else pl.Series(fraction, nan_to_null=True)
    return columns


def _decals(galaxies: Galaxies, numbers: NDArray[np.int64], rng: np.random.Generator) -> Columns:
    n = len(galaxies)
    names = iau_names(galaxies["ra"], galaxies["dec"])
    half, ninety = petrosian_radii(galaxies, TELESCOPES["decals"])
    statistic = np.where(rng.random(n) < 0.01, rng.uniform(162, 300, n), rng.uniform(60, 160, n))
    priority = rng.random(n) < 0.1
    return {
        "iauname": names,
        "ra": galaxies["ra"],
        "dec": galaxies["dec"],
        "redshift": galaxies["redshift"].astype(np.float32),
        "elpetro_absmag_r": (galaxies["magnitude"] - distance_modulus(galaxies["redshift"])).astype(np.float32),
        "sersic_nmgy_r": (10 ** (-0.4 * (galaxies["magnitude"] - 22.5))).astype(np.float32),
        "petro_th50": half.astype(np.float32),
        "petro_th90": ninety.astype(np.float32),
        "petro_theta": (0.55 * ninety + half).astype(np.float32),
        "upload_group": np.where(numbers < 20, "active_baseline", np.where(priority, "active_priority", "pre_active")),
        "active_learning_on": priority,
        "in_gzd_ab": np.zeros(n, dtype=bool),
        "png_loc": [f"dr5/{name[:4]}/{name}.png" for name in names],
        "wrong_size_statistic": statistic,
        "wrong_size_warning": statistic > 161,
    }


def _gz2(galaxies: Galaxies, numbers: NDArray[np.int64], rng: np.random.Generator) -> Columns:
    n = len(galaxies)
    return {
        "dr7objid": 587_722_981_736_120_000 + np.sort(rng.choice(10**12, n, replace=False)),
        "ra": galaxies["ra"].astype(np.float32).astype(np.float64),
        "dec": galaxies["dec"].astype(np.float32).astype(np.float64),
        "sample": np.where(rng.random(n) < 0.03, "extra", "original"),
        "gz2_class": ["Sc" if arms else "Er" for arms in galaxies["arms"] > 0],
        "total_classifications": numbers,
    }


def _gz2_sample(galaxies: Galaxies, leading: Columns) -> Mapping[str, Columns]:
    half, ninety = petrosian_radii(galaxies, TELESCOPES["sdss"])
    radii = {"PETROR50_R": half, "PETROR90_R": ninety, "REDSHIFT": galaxies["redshift"]}
    return {"gz2sample": {"OBJID": leading["dr7objid"], **radii}}


def _hubble(galaxies: Galaxies, _numbers: NDArray[np.int64], rng: np.random.Generator) -> Columns:
    n = len(galaxies)
    unknown = rng.random(n) < 0.03
    return {
        "zooniverse_id": [f"AHZ{i:07x}" for i in range(n)],
        "survey_id": [str(10_000_000 + i) for i in range(n)],
        "RA": galaxies["ra"],
        "DEC": galaxies["dec"],
        "Z_BEST": np.where(unknown, 999.0, galaxies["redshift"]),
        "imaging": np.where(galaxies["ra"] > 200, "AEGIS", np.where(galaxies["ra"] > 160, "GOODS-N", "COSMOS")),
        "correction_type": np.where(unknown, 4, 0),
    }


def _candels(galaxies: Galaxies, numbers: NDArray[np.int64], _rng: np.random.Generator) -> Columns:
    field = np.where(galaxies["ra"] > 100, "COS", np.where(galaxies["dec"] < -20, "GDS", "UDS"))
    return {
        "ID": [f"{name}_{i + 1}" for i, name in enumerate(field)],
        "RA": galaxies["ra"],
        "Dec": galaxies["dec"],
        "num_classifications": numbers.astype(float),
    }


RELEASES: dict[str, Release] = {
    "decals": Release(TELESCOPES["decals"], _decals),
    "gz2": Release(TELESCOPES["sdss"], _gz2, _gz2_sample),
    "hubble": Release(TELESCOPES["hubble"], _hubble),
    "candels": Release(TELESCOPES["candels"], _candels),
}
