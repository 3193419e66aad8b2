"""Galaxies and votes, and the catalog files they came from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import polars as pl
from sqlalchemy import Table, and_, delete, exists, func, or_, select, update

from gzflow.catalog.catalog_file import CatalogFile
from gzflow.catalog.database import LOAD
from gzflow.catalog.failure import Failure
from gzflow.catalog.part import MISSING_ID, STAGE
from gzflow.catalog.store import schema
from gzflow.catalog.store.base import NUMBER, TEXT, chunks, now, patient
from gzflow.catalog.store.failures import FailureTable
from gzflow.surveys.survey import Survey
from gzflow.tree import DecisionTree

_GALAXIES = {
    "id_str": TEXT, "ra": NUMBER, "dec": NUMBER, "pixscale": NUMBER, "image": TEXT, "carried": TEXT,
}  # fmt: skip
_FILES = {"survey": TEXT, "source": TEXT, "counts": TEXT, "at": TEXT}


logger = logging.getLogger(__name__)
_EVERY = 10.0
"""Seconds between two lines about a large catalog."""


class CatalogRows(Protocol):
    """One catalog file as its survey reads it: `CatalogTable` in memory, `CatalogSpool` on disk."""

    @property
    def source(self) -> CatalogFile | None:
        """The file."""
        ...

    @property
    def n_read(self) -> int:
        """Rows of the file."""
        ...

    @property
    def n_filtered(self) -> int:
        """Rows left out."""
        ...

    @property
    def n_failed(self) -> int:
        """Rows that cannot be used."""
        ...

    @property
    def n_galaxies(self) -> int:
        """Galaxies."""
        ...

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """(galaxies, votes)."""
        ...

    def failed(self) -> Iterator[list[Failure]]:
        """Failures."""
        ...

    def left_out(self) -> Iterator[list[str]]:
        """Ids of rows that the filter left out."""
        ...


class GalaxyTable(FailureTable):
    """The store's methods for galaxies and votes."""

    @patient
    def upsert_catalog(self, survey: Survey, table: CatalogRows) -> int:
        """Write the galaxies and votes of one catalog file, its failures and its accounting.

        Galaxies of other files that this one does not mention stay; one that now fails is taken out. A file is known by
        its content and by its path: galaxies that an earlier version under the same path had, or an earlier read of the
        same content, and that are no longer there, are taken out too. A galaxy belongs to the file that wrote it last.
        Each batch is a transaction of its own: after an interruption, run it again.

        Returns
        -------
        int
            Galaxies that vanished from the file since it was read before.

        Raises
        ------
        StoreError
            The store holds this survey with other questions or answers.
        """
        votes = self._define(survey)
        number, earlier = self._begun(survey.name, table.source)
        if not self._is_empty(survey.name):
            for failures in table.failed():
                self._remove(survey.name, votes, [f.id_str for f in failures if f.reason != MISSING_ID])
            for ids in table.left_out():
                self._remove(survey.name, votes, ids)
        keys = dict(zip(survey.tree.answers, (f"a{i}" for i in range(len(survey.tree.answers))), strict=True))
        stamp = {"survey": pl.lit(survey.name), "ingest": pl.lit(number, pl.Int64)}
        said, n = time.monotonic(), 0
        for galaxies, counts in table.parts():
            rows, votes_rows = galaxies.with_columns(**stamp).sort("id_str"), counts.rename(keys).sort("id_str")
            for start in range(0, len(rows), LOAD):
                with self._database.writing() as connection:
                    self._database.load(connection, schema.galaxies, rows.slice(start, LOAD))
                    self._database.load(connection, votes, votes_rows.slice(start, LOAD))
            n += len(rows)
            if time.monotonic() - said > _EVERY:
                said = time.monotonic()
                logger.info("%s: %s of %s galaxies in the store", survey.name, f"{n:,}", f"{table.n_galaxies:,}")
        vanished = self._retire(survey.name, votes, earlier)
        for failures in table.failed():
            self.record_failures(survey.name, failures, ingest=number)
        self._finished(survey.name, table, number, earlier)
        return vanished

    @patient
    def galaxies(self, survey_name: str, ids: Sequence[str] | None = None) -> pl.DataFrame:
        """Galaxies of a survey: ``id_str``, ``ra``, ``dec`` (degrees), ``pixscale`` (arcsec/pixel), ``image``,
        ``carried`` (JSON); with `ids` those among them that the store knows.

        Raises
        ------
        StoreError
            The survey was never ingested.
        """  # noqa: D205
        self._tree(survey_name)
        return self._rows(schema.galaxies, _GALAXIES, survey_name, ids)

    @patient
    def votes(self, survey: Survey, ids: Sequence[str] | None = None) -> pl.DataFrame:
        """Votes of a survey: ``id_str`` and one int32 column an answer, in the order of ``survey.tree.answers``.

        Raises
        ------
        StoreError
            The survey was never ingested, or with other questions or answers.
        """
        self._same_answers(survey, self._tree(survey.name))
        table = self._votes_table(survey)
        columns = {"id_str": TEXT} | dict.fromkeys(survey.tree.answers, pl.Int32)
        return self._selected(select(table), table, columns, ids)

    @patient
    def survey_names(self) -> list[str]:
        """Names of all surveys in the store, sorted."""
        with self._database.reading() as connection:
            return sorted(connection.execute(select(schema.surveys.c.survey)).scalars())

    @patient
    def ingests(self, survey_name: str) -> pl.DataFrame:
        """Catalog files read into a survey: ``survey``, ``source`` (path), ``counts`` (JSON), ``at`` (UTC)."""
        files = schema.catalog_files.c
        query = (
            select(files.survey, files.path, files.counts, files.at)
            .where(files.survey == survey_name, files.counts.is_not(None))
            .order_by(files.path)
        )
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _FILES)

    def _begun(self, survey_name: str, source: CatalogFile | None) -> tuple[int | None, list[int]]:
        """(number of this ingest, those of earlier ones of the same file, also of such that never ended)."""
        if source is None:
            return None, []
        files = schema.catalog_files
        with self._database.defining() as connection:
            of_survey = files.c.survey == survey_name
            same = or_(files.c.path == source.path, files.c.digest == source.digest)
            earlier = [int(n) for n in connection.execute(select(files.c.number).where(of_survey, same)).scalars()]
            last = connection.execute(select(func.max(files.c.number)).where(of_survey)).scalar()
            row = {"survey": survey_name, "number": int(last or 0) + 1, "path": source.path, "digest": source.digest}
            self._database.upsert(connection, files, [row | {"counts": None, "at": now()}])
        return int(last or 0) + 1, earlier

    def _finished(self, survey_name: str, table: CatalogRows, number: int | None, earlier: Sequence[int]) -> None:
        files = schema.catalog_files
        counts = {
            "read": table.n_read, "filtered": table.n_filtered, "failed": table.n_failed, "galaxies": table.n_galaxies,
        }  # fmt: skip
        with self._database.writing() as connection:
            own = and_(files.c.survey == survey_name, files.c.number == number)
            connection.execute(update(files).where(own).values(counts=json.dumps(counts), at=now()))
            connection.execute(delete(files).where(files.c.survey == survey_name, files.c.number.in_(earlier)))

    def _is_empty(self, survey_name: str) -> bool:
        with self._database.reading() as connection:
            query = select(schema.galaxies.c.id_str).where(schema.galaxies.c.survey == survey_name).limit(1)
            return connection.execute(query).first() is None

    def _remove(self, survey_name: str, votes: Table, ids: Sequence[str]) -> None:
        galaxies = schema.galaxies
        for some in chunks(ids):
            with self._database.writing() as connection:
                connection.execute(
                    delete(galaxies).where(galaxies.c.survey == survey_name, galaxies.c.id_str.in_(some))
                )
                connection.execute(delete(votes).where(votes.c.id_str.in_(some)))

    def _retire(self, survey_name: str, votes: Table, earlier: Sequence[int]) -> int:
        """Take out what only earlier ingests of the file wrote, galaxies and failures; how many galaxies that were."""
        galaxies, failures = schema.galaxies, schema.failures
        left = and_(galaxies.c.survey == survey_name, galaxies.c.ingest.in_(earlier))
        known = exists().where(galaxies.c.survey == failures.c.survey, galaxies.c.id_str == failures.c.id_str)
        # A store of the first format did not note which file a row without id was in.
        unnamed = and_(failures.c.reason == MISSING_ID, failures.c.ingest.is_(None))
        of_file = failures.c.ingest.in_(earlier)
        with self._database.writing() as connection:
            vanished = 0
            if earlier:
                connection.execute(delete(votes).where(votes.c.id_str.in_(select(galaxies.c.id_str).where(left))))
                vanished = connection.execute(delete(galaxies).where(left)).rowcount
            outdated = or_(known, unnamed, of_file)
            of_stage = and_(failures.c.survey == survey_name, failures.c.stage == STAGE)
            connection.execute(delete(failures).where(of_stage, outdated))
        return vanished

    def _define(self, survey: Survey) -> Table:
        """The survey's votes table, made if need be."""
        votes = self._votes_table(survey)
        tree = json.dumps(survey.tree.to_dict())
        row = {"survey": survey.name, "title": survey.about.title, "tree": tree, "updated": now()}
        with self._database.defining() as connection:
            known = connection.execute(
                select(schema.surveys.c.tree).where(schema.surveys.c.survey == survey.name)
            ).scalar()
            if known is not None:
                self._same_answers(survey, DecisionTree.from_dict(json.loads(known)))
            votes.create(connection, checkfirst=True)
            self._database.upsert(connection, schema.surveys, [row])
        return votes
