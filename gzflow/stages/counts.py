"""What became of the galaxies of a chunk or a stage: the accounting that every page prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from gzflow.errors import GzflowError


@dataclass(frozen=True)
class Counts:
    """Galaxies in and where each of them went.

    Attributes
    ----------
    n_in
        Galaxies that entered.
    done
        In the output, including `reused`.
    reused
        Of `done`, those that an earlier run had finished.
    filtered
        Dropped by the survey's own filter.
    failed
        In the failure table, for good.
    to_do
        Failed in a way that may pass (a service was down); the next run asks again.
    """

    n_in: int = 0
    done: int = 0
    reused: int = 0
    filtered: int = 0
    failed: int = 0
    to_do: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{key: value + getattr(other, key) for key, value in asdict(self).items()})

    def balanced(self, where: str) -> Counts:
        """Itself, after checking that no galaxy was lost or doubled.

        Raises
        ------
        GzflowError
            The ins and the outs differ: a defect of gzflow, never the user's fault.
        """
        out = self.done + self.filtered + self.failed + self.to_do
        if self.n_in != out:
            raise GzflowError(
                f"{where}: {self.n_in} galaxies went in and {out} came out",
                where=str(self),
                expected="in = done + filtered + failed + to do",
                fix="this is a defect of gzflow: please report it with this message",
            )
        return self

    def sentence(self) -> str:
        """One line for people: ``2000 in = 1990 done (12 reused) + 10 failed``."""
        done = f"{self.done:,} done" + (f" ({self.reused:,} reused)" if self.reused else "")
        rest = ((self.filtered, "filtered"), (self.failed, "failed"), (self.to_do, "to do"))
        return f"{self.n_in:,} in = " + " + ".join([done, *(f"{n:,} {word}" for n, word in rest if n)])


def total(counts: Iterable[Counts]) -> Counts:
    """Sum over chunks."""
    return sum(counts, Counts())
