"""A connection to MLflow that leaves no global state behind: every call names its store."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from gzflow.durable import replacing
from gzflow.errors import TrackingError, TrackingUnavailable
from gzflow.settings import Settings, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "gzflow-"
"""Experiments and registered models are named with it and the survey."""
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""MLflow's codes for a model and for an alias that is not there."""

_PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "ABORTED"}
"""MLflow's codes for 5xx, 429 and a request that could not be sent."""
_initialised: set[str] = set()
_guard = Lock()


def is_server(uri: str) -> bool:
    """Whether a tracking URI names a server, which keeps the artifacts itself, or a database."""
    return urlsplit(uri).scheme in {"http", "https", "databricks"}


def connect(settings: Settings) -> MlflowClient:
    """A client of the settings' store, checked to be there; a new SQLite database is made on the way.

    Raises
    ------
    TrackingError
        MLflow is not installed, or its server or database does not answer.
    """
    _require_mlflow()
    from mlflow import MlflowClient

    uri = settings.tracking_uri
    if urlsplit(uri).scheme in {"http", "https"}:
        _require_server(uri)
    with tracking_errors("open the store", settings):
        if urlsplit(uri).scheme.split("+")[0] == "sqlite":
            _initialise(uri, settings.artifact_root)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def tracking_errors(doing: str, settings: Settings) -> Iterator[None]:
    """Turn what MLflow, its server or its database raise into a TrackingError that says what was being done.

    Raises
    ------
    TrackingUnavailable
        Nobody answered, or with an error that may pass.
    TrackingError
        The request was refused.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError) as error:
        kind = TrackingUnavailable if _may_pass(error) else TrackingError
        raise kind(
            f"MLflow could not {doing}: {error}",
            where=without_password(settings.tracking_uri),
            expected="a database or server that can be read and written; a driver for it, if it is PostgreSQL",
            fix="check MLFLOW_TRACKING_URI, that the server runs, and that the disk is not full;"
            " pip install 'gzflow[postgres]' brings the drivers",
        ) from error


def _may_pass(error: Exception) -> bool:
    """Whether asking later may help: nobody answered, the database was away or busy, or a server erred (5xx, 429)."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, MlflowException):
        return error.error_code in _PASSING
    return isinstance(error, (RequestException, OperationalError, InterfaceError))


def _require_mlflow() -> None:
    problem = None
    where = None
    try:
        import mlflow
    except ImportError as error:
        problem = f"MLflow cannot be imported: {error}"
    else:
        if not hasattr(mlflow, "start_run"):
            # In a checkout, Python takes the folder mlflow/ of settings for an empty package.
            problem = "the package mlflow is not installed: Python found a folder of that name instead"
            where = ", ".join(map(str, getattr(mlflow, "__path__", [])))
    if problem:
        raise TrackingError(problem, where=where, expected="mlflow >= 3.17", fix="pip install 'mlflow>=3.17,<4'")


def _require_server(uri: str) -> None:
    """Ask once and briefly: MLflow itself would try again for minutes before it says that nobody is there."""
    try:
        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=10, follow_redirects=True)
        problem = f"it answers {answer.status_code}" if answer.status_code >= 500 else None
    except httpx.HTTPError as error:
        problem = str(error) or type(error).__name__
    if problem:
        raise TrackingUnavailable(
            f"the MLflow server does not answer: {problem}",
            where=without_password(uri),
            expected="a running MLflow server",
            fix="start it as mlflow/README.md says, correct MLFLOW_TRACKING_URI, or unset it to use a SQLite file",
        )


def _initialise(uri: str, artifact_root: Path) -> None:
    """Create the tables of a SQLite store, one process at a time: MLflow's migrations collide when two run at once."""
    path = Path(unquote(urlsplit(uri).path[1:]))
    with _guard:
        if uri in _initialised and path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Under its name only when it is whole: tables of a migration that was killed would be in the way for ever.
            if not path.exists() or not path.stat().st_size:
                with replacing(path) as temporary, quiet("mlflow.store.db.utils", "alembic"):
                    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                    # The root is that of the experiment "Default", which would else point into the working folder.
                    SqlAlchemyStore(f"sqlite:///{temporary}", artifact_root.as_uri()).engine.dispose()
        _initialised.add(uri)


@contextmanager
def quiet(*names: str, level: int = logging.WARNING) -> Iterator[None]:
    """Keep loggers from reporting what went as planned, or what is said elsewhere."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
