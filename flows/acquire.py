"""Acquire: files of a published record, resumed where an earlier run stopped, each verified by its md5."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, runtime, task
from prefect.futures import wait

from flows import artifacts
from flows.origin import label
from flows.progress import Bar
from flows.retries import may_pass
from flows.runner import Threads
from flows.stopping import heard
from gzflow.cutouts.zenodo import RecordFile
from gzflow.settings import Settings
from gzflow.stages import acquire as stage
from gzflow.stages.free_space import readable


@task(
    name="file",
    task_run_name="{file.name}",
    retries=3,
    retry_delay_seconds=[30, 120, 600],
    retry_jitter_factor=0.5,
    retry_condition_fn=may_pass,
    cache_policy=None,
)
def bring(plan: stage.AcquirePlan, file: RecordFile, settings: Settings, bar: Bar) -> stage.AcquiredFile:
    """One file of the record, whole and verified."""
    return stage.run_chunk(plan, file, settings, bar.add)


def run_name() -> str:
    """``acquire-zenodo-4573248``."""
    return label(f"acquire-{runtime.flow_run.parameters['record']}", {})


@flow(
    name="acquire",
    flow_run_name=run_name,
    task_runner=Threads(max_workers=stage.CONNECTIONS),
)
def acquire(record: str, files: list[str] | None = None, to: Path | None = None) -> stage.AcquireSummary:
    """Fetch files of a published record; a rerun goes on where this one stopped.

    Args:
        record: zenodo:4573248, a DOI of Zenodo, or the address of a record's page.
        files: Names or patterns such as *_5.parquet. Empty: all files, which may be 100 GB.
        to: Folder for the files. Empty: one of the home.
    """
    settings = Settings.load()
    plan = stage.plan(record, files, to, settings)
    with stage.alone(plan.folder):
        bar = Bar("acquire", plan.bytes, readable(plan.bytes))
        futures = [bring.submit(plan, file, settings, bar) for file in plan.files]
        with heard():
            wait(futures)
        got = [future.result(raise_on_failure=False) for future in futures]
    there = tuple(file for file in got if isinstance(file, stage.AcquiredFile))
    summary = stage.AcquireSummary(plan.record, plan.folder, there)
    artifacts.page(
        "acquire",
        plan.record.title,
        None,
        [f"{summary.sentence()}.", f"Folder: `{plan.folder}`", f"Licence: {plan.record.licence or 'see the record'}"],
    )
    artifacts.table(
        "acquire-files",
        "Files",
        [
            {"file": file.name, "bytes": file.size, "md5": file.md5, "here": _how(one)}
            for file, one in zip(plan.files, got, strict=True)
        ],
    )
    for one in got:
        if not isinstance(one, stage.AcquiredFile):
            raise one
    return summary


def _how(one: object) -> str:
    if not isinstance(one, stage.AcquiredFile):
        return str(one).splitlines()[0]
    return "since an earlier run" if one.reused else "new"
