"""Running a stage's chunks as retrying tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import Task
from prefect.futures import as_completed

from flows.progress import Progress
from flows.stopping import heard
from gzflow.settings import Settings
from gzflow.stages.counts import Counts, total


def run_chunks(task: Task[..., Counts], chunks: Sequence[Any], settings: Settings, progress: Progress) -> Counts:
    """The sum of the chunks' counts; every chunk is submitted at once and the task runner decides how many run.

    A chunk that fails for good does not stop its neighbours: they end first, then its error is raised.
    """
    futures = [task.submit(chunk, settings) for chunk in chunks]
    counts, errors = [], []
    with heard():
        for future in as_completed(futures):
            try:
                result = future.result(raise_on_failure=False)
            except Exception as error:  # noqa: BLE001 - what a cluster says of a task that it has lost for good
                result = error
            if isinstance(result, Counts):
                counts.append(result)
                progress.advance(result)
            else:
                errors.append(result)
    if errors:
        raise errors[0]
    return total(counts)
