"""The page of an evaluation: headline numbers, tables, figures, and where model and volunteers disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gzflow import __version__
from gzflow.evaluation.colour import colour_note
from gzflow.evaluation.disagreements import Disagreement, worst_disagreements
from gzflow.evaluation.evaluation_tables import (
    agreement_table,
    answer_table,
    calibration_table,
    slice_table,
    weight_table,
)
from gzflow.evaluation.figures import (
    GalleryRow,
    confusion_figure,
    contact_sheet,
    figure_jpeg,
    figure_png,
    reliability,
    top_galaxies_figure,
    transforms_figure,
    votes_vs_prediction,
)
from gzflow.evaluation.galaxy_table import galaxy_table
from gzflow.evaluation.report import GalaxyCard, NextStep, Picture, Report, Section
from gzflow.evaluation.tables import headline_tiles, metric_table
from gzflow.model.morphology import read_spec
from gzflow.posterior import fractions, intervals
from gzflow.settings import Settings, without_password
from gzflow.shards.reader import ShardSet
from gzflow.stages.leakage import LEAK_ARCSEC

if TYPE_CHECKING:
    from gzflow.stages.evaluate import Evaluated

MATRICES = 6
WORST = 6
CARDS = 3
"""Galaxies of the gallery that are shown with their whole table."""


def page(found: Evaluated, settings: Settings, run: str) -> tuple[Report, dict[str, bytes]]:
    """The report, and its figures by file name.

    Parameters
    ----------
    run
        Page or id of the MLflow run.
    """
    survey, shards, evaluation = found.survey, found.shards, found.evaluation
    tree = shards.tree
    means = fractions(found.concentrations, tree)
    figures = {
        "transforms.png": figure_png(transforms_figure(evaluation.calibrations)),
        "reliability.png": figure_png(reliability(means, found.votes, tree, floor=evaluation.floor)),
        "fractions.png": figure_png(votes_vs_prediction(means, found.votes, tree, floor=evaluation.fraction_floor)),
    }
    alts = {
        "transforms.png": "Histograms of the probability integral transforms by question",
        "reliability.png": "Predicted against observed fractions by question",
        "fractions.png": "Predicted against observed fractions, galaxy by galaxy",
    }
    shown = {name: Picture(content, alts[name]) for name, content in figures.items()}
    matrices = []
    for matrix in sorted((m for m in evaluation.confusions if m.n), key=lambda m: -m.n)[:MATRICES]:
        content = figures[f"confusion/{matrix.question}.png"] = figure_png(confusion_figure(matrix))
        matrices.append(Picture(content, f"Confusion matrix of {matrix.question}", wide=False))
    report = Report(
        title=f"Evaluation of {found.model.uri.removeprefix('models:/')}",
        subtitle=f"{survey.about.title or survey.name}: {len(found.ids):,} test galaxies with votes",
        tiles=headline_tiles(evaluation),
        sections=(
            Section(
                "Against constants",
                (_sample(found), colour_note(read_spec(found.model.folder).n_channels)),
                (
                    metric_table(evaluation, "half-asked"),
                    metric_table(evaluation, "asked", fold=True),
                    metric_table(evaluation, "confident", fold=True),
                ),
            ),
            Section(
                "Agreement with the volunteers",
                items=(
                    agreement_table(evaluation, "half-asked"),
                    agreement_table(evaluation, "asked", fold=True),
                    agreement_table(evaluation, "confident", fold=True),
                    *matrices,
                ),
            ),
            Section("Vote fractions", items=(answer_table(evaluation), shown["fractions.png"])),
            Section(
                "Calibration",
                items=(calibration_table(evaluation), shown["transforms.png"], shown["reliability.png"]),
            ),
            *_weighted(found),
            *_slices(found),
            *_disagreements(found, means),
        ),
        provenance={
            "survey": survey.name,
            "model": found.model.uri,
            "trained by run": found.model.run_id or "unknown",
            "this evaluation's run": run,
            "MLflow store": without_password(settings.tracking_uri),
            "tree": tree.fingerprint,
            "shards": f"{shards.folder} ({shards.fingerprint})",
            "dropout samples, seed": f"{evaluation.n_samples}, {evaluation.seed}",
            "gzflow": __version__,
        },
        acknowledgements=tuple(text for text in (survey.about.acknowledgement, survey.about.citation) if text),
        next_steps=(
            NextStep("gzflow compare RUN RUN", "which of two models is better on the galaxies of both"),
            NextStep(f"gzflow models {survey.name}", "the versions, their scores and decisions"),
        ),
        image_rights=survey.about.image_rights,
    )
    return report, figures


def _sample(found: Evaluated) -> str:
    leakage = found.leakage
    text = (
        f"{len(found.ids):,} test galaxies with votes that the model has not seen: {len(leakage.ids):,} were left out"
        f" because a galaxy that it or an ancestor was trained on lies within {LEAK_ARCSEC:g} arcsec;"
        f" {leakage.n_overlapping:,} of those kept have a stamp that overlaps such a galaxy's."
    )
    if leakage.unknown:
        text += f" Some may have been seen all the same: {'; '.join(leakage.unknown)}."
    return text


def _weighted(found: Evaluated) -> tuple[Section, ...]:
    if not found.weighted:
        return ()
    text = (
        "Galaxies that got many votes may have been chosen for it; weights undo what these columns know of the choice."
    )
    table = weight_table(found.weighted, found.weight_by, found.evaluation.floor)
    return (Section("Weighted and unweighted", (text,), (table,)),)


def _slices(found: Evaluated) -> tuple[Section, ...]:
    variables = dict.fromkeys(score.variable for score in found.slices)
    if not variables:
        return ()
    tables = tuple(slice_table(found.slices, name, found.evaluation.floor) for name in variables)
    return (Section("Parts of the sample", items=tables),)


def _disagreements(found: Evaluated, means: NDArray[np.float64]) -> tuple[Section, ...]:
    """Pictures of the worst by question, and the very worst galaxies with all that was asked about them."""
    tree, floor = found.shards.tree, found.evaluation.fraction_floor
    worst = worst_disagreements(found.concentrations, found.votes, tree, floor=floor, count=WORST)
    flat = sorted((one for each in worst for one in each), key=lambda one: -one.surprise)
    if not flat:
        return ()
    text = (
        f"Votes that the model held for least probable, given how many there are ({floor} or more) and how sure it was."
        " Some are its errors, some the volunteers', some are wrong pictures."
    )
    rows = list(dict.fromkeys(one.row for one in flat))
    images = _images(found.shards, [found.ids[row] for row in rows])
    items: list[Picture | GalaxyCard] = [
        Picture(
            figure_jpeg(_gallery(worst, found.ids, images)),
            alt="The galaxies on which model and volunteers disagree most, by question",
            shows_galaxies=True,
        )
    ]
    withheld = read_spec(found.model.folder).answering(found.survey.name).unidentified
    for row in rows[:CARDS]:
        lower, upper = intervals(found.concentrations[row : row + 1], tree)
        table = galaxy_table(
            found.ids[row], means[row], lower[0], upper[0], tree, votes=found.votes[row], withheld=withheld
        )
        sheet = contact_sheet(images[found.ids[row]][None], columns=1)
        picture = Picture(figure_jpeg(sheet), alt=f"Galaxy {found.ids[row]}", shows_galaxies=True, wide=False)
        items.append(GalaxyCard(table, picture))
    return (Section("Where model and volunteers disagree most", (text,), tuple(items)),)


def _gallery(
    worst: Sequence[Sequence[Disagreement]], ids: Sequence[str], images: dict[str, NDArray[np.uint8]]
) -> Figure:
    rows = [
        GalleryRow(
            question=f"{len(each)} worst",
            answer=each[0].question,
            images=np.stack([images[ids[one.row]] for one in each]),
            captions=[f"{one.answer}: {one.observed:.0%}, model {one.predicted:.0%}" for one in each],
        )
        for each in worst
        if each
    ]
    return top_galaxies_figure(
        rows, title="Worst disagreements", subtitle="the volunteers' commonest answer: their share, and the model's"
    )


def _images(shards: ShardSet, ids: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    wanted, found = set(ids), dict[str, NDArray[np.uint8]]()
    for reader in shards.readers("test"):
        rows = [row for row, id_str in enumerate(reader.ids) if id_str in wanted]
        if rows:
            found |= dict(zip([reader.ids[row] for row in rows], reader.images(rows), strict=True))
    return found
