"""Prefect events of gzflow's own, which automations listen for (`flows.automations`)."""

from __future__ import annotations

import os
from typing import Protocol

from prefect.context import FlowRunContext
from prefect.events import emit_event

from gzflow.errors import SettingsError
from gzflow.stages.counts import Counts

CHAMPION = "gzflow.champion"
FAILURES = "gzflow.failures"
OVER = "gzflow.over-threshold"
"""Label of a `FAILURES` event: "yes" or "no". Automations compare words alone, so the emitter compares the numbers."""

THRESHOLD_VARIABLE = "GZFLOW_ALERT_FAILURES"
THRESHOLD = 0.05


class Crowned(Protocol):
    """A model that has become champion: what trains, fine-tunes and promotes returns one."""

    @property
    def survey(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102

    def sentence(self) -> str: ...  # noqa: D102


def champion_changed(summary: Crowned) -> None:
    """Say that a survey has a new champion."""
    _emit(
        CHAMPION,
        {
            "prefect.resource.id": f"gzflow.model.{summary.model}.{summary.version}",
            "prefect.resource.name": f"{summary.model} version {summary.version}",
            "gzflow.survey": summary.survey,
            "gzflow.message": summary.sentence(),
        },
    )


def failures(survey: str, stage: str, counts: Counts, threshold: float) -> None:
    """Say which share of a stage's galaxies failed, and whether that is more than `threshold` allows.

    Galaxies whose service was down count: nobody else says that a whole service is away.
    """
    failed = counts.failed + counts.to_do
    share = failed / counts.n_in if counts.n_in else 0.0
    _emit(
        FAILURES,
        {
            "prefect.resource.id": f"gzflow.survey.{survey}",
            "prefect.resource.name": survey,
            "gzflow.stage": stage,
            "gzflow.share": f"{share:.4f}",
            "gzflow.message": f"{stage} of {survey}: {share:.1%} failed: {counts.sentence()}",
            OVER: "yes" if share > threshold else "no",
        },
    )


def threshold() -> float:
    """Share of failures that is still no news, from the environment.

    Raises
    ------
    SettingsError
        Not a number between 0 and 1.
    """
    given = os.environ.get(THRESHOLD_VARIABLE) or str(THRESHOLD)
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(
            f"{THRESHOLD_VARIABLE} is {given!r}",
            expected="a share between 0 and 1, e.g. 0.05",
            fix="correct or unset the variable",
        )
    return share


def _emit(event: str, resource: dict[str, str]) -> None:
    # Prefect adds the flow run and its deployment by itself; outside of a flow there is nobody to tell.
    if FlowRunContext.get() is not None:
        emit_event(event, resource=resource)
