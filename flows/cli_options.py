"""What the commands share: their options, what they refuse before anything starts, and what they print at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows import environment
from flows.console import out
from flows.guardian import guard
from gzflow.errors import SettingsError
from gzflow.settings import Settings
from gzflow.surveys import load_survey

if TYPE_CHECKING:
    from gzflow.stages.report import ReportSummary

SurveyArgument = Annotated[
    str, typer.Argument(help="A shipped survey's name (`gzflow surveys`) or the path of a TOML.")
]
SurveysArgument = Annotated[
    list[str],
    typer.Argument(metavar="SURVEY...", help="Shipped surveys' names or paths of TOMLs; several are learnt together."),
]
PixelsOption = Annotated[
    int | None, typer.Option(min=16, max=1024, help="Side of the shard's images. Empty: the one set there is.")
]
CatalogOption = Annotated[
    Path | None,
    typer.Option(help="Table of galaxies and votes: CSV, Parquet, FITS or VOTable. Empty: what is in the store."),
]
MappingOption = Annotated[
    Path | None, typer.Option(help="Table from ids to file names (GZ2: gz2_filename_mapping.csv).")
]
JoinOption = Annotated[list[str] | None, typer.Option(help="NAME=FILE, a further table of the survey; repeatable.")]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder or ZIP with images, or folder of FITS tiles; repeatable. Empty: the service."),
]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Most epochs. Empty: the default of `gzflow train`.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
TrainingSeedOption = Annotated[
    int | None, typer.Option(min=0, help="Seed of everything random. Empty: the preset's or the file's, else 42.")
]
PresetOption = Annotated[
    str | None,
    typer.Option(help="Begin with the options of w21, w20, zoobot, calibrated, or small for a CPU (docs/training.md)."),
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML or YAML file with training options (docs/training.md).")]
ModelOption = Annotated[str | None, typer.Option(help="Version number or models:/ URI. Empty: the champion.")]
SamplesOption = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Dropout samples of the head a galaxy. Empty: the model's number.")
]
MismatchOption = Annotated[
    bool, typer.Option(help="Predict on images made another way than the model's; stamps every row.")
]
ConcentrationsOption = Annotated[bool, typer.Option(help="Keep every sample's concentrations too.")]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Of the encoder; bfloat16 is faster where a CPU has it."),
]
EvaluationOption = Annotated[
    bool, typer.Option("--evaluate/--no-evaluate", help="Score the model on the test galaxies at the end.")
]
RunOption = Annotated[
    str | None,
    typer.Option(help="A prediction run's folder, its name or the name's first characters. Empty: the latest."),
]
AskedOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Leave a question's numbers out where fewer volunteers would be asked it."),
]
VolunteersOption = Annotated[
    float | None, typer.Option(min=0, help="Add the votes to expect of so many; needs kept concentrations.")
]
SidePixels = Annotated[int, typer.Option(min=16, max=1024, help="Side of the stored images.")]


def start() -> None:
    """Settle the environment before anything imports Prefect; leave nothing behind, however this ends."""
    environment.prepare(Settings.load())
    guard()


def check_source(
    survey: str, catalog: Path | None, mapping: Path | None, joins: dict[str, Path], images: list[Path] | None
) -> None:
    """Refuse a wrong command at once, before any server starts."""
    from gzflow.stages.ingest import IngestSource, check

    check(IngestSource.of(survey, catalog, mapping, joins, images))


def check_shards(survey: str, pixels: int | None) -> None:
    """Refuse at once what has no finished shards."""
    from gzflow.stages.shard_sets import find_shards

    find_shards(load_survey(survey).name, pixels, Settings.load())


def read_joins(entries: list[str] | None) -> dict[str, Path]:
    """What ``--join NAME=FILE`` named."""
    problems = [f"--join {entry!r} is not NAME=FILE" for entry in entries or () if "=" not in entry]
    if problems:
        raise SettingsError(
            "the options cannot be read", problems=problems, expected="--join gz2sample=gz2sample.csv.gz"
        )
    return {name: Path(path) for name, _, path in (entry.partition("=") for entry in entries or ())}


def train_config(preset: str | None = None, file: Path | None = None, **given: Any) -> Any:
    """Training options that were given on the command line, over those of a file, over a preset, over the defaults."""
    from gzflow.training.config import TrainConfig
    from gzflow.training.presets import configured

    return configured(TrainConfig, preset=preset, file=file, given=given)


def look_at(summary: ReportSummary) -> None:
    """Where to look, and what to type next."""
    from gzflow.stages.report import next_steps

    out.print(f"\n{summary.run.trained.sentence()}\n")
    out.print(f"report       [bold]{summary.report}[/]")
    out.print(f"predictions  {summary.run.predicted.folder}")
    out.print(f"model        models:/{summary.run.trained.model}/{summary.run.trained.version}\n")
    for step in next_steps(summary.run, Settings.load()):
        out.print(f"[bold]{step.command}[/]\n    {step.why}")


def next_step(command: str) -> None:
    """Print the command that comes next."""
    out.print(f"next: [bold]{command}[/]")
