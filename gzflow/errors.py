"""Every error gzflow raises on purpose.

    GzflowError
    ├── SettingsError            an option, parameter or environment variable is wrong
    ├── SurveyError              a survey TOML does not describe a survey
    │   └── UnknownSurvey        no shipped survey or file has that name
    ├── CatalogError             a catalog table cannot be read as its survey says
    │   ├── MissingColumns
    │   ├── EmptyCatalog
    │   ├── DuplicateIds
    │   ├── LossyIds             ids that passed through a float
    │   └── VotesDisagree        answers that do not add up to their published total
    ├── StoreError               the catalog store lacks what a stage needs
    │   └── StoreUnavailable     its database is away: asking later may help
    ├── CutoutError              one galaxy has no usable image
    │   ├── PermanentCutoutError     asking again will not help
    │   │   ├── NoCoverage           the survey did not observe this position
    │   │   ├── NotAnImage           HTML, JSON or text where pixels should be
    │   │   ├── TruncatedImage       the file ends early or does not decode
    │   │   ├── WrongSize            not the size that was asked for
    │   │   ├── BlankImage           black, grey or a text tile
    │   │   ├── BadPixels            too much of a band was not observed
    │   │   ├── MissingImage         no file in the given folders or archives
    │   │   ├── ChangedImage         not the file that was ingested
    │   │   └── Refused              the service answered 4xx
    │   └── TransientCutoutError     worth asking again
    │       ├── RateLimited          429 or a Retry-After
    │       └── ServiceUnavailable   5xx, time-out, reset
    ├── RecordError              a published record or one of its files cannot be had
    │   └── RecordUnavailable    its server is away or asks for patience: asking later may help
    ├── ShardError               a shard set is missing, unfinished or inconsistent
    ├── ModelError               a saved model cannot be used
    │   └── RecipeMismatch       images made another way than the model's
    ├── TrainingError            training cannot start or has diverged
    ├── EvaluationError          predictions and votes cannot be compared
    │   └── NothingToScore       no test galaxy has votes that the model could be held against
    ├── TrackingError            MLflow refused or is unreachable
    │   ├── TrackingUnavailable  its server or database is away: asking later may help
    │   └── NoChampion           no model carries the alias yet
    ├── PredictionError          a prediction run cannot continue
    ├── ExportError              a catalogue cannot be written as it was asked for
    ├── PromotionError           two models cannot be compared, or the champion changed meanwhile
    ├── Busy                     another process works in the same folder
    ├── DiskError                the disk is full, or takes nothing from this user
    └── StackError               a server, a worker or a deployment cannot be started or stopped

Each says what happened, where, what was expected and what to do next; all four survive pickling, so they reach the
user unchanged through Prefect's workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class GzflowError(Exception):
    """Base of all deliberate errors.

    Parameters
    ----------
    what
        One sentence: what is wrong.
    where
        Galaxy id, file, column, question: whatever locates the problem.
    expected
        What would have been right.
    fix
        What the user can do next.
    problems
        All the single problems, when several were found together.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
        problems: Iterable[str] = (),
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.fix = fix
        self.problems = tuple(problems)
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        lines += [f"  - {problem}" for problem in self.problems]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  to fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with `what` alone and lose the keyword-only parts.
        return (_rebuild, (type(self), self.__dict__.copy()))


def _rebuild(cls: type[GzflowError], state: dict[str, object]) -> GzflowError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (state["what"],)
    return error


class SettingsError(GzflowError):
    """An option, parameter or environment variable is wrong."""


class SurveyError(GzflowError):
    """A survey TOML does not describe a survey."""


class UnknownSurvey(SurveyError):
    """No shipped survey or file has that name."""


class CatalogError(GzflowError):
    """A catalog table cannot be read as its survey says."""


class MissingColumns(CatalogError):
    """The table lacks columns that the survey names."""


class EmptyCatalog(CatalogError):
    """The table has no rows, or the survey's filter keeps none."""


class DuplicateIds(CatalogError):
    """Two rows of one table carry the same id."""


class LossyIds(CatalogError):
    """Ids that passed through a float and may have lost digits."""


class VotesDisagree(CatalogError):
    """The answers' votes do not add up to the published total."""


class StoreError(GzflowError):
    """The catalog store lacks what a stage needs."""


class StoreUnavailable(StoreError):
    """The catalog store's database is away; asking later may help."""


class CutoutError(GzflowError):
    """One galaxy has no usable image; `reason` is the word the failure table uses."""

    reason: ClassVar[str] = "failed"


class PermanentCutoutError(CutoutError):
    """Asking again will not help."""


class NoCoverage(PermanentCutoutError):
    """The survey did not observe this position."""

    reason = "no-coverage"


class NotAnImage(PermanentCutoutError):
    """HTML, JSON or text where pixels should be."""

    reason = "not-an-image"


class TruncatedImage(PermanentCutoutError):
    """The file ends early or does not decode."""

    reason = "truncated"


class WrongSize(PermanentCutoutError):
    """Not the size that was asked for."""

    reason = "wrong-size"


class BlankImage(PermanentCutoutError):
    """A black, grey or text tile instead of a galaxy."""

    reason = "blank"


class BadPixels(PermanentCutoutError):
    """Too much of a band was not observed."""

    reason = "bad-pixels"


class MissingImage(PermanentCutoutError):
    """No file in the given folders or archives."""

    reason = "missing-image"


class ChangedImage(PermanentCutoutError):
    """Not the file that was ingested."""

    reason = "changed"


class Refused(PermanentCutoutError):
    """The service answered 4xx."""

    reason = "refused"


class TransientCutoutError(CutoutError):
    """Worth asking again; `retry_after` is the service's own wish in seconds, if it said one."""

    reason = "transient"
    retry_after: float | None = None


class RateLimited(TransientCutoutError):
    """The service asked us to slow down."""

    reason = "rate-limited"


class ServiceUnavailable(TransientCutoutError):
    """5xx, time-out or a broken connection."""

    reason = "service-unavailable"


class RecordError(GzflowError):
    """A published record or one of its files cannot be had."""


class RecordUnavailable(RecordError):
    """The record's server is away or asks for patience; asking later may help."""


class ShardError(GzflowError):
    """A shard set is missing, unfinished or inconsistent."""


class ModelError(GzflowError):
    """A saved model cannot be used."""


class RecipeMismatch(ModelError):
    """Images made another way than the model's."""


class TrainingError(GzflowError):
    """Training cannot start or has diverged."""


class EvaluationError(GzflowError):
    """Predictions and votes cannot be compared."""


class NothingToScore(EvaluationError):
    """No test galaxy has votes that the model could be held against."""


class TrackingError(GzflowError):
    """MLflow refused or is unreachable."""


class TrackingUnavailable(TrackingError):
    """MLflow's server or database is away; asking later may help."""


class NoChampion(TrackingError):
    """No model carries the alias yet."""


class PredictionError(GzflowError):
    """A prediction run cannot continue."""


class ExportError(GzflowError):
    """A catalogue cannot be written as it was asked for."""


class PromotionError(GzflowError):
    """Two models cannot be compared, or the champion changed meanwhile."""


class Busy(GzflowError):
    """Another process works in the same folder."""


class DiskError(GzflowError):
    """The disk is full, or takes nothing from this user."""


class StackError(GzflowError):
    """A server, a worker or a deployment cannot be started or stopped."""
