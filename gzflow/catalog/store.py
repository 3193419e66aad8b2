"""The catalog store: galaxies, votes, the cutout ledger, failures and cross-matches, in one SQL database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

import polars as pl
from sqlalchemy import BigInteger, Connection, Select, Table, and_, cast, delete, func, insert, inspect, or_, select

from gzflow.catalog import schema
from gzflow.catalog.database import BATCH, IDS, Database
from gzflow.catalog.failure import Failure
from gzflow.catalog.part import MISSING_ID, STAGE
from gzflow.catalog.read import CatalogTable
from gzflow.errors import StoreError
from gzflow.surveys.survey import Survey
from gzflow.tree import DecisionTree

P = ParamSpec("P")
T = TypeVar("T")
State = Literal["to-do", "done", "no-coverage", "failed"]

_TEXT, _NUMBER, _WHOLE = pl.String, pl.Float64, pl.Int64
_GALAXIES = {
    "id_str": _TEXT, "ra": _NUMBER, "dec": _NUMBER, "pixscale": _NUMBER, "image": _TEXT, "carried": _TEXT,
}  # fmt: skip
_CUTOUTS = {
    "id_str": _TEXT, "state": _TEXT, "path": _TEXT, "member": _TEXT, "source": _TEXT, "bytes": _WHOLE,
    "sha256": _TEXT, "reason": _TEXT, "detail": _TEXT, "attempts": _WHOLE,
}  # fmt: skip
_TIMES = {"updated": _TEXT, "rows": _WHOLE, "images": _WHOLE, "bytes": _WHOLE, "attempts": _WHOLE}
_FAILURES = {"survey": _TEXT, "stage": _TEXT, "id_str": _TEXT, "reason": _TEXT, "detail": _TEXT, "at": _TEXT}
_INGESTS = {"survey": _TEXT, "source": _TEXT, "counts": _TEXT, "at": _TEXT}
_CROSSMATCHES = {
    "left_survey": _TEXT, "right_survey": _TEXT, "radius_arcsec": _NUMBER, "how": _TEXT, "n_matches": _WHOLE,
    "at": _TEXT,
}  # fmt: skip
_MATCHES = {"left_id": _TEXT, "right_id": _TEXT, "separation_arcsec": _NUMBER}


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


def _patient(method: Callable[Concatenate[CatalogStore, P], T]) -> Callable[Concatenate[CatalogStore, P], T]:
    """A method that is called again, from its start, when the database went away: every one can be repeated."""

    @wraps(method)
    def call(store: CatalogStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store._database.persist(lambda: method(store, *args, **kwargs))  # noqa: SLF001 - it becomes a method

    return call


class CatalogStore:
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

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        try:
            self._prepare()
        except StoreError:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()

    # --- catalogs

    @_patient
    def upsert_catalog(self, survey: Survey, table: CatalogTable) -> None:
        """Write the galaxies and votes of one catalog file, and its failures.

        Galaxies of earlier files that this one does not mention stay; one that now fails is taken out. Each batch is
        a transaction of its own: after an interruption, run it again.

        Raises
        ------
        StoreError
            The store holds this survey with other questions or answers.
        """
        votes = self._define(survey)
        base = {"survey": survey.name}
        keys = dict(zip(survey.tree.answers, (f"a{i}" for i in range(len(survey.tree.answers))), strict=True))
        counts = table.votes.rename(keys)
        for start in range(0, len(table.galaxies), BATCH):
            galaxy_rows = table.galaxies.slice(start, BATCH).to_dicts()
            vote_rows = counts.slice(start, BATCH).to_dicts()
            with self._database.writing() as connection:
                self._database.upsert(connection, schema.galaxies, [base | row for row in galaxy_rows])
                self._database.upsert(connection, votes, vote_rows)
        unusable = [*(failure.id_str for failure in table.failures), *table.filtered_ids]
        with self._database.writing() as connection:
            for ids in _chunks(unusable):
                connection.execute(delete(schema.galaxies).where(_of(schema.galaxies, survey.name, ids)))
                connection.execute(delete(votes).where(votes.c.id_str.in_(ids)))
            known = select(schema.galaxies.c.id_str).where(schema.galaxies.c.survey == survey.name)
            old = schema.failures.c
            connection.execute(
                delete(schema.failures).where(
                    old.survey == survey.name,
                    old.stage == STAGE,
                    or_(old.id_str.in_(known), old.reason == MISSING_ID),
                )
            )
        self.record_failures(survey.name, table.failures)

    @_patient
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

    @_patient
    def votes(self, survey: Survey, ids: Sequence[str] | None = None) -> pl.DataFrame:
        """Votes of a survey: ``id_str`` and one int32 column an answer, in the order of ``survey.tree.answers``.

        Raises
        ------
        StoreError
            The survey was never ingested, or with other questions or answers.
        """
        self._same_answers(survey, self._tree(survey.name))
        table = self._votes_table(survey)
        columns = {"id_str": _TEXT} | dict.fromkeys(survey.tree.answers, pl.Int32)
        return self._selected(select(table), table, columns, ids)

    @_patient
    def survey_names(self) -> list[str]:
        """Names of all surveys in the store, sorted."""
        with self._database.reading() as connection:
            return sorted(connection.execute(select(schema.surveys.c.survey)).scalars())

    @_patient
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

    @_patient
    def record_ingest(self, survey_name: str, source: str, counts: Mapping[str, int]) -> None:
        """Remember the accounting of one catalog file; a second ingest of the file replaces it."""
        row = {"survey": survey_name, "source": source, "counts": json.dumps(dict(counts)), "at": _now()}
        with self._database.writing() as connection:
            self._database.upsert(connection, schema.ingests, [row])

    @_patient
    def ingests(self, survey_name: str) -> pl.DataFrame:
        """Catalog files read into a survey: ``survey``, ``source``, ``counts`` (JSON), ``at`` (UTC)."""
        table = schema.ingests
        query = select(table).where(table.c.survey == survey_name).order_by(table.c.source)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _INGESTS)

    # --- cutouts

    @_patient
    def record_cutouts(self, survey_name: str, rows: Sequence[CutoutRecord]) -> None:
        """Write ledger rows; each replaces the galaxy's earlier one, and their attempts add up."""
        now = _now()
        for records in _chunks(rows, BATCH):
            values = [_writable(record) | {"survey": survey_name, "updated": now} for record in records]
            with self._database.writing() as connection:
                self._database.upsert(connection, schema.cutouts, values, add=["attempts"])

    @_patient
    def cutouts(
        self, survey_name: str, states: Sequence[State] | None = None, ids: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Ledger rows: ``id_str, state, path, member, source, bytes, sha256, reason, detail, attempts``.

        A galaxy whose image was never looked for has none.
        """
        where = [] if states is None else [schema.cutouts.c.state.in_(list(states))]
        return self._rows(schema.cutouts, _CUTOUTS, survey_name, ids, *where)

    @_patient
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

    @_patient
    def pending(self, survey_name: str) -> list[str]:
        """Ids of the galaxies whose image is neither there nor known to be unobtainable, sorted."""
        galaxies, cutouts = schema.galaxies, schema.cutouts
        query = (
            select(galaxies.c.id_str)
            .select_from(galaxies.outerjoin(cutouts, _same_galaxy()))
            .where(galaxies.c.survey == survey_name, or_(cutouts.c.state.is_(None), cutouts.c.state == "to-do"))
        )
        with self._database.reading() as connection:
            return sorted(connection.execute(query).scalars())

    # --- failures

    @_patient
    def record_failures(self, survey_name: str, failures: Sequence[Failure]) -> None:
        """Write failures; the same galaxy, stage and reason again replaces the detail."""
        now = _now()
        for some in _chunks(failures, BATCH):
            values = [_writable(failure) | {"survey": survey_name, "at": now} for failure in some]
            with self._database.writing() as connection:
                self._database.upsert(connection, schema.failures, values)

    @_patient
    def clear_failures(self, survey_name: str, stage: str, ids: Sequence[str] | None = None) -> None:
        """Forget failures of a stage, all of them or those of `ids`."""
        table = schema.failures
        where = and_(table.c.survey == survey_name, table.c.stage == stage)
        with self._database.writing() as connection:
            for some in [None] if ids is None else _chunks(ids):
                connection.execute(delete(table).where(where if some is None else where & table.c.id_str.in_(some)))

    @_patient
    def failures(self, survey_name: str, stage: str | None = None) -> pl.DataFrame:
        """Failures: ``survey, stage, id_str, reason, detail, at`` (UTC), sorted by stage, id and reason."""
        table = schema.failures
        query = select(*(table.c[name] for name in _FAILURES)).where(table.c.survey == survey_name)
        if stage is not None:
            query = query.where(table.c.stage == stage)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _FAILURES).sort("stage", "id_str", "reason")

    # --- cross-matches

    @_patient
    def record_crossmatch(
        self, left_survey: str, right_survey: str, radius_arcsec: float, how: str, matches: pl.DataFrame
    ) -> None:
        """Write the matches of two surveys in place of those of an earlier run.

        Parameters
        ----------
        matches
            ``left_id``, ``right_id``, ``separation_arcsec``.
        """
        pair = {"left_survey": left_survey, "right_survey": right_survey}
        run = pair | {"radius_arcsec": radius_arcsec, "how": how, "n_matches": len(matches), "at": _now()}
        with self._database.writing() as connection:
            connection.execute(delete(schema.matches).where(_pair(schema.matches, left_survey, right_survey)))
            self._database.upsert(connection, schema.crossmatches, [run])
            for some in matches.select(list(_MATCHES)).iter_slices(BATCH):
                connection.execute(insert(schema.matches), [pair | row for row in some.iter_rows(named=True)])

    @_patient
    def crossmatches(self) -> pl.DataFrame:
        """Matched pairs of surveys: ``left_survey, right_survey, radius_arcsec, how, n_matches, at`` (UTC)."""
        table = schema.crossmatches
        query = select(*(table.c[name] for name in _CROSSMATCHES)).order_by(table.c.left_survey, table.c.right_survey)
        with self._database.reading() as connection:
            return self._database.frame(connection, query, _CROSSMATCHES)

    @_patient
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

    # --- accounting

    @_patient
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
                .join(schema.galaxies, _same_galaxy())
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

    # --- inside

    @_patient
    def _prepare(self) -> None:
        """Make the tables once, and refuse a store of another format."""
        with self._database.reading() as connection:
            made = inspect(connection).has_table(schema.store.name)
            version = self._version(connection) if made else None
        if not made:
            with self._database.defining() as connection:
                schema.metadata.create_all(connection)
                row = {"name": "format_version", "value": str(schema.FORMAT_VERSION)}
                self._database.upsert(connection, schema.store, [row])
                version = self._version(connection)
        if version != str(schema.FORMAT_VERSION):
            raise StoreError(
                f"the catalog store has format {version}, this version of gzflow reads {schema.FORMAT_VERSION}",
                where=self._database.shown,
                fix="use the version of gzflow that wrote it, or ingest into a new store",
            )

    def _version(self, connection: Connection) -> str | None:
        query = select(schema.store.c.value).where(schema.store.c.name == "format_version")
        return connection.execute(query).scalar()

    def _define(self, survey: Survey) -> Table:
        """The survey's votes table, made if need be."""
        votes = self._votes_table(survey)
        tree = json.dumps(survey.tree.to_dict())
        row = {"survey": survey.name, "title": survey.about.title, "tree": tree, "updated": _now()}
        with self._database.defining() as connection:
            known = connection.execute(
                select(schema.surveys.c.tree).where(schema.surveys.c.survey == survey.name)
            ).scalar()
            if known is not None:
                self._same_answers(survey, DecisionTree.from_dict(json.loads(known)))
            votes.create(connection, checkfirst=True)
            self._database.upsert(connection, schema.surveys, [row])
        return votes

    def _votes_table(self, survey: Survey) -> Table:
        return schema.votes_table(survey.name, survey.tree, longest_name=self._database.longest_name)

    def _tree(self, survey_name: str) -> DecisionTree:
        with self._database.reading() as connection:
            query = select(schema.surveys.c.survey, schema.surveys.c.tree)
            trees = {str(name): str(tree) for name, tree in connection.execute(query)}
        if survey_name not in trees:
            raise StoreError(
                f"survey {survey_name!r} is not in the catalog store",
                where=self._database.shown,
                expected=f"one of {', '.join(sorted(trees))}" if trees else "an ingested survey; there is none yet",
                fix=f"run `gzflow ingest {survey_name} --catalog FILE` first",
            )
        return DecisionTree.from_dict(json.loads(trees[survey_name]))

    def _same_answers(self, survey: Survey, known: DecisionTree) -> None:
        if known.answers == survey.tree.answers:
            return
        new = [answer for answer in survey.tree.answers if answer not in known.answers]
        gone = [answer for answer in known.answers if answer not in survey.tree.answers]
        problems = [f"new: {', '.join(new)}"] * bool(new) + [f"gone: {', '.join(gone)}"] * bool(gone)
        raise StoreError(
            f"survey {survey.name!r} has other answers than when its votes were stored",
            where=self._database.shown,
            problems=problems or ["the same answers stand in another order"],
            expected=f"the {len(known.answers)} answers of the store, in their order",
            fix="give the changed survey another name, or forget the stored one with"
            f" CatalogStore.drop_survey({survey.name!r}) and ingest again",
        )

    def _rows(
        self, table: Table, columns: Mapping[str, Any], survey_name: str, ids: Sequence[str] | None, *where: Any
    ) -> pl.DataFrame:
        query = select(*(table.c[name] for name in columns)).where(table.c.survey == survey_name, *where)
        return self._selected(query, table, columns, ids)

    def _selected(
        self, query: Select[Any], table: Table, columns: Mapping[str, Any], ids: Sequence[str] | None
    ) -> pl.DataFrame:
        queries = [query] if ids is None else [query.where(table.c.id_str.in_(some)) for some in _chunks(ids)]
        with self._database.reading() as connection:
            frames = [self._database.frame(connection, one, columns) for one in queries]
        empty = pl.DataFrame(schema=dict(columns))
        return pl.concat([empty, *frames]).sort("id_str")


def _chunks(rows: Sequence[T], size: int = IDS) -> Iterator[list[T]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def _of(table: Table, survey: str, ids: Sequence[str]) -> Any:
    return and_(table.c.survey == survey, table.c.id_str.in_(ids))


def _pair(table: Table, left: str, right: str) -> Any:
    return and_(table.c.left_survey == left, table.c.right_survey == right)


def _same_galaxy() -> Any:
    galaxies, cutouts = schema.galaxies.c, schema.cutouts.c
    return and_(galaxies.survey == cutouts.survey, galaxies.id_str == cutouts.id_str)


def _writable(record: CutoutRecord | Failure) -> dict[str, Any]:
    # A detail may quote what a broken service sent; PostgreSQL takes no NUL in text.
    return asdict(record) | {"detail": record.detail.replace("\0", "\ufffd") if record.detail else record.detail}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
