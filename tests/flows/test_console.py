"""Errors on the command line: the foreseen ones as what, where, expected and fix."""

from __future__ import annotations

import pytest

from flows.console import explained_errors


def test_a_prefect_server_that_is_away_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hidden@127.0.0.1:1/api")
    with pytest.raises(SystemExit) as end, explained_errors():
        raise RuntimeError("Failed to reach API at http://127.0.0.1:1/api")
    assert end.value.code == 2
    said = capsys.readouterr().err
    for words in (
        "StackError: the Prefect server does not answer",
        "where: PREFECT_API_URL=http://me:***@127.0.0.1:1/api",
        "to fix: start it with `gzflow up`, or correct or unset PREFECT_API_URL",
    ):
        assert words in said


def test_another_runtime_error_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="unforeseen"), explained_errors():
        raise RuntimeError("unforeseen")
