"""The form of each deployment, and what the server makes of wrong values before there is a run."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from gzflow.errors import ModelError, UnknownSurvey
from gzflow.surveys import survey_names
from gzflow.training.config import TrainConfig

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
ENTRYPOINTS = sorted({entry["entrypoint"] for entry in DEPLOYMENTS} | {"flows/crossmatch.py:crossmatch"})


def flow_of(entrypoint: str) -> Any:
    path, _, name = entrypoint.partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


def schema_of(entrypoint: str) -> dict[str, Any]:
    return parameter_schema(flow_of(entrypoint)).model_dump_for_openapi()


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_a_form_explains_each_of_its_fields(entrypoint: str) -> None:
    schema = schema_of(entrypoint)
    groups = [
        schema["properties"],
        *(one["properties"] for one in schema["definitions"].values() if "properties" in one),
    ]
    for group in groups:
        for name, field in group.items():
            assert re.match(r"\S.{8,}", field.get("description", "")), f"{name} has no description"
            assert "`gzflow." not in field["description"], f"{name} speaks of code"
    for one in schema["definitions"].values():
        assert "Attributes\n" not in one.get("description", "")
    assert flow_of(entrypoint).description.splitlines()[0].endswith(".")


def test_a_form_begins_with_the_survey_and_ends_with_what_is_rarely_needed() -> None:
    fields = schema_of("flows/predict.py:predict")["properties"]
    order = sorted(fields, key=lambda name: fields[name]["position"])
    assert order[:3] == ["survey", "pixels", "model"]
    assert order[-1] in {"fresh", "or_simulated"}


def test_words_to_choose_from_are_a_menu_and_options_show_their_defaults() -> None:
    assert schema_of("flows/shard.py:shard")["properties"]["codec"]["enum"] == ["raw", "jpeg"]
    assert schema_of("flows/crossmatch.py:crossmatch")["properties"]["how"]["enum"] == ["all", "nearest", "best"]
    config = schema_of("flows/train.py:train")["properties"]["config"]
    assert config["default"] == TrainConfig().model_dump(mode="json")


@pytest.mark.parametrize(
    ("entrypoint", "parameters", "words"),
    [
        ("flows/train.py:train", {"survey": "decalls"}, "decals"),
        ("flows/train.py:train", {"survey": "decals", "pixels": 8}, "pixels"),
        ("flows/train.py:train", {"survey": "decals", "pixels": "many"}, "pixels"),
        ("flows/train.py:train", {"survey": "decals", "config": {"epochs": 0}}, "minimum of 1"),
        ("flows/train.py:train", {"survey": "decals", "config": {"epoch": 3}}, "epoch"),
        ("flows/train.py:train", {"survey": "decals", "config": {"members": 21}}, "maximum of 20"),
        ("flows/finetune.py:finetune", {"survey": "hubble", "config": {"members": 2}}, "maximum of 1"),
        ("flows/train.py:train", {}, "survey"),
        ("flows/joint.py:joint", {"surveys": ["decals"]}, "surveys"),
        ("flows/predict.py:predict", {"survey": "decals", "evaluation": "perhaps"}, "perhaps"),
        ("flows/shard.py:shard", {"survey": "decals", "pixels": 4096}, "maximum of 1024"),
        ("flows/shard.py:shard", {"survey": "decals", "codec": "png"}, "png"),
        ("flows/predict.py:predict", {"survey": "decals", "samples": 0}, "minimum of 1"),
        ("flows/predict.py:predict", {"survey": "decals", "precision": "float16"}, "float16"),
        ("flows/predict.py:predict", {"survey": "decals", "model": "; rm -rf"}, "; rm -rf"),
        ("flows/predict.py:predict", {"survey": "decals", "model": "models:/gzflow-decals"}, "models:/gzflow-decals"),
        ("flows/promote.py:promote", {"survey": "decals", "challenger": "abc"}, "abc"),
        ("flows/promote.py:promote", {"survey": "decals", "challenger": "runs/3/model"}, "runs/3/model"),
        ("flows/finetune.py:finetune", {"survey": "hubble", "parent": "no such parent!"}, "no such parent!"),
        ("flows/finetune.py:finetune", {"survey": "hubble", "parent": ""}, "parent"),
        ("flows/finetune.py:finetune", {"survey": "hubble", "parent": "decals@best"}, "decals@best"),
        ("flows/finetune.py:finetune", {"survey": "hubble", "label_counts": [50, 50]}, "[50, 50]"),
        ("flows/train.py:train", {"survey": "decals", "config": {"zoom": [1.2, 0.8]}}, "config.zoom"),
        ("flows/train.py:train", {"survey": "decals", "config": {"concentrations": [101, 1]}}, "config.concentrations"),
        ("flows/train.py:train", {"survey": "decals", "config": {"encoder": "no such net"}}, "no such net"),
        ("flows/crossmatch.py:crossmatch", {"left": "gz2", "right": "decals", "radius": 0}, "minimum of 0"),
        ("flows/demo.py:demo_pipeline", {"n_galaxies": 3}, "minimum of 50"),
    ],
    ids=str,
)
def test_the_server_refuses_wrong_values(entrypoint: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        validate(parameters, schema_of(entrypoint), raise_on_error=True)


@pytest.mark.parametrize("survey", [*survey_names(), "mine.toml", "/data/surveys/rings.toml"])
def test_any_survey_can_be_asked_for(survey: str) -> None:
    validate({"survey": survey}, schema_of("flows/train.py:train"), raise_on_error=True)


@pytest.mark.parametrize(
    ("entrypoint", "name", "values"),
    [
        ("flows/predict.py:predict", "model", ["3", "challenger", "@champion", "models:/gzflow-gz2/3", "/data/my m/x"]),
        ("flows/promote.py:promote", "challenger", ["12", "challenger", "models:/gzflow-gz2@challenger"]),
        (
            "flows/finetune.py:finetune",
            "parent",
            [
                "decals",
                "decals/3",
                "my-rings@challenger",
                "models:/gzflow-decals@champion",
                "runs/x/model",
                "mine.toml",
            ],
        ),
        ("flows/finetune.py:finetune", "label_counts", [[50, 200], []]),
    ],
)
def test_every_way_to_name_a_model_is_taken(entrypoint: str, name: str, values: list[Any]) -> None:
    for value in values:
        validate({"survey": "hubble", name: value}, schema_of(entrypoint), raise_on_error=True)


@pytest.mark.parametrize("entrypoint", ["flows/train.py:train", "flows/pipeline.py:pipeline"])
def test_an_unknown_encoder_is_the_first_thing_a_run_looks_at(entrypoint: str) -> None:
    with pytest.raises(ModelError, match="there is no encoder 'efficientnet_b00'"):
        flow_of(entrypoint).validate_parameters({"survey": "decals", "config": {"encoder": "efficientnet_b00"}})


def test_a_toml_that_is_not_there_is_the_first_thing_a_run_looks_at() -> None:
    with pytest.raises(UnknownSurvey, match=re.escape("there is no survey 'mine.toml'")):
        flow_of("flows/ingest.py:ingest").validate_parameters({"survey": "mine.toml"})


def test_the_parameters_of_all_deployments_are_right() -> None:
    for entry in DEPLOYMENTS:
        validate(entry.get("parameters", {}), schema_of(entry["entrypoint"]), raise_on_error=True)
