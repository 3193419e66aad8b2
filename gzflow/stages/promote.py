"""Promote: score challenger and champion on the same test galaxies, decide, log the decision, move the alias."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gzflow.errors import PromotionError, ShardError
from gzflow.evaluation.promotion import PromotionDecision, decide
from gzflow.evaluation.selection import question_totals, usual_floor
from gzflow.evaluation.slices import GalaxyScores
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology, read_spec
from gzflow.prediction.predict import Predictor
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import Ancestry, ancestry, find_leaks
from gzflow.stages.scoring import SAMPLES
from gzflow.surveys import Survey, load_survey
from gzflow.tracking.decision import NO_CHAMPION, LoggedDecision
from gzflow.tracking.registry import ModelRef, Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromotionSummary:
    """What became of a challenger, or of a rollback.

    Attributes
    ----------
    model, version
        The registered model, and the version that the decision is about.
    champion_before
        Its version, if there was one.
    promoted
        Whether `version` became champion.
    decision
        The comparison; None where there was nothing to compare, and for a rollback.
    logged
        The decision as the history keeps it; None when there was nothing to decide.
    note
        Why there was nothing to decide.
    url, run_url
        Pages of the version and of its run, where a server shows them.
    """

    survey: str
    model: str
    version: str
    champion_before: str | None
    promoted: bool
    decision: PromotionDecision | None = None
    logged: LoggedDecision | None = None
    note: str = ""
    url: str | None = None
    run_url: str | None = None

    def sentence(self) -> str:
        """One line for people."""
        return f"{self.model} version {self.version}: {self.logged.sentence() if self.logged else self.note}"

    def accounting(self) -> str:
        """What became of the test galaxies that the two models have in common; empty without a comparison."""
        facts = self.logged.facts if self.logged else {}
        if "in_common" not in facts:
            return ""
        return (
            f"{facts['in_common']:,} test galaxies in common = {facts['scored']:,} scored +"
            f" {facts['left_out_as_seen']:,} left out as seen in training + {facts['without_votes']:,} without votes"
        )


def promote(
    survey_name: str,
    settings: Settings,
    *,
    challenger: str | None = None,
    force: bool = False,
    seed: int = 42,
    flow_run: tuple[str, str] | None = None,
) -> PromotionSummary:
    """Make the challenger champion if it is better and calibrated (see `gzflow.evaluation.promotion.decide`).

    Each model is scored on shards of its own recipe. Galaxies are joined by id; those that either model, or one that
    it descends from, has seen are left out, and the votes are those in the challenger's shards. Table and decision are
    logged whatever the outcome. Where there is nothing to decide (no challenger, or it is champion already) nothing
    is logged, and the summary says so: a scheduled promotion is no failure on a quiet night.

    Parameters
    ----------
    challenger
        Version number or ``models:/`` URI; None is the version with the alias challenger.
    force
        Promote whatever the comparison says, and even when none can be made; logged as forced.
    seed
        Of the dropout masks and the bootstrap.
    flow_run
        Id and page of the orchestrator's run, for the log.

    Raises
    ------
    PromotionError
        The challenger is of another survey or tree; or, unless forced, the two cannot be compared.
    """
    survey, registry = load_survey(survey_name), Registry(settings)
    succession = registry.succession(survey.name)
    finished = succession.settle()
    champion = succession.champion()
    reference = challenger or succession.alias("challenger")
    if reference is None or reference == champion:
        return _nothing_to_decide(survey, registry, finished, champion, named=challenger)
    ref = registry.resolve(reference, survey.name)
    if ref.version is None or ref.name != succession.name:
        raise PromotionError(
            f"{ref.uri} is no version of {succession.name}",
            expected=f"a version number, or models:/{succession.name}/VERSION",
            fix=f"`gzflow models {survey.name}` lists the versions",
        )
    if ref.version == champion:
        return _nothing_to_decide(survey, registry, finished, champion, named=challenger)
    _require_tree(ref, survey)
    decision, facts = PromotionDecision(promote=True, reasons=(NO_CHAMPION,)), dict[str, Any]()
    if champion is not None:
        try:
            decision, facts = _compare(ref, registry.resolve(champion, survey.name), survey, settings, seed)
        except (PromotionError, ShardError) as error:
            if not force:
                raise
            decision = PromotionDecision(promote=False, reasons=(f"not compared: {error.what}",))
    logged = succession.promote(
        ref.version,
        expected_champion=champion,
        approved=decision.promote,
        # What the table allows needs no force.
        forced=force and not decision.promote,
        reasons=decision.reasons,
        table=decision.table(),
        facts=facts | ({"flow_run": flow_run[1] or flow_run[0]} if flow_run else {}),
    )
    return _summary(survey, registry, logged, decision)


def rollback_target(survey_name: str, settings: Settings) -> tuple[str, str]:
    """The champion and the version that a rollback would go to.

    Raises
    ------
    NoChampion, PromotionError
        There is no champion, or none before it.
    """
    survey, registry = load_survey(survey_name), Registry(settings)
    champion = str(registry.champion(survey.name).version)
    return champion, registry.succession(survey.name).before(champion)


def rollback(survey_name: str, settings: Settings) -> PromotionSummary:
    """Make the champion before the present one champion again; once more, and it goes one further back.

    It never goes forth: what was rolled back becomes champion by `promote` alone.

    Raises
    ------
    NoChampion, PromotionError
        There is no champion, or none before it.
    """
    champion, _ = rollback_target(survey_name, settings)
    survey, registry = load_survey(survey_name), Registry(settings)
    return _summary(survey, registry, registry.succession(survey.name).rollback(expected_champion=champion), None)


def _summary(
    survey: Survey, registry: Registry, logged: LoggedDecision, decision: PromotionDecision | None
) -> PromotionSummary:
    name = registry.succession(survey.name).name
    url, run_url = registry.pages(name, logged.version)
    return PromotionSummary(
        survey=survey.name,
        model=name,
        version=logged.version,
        champion_before=logged.champion,
        promoted=logged.moved,
        decision=decision,
        logged=logged,
        url=url,
        run_url=run_url,
    )


def _nothing_to_decide(
    survey: Survey, registry: Registry, finished: list[LoggedDecision], champion: str | None, *, named: str | None
) -> PromotionSummary:
    """The summary of a promotion that had only to be finished, or the reason why there is none."""
    for logged in reversed(finished):
        if logged.version == champion:
            return _summary(survey, registry, logged, None)
    succession = registry.succession(survey.name)
    if champion is None:
        raise PromotionError(
            f"survey {survey.name!r} has neither champion nor challenger",
            where=f"registered model {succession.name}",
            fix=f"run `gzflow train {survey.name}`: the first model becomes champion, the next one challenger",
        )
    why = (
        "it is the champion already"
        if named
        else f"it stays champion: no version has the alias challenger; `gzflow train {survey.name}` with other options"
        " makes one, and --challenger names any version"
    )
    return PromotionSummary(survey.name, succession.name, champion, champion, promoted=False, note=why)


def _require_tree(ref: ModelRef, survey: Survey) -> None:
    tree = read_spec(ref.folder).tree
    if tree.fingerprint != survey.tree.fingerprint:
        raise PromotionError(
            f"{ref.uri} answers another decision tree than survey {survey.name!r} asks",
            problems=_tree_differences(tree.answers, survey.tree.answers),
            expected=f"a model of tree {survey.tree.fingerprint}; this one's is {tree.fingerprint}",
            fix=f"train on the survey as it is now: `gzflow shard {survey.name}`, `gzflow train {survey.name}`",
        )


def _tree_differences(model: tuple[str, ...], survey: tuple[str, ...]) -> list[str]:
    problems = [f"the model alone has the answer {name}" for name in model if name not in survey]
    problems += [f"the survey alone has the answer {name}" for name in survey if name not in model]
    return problems or ["the answers are the same; their order, or who is asked which question, differs"]


@dataclass(frozen=True)
class _Scored:
    """One model's samples for the test galaxies of its own shards."""

    shards: ShardSet
    rows: dict[str, int]
    concentrations: NDArray[np.float32]


def _compare(
    challenger: ModelRef, champion: ModelRef, survey: Survey, settings: Settings, seed: int
) -> tuple[PromotionDecision, dict[str, Any]]:
    """The decision, and how many galaxies it rests on."""
    _require_tree(champion, survey)
    sets = [_shards_for(ref, survey, settings) for ref in (challenger, champion)]
    seen = _union([ancestry(ref, settings) for ref in (challenger, champion)])
    leaks = find_leaks(sets[0], seen)
    both = [_score(ref, shards, seed) for ref, shards in zip((challenger, champion), sets, strict=True)]
    common = [id_str for id_str in both[0].rows if id_str in both[1].rows]
    votes = sets[0].votes("test")
    kept = [id_str for id_str in common if id_str not in leaks.ids and votes[both[0].rows[id_str]].any()]
    facts = {
        "test_galaxies": len(both[0].rows),
        "in_common": len(common),
        "left_out_as_seen": sum(id_str in leaks.ids for id_str in common),
        "overlapping_stamps": leaks.n_overlapping,
        "without_votes": sum(id_str not in leaks.ids for id_str in common) - len(kept),
        "scored": len(kept),
        "samples": SAMPLES,
        "seed": seed,
        "shards": [shards.fingerprint for shards in sets],
    }
    counts = votes[[both[0].rows[id_str] for id_str in kept]]
    floor = usual_floor(question_totals(counts, survey.tree), 10)
    baseline = constant_dirichlet(sets[0].votes("train"), survey.tree)
    new, old = (
        GalaxyScores.of(one.concentrations[[one.rows[id_str] for id_str in kept]], counts, survey.tree, baseline, floor)
        for one in both
    )
    decision = decide(new, old, [question.name for question in survey.tree.questions], seed=seed)
    blind = tuple(f"test galaxies that were seen in training may be among them: {one}" for one in leaks.unknown)
    return replace(decision, reasons=decision.reasons + blind), facts | {"vote_floor": floor}


def _shards_for(ref: ModelRef, survey: Survey, settings: Settings) -> ShardSet:
    """The survey's finished shards that were made as the model's training images were."""
    recipe = read_spec(ref.folder).recipe
    problems = []
    for manifest in sorted((settings.home / "shards" / survey.name).glob(f"*/{MANIFEST}")):
        shards = ShardSet.open(manifest.parent)
        differences = recipe.differences(shards.recipe)
        if shards.tree.fingerprint != survey.tree.fingerprint:
            differences.append("its tree is not the survey's")
        if not differences:
            return shards
        problems.append(f"{manifest.parent.name}: {'; '.join(differences)}")
    raise PromotionError(
        f"no shards of survey {survey.name!r} are made as the images of {ref.uri} were",
        where=str(settings.home / "shards" / survey.name),
        problems=problems,
        expected=f"recipe {recipe.name}, {recipe.pixels} px",
        fix=f"run `gzflow shard {survey.name} --pixels {recipe.pixels}`, or promote without a comparison with --force",
    )


def _union(ancestries: list[Ancestry]) -> Ancestry:
    return Ancestry(
        models=tuple(uri for each in ancestries for uri in each.models),
        seen=pl.concat([each.seen for each in ancestries]),
        unknown=tuple(dict.fromkeys(sentence for each in ancestries for sentence in each.unknown)),
    )


def _score(ref: ModelRef, shards: ShardSet, seed: int) -> _Scored:
    predictor = Predictor(Morphology.load(ref.folder))
    parts = [predictor.predict(reader, n_samples=SAMPLES, seed=seed) for reader in shards.readers("test")]
    nothing = np.zeros((0, SAMPLES, len(shards.tree.answers)), np.float32)
    ids = [id_str for part in parts for id_str in part.ids]
    logger.info("%s: %s scored on %d test galaxies of %s", shards.survey, ref.uri, len(ids), shards.folder.name)
    rows = {id_str: row for row, id_str in enumerate(ids)}
    return _Scored(shards, rows, np.concatenate([nothing, *(part.concentrations for part in parts)]))
