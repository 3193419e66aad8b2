"""A trained and scored model in numbers, as it lies in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gzflow.errors import TrackingError
from gzflow.settings import Settings
from gzflow.stages.train_chunk import Kind
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import run_exists, run_page

RESULT = "result.json"
"""The summary; written last, it says that the run is done."""


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """A trained and scored model.

    Attributes
    ----------
    folder
        The run's: ``model/``, ``training.json``, ``result.json``, ``test.npz`` with the test galaxies' concentrations
        and votes, ``scores.parquet`` with their likelihoods.
    labels
        Training galaxies used.
    seed
        Of the training; of an ensemble, its first member's.
    members
        Networks of an ensemble. Its epochs are means over them.
    model, version, alias
        Of the registered model; empty where it was not registered, and where it has no alias any more.
    parent
        URI of the model that was fine-tuned; None for a training from scratch.
    url
        The MLflow run's page, where a server shows one.
    parent_run_id
        The MLflow run that this one belongs to.
    n_test, n_leaked, n_overlapping
        Test galaxies scored; left out because a galaxy that the model or an ancestor was trained on lies within
        `LEAK_ARCSEC`; scored although their stamp overlaps one that was seen.
    n_leaked_by_parent
        Of those left out, how many an ancestor has seen.
    guard_unknown
        What the guard against seen test galaxies could not look at.
    loss, constant, majority
        Test NLL in nats a galaxy of the model, of the constant Dirichlet and of the majority answer; NaN without a
        test galaxy that has votes.
    """

    survey: str
    name: str
    kind: Kind
    folder: Path
    labels: int
    seed: int
    members: int = 1
    model: str = ""
    version: str = ""
    alias: str = ""
    parent: str | None = None
    run_id: str
    url: str | None
    parent_run_id: str | None = None
    best_epoch: int
    n_epochs: int
    n_test: int
    n_leaked: int
    n_overlapping: int
    n_leaked_by_parent: int = 0
    guard_unknown: tuple[str, ...] = ()
    loss: float
    constant: float
    majority: float
    reused: bool = False

    def sentence(self) -> str:
        """One line for people, with the baselines."""
        scores = score_words(self.n_test, self.loss, self.constant, self.majority)
        if self.guard_unknown:
            scores += "; the parent may have seen some of them"
        who = f"{self.model} version {self.version} ({self.alias or 'no alias'})" if self.model else self.name
        kind = f", an ensemble of {self.members}" if self.members > 1 else ""
        return f"{who}{kind}: {scores}"


def score_words(n_test: int, loss: float, constant: float, majority: float) -> str:
    """A score with its baselines and its sample."""
    if not n_test:
        return "no test galaxy has votes, so it has no score"
    return (
        f"test NLL {loss:.3f} (constant Dirichlet {constant:.3f}, majority answer {majority:.3f}; {n_test:,} galaxies)"
    )


def read_summary(folder: Path, settings: Settings, parent_run_id: str | None = None) -> TrainSummary | None:
    """Summary of a finished run, with the alias that its model has now.

    None if the run was not finished, or if the store lacks what it speaks of. A training below one parent run serves
    others as well, as long as the store has that parent; one that stands by itself serves an ensemble.
    """
    if not (folder / RESULT).is_file():
        return None
    stored = json.loads((folder / RESULT).read_text("utf-8"))
    changed = {"folder": folder, "guard_unknown": tuple(stored["guard_unknown"]), "reused": True}
    summary = TrainSummary(**stored | changed)
    above = summary.parent_run_id
    if (above is not None and parent_run_id is None) or not run_exists(settings, summary.run_id):
        return None
    if above is not None and above != parent_run_id and not run_exists(settings, above):
        return None
    # The same store may be at another address now.
    summary = replace(summary, url=run_page(settings, summary.run_id))
    if not summary.model:
        return summary
    registry = Registry(settings)
    try:
        registry.resolve(f"models:/{summary.model}/{summary.version}")
    except TrackingError:
        return None
    return replace(summary, alias=present_alias(registry, summary.survey, summary.version))


def present_alias(registry: Registry, survey: str, version: str) -> str:
    """The alias that a version has now, or nothing."""
    aliases: tuple[Literal["champion", "challenger"], ...] = ("champion", "challenger")
    return next((alias for alias in aliases if registry.alias(survey, alias) == version), "")
