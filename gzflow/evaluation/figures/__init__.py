"""Figures for reports and runs: one look, no global state, safe in threads."""

from __future__ import annotations

from gzflow.evaluation.figures.changes import changes_figure
from gzflow.evaluation.figures.confusion_matrix import confusion_figure
from gzflow.evaluation.figures.contact_sheet import contact_sheet
from gzflow.evaluation.figures.learning_curve import learning_curve_figure
from gzflow.evaluation.figures.overlap_map import overlap_map
from gzflow.evaluation.figures.paired_gains import paired_gains_figure
from gzflow.evaluation.figures.reliability import reliability, votes_vs_prediction
from gzflow.evaluation.figures.separations import separation_histogram
from gzflow.evaluation.figures.sky_map import sky_map
from gzflow.evaluation.figures.style import figure_jpeg, figure_png, figure_writer
from gzflow.evaluation.figures.top_galaxies import GalleryRow, top_galaxies_figure
from gzflow.evaluation.figures.training_curves import training_curves
from gzflow.evaluation.figures.transforms import transforms_figure

__all__ = [
    "GalleryRow",
    "changes_figure",
    "confusion_figure",
    "contact_sheet",
    "figure_jpeg",
    "figure_png",
    "figure_writer",
    "learning_curve_figure",
    "overlap_map",
    "paired_gains_figure",
    "reliability",
    "separation_histogram",
    "sky_map",
    "top_galaxies_figure",
    "training_curves",
    "transforms_figure",
    "votes_vs_prediction",
]
