"""One progress bar over all trainings of a flow run."""

from __future__ import annotations

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows import origin
from gzflow.training.metrics import EpochMetrics


class TrainingBar:
    """Advances by epochs; each training counts as its most epochs.

    Parameters
    ----------
    key
        Of the artifact.
    trainings, epochs
        How many there are, and the most epochs that each may take.
    """

    def __init__(self, key: str, *, trainings: int, epochs: int) -> None:
        self._trainings, self._epochs = trainings, epochs
        self._done = 0
        self._artifact = (
            create_progress_artifact(0.0, key=key, description=f"{trainings} trainings" if trainings > 1 else "epochs")
            if origin.flow_run() is not None
            else None
        )

    def after_epoch(self, epoch: EpochMetrics) -> None:
        """Advance by an epoch."""
        self._show(self._done + (epoch.epoch + 1) / self._epochs)

    def after_training(self) -> None:
        """Advance to the training's end, however many epochs it took."""
        self._done += 1
        self._show(self._done)

    def _show(self, done: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100 * done / self._trainings)
