"""A database that several processes may write at once, SQLite or PostgreSQL, behind one small face."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from sqlalchemy import Column, Connection, Engine, MetaData, Select, Table, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from gzflow.errors import DiskError, StoreError, StoreUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Rows a transaction: short enough (about a second) that other writers get their turn, long enough to be fast.
BATCH = 20_000
# Rows a transaction where they come as a frame: no Python object is made of them on PostgreSQL.
LOAD = 50_000
# Ids a query: PostgreSQL allows 65,535 variables, SQLite 32,766.
IDS = 10_000
_PATIENCE_S = 30.0
AWAY_S = 120.0
"""How long work waits for a PostgreSQL that this process has used before: a restart, a fail-over."""
_AWAY = (
    "refused", "starting up", "shutting down", "recovery mode", "closed the connection", "terminating connection",
    "connection is lost", "connection timeout", "no such file or directory",
)  # fmt: skip
# An unquoted empty cell is NULL, a quoted one the empty text: polars writes them so.
_COPY = "COPY gzflow_load FROM STDIN (FORMAT csv)"
# SQLite wants 32 KiB at a time for the index of its log.
_ROOM = 2**16
_used: set[str] = set()
# Any number that all gzflow processes share: it serialises the first creation of tables in PostgreSQL.
_SCHEMA_LOCK = 7_016_235


class Database:
    """An engine with the two kinds of transaction that the store needs.

    Parameters
    ----------
    url
        SQLAlchemy URL, ``sqlite:///file`` or ``postgresql+psycopg://...``.

    Raises
    ------
    StoreError
        Not such a URL, no driver for it, or the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.url = _parsed(url)
        self.shown = self.url.render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = _engine(self.url, self.shown)
        # SQLite has no limit worth the name; PostgreSQL cuts identifiers silently.
        self.longest_name = 1_000 if self.is_sqlite else 63

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def persist(self, request: Callable[[], T]) -> T:
        """What `request` returns; it is made again, whole, while the database is away.

        A database that this process has never reached is not waited for: then its address is wrong, rather.

        Raises
        ------
        StoreUnavailable
            It stayed away.
        """
        gone = 0.0
        while True:
            try:
                answer = request()
            except StoreUnavailable:
                now = time.monotonic()
                if self.shown not in _used or (gone and now - gone > AWAY_S):
                    raise
                if not gone:
                    gone = now
                    logger.warning("the catalog's database is away, waiting up to %.0f s: %s", AWAY_S, self.shown)
                time.sleep(min(5.0, 0.2 + (now - gone) / 4))
            else:
                if gone:
                    logger.info("the catalog's database is back after %.0f s", time.monotonic() - gone)
                _used.add(self.shown)
                return answer

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database and never waits for a writer."""
        with self._explained(), self._engine.connect() as connection:
            yield connection.execution_options(gzflow_reads=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all of it is kept, or nothing."""
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def defining(self) -> Iterator[Connection]:
        """A writing transaction in which no other process creates tables."""
        with self.writing() as connection:
            if not self.is_sqlite:  # SQLite's writers are alone anyway
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
            yield connection

    def upsert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, add: Sequence[str] = ()
    ) -> None:
        """Insert rows, or replace those whose primary key is there; the columns `add` are added to what is there."""
        if not rows:
            return
        make = sqlite.insert if self.is_sqlite else postgresql.insert
        statement: Any = make(table)
        new = statement.excluded
        values = {
            column.key: column + new[column.key] if column.key in add else new[column.key]
            for column in table.columns
            if not column.primary_key
        }
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values)
        connection.execute(statement, [dict(row) for row in rows])

    def load(self, connection: Connection, table: Table, frame: pl.DataFrame) -> None:
        """As `upsert`, for the rows of a frame whose columns are the table's keys: several times as fast.

        PostgreSQL gets them by COPY. Rows should be sorted by the table's key: then two writers wait for each other
        instead of for ever.
        """
        keys = [column.key for column in table.columns if column.key in frame.columns]  # the statement's order
        frame = frame.select(keys)
        own = list(table.primary_key.columns)
        changed = [key for key in keys if not table.c[key].primary_key]
        if self.is_sqlite:
            insert = sqlite.insert(table)
            upsert = insert.on_conflict_do_update(
                index_elements=own, set_={key: insert.excluded[key] for key in changed}
            )
            text = str(upsert.compile(dialect=connection.dialect, column_keys=keys))
            if len(frame):
                connection.exec_driver_sql(text, frame.rows())
            return
        columns = [Column(table.c[key].name, table.c[key].type, key=key) for key in keys]
        loaded = Table("gzflow_load", MetaData(), *columns, prefixes=["TEMPORARY"])
        loaded.create(connection)
        with connection.connection.cursor() as cursor, cursor.copy(_COPY) as copy:  # type: ignore[attr-defined]
            copy.write(frame.write_csv(include_header=False).encode())
        taken = postgresql.insert(table).from_select(keys, select(loaded))
        connection.execute(
            taken.on_conflict_do_update(index_elements=own, set_={key: taken.excluded[key] for key in changed})
        )
        loaded.drop(connection)

    def frame(self, connection: Connection, query: Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of a query as a frame of the given column types, in the query's order of columns."""
        rows = connection.execute(query).fetchall()
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
        return pl.DataFrame(
            [
                pl.Series(name, values, dtype=dtype)
                for (name, dtype), values in zip(schema.items(), columns, strict=True)
            ]
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if not self.is_sqlite and _is_away(error):
                raise StoreUnavailable(
                    "the catalog store's database is away",
                    where=self.shown,
                    problems=[str(error.orig)],
                    expected="a database that answers",
                    fix="start it, or correct GZFLOW_CATALOG_URL; then run the same command again",
                ) from error
            if self.is_sqlite and self._disk_is_full(error):
                raise DiskError(
                    "the disk is full", where=self.shown, fix="make room, then run the same command again"
                ) from error
            raise StoreError(
                "the catalog store refused",
                where=self.shown,
                expected="a database that can be written, and no program that holds its lock for half a minute",
                fix=f"look at the database's own message: {error.orig}",
            ) from error

    def _disk_is_full(self, error: DBAPIError) -> bool:
        """Whether SQLite found no room; for its log's index it says "disk I/O error" then."""
        said = str(error.orig).lower()
        if "disk i/o error" not in said:
            return "is full" in said
        folder = Path(self.url.database or "").parent
        return folder.is_dir() and shutil.disk_usage(folder).free < _ROOM


def _is_away(error: DBAPIError) -> bool:
    """Whether the server was not there or went away, in contrast to one that refuses."""
    said = str(error.orig).lower()
    return error.connection_invalidated or any(words in said for words in _AWAY)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            "the catalog store's address is not an SQLAlchemy URL",
            expected="sqlite:///path/to/catalog.db or postgresql+psycopg://user:password@host/database",
            fix="correct GZFLOW_CATALOG_URL",
        ) from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreError(
            f"the catalog store cannot be a {parsed.get_backend_name()} database",
            where=parsed.render_as_string(hide_password=True),
            expected="sqlite or postgresql",
            fix="correct GZFLOW_CATALOG_URL",
        )
    return parsed


def _engine(url: URL, shown: str) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True)
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        # A fresh connection costs 0.2 ms and never crosses a fork or a thread.
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _PATIENCE_S})
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            "there is no driver for this database",
            where=shown,
            expected="an installed driver",
            fix=f"pip install 'gzflow[postgres]'; Python says: {error}",
        ) from error
    except OSError as error:
        raise StoreError(
            "the folder of the catalog store cannot be made", where=shown, fix=f"the system says: {error}"
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Python's own transaction control begins too late for a lock that is asked for first.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_S * 1000)}")
        cursor.execute("PRAGMA synchronous = NORMAL")
        _write_ahead(cursor)
    finally:
        cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch to write-ahead logging; the switch ignores busy_timeout while another process does the same."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that begins as a reader can fail without having waited.
    reads = connection.get_execution_options().get("gzflow_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
