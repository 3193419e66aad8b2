"""The address of a server: one that runs already, or one to start."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from flows.stack.options import LOOPBACK

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, or will be.

    Attributes
    ----------
    url
        What a browser opens.
    api
        What clients are told.
    joined
        Whether it was there before: then it is neither started nor stopped.
    """

    url: str
    api: str
    joined: bool

    @property
    def port(self) -> int:
        """The port it listens on."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def answers(self, path: str) -> bool:
        """Whether a request for `path` below the API's address succeeds."""
        import httpx

        try:
            return httpx.get(f"{self.api}{path}", timeout=TIMEOUT_S, follow_redirects=True).is_success
        except httpx.HTTPError:
            return False

    def problem(self, path: str, probe: str, login: tuple[str, str] | None) -> str | None:
        """Why it cannot be used: `path` answers everybody, `probe` those who are let in."""
        import httpx

        try:
            httpx.get(f"{self.api}{path}", timeout=TIMEOUT_S, follow_redirects=True).raise_for_status()
            answer = httpx.get(f"{self.api}{probe}", timeout=TIMEOUT_S, follow_redirects=True, auth=login)
        except httpx.HTTPStatusError as error:
            return f"answers {error.response.status_code}"
        except httpx.HTTPError as error:
            return f"does not answer ({error or type(error).__name__})"
        if answer.status_code in {401, 403}:
            return "asks for a password, and " + ("refuses the one given" if login else "none is set")
        return None if answer.is_success else f"answers {answer.status_code}"

    def version(self, path: str, login: tuple[str, str] | None) -> tuple[str, float]:
        """The server's version, and how many seconds its clock is ahead of this machine's."""
        import httpx

        answer = httpx.get(f"{self.api}{path}", timeout=TIMEOUT_S, follow_redirects=True, auth=login)
        told = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else None
        skew = (told - datetime.now(UTC)).total_seconds() if told else 0.0
        return answer.text.strip().strip('"'), skew


def find(given: str | None, suffix: str, host: str, port: int, previous: str | None) -> Endpoint:
    """The server that `given` names, or one to start on `host` and `port`.

    A shell that still exports the address of this home's own stack, which has stopped meanwhile, asks for a start.

    Parameters
    ----------
    given
        ``PREFECT_API_URL`` or ``MLFLOW_TRACKING_URI``, if set.
    suffix
        What the API's address has after the server's.
    previous
        Where this home's last stack had the server.
    """
    if given:
        given = given.rstrip("/")
        there = Endpoint(given.removesuffix(suffix) if suffix else given, given, joined=True)
        parts = urlsplit(given)
        own = there.url == previous or (parts.hostname in LOOPBACK and port and parts.port == port)
        if not own or _listens(there):
            return there
    url = f"http://{f'[{host}]' if ':' in host else host}:{port or _free(host)}"
    return Endpoint(url, f"{url}{suffix}", joined=False)


def _listens(server: Endpoint) -> bool:
    try:
        with socket.create_connection((urlsplit(server.url).hostname or "", server.port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


def _free(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.bind((host, 0))
        return int(trial.getsockname()[1])
