"""What a user may choose about the stack."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class StackOptions:
    """Options of `gzflow up`.

    Attributes
    ----------
    host
        Interface that the servers listen on.
    prefect_port, mlflow_port
        0 takes a free one.
    without_passwords
        Listen beyond loopback though no password is set.
    """

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    without_passwords: bool = False

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the servers."""
        return self.host in LOOPBACK

    @property
    def local_host(self) -> str:
        """The name under which this machine's own workers reach the servers."""
        return "127.0.0.1" if self.host in {*LOOPBACK, "0.0.0.0", "::"} else self.host  # noqa: S104
