"""When to stop asking a service that fails for everyone."""

from __future__ import annotations

import logging

from gzflow.cutouts.services import Request
from gzflow.errors import CutoutError, NotAnImage, Refused, ServiceUnavailable, TransientCutoutError, TruncatedImage

log = logging.getLogger(__name__)

_SERVICE_FAILED = (TransientCutoutError, TruncatedImage, NotAnImage, Refused)


class Breaker:
    """Counts galaxies in a row that met a failing service, and opens at `most` of them.

    A verdict about one galaxy (no coverage, bad pixels) shows that the service works, and starts the count again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._streak = 0
        self._last: CutoutError | None = None

    @property
    def is_open(self) -> bool:
        """True once nothing more should be asked."""
        return self._streak >= self._most

    def success(self) -> None:
        """A good image came."""
        self._record(None)

    def failure(self, error: CutoutError) -> None:
        """A galaxy ended without an image."""
        self._record(error if isinstance(error, _SERVICE_FAILED) else None)

    def check(self, request: Request) -> None:
        """Raise ServiceUnavailable instead of sending the request, when open."""
        if self.is_open and self._last is not None:
            raise ServiceUnavailable(
                f"not asked for: {request.host} failed for {self._streak} galaxies in a row, the last with:"
                f" {self._last.what}",
                where=request.where,
                fix="look at the service or the survey's [cutout]; then run again: what is done stays done",
            )

    def _record(self, error: CutoutError | None) -> None:
        if self.is_open:  # requests on their way when it opened change nothing
            return
        self._last = error
        self._streak = 0 if error is None else self._streak + 1
        if error is not None and self._streak == self._most:
            log.warning("%d galaxies in a row failed, the rest is not asked for; the last: %s", self._most, error)
