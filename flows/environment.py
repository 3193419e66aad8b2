"""The settings that Prefect reads at import; so this module comes first and imports nothing of it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from gzflow.settings import Settings

BATCHES = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
}
"""Measured with Prefect 3.8: the default sizes cost three times as much server work a task run."""

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}
"""No telemetry, no analytics, no look-up of newer versions."""


ROOM = 16 * 2**20
"""Bytes that the databases of Prefect and MLflow need at least; images and shards come on top."""


def prepare(settings: Settings) -> None:
    """Set what Prefect and MLflow need to run on nothing but SQLite, unless the user has set it.

    Measured with Prefect 3.8: the default start-up time-out of 20 s is too short for a first start on a slow disk.

    Raises
    ------
    OSError
        The home cannot be written, or has no `ROOM`: Prefect's server would die of that in silence, and be waited for.
    """
    defaults = {
        **settings.environment(),
        **BATCHES,
        **QUIET,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "gzflow",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    require_room(settings.home)


def require_room(home: Path) -> None:
    """Write `ROOM` bytes into the folder, which is made if need be, and take them back: quotas are not free space."""
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=home) as stream:
        stream.write(bytes(ROOM))
        stream.flush()
