"""What a fine-tune can be told; light, so that a wrong word on the command line is refused at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from gzflow.errors import SettingsError
from gzflow.training.config import FineTuneConfig


@dataclass(frozen=True)
class FineTuneOptions:
    """What to fine-tune on, from what, and what to set beside it.

    Attributes
    ----------
    survey
        Shipped name or path of a TOML; its shards are learnt.
    parent
        The model to start from: a survey (its champion), ``survey/3`` or ``survey@challenger``, a ``models:/`` URI, or
        the folder of a saved model.
    pixels
        Which shard set; None is the only one.
    config
        How to fine-tune; its `labels`, if it names some, are all that there are.
    label_counts
        Numbers of training galaxies for a learning curve; all of them are always a point of it.
    seeds
        Trainings a point, with the seeds that follow the configuration's.
    scratch
        Train the same budget from scratch beside every fine-tune.

    Raises
    ------
    SettingsError
        All that is wrong with the numbers.
    """

    survey: str
    parent: str = "decals"
    pixels: int | None = None
    config: FineTuneConfig = field(default_factory=FineTuneConfig)
    label_counts: tuple[int, ...] = ()
    seeds: int = 1
    scratch: bool = True

    def __post_init__(self) -> None:
        problems = [f"label count {count} is less than 1" for count in self.label_counts if count < 1]
        if len(set(self.label_counts)) != len(self.label_counts):
            problems.append("a label count is named twice")
        if not 1 <= self.seeds <= 20:
            problems.append(f"{self.seeds} seeds")
        if problems:
            raise SettingsError(
                "this learning curve cannot be made",
                problems=problems,
                expected="label counts of 1 and more, each once; 1 to 20 seeds",
                fix="say for instance --label-counts 50,200,800 --seeds 3",
            )
