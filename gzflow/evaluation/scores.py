"""The scores of a set of predictions, in total, by question and by answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gzflow.evaluation.bootstrap import Interval
from gzflow.evaluation.confusion import Agreement, ConfusionMatrix
from gzflow.evaluation.fraction_errors import AnswerScore
from gzflow.evaluation.question_calibration import QuestionCalibration
from gzflow.evaluation.selection import Selection


@dataclass(frozen=True)
class QuestionScore:
    """One question over one selection of test galaxies.

    Attributes
    ----------
    n
        Galaxies that count; all else is NaN when there is none.
    nll, nll_constant, nll_majority
        Mean negative log-likelihood (nats a galaxy) of the model, of the constant Dirichlet fitted to the training
        votes, and of "always the majority answer": that Dirichlet's precision, its largest mean on the commonest
        answer and the rest shared equally. With two answers the two constants are the same.
    gain
        ``nll_constant - nll``, with a 95 % paired bootstrap interval over galaxies.
    accuracy, majority_accuracy, majority_answer, macro_f1, weighted_f1
        Of the first answers; the majority answer is the commonest among these galaxies, so no constant beats it.
    agreement
        The same with 95 % bootstrap intervals.
    n_fractions, mae, rmse, mae_constant, rmse_constant
        Over galaxies with at least `fraction_floor` votes: errors of the vote fractions, averaged over galaxies and
        answers, of the model and of the constant Dirichlet's means; `mae_interval` is the bootstrap's.
    coverage
        Share of the vote counts inside their 90 % predictive interval, with its bootstrap interval; 0.90 is right.
    """

    question: str
    selection: Selection
    floor: int
    n: int
    nll: float
    nll_constant: float
    nll_majority: float
    gain: Interval
    accuracy: float
    majority_accuracy: float
    majority_answer: str | None
    macro_f1: float
    weighted_f1: float
    agreement: Agreement
    fraction_floor: int
    n_fractions: int
    mae: float
    rmse: float
    mae_constant: float
    rmse_constant: float
    mae_interval: Interval
    coverage: float
    coverage_interval: Interval

    @property
    def skill(self) -> float:
        """Share of the constant Dirichlet's NLL that the model saves: 0 is no better, negative is worse."""
        return 1 - self.nll / self.nll_constant


@dataclass(frozen=True)
class TotalScore:
    """All questions together, over every test galaxy with a vote, without a vote floor.

    Attributes
    ----------
    nll, nll_constant, nll_majority
        Sums over questions, means over galaxies (nats): the training loss and its baselines.
    gain
        ``nll_constant - nll`` with a 95 % paired bootstrap interval.
    mae, rmse, mae_constant, rmse_constant, mae_noise, mae_corrected, rmse_corrected
        Means over answers of those of `Evaluation.answers`: errors of the vote fractions, over galaxies with at least
        the fraction floor of votes for the question.
    coverage
        Share of the vote counts, over questions with at least the floor of votes, inside their 90 % predictive
        interval.
    """

    n: int
    nll: float
    nll_constant: float
    nll_majority: float
    gain: Interval
    mae: float
    rmse: float
    mae_constant: float
    rmse_constant: float
    mae_noise: float
    mae_corrected: float
    rmse_corrected: float
    coverage: float

    @property
    def skill(self) -> float:
        """Share of the constant Dirichlet's NLL that the model saves."""
        return 1 - self.nll / self.nll_constant


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of predictions.

    Attributes
    ----------
    n_galaxies, n_unvoted, n_samples
        Galaxies given, those without any vote (they count nowhere), and head samples a galaxy.
    questions
        One score per question and selection, questions in the tree's order.
    confusions
        One matrix a question over the half-asked galaxies.
    answers
        Errors of the vote fractions, one an answer, in the tree's order.
    calibrations
        One a question, over every galaxy with enough votes for it.
    resamples, seed
        Of the bootstrap.
    """

    n_galaxies: int
    n_unvoted: int
    n_samples: int
    floor: int
    fraction_floor: int
    resamples: int
    seed: int
    total: TotalScore
    questions: tuple[QuestionScore, ...]
    confusions: tuple[ConfusionMatrix, ...]
    answers: tuple[AnswerScore, ...]
    calibrations: tuple[QuestionCalibration, ...]

    def over(self, selection: Selection) -> tuple[QuestionScore, ...]:
        """Scores of one selection, in the tree's order."""
        return tuple(score for score in self.questions if score.selection == selection)

    def metrics(self, prefix: str = "test") -> dict[str, float]:
        """Numbers under names that tracking accepts: totals, and half-asked scores by question.

        Every evaluation of a tree has the same names, so that runs stand side by side: a question without a galaxy has
        ``galaxies`` 0 and NaN elsewhere. The other selections are left to tables: three times as many curves would
        bury these.
        """
        return {f"{prefix}/{name}": float(value) for name, value in self._named()}

    def _named(self) -> Iterator[tuple[str, float]]:
        yield "galaxies", self.total.n
        yield "nll", self.total.nll
        yield "nll-constant", self.total.nll_constant
        yield "nll-majority", self.total.nll_majority
        yield "skill", self.total.skill
        yield "gain", self.total.gain.mean
        yield "gain-lower", self.total.gain.lower
        yield "gain-upper", self.total.gain.upper
        for name in ("mae", "rmse", "mae-constant", "rmse-constant", "mae-noise", "mae-corrected", "rmse-corrected"):
            yield name, getattr(self.total, name.replace("-", "_"))
        yield "coverage90", self.total.coverage
        for score, calibration in zip(self.over("half-asked"), self.calibrations, strict=True):
            values = {
                "galaxies": score.n,
                "nll": score.nll,
                "nll-constant": score.nll_constant,
                "skill": score.skill,
                "accuracy": score.accuracy,
                "majority-accuracy": score.majority_accuracy,
                "macro-f1": score.macro_f1,
                "weighted-f1": score.weighted_f1,
                "mae": score.mae,
                "rmse": score.rmse,
                "coverage90": score.coverage,
                "pit-distance": calibration.pit_distance,
                "sharpness": calibration.sharpness,
            }
            for name, value in values.items():
                yield f"{name}/{score.question}", value
