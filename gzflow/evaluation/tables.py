"""The tables and headline numbers of a report, each with its baseline and its sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gzflow.evaluation.metrics import Evaluation, QuestionScore
from gzflow.evaluation.numbers import number, percent
from gzflow.evaluation.report import Cell, Table, Tile, Tone
from gzflow.evaluation.selection import MEANING, Selection, at_least

FEW = 20
"""Questions with fewer galaxies are greyed: their numbers are mostly chance."""


@dataclass(frozen=True)
class Account:
    """What went into a step and what became of it, in galaxies."""

    step: str
    given: int
    out: int
    failed: int = 0
    filtered: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every galaxy given is accounted for."""
        return self.given == self.out + self.failed + self.filtered


def headline_tiles(evaluation: Evaluation) -> tuple[Tile, ...]:
    """Four numbers for the top of the page."""
    total = evaluation.total
    first = evaluation.over("half-asked")[0]
    gain = total.gain
    return (
        Tile(
            "gain over a constant",
            f"{gain.mean:+.2f} nats".replace("-", "−"),
            f"a galaxy, 95 % interval {gain.lower:.2f} to {gain.upper:.2f}".replace("-", "−")
            + f": NLL {total.nll:.2f}, constant Dirichlet"
            f" {total.nll_constant:.2f}, majority answer {total.nll_majority:.2f}; {total.n:,} test galaxies",
        ),
        Tile(
            first.question,
            percent(first.accuracy),
            f"agree with the volunteers; always “{first.majority_answer}”: {percent(first.majority_accuracy)};"
            f" {first.n:,} galaxies with {at_least(first.floor)}",
        ),
        Tile(
            "vote fractions off by",
            number(total.mae),
            f"on average over answers; a constant: {number(total.mae_constant)};"
            f" questions with {at_least(evaluation.fraction_floor)}",
        ),
        Tile(
            "90 % intervals hold",
            percent(total.coverage),
            f"of the vote counts; 90 % is right; questions with {at_least(evaluation.floor)}",
        ),
    )


def question_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """The half-asked scores for a terminal or a flow's page: one row a question, with baselines and an interval."""
    return [
        {
            "question": score.question,
            "n": f"{score.n:,}",
            "gain (95 %)": _gain(score) if score.n else "–",
            "agree": percent(score.accuracy),
            "majority": percent(score.majority_accuracy),
            "F1": number(score.macro_f1),
            "MAE": number(score.mae),
            "constant": number(score.mae_constant),
            "90 % holds": percent(score.coverage),
        }
        for score in evaluation.over("half-asked")
    ]


def metric_table(evaluation: Evaluation, selection: Selection, *, fold: bool = False) -> Table:
    """One row a question: likelihood, agreement, fractions and coverage, each beside its baseline."""
    scores = evaluation.over(selection)
    columns = (
        "question",
        "n",
        "NLL",
        "constant",
        "majority",
        "gain (95 %)",
        "agree",
        "majority",
        "macro F1",
        "MAE",
        "constant",
        "90 % holds",
    )
    note = (
        f"{MEANING[selection][:1].upper()}{MEANING[selection][1:]}; {at_least(evaluation.floor)},"
        f" {evaluation.fraction_floor} or more for MAE. NLL: negative log-likelihood of the votes in nats a galaxy,"
        " beside a constant Dirichlet fitted to the training votes and its sharpened form that always bets on the"
        f" majority answer; gain = constant − NLL with a paired bootstrap interval ({evaluation.resamples:,} draws,"
        f" seed {evaluation.seed}). Agree: first answers; majority: always giving these galaxies' commonest answer."
        f" MAE: error of the vote fractions. Rows with fewer than {FEW} galaxies are grey."
    )
    return Table(
        columns=columns,
        rows=tuple(_metric_row(score) for score in scores),
        caption=f"Scores by question: {selection}",
        numeric=frozenset(range(1, len(columns))),
        note=note,
        fold=fold,
    )


def accounting_table(accounts: Sequence[Account]) -> Table:
    """Galaxies in and out of each step, with a mark where a sum does not come out."""
    rows = tuple(
        (
            account.step,
            f"{account.given:,}",
            f"{account.out:,}",
            Cell(f"{account.failed:,}", "bad" if account.failed else "muted"),
            Cell(f"{account.filtered:,}", "plain" if account.filtered else "muted"),
            Cell("✓", "good", "in = out + failed + filtered") if account.balanced else Cell("✗ does not add up", "bad"),
        )
        for account in accounts
    )
    return Table(
        columns=("step", "in", "out", "failed", "filtered", "adds up"),
        rows=rows,
        caption="Galaxies in and out of each step",
        numeric=frozenset({1, 2, 3, 4}),
        note="in = out + failed + filtered, at every step",
    )


def failure_table(failures: Iterable[tuple[str, str, int, str]], *, fold: bool = False) -> Table:
    """Failures by stage and reason, with their number and one example."""
    rows = tuple(
        (stage, Cell(reason, "strong"), f"{count:,}", Cell(example, "muted"))
        for stage, reason, count, example in failures
    )
    return Table(
        columns=("stage", "reason", "galaxies", "for example"),
        rows=rows,
        caption="What failed, and why",
        numeric=frozenset({2}),
        note="" if rows else "Nothing failed.",
        fold=fold,
    )


def _metric_row(score: QuestionScore) -> tuple[str | Cell, ...]:
    if not score.n:
        return (Cell(score.question, "muted"), Cell("0", "muted"), *(Cell("–", "muted"),) * 10)
    gain = score.gain
    tone: Tone = "good" if gain.lower > 0 else "bad" if gain.upper < 0 else "plain"
    texts: tuple[str | Cell, ...] = (
        score.question,
        f"{score.n:,}",
        f"{score.nll:.3f}",
        f"{score.nll_constant:.3f}",
        f"{score.nll_majority:.3f}",
        Cell(_gain(score), tone if score.n >= FEW else "muted"),
        percent(score.accuracy),
        Cell(percent(score.majority_accuracy), title=f"always “{score.majority_answer}”"),
        f"{score.macro_f1:.2f}",
        Cell(number(score.mae), title=f"{score.n_fractions:,} galaxies"),
        number(score.mae_constant),
        percent(score.coverage),
    )
    if score.n >= FEW:
        return texts
    return tuple(
        Cell(text, "muted") if isinstance(text, str) else Cell(text.text, "muted", text.title) for text in texts
    )


def _gain(score: QuestionScore) -> str:
    gain = score.gain
    return f"{gain.mean:+.3f} ({gain.lower:+.3f}, {gain.upper:+.3f})".replace("-", "−")
