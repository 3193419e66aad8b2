"""Promote and roll back: who is champion of a survey."""

from __future__ import annotations

from prefect import flow, task

from flows import artifacts, events, origin
from flows.forms import SurveyName, VersionName
from gzflow.settings import Settings
from gzflow.stages import promote as stage


@task(name="compare and promote", cache_policy=None)
def compare_and_promote(
    survey: str, settings: Settings, challenger: str | None, *, force: bool
) -> stage.PromotionSummary:
    """The decision, logged and carried out."""
    return stage.promote(survey, settings, challenger=challenger, force=force, flow_run=origin.flow_run())


@task(name="roll back", cache_policy=None)
def roll_back(survey: str, settings: Settings) -> stage.PromotionSummary:
    """The champion before, champion again."""
    return stage.rollback(survey, settings)


@flow(name="promote", flow_run_name=origin.run_name)
def promote(survey: SurveyName, challenger: VersionName | None = None, force: bool = False) -> stage.PromotionSummary:
    """Make the challenger champion if it is better than the champion on the same test galaxies, and calibrated.

    Args:
        survey: A survey with a registered model and shards.
        challenger: A version number, or any models:/ URI. Empty: the version with the alias challenger.
        force: Promote whatever the comparison says; logged as forced, with the table that it overrode.
    """
    return _shown(compare_and_promote(survey, Settings.load(), challenger, force=force))


@flow(name="rollback", flow_run_name=origin.run_name)
def rollback(survey: SurveyName) -> stage.PromotionSummary:
    """Make the champion before the present one champion again; each run goes one further back.

    Args:
        survey: A survey with a champion and one before it.
    """
    return _shown(roll_back(survey, Settings.load()))


def _shown(summary: stage.PromotionSummary) -> stage.PromotionSummary:
    """The summary, after its page and, if there is a new champion, the event."""
    before = f"version {summary.champion_before}" if summary.champion_before else "nobody"
    lines = [summary.sentence(), f"Champion before: {before}.", summary.accounting()]
    artifacts.page("promote", f"Champion of {summary.survey}", None, [line for line in lines if line])
    if summary.decision is not None:
        artifacts.table("promote-table", "Challenger against champion", summary.decision.readable())
        artifacts.table("promote-changes", "What else changes", summary.decision.changes())
    artifacts.link("promote-model", summary.url or "", f"{summary.model} version {summary.version}")
    artifacts.link("promote-run", summary.run_url or "", "MLflow run")
    if summary.promoted:
        events.champion_changed(summary)
    return summary
