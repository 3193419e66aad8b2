"""Decisions about who is champion, as they are kept with the model versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Kind = Literal["first", "promotion", "rollback"]
NO_CHAMPION = "no champion before"
RECORD = "gzflow.decision."
INTENT = "gzflow.intent."
"""Begin the names of a version's tags: a decision that was made, and one that is being carried out."""


@dataclass(frozen=True)
class LoggedDecision:
    """One decision about who is champion, as it is kept with the model version.

    Attributes
    ----------
    id
        Names the decision, and its table among the files of the version's run: ``promotion/<id>.json``.
    at
        UTC, ISO 8601; decisions of one survey are ordered by it.
    kind
        ``first`` (there was no champion), ``promotion`` or ``rollback``.
    version, champion
        The version that the decision is about, and who was champion when it was made.
    moved
        Whether `version` became champion.
    forced
        Whether a person overrode the table.
    reasons
        In words.
    table
        One mapping a row: what the decision rests on.
    facts
        Counts and whatever else belongs to it.
    place
        Host and home of the process that decided.
    """

    id: str
    at: str
    kind: Kind
    version: str
    champion: str | None
    moved: bool = False
    forced: bool = False
    reasons: tuple[str, ...] = ()
    table: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if self.kind == "promotion":
            return ("forced" if self.forced else "promoted") if self.moved else "not promoted"
        return {"first": "first champion", "rollback": "rolled back" if self.moved else "not rolled back"}[self.kind]

    def sentence(self) -> str:
        """One line for people."""
        if self.kind == "first":
            return NO_CHAMPION
        return f"{self.outcome}: {'; '.join(self.reasons)}"

    def overtaken(self, now: str | None) -> Self:
        """The decision that moves nothing, because `now` is champion and not whom it was made about."""
        changed = f"the champion changed from {_called(self.champion)} to {_called(now)} meanwhile"
        return replace(self, reasons=(changed, *self.reasons))

    def to_json(self) -> str:
        """As a tag."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        stored = json.loads(text)
        return cls(**stored | {"reasons": tuple(stored["reasons"]), "table": tuple(stored["table"])})


def reigns(history: Iterable[LoggedDecision]) -> list[str]:
    """Champions, the present one last, as a rollback sees them: it undoes the last promotion, and so on back.

    A rollback takes the promotions that it undid off the list, so that the next one goes one further back and never
    forth to a model that somebody found wanting. A champion whom no decision made (its alias was set by hand) counts
    as promoted when the next decision finds it there.
    """
    stack: list[str] = []
    for decision in history:
        if not decision.moved:
            continue
        if decision.champion is not None and stack[-1:] != [decision.champion]:
            stack.append(decision.champion)
        if decision.kind == "rollback":
            while stack and stack[-1] != decision.version:
                stack.pop()
        if stack[-1:] != [decision.version]:
            stack.append(decision.version)
    return stack


def records(versions: Iterable[ModelVersion]) -> list[LoggedDecision]:
    """Decisions that were made, the oldest first."""
    return _read(versions, RECORD)


def intents(versions: Iterable[ModelVersion]) -> list[LoggedDecision]:
    """Decisions that were begun to be carried out and not finished, the oldest first."""
    return _read(versions, INTENT)


def _read(versions: Iterable[ModelVersion], prefix: str) -> list[LoggedDecision]:
    found = [
        LoggedDecision.from_json(value)
        for version in versions
        for key, value in version.tags.items()
        if key.startswith(prefix)
    ]
    return sorted(found, key=lambda decision: (decision.at, decision.id))


def _called(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
