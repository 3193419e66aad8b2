"""A figure as a file of the format that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gzflow.errors import EvaluationError
from gzflow.evaluation.figures import figure_writer, sky_map


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.png", b"\x89PNG"), ("a.jpg", b"\xff\xd8"), ("a.JPEG", b"\xff\xd8"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")],
)
def test_a_picture_has_the_format_that_its_name_says(name: str, begins: bytes) -> None:
    figure = sky_map(np.array([1.0]), np.array([2.0]))
    assert figure_writer(Path(name))(figure).startswith(begins)


def test_a_format_that_pictures_have_not_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"written as a\.gif(.|\n)*\.png, \.jpg"):
        figure_writer(Path("a.gif"))
