"""Runs and registered models in MLflow; nothing else in gzflow imports it."""

from __future__ import annotations

import os

# MLflow takes these from the environment. Nobody is told that a survey is being classified; no progress bar is drawn
# for copying one file; the command line, not the library, says where a run can be seen; and it is `patience` that asks
# again, not MLflow below it, which would hold up an epoch for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
