"""Going on while MLflow's server or database is away for a while."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gzflow.errors import TrackingError, TrackingUnavailable
from gzflow.settings import Settings, without_password
from gzflow.tracking.client import quiet, tracking_errors

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a run waits for a store that was there when the run began: a restart, an upgrade, a short power cut."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0


class Patience:
    """Requests to a store that may come and go: said once when it goes, once when it is back.

    Parameters
    ----------
    patience_s
        Seconds that `ask` waits.
    folder
        Where the run's results lie, for the message when the store stays away.
    """

    def __init__(self, settings: Settings, patience_s: float = PATIENCE_S, folder: Path | None = None) -> None:
        self.settings = settings
        self.patience_s = patience_s
        self.folder = folder
        self._kept: deque[Callable[[], object]] = deque()
        self._gone_since: float | None = None
        self._ask_again = 0.0
        self._pause = _FIRST_PAUSE_S

    def ask(self, doing: str, request: Callable[[], T], *, patience_s: float | None = None) -> T:
        """What `request` returns; while the store is away it is made again. It must do no harm when made twice.

        Raises
        ------
        TrackingUnavailable
            The store stayed away.
        TrackingError
            It refused.
        """
        patience_s = self.patience_s if patience_s is None else patience_s
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with quiet("urllib3.connectionpool", level=logging.ERROR), tracking_errors(doing, self.settings):
                    answer = request()
            except TrackingUnavailable as error:
                self._went(error)
                if time.monotonic() >= deadline:
                    raise self._gave_up(doing, patience_s, error) from error
                time.sleep(min(self._pause, max(0.0, deadline - time.monotonic())))
            else:
                self._is_back()
                return answer

    def keep(self, request: Callable[[], object]) -> None:
        """Make a request now or, in order, as soon as the store is there; nobody waits for it meanwhile."""
        self._kept.append(request)
        if self._gone_since is None or time.monotonic() >= self._ask_again:
            try:
                self.make_good(patience_s=0)
            except TrackingUnavailable as error:
                log.debug("kept for later: %s", error.what)

    def make_good(self, *, patience_s: float | None = None) -> None:
        """Make all requests that were kept, in order.

        Raises
        ------
        TrackingUnavailable
            The store stayed away; what is left is still kept.
        TrackingError
            It refused one, which is dropped.
        """
        while self._kept:
            try:
                self.ask("log metrics", self._kept[0], patience_s=patience_s)
            except TrackingUnavailable:
                raise
            except TrackingError:
                self._kept.popleft()
                raise
            self._kept.popleft()

    def _went(self, error: TrackingUnavailable) -> None:
        if self._gone_since is None:
            self._gone_since = time.monotonic()
            self._pause = _FIRST_PAUSE_S
            where = without_password(self.settings.tracking_uri)
            log.warning("MLflow is away, metrics are kept until it is back: %s", where)
            log.debug("%s", error)
        else:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
        self._ask_again = time.monotonic() + self._pause

    def _is_back(self) -> None:
        if self._gone_since is not None:
            log.info("MLflow is back after %.0f s", time.monotonic() - self._gone_since)
            self._gone_since = None

    def _gave_up(self, doing: str, waited_s: float, error: TrackingUnavailable) -> TrackingUnavailable:
        advice = "run the same command again when MLflow is back: it goes on from here"
        if self.folder is not None:
            advice += f"; or take it into another store with `gzflow import-run {self.folder}`"
        return TrackingUnavailable(
            f"MLflow could not {doing}: it has been away for {waited_s:.0f} s",
            where=without_password(self.settings.tracking_uri),
            problems=[error.what],
            expected="a server or database that answers" + ("; the results are on disk" if self.folder else ""),
            fix=advice,
        )
