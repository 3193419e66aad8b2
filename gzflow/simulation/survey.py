"""A simulated survey: catalog, truth and survey TOML, written as the real one is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.durable import replacing, write_bytes
from gzflow.errors import SettingsError
from gzflow.simulation import chance
from gzflow.simulation.catalogs import RELEASES, petrosian_radii, vote_table
from gzflow.simulation.galaxies import Galaxies, draw_galaxies
from gzflow.simulation.render import render
from gzflow.simulation.sky import SimulatedSky
from gzflow.simulation.stretch import colour_picture
from gzflow.simulation.telescopes import Telescope
from gzflow.simulation.volunteers import Votes, vote
from gzflow.surveys import Survey, load_survey

SIZE_COLUMN = "simulated_pixscale"
"""Arcsec per pixel at 424 pixels, in the tables of surveys whose TOML has no rule of its own."""
PUBLISHED_PIXELS = 424


@dataclass(frozen=True)
class SurveyFiles:
    """What `SimulatedSurvey.write` wrote.

    Attributes
    ----------
    catalog
        The table that volunteers' votes are published in.
    toml
        A survey that extends the shipped one and asks the loopback service for its cutouts.
    truth
        Parquet: id_str, ra, dec, and for each answer the probability that it is given when asked.
    joins
        Further tables by name, for surveys that join them.
    """

    catalog: Path
    toml: Path
    truth: Path
    joins: Mapping[str, Path]


@dataclass(frozen=True)
class SimulatedSurvey:
    """Galaxies seen by a survey's telescope and answered by its volunteers.

    Attributes
    ----------
    base
        The shipped survey that this one imitates.
    ids
        (n,) ids as strings.
    pixels
        Side of the pictures.
    pixscale
        (n,) arcsec per pixel of a picture of `pixels` a side.
    table
        The catalog in the survey's own columns.
    joined
        Further tables that it joins.
    rule
        The SQL expression that gives `pixscale`.
    """

    base: Survey
    telescope: Telescope
    galaxies: Galaxies
    votes: Votes
    ids: tuple[str, ...]
    pixels: int
    pixscale: NDArray[np.float64]
    table: pl.DataFrame
    joined: Mapping[str, pl.DataFrame]
    rule: str

    @classmethod
    def draw(
        cls,
        name: str,
        n: int,
        seed: int = 42,
        *,
        pixels: int = PUBLISHED_PIXELS,
        zoom: float = 1.0,
        well_voted: float = 0.9,
        galaxies: Galaxies | None = None,
    ) -> Self:
        """Simulate the shipped survey `name` with `n` galaxies.

        Parameters
        ----------
        pixels
            Side of the pictures; the field of view stays the survey's own.
        zoom
            How many times narrower the field of view is than the survey's own: at 64 pixels a little zoom leaves
            more of them to the galaxy.
        well_voted
            Share of galaxies with about 40 volunteers; the others have about 5, as in DECaLS' `upload_group`.
        galaxies
            Look at these instead of drawing new ones: the same galaxies in two surveys.

        Raises
        ------
        SettingsError
            For a survey that the simulation cannot imitate, and other impossible arguments.
        """
        if name not in RELEASES or pixels < 16 or zoom <= 0 or not 0 <= well_voted <= 1:
            raise SettingsError(
                f"cannot simulate survey {name!r} with pixels={pixels}, zoom={zoom}, well_voted={well_voted}",
                expected=f"one of {', '.join(RELEASES)}; pixels >= 16, zoom > 0, 0 <= well_voted <= 1",
                fix="correct the arguments",
            )
        base, release = load_survey(name), RELEASES[name]
        telescope = release.telescope
        if galaxies is None:
            galaxies = draw_galaxies(n, seed, redshifts=telescope.redshifts, footprint=telescope.footprint)
        rng = chance.generator("volunteers", name, seed)
        many = rng.random(len(galaxies)) < well_voted
        numbers = np.where(many, rng.integers(36, 43, len(galaxies)), rng.integers(3, 8, len(galaxies)))
        leading = release.leading(galaxies, numbers, rng)
        further = release.joined(galaxies, leading) if release.joined else {}
        joined = {table: pl.DataFrame(columns) for table, columns in further.items()}
        if base.cutout is None:
            half, ninety = petrosian_radii(galaxies, telescope)
            leading[SIZE_COLUMN] = np.minimum(0.04 * half, 0.02 * ninety)
        rule, published = (
            (str(base.cutout.pixscale), base.cutout.pixels) if base.cutout else (SIZE_COLUMN, PUBLISHED_PIXELS)
        )
        rule = rule if (factor := published / pixels / zoom) == 1 else f"({rule}) * {factor!r}"
        pixscale = _evaluated(rule, base, pl.DataFrame(leading), joined)
        votes = vote(galaxies, telescope, base.tree, numbers, seed, pixscale=pixscale)
        return cls(
            base=base,
            telescope=telescope,
            galaxies=galaxies,
            votes=votes,
            ids=tuple(str(key) for key in leading[base.catalog.id]),
            pixels=pixels,
            pixscale=pixscale,
            table=pl.DataFrame(leading | vote_table(base, votes)),
            joined=joined,
            rule=rule,
        )

    def write(self, folder: Path, url: str, *, name: str | None = None, rate: float = 500.0) -> SurveyFiles:
        """Write catalog, joined tables, truth and TOML into `folder`.

        Parameters
        ----------
        url
            Of the loopback services.
        name
            Of the survey in the TOML; by default the shipped one's with ``-sim`` behind it.
        rate
            Requests per second: a server on the same machine needs no mercy.
        """
        catalog = folder / f"{self.base.name}_simulated.csv"
        truth = folder / f"{self.base.name}_truth.parquet"
        toml = folder / f"{name or self.base.name + '-sim'}.toml"
        _write_csv(self.table, catalog)
        joins = {table: folder / f"{table}.csv" for table in self.joined}
        for table, path in joins.items():
            _write_csv(self.joined[table], path)
        with replacing(truth) as temporary:
            self.truth_table().write_parquet(temporary)
        write_bytes(toml, self.toml(url, name=name, rate=rate).encode())
        return SurveyFiles(catalog, toml, truth, joins)

    def sky(self, *, holes: float = 0.0, gaps: float = 0.0) -> SimulatedSky:
        """The sky that `LoopbackServices` show for this survey; shares of unobserved and half-observed places."""
        return SimulatedSky(self.galaxies, camera=self.telescope, holes=holes, gaps=gaps)

    def picture(self, i: int) -> NDArray[np.uint8]:
        """(pixels, pixels, 3) colour picture of one galaxy, as its volunteers see it."""
        image = render(self.galaxies[i], self.telescope, self.pixels, float(self.pixscale[i]))
        return colour_picture(image, self.telescope)

    def truth_table(self) -> pl.DataFrame:
        """id_str, ra, dec and the probability of every answer given that its question is asked."""
        answers = {column: self.votes.truth[:, i] for i, column in enumerate(self.base.tree.answers)}
        return pl.DataFrame({"id_str": self.ids, "ra": self.galaxies["ra"], "dec": self.galaxies["dec"]} | answers)

    def toml(self, url: str, *, name: str | None = None, rate: float = 500.0) -> str:
        """Text of a survey that extends the shipped one with cutouts from `url`."""
        lines = [
            f"# Simulated galaxies with the columns, questions and answers of {self.base.name}.",
            "[survey]",
            f"extends = {json.dumps(self.base.name)}",
            f"name = {json.dumps(name or self.base.name + '-sim')}",
            f"title = {json.dumps('Simulated ' + (self.base.about.title or self.base.name))}",
            'acknowledgement = "Simulated galaxies and volunteers: no real data."',
            'licence = "CC0 1.0"',
            'image_rights = "open"',
            "",
            "[catalog]",
            f"carry = {json.dumps(self._carried())}  # the real table has more columns than the simulated one",
            "",
            "[cutout]",
            f"url = {json.dumps(url)}",
            f"pixels = {self.pixels}",
            f"pixscale = {json.dumps(self.rule)}",
            f"rate = {rate!r}",
            "patience = 5.0  # a server on the same machine that is gone does not come back by itself",
        ]
        if self.base.catalog.join and not self.joined:
            lines.insert(lines.index("[catalog]") + 1, "join = false")
        if self.base.cutout is None:
            lines += ['service = "legacysurvey"', 'options = { layer = "ls-dr9", format = "jpeg" }']
        return "\n".join(lines) + "\n"

    def _carried(self) -> list[str]:
        """What the real survey carries, as far as the simulated tables have it."""
        columns = {name for table in (self.table, *self.joined.values()) for name in table.columns}
        return [entry for entry, names in self.base.carried_columns().items() if columns.issuperset(names)]


def _evaluated(
    rule: str, survey: Survey, table: pl.DataFrame, joined: Mapping[str, pl.DataFrame]
) -> NDArray[np.float64]:
    for join in (join for join in survey.catalog.join if join.table in joined):
        table = table.join(joined[join.table], left_on=join.id or survey.catalog.id, right_on=join.on, how="left")
    return table.select(pl.sql_expr(rule).alias("pixscale"))["pixscale"].cast(pl.Float64).to_numpy()


def _write_csv(table: pl.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.write_csv(temporary)


def read_truth(path: Path) -> tuple[list[str], NDArray[Any]]:
    """Ids, and (n, n_answers) probabilities, of a truth table in the order of its answer columns."""
    table = pl.read_parquet(path)
    return table["id_str"].to_list(), table.drop("id_str", "ra", "dec").to_numpy()
