"""Which galaxies of two surveys are the same object."""

from __future__ import annotations

from typing import Any

import polars as pl
from sqlalchemy import Table, and_, delete, func, insert, select

from gzflow.catalog.database import BATCH
from gzflow.catalog.store import schema
from gzflow.catalog.store.base import NUMBER, TEXT, WHOLE, StoreBase, now, patient
from gzflow.errors import StoreError

_CROSSMATCHES = {
    "left_survey": TEXT, "right_survey": TEXT, "radius_arcsec": NUMBER, "how": TEXT, "n_matches": WHOLE,
    "at": TEXT,
}  # fmt: skip
_POSITIONS = {"id_str": TEXT, "ra": NUMBER, "dec": NUMBER}
_MATCHES = {"left_id": TEXT, "right_id": TEXT, "separation_arcsec": NUMBER}


class MatchTable(StoreBase):
    """The store's methods for cross-matches."""

    @patient
    def record_crossmatch(
        self, left_survey: str, right_survey: str, radius_arcsec: float, how: str, matches: pl.DataFrame
    ) -> None:
        """Write the matches of two surveys in place of those of an earlier run, whichever of them stood left then.

        Parameters
        ----------
        matches
            ``left_id``, ``right_id``, ``separation_arcsec``.
        """
        pair = {"left_survey": left_survey, "right_survey": right_survey}
        run = pair | {"radius_arcsec": radius_arcsec, "how": how, "n_matches": len(matches), "at": now()}
        with self._database.writing() as connection:
            for table in (schema.matches, schema.crossmatches):
                for sides in ((left_survey, right_survey), (right_survey, left_survey)):
                    connection.execute(delete(table).where(_pair(table, *sides)))
            self._database.upsert(connection, schema.crossmatches, [run])
            for some in matches.select(list(_MATCHES)).iter_slices(BATCH):
                connection.execute(insert(schema.matches), [pair | row for row in some.iter_rows(named=True)])

    @patient
    def crossmatches(self) -> pl.DataFrame:
        """Matched pairs of surveys: ``left_survey, right_survey, radius_arcsec, how, n_matches, at`` (UTC)."""
        table = schema.crossmatches
        query = select(*(table.c[name] for name in _CROSSMATCHES)).order_by(table.c.left_survey, table.c.right_survey)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _CROSSMATCHES)

    @patient
    def crossmatch(self, left_survey: str, right_survey: str) -> pl.DataFrame:
        """Recorded matches: ``left_id, right_id, separation_arcsec``, sorted so.

        Raises
        ------
        StoreError
            These surveys were not cross-matched.
        """
        runs, table = schema.crossmatches, schema.matches
        with self._database.reading() as connection:
            if not connection.execute(select(runs).where(_pair(runs, left_survey, right_survey))).first():
                raise StoreError(
                    f"{left_survey} and {right_survey} were not cross-matched",
                    where=self._database.shown,
                    fix=f"run `gzflow crossmatch {left_survey} {right_survey} --radius 2`",
                )
            query = select(*(table.c[name] for name in _MATCHES)).where(_pair(table, left_survey, right_survey))
            return self._database.frame(connection, query, _MATCHES).sort(list(_MATCHES))

    @patient
    def some_positions(self, survey_name: str, most: int) -> pl.DataFrame:
        """``id_str``, ``ra``, ``dec`` in degrees of at most so many galaxies drawn at random; only with a position."""
        table = schema.galaxies.c
        # The ids alone are drawn, from the key's index: of ten million galaxies that is a fifth of the bytes.
        drawn = select(table.id_str).where(table.survey == survey_name).order_by(func.random()).limit(most)
        placed = and_(table.survey == survey_name, table.ra.is_not(None), table.dec.is_not(None))
        query = select(*(table[name] for name in _POSITIONS)).where(placed, table.id_str.in_(drawn))
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _POSITIONS)


def _pair(table: Table, left: str, right: str) -> Any:
    return and_(table.c.left_survey == left, table.c.right_survey == right)
