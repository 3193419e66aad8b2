"""A catalog store's database: opened once, of a known format, waited for when it restarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import polars as pl
from sqlalchemy import Connection, Select, Table, and_, inspect, select

from gzflow.catalog.database import IDS, Database
from gzflow.catalog.failure import Failure
from gzflow.catalog.store import schema
from gzflow.catalog.store.migration import migrate_to_2
from gzflow.errors import StoreError
from gzflow.surveys.survey import Survey
from gzflow.tree import DecisionTree

if TYPE_CHECKING:
    from gzflow.catalog.store.cutouts import CutoutRecord

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="StoreBase")
TEXT, NUMBER, WHOLE = pl.String, pl.Float64, pl.Int64


def patient(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that is called again, from its start, when the database went away: every one can be repeated."""

    @wraps(method)
    def call(store: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store._database.persist(lambda: method(store, *args, **kwargs))  # noqa: SLF001 - it becomes a method

    return call


class StoreBase:
    """What the store's tables have in common; `gzflow.catalog.store.CatalogStore` is the whole."""

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

    @patient
    def _prepare(self) -> None:
        """Make the tables once, bring those of an earlier format up to date, and refuse a later one."""
        with self._database.reading() as connection:
            version = self._version(connection)
        if version != str(schema.FORMAT_VERSION):
            with self._database.defining() as connection:
                version = self._version(connection)  # another process may have been faster
                if version in {None, "1"}:
                    if version == "1":
                        migrate_to_2(connection)
                    schema.metadata.create_all(connection)
                    row = {"name": "format_version", "value": str(schema.FORMAT_VERSION)}
                    self._database.upsert(connection, schema.store, [row])
                    version = str(schema.FORMAT_VERSION)
        if version != str(schema.FORMAT_VERSION):
            raise StoreError(
                f"the catalog store has format {version}, this version of gzflow reads {schema.FORMAT_VERSION}",
                where=self._database.shown,
                fix="use the version of gzflow that wrote it, or ingest into a new store",
            )

    def _version(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(schema.store.name):
            return None
        query = select(schema.store.c.value).where(schema.store.c.name == "format_version")
        return str(connection.execute(query).scalar())

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
        queries = [query] if ids is None else [query.where(table.c.id_str.in_(some)) for some in chunks(ids)]
        with self._database.reading() as connection:
            frames = [self._database.frame(connection, one, columns) for one in queries]
        empty = pl.DataFrame(schema=dict(columns))
        return pl.concat([empty, *frames]).sort("id_str")


def chunks(rows: Sequence[T], size: int = IDS) -> Iterator[list[T]]:
    """Pieces of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def same_galaxy() -> Any:
    """A ledger row belongs to a galaxy."""
    galaxies, cutouts = schema.galaxies.c, schema.cutouts.c
    return and_(galaxies.survey == cutouts.survey, galaxies.id_str == cutouts.id_str)


def writable(record: CutoutRecord | Failure) -> dict[str, Any]:
    """A row as the database takes it."""
    # A detail may quote what a broken service sent; PostgreSQL takes no NUL in text.
    return asdict(record) | {"detail": record.detail.replace("\0", "\ufffd") if record.detail else record.detail}


def now() -> str:
    """The time as the store writes it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
