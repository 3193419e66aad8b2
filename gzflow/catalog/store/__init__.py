"""The catalog store: galaxies, votes, the cutout ledger, failures and cross-matches, in one SQL database."""

from __future__ import annotations

from sqlalchemy import delete, func, or_, select

from gzflow.catalog.store import schema
from gzflow.catalog.store.base import patient, same_galaxy
from gzflow.catalog.store.cutouts import CutoutLedger, CutoutRecord, State
from gzflow.catalog.store.galaxies import GalaxyTable
from gzflow.catalog.store.matches import MatchTable

__all__ = ["CatalogStore", "CutoutRecord", "State"]


class CatalogStore(GalaxyTable, CutoutLedger, MatchTable):
    """The store behind an SQLAlchemy URL; use it as a context manager.

    Every write can be repeated: the same rows again change nothing, new values replace old ones. Several processes
    may write at once. Rows come back sorted by id. A PostgreSQL that restarts in the middle is waited for.

    Parameters
    ----------
    url
        ``sqlite:///path/to/catalog.db`` or ``postgresql+psycopg://user:password@host/database``. Tables are made on
        first use.

    Raises
    ------
    StoreError
        The database cannot be opened, or was written by another version of the format.
    """

    @patient
    def drop_survey(self, survey_name: str) -> None:
        """Forget a survey: its galaxies, votes, ledger, failures and matches. Image files stay where they are."""
        with self._database.defining() as connection:
            for table in schema.metadata.sorted_tables:
                if "survey" in table.c:
                    connection.execute(delete(table).where(table.c.survey == survey_name))
                elif "left_survey" in table.c:
                    either = or_(table.c.left_survey == survey_name, table.c.right_survey == survey_name)
                    connection.execute(delete(table).where(either))
            name = connection.dialect.identifier_preparer.quote(f"votes_{survey_name}")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")

    @patient
    def counts(self, survey_name: str) -> dict[str, int]:
        """Numbers of ``galaxies``, ``with-position``, cutouts by state (``to-do`` with those never looked for), and
        ``failures``.
        """  # noqa: D205
        galaxies, cutouts, failures = schema.galaxies.c, schema.cutouts, schema.failures.c
        with self._database.reading() as connection:
            total, placed = connection.execute(
                select(func.count(), func.count(galaxies.ra)).where(galaxies.survey == survey_name)
            ).one()
            by_state = connection.execute(
                select(cutouts.c.state, func.count())
                .join(schema.galaxies, same_galaxy())
                .where(cutouts.c.survey == survey_name)
                .group_by(cutouts.c.state)
            ).all()
            failed = connection.execute(select(func.count()).where(failures.survey == survey_name)).scalar_one()
        final = {str(state): int(n) for state, n in by_state if state != "to-do"}
        states = {state: final.get(state, 0) for state in ("done", "no-coverage", "failed")}
        left = int(total) - sum(states.values())
        return {
            "galaxies": int(total), "with-position": int(placed), "to-do": left, **states, "failures": int(failed),
        }  # fmt: skip
