"""`gzflow models`, `promote` and `rollback` as a user types them, before there is a model."""

from __future__ import annotations

import pytest


def test_without_a_model_the_table_says_what_makes_one(gzflow):
    assert (
        "no model of hubble is registered yet; `gzflow train hubble` makes the first"
        in gzflow("models", "hubble").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rollback", "hubble"], "survey 'hubble' has no champion yet"),
        (["promote", "decalls"], "one of candels, decals"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_command_says_what_to_do_before_anything_starts(arguments, words, gzflow):
    done = gzflow(*arguments, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
