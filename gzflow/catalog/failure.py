"""One galaxy that did not get through a stage, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of the failure table.

    Attributes
    ----------
    id_str
        The galaxy; for things without a galaxy, such as an image that no catalog row claims, their own name.
    stage
        Where it failed: ``catalog``, ``ingest``, ``shard``, ``predict`` ...
    reason
        One word, the same for all failures of a kind, so that they can be counted.
    detail
        What was found, in words.
    """

    id_str: str
    stage: str
    reason: str
    detail: str = ""
