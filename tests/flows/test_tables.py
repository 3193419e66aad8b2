"""Tables on the command line: as wide as their values, and whole."""

from __future__ import annotations

from flows.tables import by_column, show


def test_a_table_wider_than_a_pipe_loses_no_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    show(by_column([{f"column {i}": f"{i} " + 20 * "x" for i in range(6)}]))
    assert f"5 {20 * 'x'}" in capsys.readouterr().out


def test_a_header_wider_than_its_values_stands_in_two_lines(capsys):
    show(by_column([{"question": "bar", "gain (95 %)": "+0.1 (0.0 to 0.2)", "90 % holds": "91 %"}]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "                              90 %",
        "question        gain (95 %)  holds",
        "bar       +0.1 (0.0 to 0.2)   91 %",
    ]


def test_what_stands_in_parentheses_is_not_broken(capsys):
    show(by_column([{"question": "bar", "agree change (95 %)": "+0.0 (−1.0, +1.0)"}]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split("  ")[-1].strip() for line in lines] == ["agree change", "(95 %)", "+0.0 (−1.0, +1.0)"]
