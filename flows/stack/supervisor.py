"""The process that starts everything, restarts what dies, and ends it all in order."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from threading import Event
from types import FrameType

import psutil

from flows.stack import process
from flows.stack.databases import missing_store
from flows.stack.plan import ROOT, StackPlan
from flows.stack.pools import POOLS, worker
from flows.stack.process import Child
from flows.stack.servers import MLFLOW_SERVER, PREFECT_SERVER, mlflow_server, prefect_server
from flows.stack.state import StackState
from gzflow.errors import StackError

START_S = 180.0
"""Seconds a server may take: the first start migrates its database."""
SOONEST_RESTART_S, LATEST_RESTART_S = 1.0, 60.0
CALM_S = 120.0
"""A child that ran this long begins anew with the shortest wait."""
TICK_S = 0.5
SAVE_S = 30.0
"""A training that is told to end saves its epoch first."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked for the end while the stack was starting."""


@dataclass
class _Watched:
    child: Child
    started: float = 0.0
    failures: int = 0
    due: float | None = None


@dataclass
class Supervisor:
    """Runs a plan until it is told to stop.

    Parameters
    ----------
    say
        Takes the lines that a person reads.
    """

    plan: StackPlan
    say: Callable[[str], None]
    _stop: Event = field(default_factory=Event)
    _watched: list[_Watched] = field(default_factory=list)
    _unwritten: bool = False

    def run(self, ready: Callable[[StackState], None]) -> None:
        """Start, call `ready`, then watch until SIGINT, SIGTERM or SIGHUP; nothing is left when this returns.

        Raises
        ------
        StackError
            Something did not start; names its log.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            # Under nohup the end of the terminal is to be ignored.
            if (number, handler) != (signal.SIGHUP, signal.SIG_IGN):
                signal.signal(number, self._on_signal)
        try:
            self._start()
            self._write(ready=True)
            ready(self.state())
            while not self._stop.wait(TICK_S):
                self._look_after()
        except Stopped:
            pass
        finally:
            self.say("stopping")
            self._end()
            self._write(ready=False)
            for number, handler in before.items():
                signal.signal(number, handler)
        self.say("stopped")

    def state(self) -> StackState:
        """What runs."""
        plan = self.plan
        servers = {"prefect": plan.prefect, "mlflow": plan.mlflow}
        return StackState(
            home=str(plan.home),
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            prefect_url=plan.prefect.url,
            prefect_api=plan.prefect.api,
            mlflow_url=plan.mlflow.url,
            joined=tuple(name for name, server in servers.items() if server.joined),
            ports=tuple(server.port for server in servers.values() if not server.joined),
            passwords=plan.access.variables,
            pids={one.child.name: one.child.pid for one in self._watched if one.child.pid is not None},
        )

    def _write(self, *, ready: bool) -> None:
        """Write the state; a disk that takes nothing costs no run its life: it is said once, and tried again."""
        try:
            replace(self.state(), ready=ready).write()
        except OSError as error:
            if not self._unwritten:
                self.say(f"the state cannot be written, `gzflow down` may not find everything meanwhile: {error}")
            self._unwritten = True
        else:
            self._unwritten = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self) -> None:
        plan = self.plan
        starting = []
        if not plan.prefect.joined:
            starting.append((self._watch(prefect_server(plan)), lambda: plan.prefect.answers("/health")))
        if not plan.mlflow.joined:
            if not_yet := missing_store(plan.home, os.environ):
                self._furnish("store", not_yet)
            starting.append((self._watch(mlflow_server(plan)), lambda: plan.mlflow.answers("/health")))
        self._write(ready=False)
        for child, answers in starting:
            self._wait(child, answers)
        self._furnish("pools")
        for pool in POOLS:
            self._watch(worker(plan, pool))
        self._write(ready=False)
        self._furnish("deployments")

    def _watch(self, child: Child) -> Child:
        child.start()
        self._watched.append(_Watched(child, started=time.monotonic()))
        return child

    def _wait(self, child: Child, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not answers():
            if self._stop.wait(TICK_S):
                raise Stopped
            if child.ended() is not None or time.monotonic() > deadline:
                ended = child.ended()
                how = f"ended with status {ended}" if ended is not None else f"does not answer within {START_S:.0f} s"
                raise did_not_start(child, how)

    def _furnish(self, what: str, *arguments: str) -> None:
        child = Child(
            f"furnish {what}",
            [sys.executable, "-m", "flows.stack.furnish", what, *arguments],
            self.plan.clients,
            ROOT,
            self.plan.logs / f"{what}.log",
        )
        child.start()
        while (status := child.ended()) is None:
            if self._stop.wait(0.1):
                raise Stopped
        if status:
            raise did_not_start(child, f"ended with status {status}")

    def _look_after(self) -> None:
        """Restart what has ended, each time later: a server that cannot start must not fill the disk with its log."""
        now = time.monotonic()
        if self._unwritten:
            self._write(ready=True)
        for one in self._watched:
            if one.due is not None:
                if now >= one.due:
                    self._restart(one, now)
                continue
            status = one.child.ended()
            if status is None:
                continue
            one.failures = 1 if now - one.started > CALM_S else one.failures + 1
            wait = min(LATEST_RESTART_S, SOONEST_RESTART_S * 2 ** (one.failures - 1))
            one.due = now + wait
            self._end_group(one.child)
            self.say(f"{one.child.name} ended with status {status}: starts again in {wait:.0f} s; see {one.child.log}")

    def _restart(self, one: _Watched, now: float) -> None:
        try:
            one.child.start()
        except OSError as error:  # no room for its log, no memory for a process
            one.due = now + LATEST_RESTART_S
            self.say(f"{one.child.name} cannot start: {error}: tried again in {LATEST_RESTART_S:.0f} s")
            return
        one.due = None
        one.started = now
        self._write(ready=True)

    def _end_group(self, child: Child) -> None:
        """End what a dead child left in its process group: MLflow's own server processes would keep the port."""
        left = [found for found in process.marked(self.plan.home) if _group(found.pid) == child.pid]
        process.end(left, patience_s=5)

    def _end(self) -> None:
        """Flow runs first, while their worker and the server still hear how they end; then workers; then servers."""
        servers = [one.child for one in self._watched if one.child.name in {PREFECT_SERVER, MLFLOW_SERVER}]
        workers = [one.child for one in self._watched if one.child not in servers]
        runs = [run for child in workers for run in _children(child)]
        if runs:
            self.say(f"asking {len(runs)} flow runs to save and end")
        process.end(runs, SAVE_S)
        process.end(_living(workers), patience_s=10)
        spared = {_group(child.pid) for child in servers}
        process.end([found for found in process.marked(self.plan.home) if _group(found.pid) not in spared], 5)
        process.end(_living(servers), patience_s=10)
        process.end_all(self.plan.home)


def did_not_start(child: Child, how: str) -> StackError:
    """The error of a child that failed, with the end of its log."""
    return StackError(
        f"{child.name} {how}",
        where=str(child.log),
        problems=child.last_words(),
        expected="a start without errors",
        fix=f"read {child.log}; gzflow up --check looks for the usual causes",
    )


def _living(children: Iterable[Child]) -> list[psutil.Process]:
    living = []
    for child in children:
        if child.pid is not None and child.ended() is None:
            try:
                living.append(psutil.Process(child.pid))
            except psutil.NoSuchProcess:
                continue
    return living


def _children(child: Child) -> list[psutil.Process]:
    try:
        return [found for parent in _living([child]) for found in parent.children()]
    except psutil.NoSuchProcess:
        return []


def _group(pid: int | None) -> int | None:
    try:
        return os.getpgid(pid) if pid is not None else None
    except ProcessLookupError:
        return None
