"""Export: a finished prediction run as one file that other programs open."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa

from gzflow import __version__
from gzflow.durable import replacing, write_bytes
from gzflow.errors import ExportError, TrackingError
from gzflow.export.fits import write_fits
from gzflow.export.flat import csv_metadata, csv_metadata_path, write_csv
from gzflow.export.hdf5 import write_hdf5
from gzflow.export.parquet import write_parquet
from gzflow.export.records import record_columns
from gzflow.export.refinement import CONCENTRATIONS, Refinement, require_concentrations
from gzflow.export.source import PredictedCatalogue
from gzflow.export.votable import write_votable
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST
from gzflow.surveys import load_survey, survey_names
from gzflow.tracking.artifacts import run_with_tag
from gzflow.tracking.client import connect
from gzflow.tracking.run import TrackedRun, run_exists

logger = logging.getLogger(__name__)

Format = Literal["fits", "votable", "csv", "hdf5", "parquet"]
SUFFIXES: Mapping[str, Format] = {
    ".fits": "fits",
    ".fit": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".parquet": "parquet",
}
EXPORT_TAG = "gzflow.export"
"""Tag of an export's MLflow run: the file's digest, which is the same whenever the same is exported again."""


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how.

    Attributes
    ----------
    survey
        Shipped name, or path of a TOML.
    out
        The file; another one of that name is replaced once the new one is whole.
    format
        None: what the file's name ends in.
    run
        Name of a folder under the survey's predictions, or its first characters, or any folder of a finished run;
        None is the one that was finished last.
    asked, volunteers
        As `Refinement` has them.
    log
        Note the file as a data set in MLflow.
    """

    survey: str
    out: Path
    format: Format | None = None
    run: str | None = None
    asked: float | None = None
    volunteers: float | None = None
    log: bool = True


@dataclass(frozen=True)
class ExportSummary:
    """A written file.

    Attributes
    ----------
    folder
        Of the prediction run.
    digest
        36 hex digits of the file's BLAKE2b.
    run_id, url
        Of the MLflow run that notes it, where it is noted.
    """

    file: Path
    format: Format
    folder: Path
    galaxies: int
    columns: int
    bytes: int
    digest: str
    run_id: str | None = None
    url: str | None = None

    def sentence(self) -> str:
        """One line for people."""
        return (
            f"{self.galaxies:,} galaxies, {self.columns} columns, {self.bytes / 1e6:,.1f} MB of {self.format}"
            f" from {self.folder.name}: {self.file}"
        )


def export(
    options: ExportOptions, settings: Settings, on_part: Callable[[int, int], None] | None = None
) -> ExportSummary:
    """Write a catalogue to one file, a part at a time, whole or not at all; the same options give the same bytes.

    Parameters
    ----------
    on_part
        Called with (galaxies written, galaxies in all) after each part.

    Raises
    ------
    ExportError
        No finished run of that name, what the format cannot hold, or no MLflow to note it in.
    TrackingError
        MLflow failed after the file was written, which is whole.
    """
    kind = options.format or _format_of(options.out)
    if options.out.is_dir():
        raise ExportError(f"{options.out} is a folder", expected="the name of a file", fix="name a file in it")
    survey = load_survey(options.survey).name
    folder = find_run(survey, options.run, settings)
    catalogue = PredictedCatalogue.open(folder)
    if (said := catalogue.provenance.get("survey", survey)) != survey:
        raise ExportError(f"the run is one of survey {said}, not {survey}", where=str(folder), fix=f"export {said}")
    refinement = Refinement(options.asked, options.volunteers)
    schema = refinement.schema(catalogue.schema, catalogue.tree)
    provenance = _provenance(catalogue, refinement)
    if options.log:
        require_store(settings)

    def tables() -> Iterator[pa.Table]:
        done = 0
        for table in catalogue.tables():
            yield refinement.apply(table, catalogue.tree)
            done += len(table)
            if on_part is not None:
                on_part(done, catalogue.n)

    with replacing(options.out) as temporary:
        _write(kind, temporary, options.out, catalogue, schema, provenance, tables())
        digest = _digest(temporary)
        size = temporary.stat().st_size
    summary = ExportSummary(options.out, kind, folder, catalogue.n, len(schema), size, digest)
    logger.info("%s: %s", survey, summary.sentence())
    return _logged(summary, survey, provenance, settings) if options.log else summary


def find_run(survey: str, reference: str | None, settings: Settings) -> Path:
    """Folder of a finished prediction run; see `ExportOptions`.

    Raises
    ------
    ExportError
        None, or several.
    """
    home = settings.predictions(survey)
    if reference is not None and Path(reference).joinpath(MANIFEST).is_file():
        return Path(reference)
    finished = sorted(home.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    names = [manifest.parent.name for manifest in finished]
    if reference is None and finished:
        if len(finished) > 1:
            logger.info("%s: the latest of %d finished runs is %s", survey, len(finished), names[-1])
        return finished[-1].parent
    exact = [name for name in names if name == reference]
    matching = exact or [name for name in names if reference is not None and name.startswith(reference)]
    if len(matching) == 1:
        return home / matching[0]
    if not finished:
        fix = f"run `gzflow predict {survey}` first; an unfinished run goes on where it stopped"
    else:
        fix = "name one of these"
    raise ExportError(
        f"{len(matching) or 'no'} finished prediction runs of {survey}"
        + (f" go by {reference!r}" if reference is not None else ""),
        where=str(home),
        problems=matching or names,
        expected="the name of one, its first characters, or the path of its folder",
        fix=fix,
    )


def _format_of(file: Path) -> Format:
    for suffix, kind in SUFFIXES.items():
        if file.name.lower().endswith(suffix):
            return kind
    raise ExportError(
        f"the format of {file.name} is not known",
        expected=f"a name that ends in one of {', '.join(SUFFIXES)}",
        fix=f"say --format {'|'.join(get_args(Format))}",
    )


def _write(
    kind: Format,
    temporary: Path,
    file: Path,
    catalogue: PredictedCatalogue,
    schema: pa.Schema,
    provenance: Mapping[str, str],
    tables: Iterator[pa.Table],
) -> None:
    name = provenance["survey"]
    if kind == "csv":
        # First what describes it: a table never stands without.
        write_bytes(csv_metadata_path(file), csv_metadata(file.name, schema, provenance))
        write_csv(temporary, schema, tables, compressed=file.suffix == ".gz")
        return
    if kind == "hdf5":
        tree = catalogue.tree
        require_concentrations(schema, tree, "HDF5 of (galaxy, answer, pass) is made of every sample")
        samples = schema.field(f"{tree.answers[0]}{CONCENTRATIONS}").type.list_size
        write_hdf5(temporary, tree, provenance, catalogue.n, samples, tables)
        return
    columns = record_columns(catalogue, schema)
    if kind == "fits":
        write_fits(temporary, columns, provenance, catalogue.n, tables, name=name)
    elif kind == "votable":
        write_votable(temporary, columns, provenance, catalogue.n, tables, name=name)
    else:
        write_parquet(temporary, schema, columns, provenance, tables, name=name)


def _provenance(catalogue: PredictedCatalogue, refinement: Refinement) -> dict[str, str]:
    """What a file's header says: where the numbers come from, whom to thank, and the tree."""
    known = catalogue.provenance
    title = load_survey(known["survey"]).about.title if known["survey"] in survey_names() else ""
    said = {"survey": known["survey"], "title": f"gzflow morphology of {title or known['survey']}"}
    tree = json.dumps(catalogue.tree.to_dict(), ensure_ascii=False)
    return said | known | refinement.provenance | {"exported_by": f"gzflow {__version__}", "tree": tree}


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=18)).hexdigest()


def require_store(settings: Settings) -> None:
    """Find out now, not after hours of writing, that nobody could note the file."""
    try:
        connect(settings)
    except TrackingError as error:
        raise ExportError(
            "MLflow cannot note the file",
            where=error.where,
            problems=[error.what],
            expected="a store that answers",
            fix=f"{error.fix}; or export with --no-log",
        ) from error


def _logged(summary: ExportSummary, survey: str, provenance: Mapping[str, str], settings: Settings) -> ExportSummary:
    """Note the file in MLflow, below the run that made its model; the same file is noted once."""
    known = run_with_tag(settings, survey, EXPORT_TAG, summary.digest)
    made_by = provenance.get("run_id")
    parent = made_by if made_by and run_exists(settings, made_by) else None
    tags = {EXPORT_TAG: summary.digest, "gzflow.kind": "export"}
    with TrackedRun(
        settings, survey, name=f"export {summary.file.name}", tags=tags, run_id=known, parent_run_id=parent
    ) as run:
        if known is None:
            run.log_params({name: provenance[name] for name in ("model_uri", "samples", "seed") if name in provenance})
        run.log_dataset(
            f"{survey}-catalogue",
            summary.digest,
            str(summary.file.resolve()),
            context="catalogue",
            profile={
                "galaxies": summary.galaxies,
                "columns": summary.columns,
                "format": summary.format,
                "bytes": summary.bytes,
                "predictions": str(summary.folder),
                "model": provenance.get("model_uri", ""),
            },
        )
        return ExportSummary(**(vars(summary) | {"run_id": run.id, "url": run.url}))
