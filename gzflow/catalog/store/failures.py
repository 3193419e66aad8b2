"""The failure table: which galaxy did not get through which stage, and why."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import and_, delete, func, select

from gzflow.catalog.database import BATCH
from gzflow.catalog.failure import Failure
from gzflow.catalog.store import schema
from gzflow.catalog.store.base import TEXT, StoreBase, chunks, now, patient, writable

_FAILURES = {"survey": TEXT, "stage": TEXT, "id_str": TEXT, "reason": TEXT, "detail": TEXT, "at": TEXT}


class FailureTable(StoreBase):
    """The store's methods for failures."""

    @patient
    def record_failures(self, survey_name: str, failures: Sequence[Failure], *, ingest: int | None = None) -> None:
        """Write failures; the same galaxy, stage and reason again replaces the detail.

        `ingest` is the number of the catalog file they belong to.
        """
        at = now()
        for some in chunks(failures, BATCH):
            values = [writable(failure) | {"survey": survey_name, "at": at, "ingest": ingest} for failure in some]
            with self._database.writing() as connection:
                self._database.upsert(connection, schema.failures, values)

    @patient
    def clear_failures(self, survey_name: str, stage: str, ids: Sequence[str] | None = None) -> None:
        """Forget failures of a stage, all of them or those of `ids`."""
        table = schema.failures
        where = and_(table.c.survey == survey_name, table.c.stage == stage)
        with self._database.writing() as connection:
            for some in [None] if ids is None else chunks(ids):
                connection.execute(delete(table).where(where if some is None else where & table.c.id_str.in_(some)))

    @patient
    def failure_reasons(self, survey_name: str) -> dict[str, int]:
        """How many failures of all stages each reason has, sorted by reason; counted where they lie."""
        reason = schema.failures.c.reason
        query = select(reason, func.count()).where(schema.failures.c.survey == survey_name).group_by(reason)
        with self._database.reading() as connection:
            return dict(sorted((str(name), int(n)) for name, n in connection.execute(query)))

    @patient
    def failures(self, survey_name: str, stage: str | None = None) -> pl.DataFrame:
        """Failures: ``survey, stage, id_str, reason, detail, at`` (UTC), sorted by stage, id and reason."""
        table = schema.failures
        query = select(*(table.c[name] for name in _FAILURES)).where(table.c.survey == survey_name)
        if stage is not None:
            query = query.where(table.c.stage == stage)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _FAILURES).sort("stage", "id_str", "reason")
