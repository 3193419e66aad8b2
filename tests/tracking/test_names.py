from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from gzflow.tracking.names import LONGEST_PARAM, flat_params, metric_key


def test_training_metrics_have_short_names() -> None:
    assert metric_key("train_loss") == "train/loss"
    assert metric_key("validation_nll/spiral-arm-count") == "val/nll/spiral-arm-count"
    assert metric_key("test/accuracy/bar") == "test/accuracy/bar"
    assert metric_key("lr") == "lr"


@given(st.text(min_size=1))
def test_any_question_gives_a_name_that_mlflow_accepts(question: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_\-. /]*", metric_key(f"validation_nll/{question}"))


def test_nested_parameters_become_flat_text() -> None:
    flat = flat_params({"seed": 42, "augment": {"zoom": (0.9, 1.1), "flip": {"x": True}}, "why": "x" * 7000})
    assert flat["seed"] == "42"
    assert flat["augment.zoom"] == "(0.9, 1.1)"
    assert flat["augment.flip.x"] == "True"
    assert len(flat["why"]) == LONGEST_PARAM
