"""The cutout ledger: what became of each galaxy's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
from sqlalchemy import BigInteger, cast, func, select

from gzflow.catalog.database import BATCH
from gzflow.catalog.store import schema
from gzflow.catalog.store.base import TEXT, WHOLE, StoreBase, chunks, now, patient, same_galaxy, writable

State = Literal["to-do", "done", "no-coverage", "failed"]

_CUTOUTS = {
    "id_str": TEXT, "state": TEXT, "path": TEXT, "member": TEXT, "source": TEXT, "bytes": WHOLE,
    "sha256": TEXT, "reason": TEXT, "detail": TEXT, "attempts": WHOLE,
}  # fmt: skip
_TIMES = {"updated": TEXT, "rows": WHOLE, "images": WHOLE, "bytes": WHOLE, "attempts": WHOLE}
_PAGE = {
    "id_str": TEXT, "image": TEXT, "state": TEXT, "path": TEXT, "member": TEXT, "bytes": WHOLE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CutoutRecord:
    """A row of the cutout ledger.

    Attributes
    ----------
    id_str
        The galaxy.
    state
        ``done``, ``no-coverage`` and ``failed`` are final; ``to-do`` means that asking again may help.
    path
        The file, or the archive that holds it.
    member
        Name inside the archive; None for a plain file.
    source
        Where the image came from: a URL, or the path again.
    bytes, sha256
        Size and checksum of the image.
    reason, detail
        Why there is no image.
    attempts
        Requests made for this record; the ledger adds them up.
    """

    id_str: str
    state: State
    path: str | None = None
    member: str | None = None
    source: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    reason: str | None = None
    detail: str | None = None
    attempts: int = 1


class CutoutLedger(StoreBase):
    """The store's methods for cutouts."""

    @patient
    def record_cutouts(self, survey_name: str, rows: Sequence[CutoutRecord]) -> None:
        """Write ledger rows; each replaces the galaxy's earlier one, and their attempts add up."""
        at = now()
        for records in chunks(rows, BATCH):
            values = [writable(record) | {"survey": survey_name, "updated": at} for record in records]
            with self._database.writing() as connection:
                self._database.upsert(connection, schema.cutouts, values, add=["attempts"])

    @patient
    def cutouts(
        self, survey_name: str, states: Sequence[State] | None = None, ids: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Ledger rows: ``id_str, state, path, member, source, bytes, sha256, reason, detail, attempts``.

        A galaxy whose image was never looked for has none.
        """
        where = [] if states is None else [schema.cutouts.c.state.in_(list(states))]
        return self._rows(schema.cutouts, _CUTOUTS, survey_name, ids, *where)

    @patient
    def cutout_times(self, survey_name: str, latest: int = 10_000) -> pl.DataFrame:
        """How fast the ledger grew: ``updated`` (UTC, to the second), ``rows``, ``images``, ``bytes`` of those images,
        ``attempts``; one row for each second in which something was written, the oldest of the `latest` first.
        """  # noqa: D205
        columns = schema.cutouts.c
        query = (
            select(
                columns.updated,
                func.count().label("rows"),
                func.count(columns.bytes).label("images"),
                cast(func.sum(columns.bytes), BigInteger).label("bytes"),
                func.sum(columns.attempts).label("attempts"),
            )
            .where(columns.survey == survey_name)
            .group_by(columns.updated)
            .order_by(columns.updated.desc())
            .limit(latest)
        )
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _TIMES).sort("updated")

    @patient
    def ledger_page(self, survey_name: str, after: str | None = None, size: int = 50_000) -> pl.DataFrame:
        """Some galaxies with their ledger rows: ``id_str, image, state, path, member, bytes``.

        At most `size` of them in the order of the database's key, those behind the id `after`; an empty frame at the
        end. ``state`` is NULL for a galaxy whose image was never looked for.
        """
        galaxies, cutouts = schema.galaxies.c, schema.cutouts.c
        query = (
            select(galaxies.id_str, galaxies.image, cutouts.state, cutouts.path, cutouts.member, cutouts.bytes)
            .select_from(schema.galaxies.outerjoin(schema.cutouts, same_galaxy()))
            .where(galaxies.survey == survey_name)
            .order_by(galaxies.id_str)
            .limit(size)
        )
        if after is not None:
            query = query.where(galaxies.id_str > after)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _PAGE)
