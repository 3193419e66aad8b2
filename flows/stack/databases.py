"""The three databases: whether they are named rightly, answer, and let tables be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gzflow.settings import Settings

PREFECT_VARIABLES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
DRIVERS = {"Prefect": "asyncpg", "MLflow": "psycopg2", "catalog": "psycopg"}
"""For PostgreSQL: what each of the three programs speaks."""
PATIENCE_S = 5
Row = tuple[str, Literal["ok", "warn", "fail"], str, str]


def backend_store(home: Path, environ: Mapping[str, str]) -> str:
    """MLflow's database: ``MLFLOW_BACKEND_STORE_URI``, a database in ``MLFLOW_TRACKING_URI``, or a file in `home`."""
    tracking = environ.get("MLFLOW_TRACKING_URI", "")
    is_database = bool(tracking) and urlsplit(tracking).scheme not in {"http", "https"}
    own = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    return environ.get("MLFLOW_BACKEND_STORE_URI") or (tracking if is_database else own)


def missing_store(home: Path, environ: Mapping[str, str]) -> str | None:
    """MLflow's database, if it is a SQLite file that is not there yet."""
    uri = backend_store(home, environ)
    if urlsplit(uri).scheme.split("+")[0] != "sqlite":
        return None
    return None if Path(make_url(uri).database or "").exists() else uri


def examine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Row]:
    """A row of the doctor's table for each database."""
    prefect = next((environ[name] for name in PREFECT_VARIABLES if environ.get(name)), None)
    urls = {
        "catalog": settings.catalog_url,
        "Prefect": prefect or f"sqlite+aiosqlite:///{settings.home / 'prefect' / 'prefect.db'}",
        "MLflow": backend_store(settings.home, environ),
    }
    places: dict[tuple[str | None, int | None, str | None], str] = {}
    for name, given in urls.items():
        try:
            url = make_url(given)
        except ArgumentError:
            yield f"{name} database", "fail", "its address is not a URL", "postgresql+DRIVER://user:password@host/name"
            continue
        place = (url.host, url.port, url.database)
        if url.get_backend_name() == "postgresql" and "MLflow" in {name, places.get(place)} and place in places:
            # Both keep their migration's number in a table alembic_version.
            yield f"{name} database", "fail", f"is {places[place]}'s too: {shown(url)}", "give each one of its own"
            continue
        places[place] = name
        yield _row(name, url)


def shown(url: URL) -> str:
    """The address without its password."""
    return url.render_as_string(hide_password=True)


def _row(name: str, url: URL) -> Row:
    found = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(name, url)
    what, fix = found
    return f"{name} database", "fail" if fix else "ok", what, fix


def _sqlite(url: URL) -> tuple[str, str]:
    """What was found, and what to do if it is wrong."""
    path = Path(url.database or "")
    if not path.exists():
        return f"{path} (will be made)", ""
    # Read-only: looking must not make a file, nor a journal beside it.
    problem = _problem(make_url(f"sqlite:///file:{path}?mode=ro&uri=true"), "select count(*) from sqlite_master")
    return (f"{path}: {problem}", "restore it from a backup") if problem else (str(path), "")


def _postgresql(name: str, url: URL) -> tuple[str, str]:
    driver = DRIVERS[name]
    if url.drivername != f"postgresql+{driver}":
        return f"{name} cannot use {url.drivername}", f"postgresql+{driver}://...; pip install 'gzflow[postgres]'"
    if find_spec(driver) is None:
        return f"the driver {driver} is missing", "pip install 'gzflow[postgres]'"
    # Whether the database is there and ours any driver can ask; only asyncpg's options are its own.
    speaks = "psycopg" if find_spec("psycopg") else "psycopg2"
    asked = url.set(drivername=f"postgresql+{speaks}", query={} if name == "Prefect" else url.query)
    problem = _problem(asked, "select 1 / has_schema_privilege(current_schema(), 'create')::int")
    if problem and "division by zero" in problem:
        return f"{shown(url)}: no right to make tables", f"grant create on schema public to {url.username}"
    if problem:
        return f"{shown(url)}: {problem}", "start it, or correct the address; create database if need be"
    return shown(url), ""


def _problem(url: URL, statement: str) -> str | None:
    connect = {} if url.get_backend_name() == "sqlite" else {"connect_timeout": PATIENCE_S}
    try:
        engine = create_engine(url, connect_args=connect)
        try:
            with engine.connect() as connection:
                connection.execute(text(statement)).all()
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return said.replace(url.password, "***") if isinstance(url.password, str) and url.password else said
    return None
