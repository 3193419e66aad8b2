"""Release: a catalogue with all that an archive and its readers need, in one folder that proves itself."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from gzflow.durable import replacing, write_bytes, write_json
from gzflow.errors import ExportError
from gzflow.evaluation.figures.decision_tree import decision_tree
from gzflow.evaluation.figures.style import figure_svg
from gzflow.export.checksums import SUMS, checksums, listed
from gzflow.export.citation import author, citation_file
from gzflow.export.refinement import Refinement
from gzflow.export.source import PredictedCatalogue
from gzflow.export.texts import data_dictionary, written
from gzflow.lock import exclusive
from gzflow.model.morphology import read_spec
from gzflow.model.spec import ModelSpec
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST
from gzflow.stages.counts import Counts
from gzflow.stages.drift import DRIFT
from gzflow.stages.drift import PICTURE as DRIFT_PICTURE
from gzflow.stages.export import SUFFIXES, ExportOptions, Format, export, find_run, require_store
from gzflow.stages.model_card import model_card
from gzflow.stages.release_check import (
    CARD,
    CITATION,
    DICTIONARY,
    LICENCE,
    PARTS,
    PROVENANCE,
    README,
    THANKS,
    TREE,
    ReleaseSummary,
    check,
)
from gzflow.surveys import Survey, load_survey
from gzflow.tracking.artifacts import run_with_tag
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import TrackedRun, run_exists

logger = logging.getLogger(__name__)

MODEL = "model"
RELEASE_TAG = "gzflow.release"
"""Tag of a release's MLflow run: the digest of its list of checksums."""
_DRIFT = {
    DRIFT: "how far these galaxies are from those that the model learnt from",
    DRIFT_PICTURE: "the same as a picture",
}
_STATED = (
    "survey", "learnt_from", "model_uri", "run_id", "training_fingerprint", "shard_fingerprint", "samples", "seed",
    "precision", "interval_level", "least_proportion_asked", "volunteers", "created_by",
)  # fmt: skip


@dataclass(frozen=True)
class ReleaseOptions:
    """What to release, and under which names.

    Attributes
    ----------
    survey
        Shipped name, or path of a TOML.
    to
        The folder; it may not exist, be empty, or hold this very release.
    formats
        Of the catalogue, one file each.
    run, asked, volunteers
        As `gzflow.stages.export.ExportOptions` has them.
    authors
        Of the catalogue: ``Family, Given``, ``Family, Given, ORCID``, or the name of a group.
    version
        Empty: the prediction run's name.
    licence
        Empty: what the survey says of its table.
    doi, date
        Where they are known already; the date is ``YYYY-MM-DD``.
    model
        Put the model's weights into the release.
    log
        Note the release in MLflow.
    """

    survey: str
    to: Path
    formats: tuple[Format, ...] = ("parquet",)
    run: str | None = None
    asked: float | None = None
    volunteers: float | None = None
    authors: tuple[str, ...] = ()
    version: str = ""
    licence: str = ""
    doi: str | None = None
    date: str | None = None
    model: bool = True
    log: bool = True


def release(
    options: ReleaseOptions, settings: Settings, on_part: Callable[[int, int], None] | None = None
) -> ReleaseSummary:
    """Make the folder, whole or not at all; the same run and options give the same bytes.

    Parameters
    ----------
    on_part
        Called with (galaxies written, galaxies in all) after each part of each format.

    Raises
    ------
    ExportError
        No finished run, a folder that holds something else, or a model that is not the run's.
    TrackingError
        The model is gone, or MLflow failed after the folder was made, which is whole.
    """
    for text in options.authors:
        author(text)
    target = options.to.absolute()
    _require_place(target)
    survey = load_survey(options.survey)
    folder = find_run(survey.name, options.run, settings)
    catalogue = PredictedCatalogue.open(folder)
    if options.log:
        require_store(settings)
    # Beside its place, so that it takes its name in one step.
    workshop = target.with_name(f".{target.name}.partial")
    with exclusive(workshop, f"releasing {survey.name}"):
        made = workshop / "release"
        try:
            shutil.rmtree(made, ignore_errors=True)
            _fill(made, options, survey, catalogue, settings, on_part)
            check(made)
            reused = _placed(made, target)
        finally:
            shutil.rmtree(workshop)
    summary = replace(check(target), reused=reused, notes=tuple(_notes(options, survey, catalogue)))
    logger.info("%s: %s", survey.name, summary.sentence())
    return _logged(summary, survey.name, catalogue, settings) if options.log else summary


def _require_place(target: Path) -> None:
    if target.exists() and not target.is_dir():
        problem = "it is a file"
    elif target.is_dir() and any(target.iterdir()) and not (target / SUMS).is_file():
        problem = "it holds something else than a release"
    else:
        return
    raise ExportError(
        f"the release cannot be made in {target}", problems=[problem], fix="name a folder that does not exist yet"
    )


def _fill(
    made: Path,
    options: ReleaseOptions,
    survey: Survey,
    catalogue: PredictedCatalogue,
    settings: Settings,
    on_part: Callable[[int, int], None] | None,
) -> None:
    """Write every file; the checksums come last."""
    known = catalogue.provenance
    model_folder, spec = _model(known, settings)
    names = []
    for kind in options.formats:
        suffix = next(ending for ending, form in SUFFIXES.items() if form == kind)
        names.append(f"{survey.name}{suffix}")
        source = ExportOptions(
            options.survey, made / names[-1], kind, str(catalogue.folder), options.asked, options.volunteers, log=False
        )
        export(source, settings, on_part)
    refinement = Refinement(options.asked, options.volunteers)
    title = f"Probabilistic morphology of {survey.about.title or survey.name}"
    abstract = (
        f"What volunteers would say of {catalogue.n:,} galaxies: expected vote fractions with"
        f" {float(known['interval_level']):.0%} intervals for {len(catalogue.tree.questions)} questions, predicted from"
        " images by a Bayesian convolutional network that learnt from volunteers' votes."
    )
    licence = _licence(options, survey)
    version = options.version or catalogue.folder.name
    manifest = json.loads((catalogue.folder / MANIFEST).read_text("utf-8"))
    provenance = {name: value for name, value in (known | refinement.provenance).items() if name in _STATED}
    splits = Counter[str]()
    for entry in manifest["entries"]:
        splits[entry["split"]] += entry["n"]
    caveats = _caveats(known, catalogue.folder)
    texts = {
        DICTIONARY: data_dictionary(refinement.schema(catalogue.schema, catalogue.tree)),
        TREE: figure_svg(decision_tree(catalogue.tree, title=survey.about.title or survey.name)),
        CARD: model_card(spec, catalogue, survey, settings, weights=options.model, caveats=caveats),
        CITATION: citation_file(
            title, options.authors, version=version, licence=options.licence or survey.about.licence,
            also=known.get("citation", ""), abstract=abstract, keywords=survey.about.keywords, doi=options.doi,
            date=options.date,
        ),
        LICENCE: f"{licence}\n".encode(),
        THANKS: f"{known.get('acknowledgement') or 'The survey names nobody to thank.'}\n".encode(),
    }  # fmt: skip
    files = dict.fromkeys(names, "the catalogue")
    files |= {f"{name}-metadata.json": "what its columns are" for name in names if name.endswith(".csv")}
    for name, what in _DRIFT.items():
        if (catalogue.folder / name).is_file():
            write_bytes(made / name, (catalogue.folder / name).read_bytes())
            files[name] = what
    if options.model:
        files[f"{MODEL}/"] = f"the model itself; see {CARD}"
        _copy(model_folder, made / MODEL)
    texts[README] = written(
        "README.md.j2",
        title=title,
        abstract=abstract,
        files=(files | PARTS).items(),
        sums=SUMS,
        level=f"{float(known['interval_level']):.0%}",
        splits=", ".join(f"{n:,} galaxies in `{name}`" for name, n in splits.items()),
        supported="support" in catalogue.schema.names,
        caveats=caveats,
        galaxies=catalogue.n,
        accounting=Counts(**manifest["counts"]).sentence() if "counts" in manifest else "",
        provenance=provenance,
        citation_name=CITATION,
        citation=known.get("citation", ""),
        licence=licence,
        acknowledgement=known.get("acknowledgement", ""),
    )
    for name, content in texts.items():
        write_bytes(made / name, content)
    facts = {"title": title, "version": version, "catalogue": names, "galaxies": catalogue.n, "splits": splits}
    accounting = {key: manifest[key] for key in ("pinned", "counts") if key in manifest}
    write_json(made / PROVENANCE, facts | {"provenance": provenance} | accounting)
    write_bytes(made / SUMS, checksums(made))


def _model(known: Mapping[str, str], settings: Settings) -> tuple[Path, ModelSpec]:
    """The run's model on this machine, and its description."""
    uri = known["model_uri"]
    reference = uri if uri.startswith("models:/") else url2pathname(urlsplit(uri).path)
    folder = Registry(settings).resolve(reference).folder
    spec = read_spec(folder)
    if (spec.training_fingerprint or "") != known.get("training_fingerprint", ""):
        raise ExportError(
            "the model is not the one that made the catalogue",
            where=uri,
            problems=[f"trained as {spec.training_fingerprint}, the catalogue says {known['training_fingerprint']}"],
            fix="release from the home and MLflow store that the catalogue was made in",
        )
    return folder, spec


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            with replacing(target / path.relative_to(source)) as temporary:
                shutil.copyfile(path, temporary)


def _licence(options: ReleaseOptions, survey: Survey) -> str:
    if options.licence:
        return f"The licence of this catalogue: {options.licence}"
    if survey.about.licence:
        return f"What the survey says of the table that the model learnt from: {survey.about.licence}"
    return "Neither this catalogue nor its survey states a licence: ask the authors before you use it."


def _caveats(known: Mapping[str, str], folder: Path) -> list[str]:
    """What a reader must know of this run's predictions."""
    caveats = []
    if (folder / DRIFT).is_file() and (drift := json.loads((folder / DRIFT).read_text("utf-8")))["drifts"]:
        caveats.append(f"These galaxies differ from those that the model learnt from ({DRIFT}): {drift['sentence']}.")
    if withheld := known.get("intervals_withheld"):
        caveats.append(f"There are no intervals of {withheld}: one vote a galaxy does not tell how wide they are.")
    if mismatch := known.get("recipe_mismatch"):
        caveats.append(f"The images were made another way than those that the model learnt from: {mismatch}.")
    return caveats


def _placed(made: Path, target: Path) -> bool:
    """Give the folder its name; whether the same stood there already."""
    if (target / SUMS).is_file():
        here, there = (listed((folder / SUMS).read_bytes()) for folder in (made, target))
        if here == there:
            return True
        raise ExportError(
            f"another release stands in {target}",
            problems=[f"{name} differs" for name in sorted({*here, *there}) if here.get(name) != there.get(name)],
            expected="a release never changes once it was made",
            fix="name another folder",
        )
    made.replace(target)
    return False


def _notes(options: ReleaseOptions, survey: Survey, catalogue: PredictedCatalogue) -> Iterable[str]:
    if not options.authors:
        yield f"{CITATION} names no author: an archive will ask; add --author 'Family, Given, ORCID'"
    if not options.licence:
        stated = survey.about.licence or "no licence"
        yield f"{LICENCE} repeats what the survey says ({stated}): add --licence, for instance 'CC BY 4.0'"
    if not catalogue.provenance.get("acknowledgement"):
        yield f"{THANKS} is empty: the survey's TOML has no acknowledgement"


def _logged(summary: ReleaseSummary, survey: str, catalogue: PredictedCatalogue, settings: Settings) -> ReleaseSummary:
    """Note the release in MLflow, below the run that made its model; the same release is noted once."""
    digest = hashlib.blake2b((summary.folder / SUMS).read_bytes(), digest_size=18).hexdigest()
    made_by = catalogue.provenance.get("run_id")
    parent = made_by if made_by and run_exists(settings, made_by) else None
    tags = {RELEASE_TAG: digest, "gzflow.kind": "release"}
    known = run_with_tag(settings, survey, RELEASE_TAG, digest)
    profile: dict[str, Any] = {"galaxies": summary.galaxies, "files": summary.files, "bytes": summary.bytes}
    with TrackedRun(
        settings, survey, name=f"release {summary.folder.name}", tags=tags, run_id=known, parent_run_id=parent
    ) as run:
        run.log_dataset(f"{survey}-release", digest, str(summary.folder), context="release", profile=profile)
        for name in (README, CARD, CITATION, SUMS):
            run.log_file(summary.folder / name)
        return replace(summary, run_id=run.id, url=run.url)
