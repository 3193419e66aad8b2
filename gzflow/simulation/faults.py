"""What may go wrong between a service and its client, decided by seed, URL and attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gzflow.simulation import chance

FaultKind = Literal["rate-limited", "error", "unavailable", "truncated", "html", "drip", "reset"]


@dataclass(frozen=True)
class Fault:
    """One kind of trouble and when it strikes.

    Attributes
    ----------
    kind
        ``rate-limited`` 429; ``error`` 500; ``unavailable`` 503; ``truncated`` fewer bytes than announced; ``html`` 200
        with a page; ``drip`` the right answer, slowly; ``reset`` the connection is torn down.
    share
        Of the requests that it may strike, by chance.
    attempts
        Only the first so many requests of each URL; None is all of them.
    path
        Only paths that contain this.
    retry_after
        Seconds to ask for with 429 and 503; None does not ask.
    as_date
        Ask with an HTTP date instead of a number.
    seconds
        How long a drip takes.
    """

    kind: FaultKind
    share: float = 1.0
    attempts: int | None = None
    path: str = ""
    retry_after: float | None = None
    as_date: bool = False
    seconds: float = 5.0

    def strikes(self, seed: int, path: str, query: str, attempt: int) -> bool:
        """Whether it strikes the `attempt`-th request (from 1) of a URL; the same answer every time."""
        if self.path not in path or (self.attempts is not None and attempt > self.attempts):
            return False
        return chance.key(seed, self.kind, path, query, attempt) / 2**64 < self.share


def fault_of(faults: Sequence[Fault], seed: int, path: str, query: str, attempt: int) -> Fault | None:
    """The first of the faults that strikes, or None."""
    return next((fault for fault in faults if fault.strikes(seed, path, query, attempt)), None)
