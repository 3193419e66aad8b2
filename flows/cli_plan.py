"""``gzflow plan``: galaxies, requests, bytes and hours, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_options import (
    CatalogOption,
    ConcentrationsOption,
    ImagesOption,
    JoinOption,
    MappingOption,
    MismatchOption,
    ModelOption,
    PixelsOption,
    PrecisionOption,
    SamplesOption,
    SeedOption,
    SurveyArgument,
    check_shards,
    read_joins,
)
from flows.console import err, out
from flows.duration import duration
from gzflow.errors import MissingImage
from gzflow.settings import Settings
from gzflow.stages.free_space import readable

if TYPE_CHECKING:
    from gzflow.stages.ingest_plan import IngestForecast
    from gzflow.stages.predict_plan import PredictForecast

app = typer.Typer(
    help="What a step would do and how long it would take, measured on a few galaxies; nothing of it is kept.",
    no_args_is_help=True,
)


@app.command()
def ingest(
    survey: SurveyArgument,
    catalog: CatalogOption = None,
    mapping: MappingOption = None,
    join: JoinOption = None,
    images: ImagesOption = None,
    retry_failed: Annotated[bool, typer.Option(help="Count galaxies whose answer was final as to be done.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10_000,
            help="Galaxies to try. Empty: none where an earlier run tells the service's pace, else four seconds' worth."
            " 0 sends no request.",
        ),
    ] = None,
) -> None:
    """Galaxies, requests, GB and hours of an ingest."""
    from gzflow.stages.ingest import IngestSource
    from gzflow.stages.ingest_plan import forecast

    source = IngestSource.of(survey, catalog, mapping, read_joins(join), images, retry_failed=retry_failed)
    with err.status(f"trying a few galaxies of {survey}"):
        found = forecast(source, Settings.load(), sample=sample)
    _table(_ingest_lines(found))
    tried = found.sample
    if images and tried is not None and not tried.done:
        raise MissingImage(
            f"not one of the {tried.galaxies:,} galaxies tried has an image in what --images names",
            where=tried.example,
            expected="folders or archives with this survey's images",
            fix="correct --images, or the survey's catalog.image or [archive] member",
        )


@app.command()
def predict(
    survey: SurveyArgument,
    pixels: PixelsOption = None,
    model: ModelOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = 42,
    allow_recipe_mismatch: MismatchOption = False,
    concentrations: ConcentrationsOption = False,
    precision: PrecisionOption = "auto",
    sample: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Galaxies to try. Empty: up to five seconds' worth.")
    ] = None,
) -> None:
    """Model version, galaxies, GB and hours of a prediction."""
    check_shards(survey, pixels)
    with err.status(f"predicting a few galaxies of {survey}"):
        from gzflow.stages.predict import PredictOptions
        from gzflow.stages.predict_plan import forecast

        options = PredictOptions(
            survey=survey,
            pixels=pixels,
            model=model,
            samples=samples,
            seed=seed,
            allow_recipe_mismatch=allow_recipe_mismatch,
            keep_concentrations=concentrations,
            precision=precision,
        )
        found = forecast(options, Settings.load(), sample=sample)
    _table(_predict_lines(found))


def _ingest_lines(found: IngestForecast) -> dict[str, str]:
    lines = {"survey": found.survey, "images from": found.asked}
    if found.catalog is not None:
        lines["catalog"] = f"{found.catalog.sentence()}; read in {duration(found.reading_s)}"
    lines["galaxies"] = f"{found.galaxies:,}: {found.finished:,} with an image, {found.given_up:,} given up"
    lines["to do"] = f"{found.to_do:,}"
    if not found.to_do:
        return lines
    if found.requests:
        lines["requests"] = f"{found.requests:,}"
    if found.galaxies_per_s is not None:
        limit = ", all that the survey's rate allows" if found.held_back else ""
        lines["pace"] = f"{found.galaxies_per_s:,.1f} galaxies a second{limit}"
    read = found.asked == "files"
    if found.bytes is None:
        lines["size"] = "unknown: no image was seen" + ("" if found.sample else " yet")
    else:
        room = "read in place" if read else _room(found.bytes, found.free)
        lines["size"] = f"{readable(found.bytes)}; {room}"
    if found.seconds is not None:
        lines["time"] = f"{duration(found.seconds)}, and the start of the servers"
    lines["rests on"] = _grounds(found)
    return lines


def _grounds(found: IngestForecast) -> str:
    if found.sample is not None:
        tried = found.sample
        troubles = ", ".join(f"{n:,} {reason}" for reason, n in tried.troubles.items())
        text = f"{tried.galaxies:,} galaxies tried just now: {tried.done:.0%} got an image"
        text += f" ({troubles})" if troubles else ""
        if tried.put_off > 0.5:
            text += "; the service is in trouble, so the time is what its rate allows"
        return text
    if found.pace is not None:
        return f"the ledger of the run that ended {found.pace.last:%Y-%m-%d %H:%M} UTC"
    return "the survey's rate alone; a --sample of some galaxies tells more"


def _predict_lines(found: PredictForecast) -> dict[str, str]:
    lines = {
        "survey": found.survey,
        "model": f"{found.model} version {found.version}",
        "run": found.run_id,
        "images": f"made another way than the model's: {found.recipe_differences}" if found.recipe_differences else "",
        "galaxies": f"{found.galaxies:,}: {found.finished:,} predicted by an earlier run",
        "to do": f"{found.to_do:,}",
        "pace": f"{found.galaxies_per_s:,.1f} galaxies a second on {found.device}, {found.precision}",
        "size": f"{readable(found.bytes)}; {_room(found.bytes, found.free)}",
        "time": f"{duration(found.seconds)}, and the start of the servers",
        "catalogue": str(found.folder),
        "rests on": f"{found.sampled:,} galaxies predicted just now; nothing of them is kept",
    }
    return {name: text for name, text in lines.items() if text}


def _room(needed: float, free: float) -> str:
    return f"{readable(free)} free{'' if needed < free else ': NOT ENOUGH'}"


def _table(lines: dict[str, str]) -> None:
    for name, text in lines.items():
        out.print(f"{name:<12} {text}", markup=False)
