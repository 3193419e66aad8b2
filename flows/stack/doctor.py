"""`gzflow up --check`: what is known to go wrong, looked at before it does; nothing is started or kept."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from flows.stack import databases, graphics
from flows.stack.access import Access
from flows.stack.endpoint import Endpoint
from flows.stack.options import StackOptions
from flows.stack.plan import ROOT, addresses, check_address, check_ports
from flows.stack.state import StackState
from gzflow.settings import Settings

Level = Literal["ok", "warn", "fail"]
GIB = 2**30
LEAST_DISK, ENOUGH_DISK = 1 * GIB, 20 * GIB
LARGEST_SKEW_S = 5.0
NOT_TRIED = (3, 14)
TOLD = ("prefect", "mlflow", "fastapi", "torch", "torchvision", "lightning", "sqlalchemy", "pydantic", "numpy")
"""Packages whose version decides whether the stack works; a difference from the tested one is worth a word."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes
    ----------
    fix
        What to do; empty where all is well.
    """

    check: str
    level: Level
    what: str
    fix: str = ""


def examine(options: StackOptions, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Every finding, in the order in which one would repair them."""
    environ = os.environ if environ is None else environ
    settings = Settings.load(environ)
    return [
        _python(),
        *_packages(),
        _mlflow_folder(),
        _write_access(settings.home),
        _disk(settings.home),
        *(Finding(*found) for found in databases.examine(settings, environ)),
        *_servers(options, settings, environ),
        Finding(*graphics.examine()),
    ]


def _python() -> Finding:
    version = sys.version.split()[0]
    if sys.version_info >= NOT_TRIED:
        return Finding("Python", "warn", version, "it was not tried with one as new: make PYTHON=python3.12")
    return Finding("Python", "ok", version)


def _packages() -> Iterator[Finding]:
    """Requirements of the installed gzflow, and what differs from the versions that it was tested with."""
    wrong = False
    for text in metadata.requires("gzflow") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong = True
            yield Finding("package", "fail", f"{requirement.name} is missing", f"pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong = True
            yield Finding("package", "fail", f"{requirement.name} {version}", f"pip install '{requirement}'")
    if wrong:
        return
    differing = [
        f"{name} {metadata.version(name)} (tested {tested})"
        for name, tested in _tested().items()
        if name in TOLD and metadata.version(name) != tested
    ]
    if differing:
        fix = "pip install -c constraints.txt -e . brings what was tested"
        yield Finding("packages", "warn", ", ".join(differing), fix)
    else:
        yield Finding("packages", "ok", ", ".join(f"{name} {metadata.version(name)}" for name in TOLD[:4]))


def _tested() -> dict[str, str]:
    file = ROOT / "constraints.txt"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {name.lower(): version for name, same, version in (line.partition("==") for line in lines) if same}


def _mlflow_folder() -> Finding:
    """In a checkout Python takes the folder mlflow/ for a package once it holds Python, or MLflow is not installed."""
    spec = find_spec("mlflow")
    if spec is None or spec.origin is None:
        return Finding("import mlflow", "fail", "finds a folder, not the package", "pip install 'mlflow>=3.17,<4'")
    if Path(spec.origin).is_relative_to(ROOT / "mlflow"):
        return Finding("import mlflow", "fail", f"finds {spec.origin}", "remove every .py file from the folder mlflow/")
    return Finding("import mlflow", "ok", "finds the package")


def _write_access(home: Path) -> Finding:
    there = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=there) as trial:
            trial.write(b"gzflow")
    except OSError as error:
        return Finding("write access", "fail", f"{there}: {error.strerror}", "choose another GZFLOW_HOME, or its owner")
    return Finding("write access", "ok", str(home) if there == home else f"{there} (GZFLOW_HOME will be made in it)")


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_existing(home)).free
    what = f"{free / GIB:,.0f} GiB free"
    if free < LEAST_DISK:
        return Finding("disk", "fail", what, "free some space, or move GZFLOW_HOME")
    if free < ENOUGH_DISK:
        return Finding("disk", "warn", what, "100,000 galaxies of 300 px take 27 GB of shards")
    return Finding("disk", "ok", what)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _servers(options: StackOptions, settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    access, problems = Access.of(environ)
    for problem in problems:
        yield Finding("passwords", "fail", problem, "see docs/operations.md")
    state = StackState.read(settings.home)
    if state is not None and state.supervisor() is not None:
        yield Finding("stack", "ok", f"runs already: {state.prefect_url}, {state.mlflow_url}")
        return
    prefect, mlflow = addresses(options, settings, environ)
    busy = check_ports(options, prefect, mlflow)
    for problem in busy:
        yield Finding("port", "fail", problem, "gzflow down, if it is another home's stack")
    if not busy:
        free = [str(server.port) for server in (prefect, mlflow) if not server.joined]
        yield Finding("ports", "ok", f"{' and '.join(free)} free" if free else "none needed")
    yield from _joined("Prefect", prefect, "/admin/version", check_address(prefect, "prefect", access), access.prefect)
    yield from _joined("MLflow", mlflow, "/version", check_address(mlflow, "mlflow", access), access.mlflow)


def _joined(
    name: str, server: Endpoint, path: str, problem: str | None, login: tuple[str, str] | None
) -> Iterator[Finding]:
    """A server that runs already: whether it answers, is of the same version, and tells the same time."""
    if problem:
        yield Finding(f"{name} server", "fail", problem, "correct the address, or unset it to have a server started")
    elif server.joined:
        version, skew = server.version(path, login)
        own = metadata.version(name.lower())
        same = re.findall(r"\d+", version)[:2] == re.findall(r"\d+", own)[:2]
        fix = "" if same else f"install {name.lower()} {version} here, or update the server"
        yield Finding(f"{name} server", "ok" if same else "warn", f"{server.url}: {version} (here {own})", fix)
        if abs(skew) > LARGEST_SKEW_S:
            what = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the {name} server"
            yield Finding("clock", "warn", what, "set it by NTP: schedules and heartbeats compare times")
