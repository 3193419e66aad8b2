"""The `gzflow` command.

Each command that works runs the Prefect flow of the same name: on the server that ``PREFECT_API_URL`` names, or on a
temporary one over SQLite. Commands that only look load neither torch nor Prefect.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Column, Table

from flows import (
    cli_acquire,
    cli_evaluate,
    cli_export,
    cli_finetune,
    cli_import,
    cli_models,
    cli_plan,
    cli_release,
    cli_shards,
    cli_sky,
    cli_stack,
    cli_status,
    cli_survey,
    cli_votes,
)
from flows.cli_options import (
    CatalogOption,
    ConcentrationsOption,
    ConfigOption,
    EpochsOption,
    EvaluationOption,
    ImagesOption,
    JoinOption,
    MappingOption,
    MismatchOption,
    ModelOption,
    PixelsOption,
    PrecisionOption,
    PresetOption,
    SamplesOption,
    SeedOption,
    SidePixels,
    SurveyArgument,
    SurveysArgument,
    TrainingSeedOption,
    check_shards,
    check_source,
    look_at,
    next_step,
    read_joins,
    start,
    train_config,
)
from flows.console import explained_errors, out, show_logs
from gzflow import __version__
from gzflow.settings import Settings
from gzflow.surveys import load_survey, survey_names
from gzflow.terminal import leave_in_peace

app = typer.Typer(
    name="gzflow",
    help="From a sky survey to a probabilistic morphology catalogue, learnt from Galaxy Zoo volunteers' votes.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)


STEPS, MODELS, STACK, LOOK = "From a survey to a catalogue", "Models", "Servers and workers", "What there is"


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"gzflow {__version__}")
        raise typer.Exit


@app.command(rich_help_panel=STEPS)
def ingest(
    survey: SurveyArgument,
    catalog: CatalogOption = None,
    mapping: MappingOption = None,
    join: JoinOption = None,
    images: ImagesOption = None,
    retry_failed: Annotated[bool, typer.Option(help="Ask again for galaxies whose answer was final.")] = False,
) -> None:
    """Read a catalog and get a checked image for each galaxy, from files or the survey's service."""
    joins = read_joins(join)
    check_source(survey, catalog, mapping, joins, images)
    start()
    from flows.ingest import ingest as flow

    show_logs()
    summary = flow(
        survey=survey,
        catalog=catalog,
        mapping=mapping,
        joins=joins,
        images_from=images,
        retry_failed=retry_failed,
    )
    out.print(f"[bold]{summary.survey}[/]: {summary.counts.sentence()}")
    nothing = summary.counts.failed and not summary.counts.done
    next_step(f"gzflow status {survey} --failures failures.csv" if nothing else f"gzflow shard {survey}")


@app.command(rich_help_panel=STEPS)
def crossmatch(
    left: Annotated[str, typer.Argument(help="An ingested survey.")],
    right: Annotated[str, typer.Argument(help="Another one.")],
    radius: Annotated[float, typer.Option(help="Largest separation in arcsec, inclusive.")] = 2.0,
    how: Annotated[Literal["all", "nearest", "best"], typer.Option(help="Which pairs to keep.")] = "nearest",
) -> None:
    """Match the galaxies of two ingested surveys on the sky."""
    from gzflow.stages import crossmatch as stage

    stage.plan(left, right, radius, how, Settings.load())
    start()
    from flows.crossmatch import crossmatch as flow

    show_logs()
    summary = flow(left=left, right=right, radius=radius, how=how)
    out.print(f"[bold]{left} x {right}[/]: {summary.sentence()}\npairs and pictures: {summary.file.parent}")


@app.command(rich_help_panel=STEPS)
def shard(
    survey: SurveyArgument,
    pixels: SidePixels = 300,
    codec: Annotated[
        Literal["raw", "jpeg"], typer.Option(help="raw is fastest, jpeg takes a tenth of the space.")
    ] = "raw",
) -> None:
    """Write images and votes as HDF5 shards, split into train, validation and test by sky cell."""
    load_survey(survey)
    start()
    from flows.shard import shard as flow

    show_logs()
    summary = flow(survey=survey, pixels=pixels, codec=codec)
    out.print(f"[bold]{summary.survey}[/]: {summary.counts.sentence()} in {summary.folder}")
    next_step(f"gzflow train {survey}")


@app.command(rich_help_panel=STEPS)
def train(
    surveys: SurveysArgument,
    pixels: PixelsOption = None,
    epochs: EpochsOption = None,
    seed: TrainingSeedOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="A torchvision classifier's name, or timm:NAME. Empty: efficientnet_b0.")
    ] = None,
    members: Annotated[
        int | None, typer.Option(min=1, max=20, help="Train so many from following seeds, and register them as one.")
    ] = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    evaluate: EvaluationOption = True,
) -> None:
    """Fit a model to the votes, log the run to MLflow and register it; the first one becomes champion.

    Several surveys are learnt together: one encoder, a head for each, and a model in each survey's name.
    """
    options = train_config(preset, config, epochs=epochs, seed=seed, encoder=encoder, members=members)
    for survey in surveys:
        check_shards(survey, pixels)
    start()
    if len(surveys) > 1:
        from flows.joint import joint as together

        show_logs()
        out.print(together(surveys=surveys, pixels=pixels, config=options, evaluation=evaluate).sentence())
    else:
        from flows.train import train as flow

        show_logs()
        out.print(flow(survey=surveys[0], pixels=pixels, config=options, evaluation=evaluate).sentence())
    next_step(f"gzflow predict {surveys[0]}")


@app.command(rich_help_panel=STEPS)
def predict(
    survey: SurveyArgument,
    pixels: PixelsOption = None,
    model: ModelOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = 42,
    allow_recipe_mismatch: MismatchOption = False,
    concentrations: ConcentrationsOption = False,
    precision: PrecisionOption = "auto",
    evaluate: EvaluationOption = True,
    fresh: Annotated[bool, typer.Option(help="Leave an unfinished run of another model version, begin anew.")] = False,
) -> None:
    """Predict vote fractions with their intervals for every galaxy of a survey's shards."""
    check_shards(survey, pixels)
    start()
    from flows.predict import predict as flow

    show_logs()
    summary = flow(
        survey=survey,
        pixels=pixels,
        model=model,
        samples=samples,
        seed=seed,
        allow_recipe_mismatch=allow_recipe_mismatch,
        keep_concentrations=concentrations,
        precision=precision,
        evaluation=evaluate,
        fresh=fresh,
    )
    out.print(summary.sentence())


@app.command(rich_help_panel=STEPS)
def pipeline(
    survey: SurveyArgument,
    catalog: CatalogOption = None,
    mapping: MappingOption = None,
    join: JoinOption = None,
    images: ImagesOption = None,
    pixels: SidePixels = 300,
    epochs: EpochsOption = None,
    seed: TrainingSeedOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
) -> None:
    """Ingest, shard, train and predict in one run that ends with a report."""
    options = train_config(preset, config, epochs=epochs, seed=seed)
    joins = read_joins(join)
    check_source(survey, catalog, mapping, joins, images)
    start()
    from flows.pipeline import pipeline as flow

    show_logs()
    summary = flow(
        survey=survey,
        catalog=catalog,
        mapping=mapping,
        joins=joins,
        images_from=images,
        pixels=pixels,
        config=options,
    )
    look_at(summary)


@app.command(rich_help_panel=STEPS)
def demo(
    galaxies: Annotated[int, typer.Option(min=50, help="Simulated galaxies.")] = 2000,
    epochs: EpochsOption = None,
    seed: SeedOption = 42,
) -> None:
    """The whole pipeline on a simulated DECaLS sky: no network, no server, a report at the end."""
    start()
    from flows.demo import demo as run

    show_logs()
    summary = run(n_galaxies=galaxies, epochs=epochs, seed=seed)
    look_at(summary)


@app.command(rich_help_panel=LOOK)
def surveys() -> None:
    """The shipped surveys."""
    table = Table(Column("name", no_wrap=True), "survey", "questions", "answers", "images", box=None)
    for name in survey_names():
        survey = load_survey(name)
        table.add_row(
            name,
            survey.about.title,
            str(len(survey.tree.questions)),
            str(len(survey.tree.answers)),
            f"{survey.cutout.service}, files" if survey.cutout else "files",
        )
    out.print(table)
    out.print("\nTheir tables, licences and pictures of their trees: docs/surveys.md, `gzflow survey tree NAME`.")
    out.print("Yours: one TOML file, begun by `gzflow survey new TABLE`; then use its path as the survey.")


app.command(rich_help_panel=STEPS)(cli_export.export)
app.command(rich_help_panel=STEPS)(cli_release.release)
app.command(rich_help_panel=STEPS)(cli_acquire.acquire)
app.command(rich_help_panel=STEPS)(cli_votes.votes)
app.command(rich_help_panel=STEPS)(cli_sky.hats)
app.command(rich_help_panel=STEPS)(cli_sky.crossmatch_hats)
app.command(rich_help_panel=MODELS)(cli_finetune.finetune)
app.command(rich_help_panel=MODELS)(cli_import.import_run)
app.command(rich_help_panel=MODELS)(cli_models.promote)
app.command(rich_help_panel=MODELS)(cli_models.rollback)
app.command(rich_help_panel=MODELS)(cli_models.models)
app.command(rich_help_panel=MODELS)(cli_models.compare)
app.command(rich_help_panel=MODELS)(cli_evaluate.evaluate)
app.add_typer(cli_plan.app, name="plan", rich_help_panel=LOOK)
app.command(rich_help_panel=LOOK)(cli_status.status)
app.command(rich_help_panel=LOOK)(cli_release.diff)
app.add_typer(cli_shards.app, name="shards", rich_help_panel=LOOK)
app.add_typer(cli_survey.app, name="survey", rich_help_panel=LOOK)
app.command(rich_help_panel=STACK)(cli_stack.up)
app.command(rich_help_panel=STACK)(cli_stack.down)


def main() -> None:
    """Entry point: typed errors become messages."""
    try:
        with explained_errors():
            app(standalone_mode=True)
    finally:
        leave_in_peace()


if __name__ == "__main__":
    main()
