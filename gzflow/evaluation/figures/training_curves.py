"""How training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gzflow.evaluation.figures.style import BLUE, INK, MUTED, ORANGE, SMALL, heading, label_ends, new_figure, plain_axes


def training_curves(
    history: Sequence[Mapping[str, float]],
    *,
    baseline: float | None = None,
    best_epoch: int | None = None,
    refit: float | None = None,
    title: str = "Loss by epoch",
) -> Figure:
    """Training and validation loss by epoch, with what a constant Dirichlet scores on the validation galaxies.

    Parameters
    ----------
    history
        One mapping an epoch with ``epoch`` (from 0), ``train/loss`` and ``val/loss`` (nats a galaxy); other keys are
        ignored. People count from 1, and so does the axis.
    baseline
        Validation loss of the constant Dirichlet fitted to the training votes.
    best_epoch
        The epoch whose weights were kept, from 0.
    refit
        Validation loss after the head alone was trained on from there.
    """
    figure = new_figure(7.6, 4.0)
    epochs = np.array([entry["epoch"] + 1 for entry in history], dtype=np.float64)
    curves = {
        "training": (np.array([entry.get("train/loss", np.nan) for entry in history]), MUTED),
        "validation": (np.array([entry.get("val/loss", np.nan) for entry in history]), BLUE),
    }
    best = next((entry for entry in history if entry["epoch"] == best_epoch), None)
    subtitle = (
        f"loss: negative log-likelihood of the votes, summed over questions, nats a galaxy; {len(history)} epochs"
    )
    top = heading(figure, title, subtitle)
    axes = plain_axes(figure.add_axes((0.085, 0.125, 0.745, top - 0.145)))
    for values, colour in curves.values():
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3.2 if len(epochs) < 40 else 0)
    if baseline is not None:
        axes.axhline(baseline, color=ORANGE, linewidth=1.4, linestyle=(0, (5, 3)))
    if best is not None:
        at = best["epoch"] + 1
        axes.axvline(at, color=INK, linewidth=0.8, linestyle=":")
        axes.plot(at, best["val/loss"], "o", markersize=9, markerfacecolor="none", markeredgecolor=BLUE)
        if refit is not None:
            axes.plot(at, refit, "D", markersize=5, color=BLUE)
    _limit(axes, [values for values, _ in curves.values()], [mark for mark in (baseline, refit) if mark is not None])
    axes.set_xlabel("epoch", fontsize=SMALL)
    axes.set_ylabel("loss", fontsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    labels = [
        (values[np.isfinite(values)][-1], f"{name}\n{values[np.isfinite(values)][-1]:.2f}", colour)
        for name, (values, colour) in curves.items()
        if np.isfinite(values).any()
    ]
    if baseline is not None:
        labels.append((baseline, f"constant Dirichlet\n{baseline:.2f}", ORANGE))
    label_ends(axes, labels)
    if best is not None:
        axes.annotate(
            f"best epoch {int(at)}: {best['val/loss']:.2f}"
            + (f"\nthen the head alone: {refit:.2f}" if refit is not None else ""),
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if at > epochs.mean() else 5, -2),
            textcoords="offset points",
            ha="right" if at > epochs.mean() else "left",
            va="top",
            fontsize=SMALL,
            color=INK,
        )
    return figure


def _limit(axes: Axes, curves: Sequence[NDArray[np.float64]], marks: Sequence[float]) -> None:
    """Keep a first epoch that is far off from flattening all the rest."""
    finite = [curve[np.isfinite(curve)] for curve in curves]
    values = np.concatenate([*finite, marks])
    if not values.size:
        return
    low = values.min()
    high = max(
        [np.quantile(curve, 0.95) for curve in finite if curve.size]
        + [curve[-1] for curve in finite if curve.size]
        + list(marks)
    )
    margin = 0.08 * max(high - low, 1e-3)
    axes.set_ylim(low - margin, high + 2.2 * margin)
