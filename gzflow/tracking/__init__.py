"""Runs and registered models in MLflow; nothing else in gzflow imports it."""

from __future__ import annotations

import os

# MLflow reads both when it is first imported. Nobody is told that a survey is being classified, and no progress bar
# is drawn for copying one file.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
