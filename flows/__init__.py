"""Prefect flows and the command line: orchestration only."""

import logging

# Prefect hands gzflow's lines to the flow run's page (PREFECT_LOGGING_EXTRA_LOGGERS) from the level that is set here.
logging.getLogger("gzflow").setLevel(logging.INFO)
