"""What an epoch was like, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gzflow.errors import TrainingError
from gzflow.tree import DecisionTree


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch.

    Attributes
    ----------
    epoch
        From 0.
    train_loss, validation_loss
        Negative log-likelihood in nats: sum over questions, mean over galaxies. The training loss is that of the steps
        as they were taken, with dropout and augmentation; the validation loss is that of the averaged weights.
    train_nll, validation_nll
        Mean over the galaxies that were asked, per question; questions that nobody was asked are left out.
    lr
        Learning rate of the last step; in a fine-tune the head's.
    seconds
        Training and validation.
    images_per_s
        Of training alone.
    best
        Whether no earlier epoch had a lower validation loss.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    train_nll: dict[str, float]
    validation_nll: dict[str, float]
    lr: float
    seconds: float
    images_per_s: float
    best: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def flat(self) -> dict[str, float]:
        """One number a name, as trackers want it: ``validation_nll/bar`` and so on."""
        values: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                values |= {f"{name}/{question}": number for question, number in value.items()}
            elif name not in {"epoch", "best"}:
                values[name] = value
        return values


class RunningNLL:
    """Sums of the loss over galaxies, kept on the device so that no step waits for it."""

    def __init__(self, tree: DecisionTree, device: torch.device) -> None:
        self.tree = tree
        # Apple's devices have no float64.
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(2 * len(tree.questions) + 1, dtype=kind, device=device)

    def add(self, nll: Tensor, votes: Tensor) -> None:
        """Add (n, n_questions) losses of galaxies with (n, n_answers) votes."""
        asked = torch.stack([votes[:, part].sum(1) > 0 for part in self.tree.slices], dim=1)
        count = torch.full((1,), len(nll), dtype=self.sums.dtype, device=self.sums.device)
        self.sums += torch.cat([nll.detach().sum(0).to(self.sums), asked.sum(0).to(self.sums), count])

    def result(self) -> tuple[float, dict[str, float]]:
        """Loss (sum over questions, mean over galaxies) and mean per question over the galaxies asked.

        Raises
        ------
        TrainingError
            The loss is not finite: training has diverged.
        """
        sums = self.sums.tolist()
        n = len(self.tree.questions)
        nll, asked, count = sums[:n], sums[n : 2 * n], sums[-1]
        names = [question.name for question in self.tree.questions]
        wrong = [name for name, value in zip(names, nll, strict=True) if not abs(value) < float("inf")]
        if wrong:
            raise TrainingError(
                "training has diverged: the loss is not finite",
                where=f"questions: {', '.join(wrong)}",
                fix="use a lower lr or a smaller clip; checkpoints of the epochs before are kept",
            )
        per_question = {name: nll[q] / asked[q] for q, name in enumerate(names) if asked[q]}
        return sum(nll) / max(count, 1), per_question
