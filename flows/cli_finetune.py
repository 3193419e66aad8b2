"""``gzflow finetune``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from flows.cli_options import (
    ConfigOption,
    EpochsOption,
    EvaluationOption,
    PixelsOption,
    SurveyArgument,
    TrainingSeedOption,
    check_shards,
    next_step,
    start,
)
from flows.console import out, show_logs
from gzflow.errors import SettingsError


def finetune(
    survey: SurveyArgument,
    parent: Annotated[
        str,
        typer.Option(
            "--from",
            help="The model to start from: a survey (its champion), survey/3, survey@challenger, a models:/ URI or a"
            " folder.",
        ),
    ] = "decals",
    pixels: PixelsOption = None,
    epochs: EpochsOption = None,
    seed: TrainingSeedOption = None,
    blocks: Annotated[
        str | None, typer.Option(help="Blocks of the encoder that learn, from the top; 0 is the head alone, or `all`.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the head; lower blocks have less.")] = None,
    label_counts: Annotated[
        str | None, typer.Option(help="Learning curve over these numbers of labels, and all: 50,200,800.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings for each point of the curve.")] = 1,
    scratch: Annotated[bool, typer.Option(help="Train the same budget from scratch beside every fine-tune.")] = True,
    *,
    config: ConfigOption = None,
    evaluate: EvaluationOption = True,
) -> None:
    """Fine-tune a model of one survey to another one's questions; the survey's first model becomes its champion."""
    from gzflow.stages.finetune_options import FineTuneOptions
    from gzflow.training.config import FineTuneConfig
    from gzflow.training.presets import configured

    learning = blocks if blocks in {None, "all"} else _number("--blocks", blocks)
    given = {"epochs": epochs, "seed": seed, "lr": lr, "blocks": learning}
    chosen = configured(FineTuneConfig, file=config, given=given)
    options = FineTuneOptions(survey, parent, pixels, chosen, _numbers(label_counts), seeds, scratch)
    check_shards(survey, pixels)
    start()
    from flows.finetune import finetune as flow

    show_logs()
    summary = flow(
        survey=survey,
        parent=parent,
        pixels=pixels,
        config=chosen,
        label_counts=list(options.label_counts),
        seeds=seeds,
        scratch=scratch,
        evaluation=evaluate,
    )
    out.print(summary.sentence())
    if summary.picture is not None:
        out.print(f"learning curve  [bold]{summary.picture}[/]")
    next_step(f"gzflow predict {survey}")


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(_number("--label-counts", part) for part in re.split(r"[,\s]+", text.strip())) if text else ()


def _number(option: str, text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise SettingsError(
            f"{option}: {text!r} is no whole number",
            expected="for instance --label-counts 50,200,800, or --blocks 3; --blocks all for the whole encoder",
        )
    return int(text)
