"""Who is champion, who was before, and why: decisions that are written down before, and kept after, the alias moves."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gzflow.errors import PromotionError
from gzflow.lock import exclusive
from gzflow.settings import Settings
from gzflow.tracking.client import ABSENT, PREFIX, tracking_errors
from gzflow.tracking.decision import INTENT, NO_CHAMPION, RECORD, Kind, LoggedDecision, intents, records, reigns

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

DECISION = "gzflow.decision"
MODEL_ID = "gzflow.model_id"
_SUCCESSOR = "gzflow.successor."
GRACE_S = 10.0
"""How long another machine gets to finish a move that it has claimed, before this one finishes it."""
FORGOTTEN = timedelta(hours=1)
"""After this, an intent of another machine that claimed nothing is taken for dead."""


class Succession:
    """The champions of one survey.

    Parameters
    ----------
    client
        Of the settings' store.
    settings
        Names the store; under its home lies the lock.
    survey
        Short name.

    Notes
    -----
    A move is made in four steps: an *intent* is written down, the place after the present champion is *claimed*, the
    alias moves, and the intent becomes a *record*. Whatever instant a process dies at, the next call finds the intent
    and finishes the move if the place had been claimed, or else drops it; alias and history then agree.

    Processes that share a home take turns by a lock that dies with its holder. Machines that share only the MLflow
    server are kept apart by the claim: a parameter of the champion's logged model, which MLflow writes once and never
    again, so that one of two machines that both saw the same champion wins and the other says who it was. This does
    not hold where there is no champion to claim from (none yet, or a version that gzflow did not register): there the
    last of two machines wins. A machine that stalls for more than `GRACE_S` between its look at the alias and its move,
    while another finishes that move for it and a third moves on, would set the alias back; nothing in MLflow can
    compare and set an alias. An alias that is set by hand is respected, and noted by the next decision.
    """

    def __init__(self, client: MlflowClient, settings: Settings, survey: str) -> None:
        self.client = client
        self.settings = settings
        self.survey = survey
        self.name = f"{PREFIX}{survey}"
        self._place = f"{socket.gethostname()}:{settings.home}"

    def champion(self) -> str | None:
        """The version that is champion."""
        return self.alias("champion")

    def alias(self, alias: str) -> str | None:
        """The version that carries an alias, or None."""
        from mlflow.exceptions import MlflowException

        with tracking_errors("look up an alias", self.settings):
            try:
                return str(self.client.get_model_version_by_alias(self.name, alias).version)
            except MlflowException as error:
                if error.error_code in ABSENT:
                    return None
                raise

    def history(self) -> list[LoggedDecision]:
        """All decisions, the oldest first; those about versions that were deleted went with them."""
        return records(self._versions().values())

    def introduce(self, version: str) -> None:
        """Give a new version its place: the first is champion, a later one challenger.

        When several first versions are there at once, whoever comes here first makes the lowest number champion.
        """
        with self._alone(f"registering version {version}"):
            self._settle()
            versions = self._versions()
            new = sorted((v for v in versions if DECISION not in versions[v].tags), key=int)
            champion, vacant = self.champion(), False
            if champion is None:
                champion, vacant = min([*new, version], key=int), True
                self._set_champion(champion)
            if vacant or champion in new:
                self._log(replace(self._proposal("first", champion, None), moved=True, reasons=(NO_CHAMPION,)))
            if version in new and version != champion:
                with tracking_errors("name the challenger", self.settings):
                    self.client.set_registered_model_alias(self.name, "challenger", version)
                self._say(version, "challenger: another model is champion")

    def settle(self) -> list[LoggedDecision]:
        """Moves that a process had begun when it died, finished now."""
        with self._alone("finishing what was interrupted"):
            return self._settle()

    def promote(
        self,
        version: str,
        *,
        expected_champion: str | None,
        approved: bool,
        forced: bool = False,
        reasons: Sequence[str] = (),
        table: Sequence[Mapping[str, Any]] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> LoggedDecision:
        """Log a decision, and make the version champion if it was `approved` or is `forced`.

        Nothing moves, not even by force, unless the champion still is the one that the version was compared with.
        """
        proposal = self._proposal("promotion", version, expected_champion)
        proposal = replace(proposal, forced=forced, reasons=tuple(reasons), table=tuple(table), facts=dict(facts or {}))
        with self._alone(f"promoting version {version}"):
            self._settle()
            return self._move(proposal) if approved or forced else self._log(self._dated(proposal))

    def before(self, champion: str) -> str:
        """The version that a rollback from `champion` goes to; see `reigns`.

        Raises
        ------
        PromotionError
            There was none before, or it was deleted.
        """
        versions = self._versions()
        earlier = [version for version in reigns(records(versions.values())) if version in versions]
        while earlier[-1:] == [champion]:
            earlier.pop()
        if earlier:
            return earlier[-1]
        raise PromotionError(
            f"no champion before version {champion} is known",
            where=f"registered model {self.name}",
            expected="an earlier champion that still is there",
            fix=f"`gzflow models {self.survey}` lists the versions;"
            f" `gzflow promote {self.survey} --challenger V --force` makes any of them champion",
        )

    def rollback(self, *, expected_champion: str) -> LoggedDecision:
        """Make the champion before `expected_champion` champion again.

        Raises
        ------
        PromotionError
            See `before`.
        """
        with self._alone("rolling back"):
            self._settle()
            proposal = self._proposal("rollback", self.before(expected_champion), expected_champion)
            done = self._move(replace(proposal, reasons=(f"version {expected_champion} was champion",)))
            if done.moved:
                self._say(expected_champion, f"rolled back: version {done.version} is champion again")
            return done

    def _alone(self, doing: str) -> AbstractContextManager[None]:
        return exclusive(self.settings.home / "mlflow" / "promotion" / self.survey, f"{doing} of {self.survey}")

    def _proposal(self, kind: Kind, version: str, champion: str | None) -> LoggedDecision:
        return LoggedDecision(uuid4().hex[:12], _stamp(datetime.now(UTC)), kind, version, champion, place=self._place)

    def _dated(self, decision: LoggedDecision) -> LoggedDecision:
        """The decision, later than all that are known, whatever the machines' clocks say."""
        now = datetime.now(UTC)
        for last in self.history()[-1:]:
            now = max(now, datetime.fromisoformat(last.at) + timedelta(microseconds=1))
        return replace(decision, at=_stamp(now))

    def _move(self, proposal: LoggedDecision) -> LoggedDecision:
        """The decision after making its version champion, if its champion still is."""
        proposal = self._dated(proposal)
        # The order matters: claims, then open intents, then the alias. A claim that comes later collides with ours.
        model_id = self._model_id(proposal.champion)
        claims = self._successors(model_id)
        number = len(claims) + 1
        if claims and claims[-1]["id"] in {intent.id for intent in intents(self._versions().values())}:
            self._settle()  # another machine is moving the alias right now
        if (now := self.champion()) != proposal.champion:
            return self._log(proposal.overtaken(now))
        self._tag(proposal.version, INTENT + proposal.id, proposal.to_json())
        winner = self._claim(model_id, number, proposal)
        if winner["id"] != proposal.id:
            decision = self._log(proposal.overtaken(winner["version"]))
            self._untag(proposal.version, INTENT + proposal.id)
            return decision
        return self._complete(proposal)

    def _complete(self, proposal: LoggedDecision) -> LoggedDecision:
        """The decision after its move; doing it twice does no harm."""
        now = self.champion()
        if now not in {proposal.champion, proposal.version}:  # moved by hand since
            decision = self._log(proposal.overtaken(now))
            self._untag(proposal.version, INTENT + proposal.id)
            return decision
        if now == proposal.champion:
            self._set_champion(proposal.version)
        if self.alias("challenger") == proposal.version:
            with tracking_errors("take away an alias", self.settings):
                self.client.delete_registered_model_alias(self.name, "challenger")
        decision = self._log(replace(proposal, moved=True))
        self._untag(proposal.version, INTENT + proposal.id)
        return decision

    def _settle(self) -> list[LoggedDecision]:
        finished = []
        versions = self._versions()
        recorded = {decision.id for decision in records(versions.values())}
        for intent in intents(versions.values()):
            if intent.id in recorded:
                self._untag(intent.version, INTENT + intent.id)
            elif not self._took_effect(intent):
                # Whoever shares this home and wrote it is dead, or it would hold the lock.
                if intent.place == self._place or datetime.now(UTC) - datetime.fromisoformat(intent.at) > FORGOTTEN:
                    self._untag(intent.version, INTENT + intent.id)
            elif intent.place == self._place or not self._recorded_soon(intent):
                logger.warning("%s: finishing an interrupted %s: version %s", self.survey, intent.kind, intent.version)
                finished.append(self._complete(intent))
        return finished

    def _took_effect(self, intent: LoggedDecision) -> bool:
        model_id = self._model_id(intent.champion)
        if model_id is None:
            return self.champion() == intent.version
        return any(successor["id"] == intent.id for successor in self._successors(model_id))

    def _recorded_soon(self, intent: LoggedDecision) -> bool:
        """Whether the other machine finishes its move within `GRACE_S`."""
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if any(decision.id == intent.id for decision in self.history()):
                return True
            time.sleep(0.5)
        return False

    def _claim(self, model_id: str | None, number: int, proposal: LoggedDecision) -> Mapping[str, str]:
        """Who holds the place after the champion: id of the decision, and its version."""
        from mlflow.exceptions import MlflowException

        mine = {"id": proposal.id, "version": proposal.version}
        if model_id is None:
            return mine
        key = f"{_SUCCESSOR}{number}"
        with tracking_errors("claim the place after the champion", self.settings):
            try:
                self.client.log_model_params(model_id, {key: json.dumps(mine)})
            except MlflowException:
                # Taken, or an answer that was lost on the way: what is written decides.
                if len(self._successors(model_id)) < number:
                    raise
            return self._successors(model_id)[number - 1]

    def _successors(self, model_id: str | None) -> list[Mapping[str, str]]:
        """Claims on the place after a champion, in order."""
        if model_id is None:
            return []
        with tracking_errors("read who followed the champion", self.settings):
            params = self.client.get_logged_model(model_id).params
        claims = {
            int(key.removeprefix(_SUCCESSOR)): value for key, value in params.items() if key.startswith(_SUCCESSOR)
        }
        return [json.loads(claims[number]) for number in sorted(claims)]

    def _model_id(self, version: str | None) -> str | None:
        found = self._versions().get(version or "")
        return found.tags.get(MODEL_ID) if found is not None else None

    def _set_champion(self, version: str) -> None:
        with tracking_errors("set the alias champion", self.settings):
            self.client.set_registered_model_alias(self.name, "champion", version)

    def _log(self, decision: LoggedDecision) -> LoggedDecision:
        """Keep a decision: its table with the run, then its sentence and itself with the version."""
        run_id = self._run(decision.version)
        if run_id is not None and decision.table:
            table = {"columns": list(decision.table[0]), "data": [list(row.values()) for row in decision.table]}
            with tracking_errors("keep the decision's table", self.settings):
                self.client.log_text(run_id, decision.to_json(), f"promotion/{decision.id}.json")
                self.client.log_text(run_id, json.dumps(table), f"promotion/{decision.id}-table.json")
        self._say(decision.version, decision.sentence())
        self._tag(decision.version, RECORD + decision.id, decision.to_json())
        logger.info("%s version %s: %s", self.name, decision.version, decision.sentence())
        return decision

    def _say(self, version: str, sentence: str) -> None:
        """Tag version and run with the latest decision in words."""
        self._tag(version, DECISION, sentence)
        if (run_id := self._run(version)) is not None:
            with tracking_errors("tag the run with the decision", self.settings):
                self.client.set_tag(run_id, DECISION, sentence)

    def _run(self, version: str) -> str | None:
        """The version's run, if it is still there."""
        from mlflow.exceptions import MlflowException

        with tracking_errors("look up the model's run", self.settings):
            run_id = self.client.get_model_version(self.name, version).run_id
            try:
                there = bool(run_id) and self.client.get_run(run_id).info.lifecycle_stage == "active"
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                there = False
        return str(run_id) if there else None

    def _tag(self, version: str, key: str, value: str) -> None:
        with tracking_errors("tag a model version", self.settings):
            self.client.set_model_version_tag(self.name, version, key, value)

    def _untag(self, version: str, key: str) -> None:
        with tracking_errors("untag a model version", self.settings):
            self.client.delete_model_version_tag(self.name, version, key)

    def _versions(self) -> dict[str, ModelVersion]:
        with tracking_errors("list the versions", self.settings):
            return {str(found.version): found for found in self.client.search_model_versions(f"name = '{self.name}'")}


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
