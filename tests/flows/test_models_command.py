"""`gzflow models`, `promote` and `rollback` as a user types them, before there is a model."""

from __future__ import annotations

import pytest

from flows.cli_models import _rows, _show


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


def test_a_table_wider_than_a_pipe_loses_no_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _show(_rows([{f"column {i}": f"{i} " + 20 * "x" for i in range(6)}]))
    assert f"5 {20 * 'x'}" in capsys.readouterr().out
