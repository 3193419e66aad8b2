"""Model card: what a model is for, how it was trained, and how good it is, as its run has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gzflow.evaluation.numbers import number, percent
from gzflow.export.source import PredictedCatalogue
from gzflow.export.texts import written
from gzflow.model.spec import ModelSpec
from gzflow.settings import Settings
from gzflow.surveys import Survey
from gzflow.tracking.artifacts import run_metrics
from gzflow.tracking.run import run_exists
from gzflow.tree import DecisionTree

_SHOWN = ("accuracy", "majority-accuracy", "mae", "coverage90")
_NAN = float("nan")


def model_card(
    spec: ModelSpec,
    catalogue: PredictedCatalogue,
    survey: Survey,
    settings: Settings,
    *,
    weights: bool,
    caveats: Sequence[str],
) -> bytes:
    """The card, as Markdown.

    Parameters
    ----------
    catalogue
        What it predicted.
    weights
        Whether they lie beside the card.
    caveats
        What a reader must know of this catalogue's predictions.
    """
    known = catalogue.provenance
    run_id = known.get("run_id")
    scores = run_metrics(settings, run_id) if run_id and run_exists(settings, run_id) else {}
    own, together = spec.answering(survey.name), len(spec.surveys) > 1
    recipe = own.recipe
    description = {
        "name": _name(known["model_uri"]),
        "encoder": spec.encoder + (f", {spec.members} networks of it" if spec.members > 1 else ""),
        "images": f"{spec.input_pixels} of {recipe.pixels} pixels, {'grey' if spec.grey else recipe.channels}",
        "likelihood of the votes": spec.likelihood
        + (f", a mixture of {spec.components} a question" if spec.components > 1 else ""),
        "dropout before the head": f"{spec.dropout:g}; {known['samples']} samples a galaxy in this catalogue",
        "trained as": spec.training_fingerprint or "never",
        "saved by": spec.created_by,
    } | own.notes
    return written(
        "MODEL-CARD.md.j2",
        model=description["name"],
        survey=survey.name,
        survey_title=survey.about.title or survey.name,
        description={name: value for name, value in description.items() if value},
        images=f"recipe {recipe.name}, {recipe.pixels} px, scale {recipe.scale_rule}",
        learnt_from=known.get("learnt_from") or spec.survey,
        caveats=caveats,
        together=together,
        scores=_rows(catalogue.tree, scores, survey.name if together else None),
        galaxies=f"{scores.get('test/galaxies', 0):,.0f}",
        nll=number(scores.get("test/nll", _NAN)),
        nll_constant=number(scores.get("test/nll-constant", _NAN)),
        nll_majority=number(scores.get("test/nll-majority", _NAN)),
        coverage=percent(scores.get("test/coverage90", _NAN)),
        training={name: json.dumps(value, ensure_ascii=False) for name, value in spec.training.items()},
        weights=weights,
    )


def _rows(tree: DecisionTree, scores: Mapping[str, float], among: str | None) -> list[list[str]]:
    """One row a question; where several surveys were scored together, those of the one `among` them."""
    rows = []
    for question in tree.questions:
        scored = DecisionTree.joined_question(among, question.name) if among else question.name
        if scores.get(f"test/galaxies/{scored}"):
            values = [scores.get(f"test/{name}/{scored}", _NAN) for name in _SHOWN]
            accuracy, majority, mae, coverage = values
            n = f"{scores[f'test/galaxies/{scored}']:,.0f}"
            rows.append([question.name, n, percent(accuracy), percent(majority), number(mae), percent(coverage)])
    return rows


def _name(uri: str) -> str:
    """Name and version of a registered model, or the folder of one that is only files."""
    return uri.removeprefix("models:/") if uri.startswith("models:/") else uri.rpartition("/")[2]
