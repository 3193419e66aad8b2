"""`gzflow up` and `gzflow down`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.console import out
from flows.stack import process
from flows.stack.options import StackOptions
from flows.stack.plan import plan
from flows.stack.process import Child
from flows.stack.state import StackState
from flows.stack.supervisor import Supervisor, did_not_start
from gzflow.errors import Busy, StackError
from gzflow.lock import exclusive
from gzflow.settings import Settings

START_S, STOP_S = 600.0, 90.0


def up(
    host: Annotated[str, typer.Option(help="Interface the servers listen on.")] = "127.0.0.1",
    prefect_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    without_passwords: Annotated[
        bool, typer.Option("--without-passwords", help="Let everybody in who reaches --host: they can run code here.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Look for what would go wrong; start nothing.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Return when it is up.")] = False,
) -> None:
    """Start Prefect, MLflow, the work pools with a worker each, and the deployments; look after them until Ctrl-C."""
    options = StackOptions(host, prefect_port, mlflow_port, without_passwords)
    settings = Settings.load()
    if check:
        _check(options)
        return
    if background:
        _up_in_background(options, settings)
        return
    try:
        with exclusive(StackState.folder(settings.home), "gzflow up", patience_s=0):
            # What a killed supervisor left is still dying, or has lost its way.
            process.end_all(settings.home)
            Supervisor(plan(options), lambda line: out.print(line, markup=False)).run(_is_up)
    except Busy:
        _runs_already(settings)


def down() -> None:
    """Stop what `gzflow up` started for this home, in whatever terminal."""
    settings = Settings.load()
    state = StackState.read(settings.home)
    supervisor = state.supervisor() if state else None
    if supervisor is not None:
        process.end([supervisor], STOP_S)
    n_left = process.end_all(settings.home)
    if supervisor is None and not n_left:
        out.print(f"nothing runs for {settings.home}", markup=False)
    else:
        out.print("stopped", markup=False)


def _check(options: StackOptions) -> None:
    from flows.stack.doctor import examine

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table("check", "", box=None)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    findings = examine(options)
    for found in findings:
        table.add_row(found.check, f"[{colours[found.level]}]{found.level}[/]", escape(found.what), escape(found.fix))
    out.print(table)
    if any(found.level == "fail" for found in findings):
        raise typer.Exit(1)


def _up_in_background(options: StackOptions, settings: Settings) -> None:
    state = StackState.read(settings.home)
    if state and state.supervisor():
        _runs_already(settings)
        return
    words = ["--host", options.host, "--prefect-port", str(options.prefect_port)]
    words += ["--mlflow-port", str(options.mlflow_port)]
    words += ["--without-passwords"] if options.without_passwords else []
    log = StackState.folder(settings.home) / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = log.stat().st_size if log.exists() else 0
    environment = os.environ | {"GZFLOW_HOME": str(settings.home), "COLUMNS": "200"}
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  the command is gzflow's own
            [sys.executable, "-m", "flows.cli", "up", *words],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        state = StackState.read(settings.home)
        if state and state.pid == child.pid and state.ready:
            _is_up(state)
            return
        if child.poll() is not None:
            with log.open("rb") as stream:
                stream.seek(began)
                sys.stderr.write(stream.read().decode("utf-8", "replace"))
            raise typer.Exit(child.returncode or 2)
        time.sleep(0.3)
    child.terminate()
    raise did_not_start(Child("gzflow up", [], {}, settings.home, log), f"was not ready within {START_S:.0f} s")


def _runs_already(settings: Settings) -> None:
    state = StackState.read(settings.home)
    if state is None or state.supervisor() is None:
        raise StackError(
            "another `gzflow up` is about to start or to stop",
            where=str(settings.home),
            fix="try again in a moment",
        )
    out.print("gzflow runs already" if state.ready else "gzflow is starting already", markup=False)
    _is_up(state)


def _is_up(state: StackState) -> None:
    """Where to look, and what to type."""
    for name, url in (("prefect", state.prefect_url), ("mlflow", state.mlflow_url)):
        joined = " (joined, not started here)" if name in state.joined else ""
        out.print(f"{name:<8} [bold]{url}[/]{joined}")
    logs = StackState.folder(Settings.load().home) / "logs"
    out.print(f"home     {state.home}\nlogs     {logs}", markup=False)
    out.print(
        f"\nin another terminal:\n\n{state.exports()}\nprefect deployment run pipeline/demo --watch\n", markup=False
    )
    out.print("`gzflow down`, or Ctrl-C where it runs in the foreground, stops it", markup=False)
