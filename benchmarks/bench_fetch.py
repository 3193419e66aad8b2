"""Cutouts from a loopback service that takes 30 ms and fails now and then: gzflow against aria2c on the same list.

Three programs download the same galaxies: gzflow's stage of an ingest (store, checks, fsync, ledger, polite rate), the
same under Prefect, and `aria2c -j -i`, which is given as many connections and no limit, retries without waiting, checks
nothing and syncs nothing. The service fails for the same requests each time. gzflow must end with every galaxy done and
the right bytes in its file; what aria2c keeps is compared too. Rates are requests a second as the server counted them,
because a request that fails uses up the allowance as well.

The allowance is per second; "of what is allowed" is the time that the requests need at that rate, over the time taken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
from cutout_server import PICTURES, CutoutServer, picture_of, pictures, serving
from timing import machine

from gzflow.catalog.store import CatalogStore
from gzflow.cutouts.services import SERVICES
from gzflow.settings import Settings
from gzflow.stages import ingest
from gzflow.surveys import load_survey

SURVEY = """
[survey]
name = "bench"
[catalog]
id = "id"
ra = "ra"
dec = "dec"
[catalog.votes]
count = "{answer}"
[cutout]
service = "legacysurvey"
url = "URL"
pixels = PIXELS
pixscale = 0.262
rate = RATE
connections = CONNECTIONS
[[question]]
name = "smooth"
answers = ["smooth", "featured"]
"""


def prepared(folder: Path, url: str, options: argparse.Namespace) -> ingest.IngestSource:
    """A catalog of galaxies and its survey."""
    folder.mkdir(parents=True)
    values = {"URL": url, "PIXELS": options.pixels, "RATE": options.rate, "CONNECTIONS": options.connections}
    text = SURVEY
    for key, value in values.items():
        text = text.replace(key, str(value))
    (folder / "bench.toml").write_text(text)
    n = options.galaxies
    rows = {"id": [f"g{k:06}" for k in range(n)], "ra": [k * 360 / n for k in range(n)], "dec": [1.0] * n}
    pl.DataFrame(rows | {"smooth": [20] * n, "featured": [20] * n}).write_csv(folder / "bench.csv")
    return ingest.IngestSource(str(folder / "bench.toml"), str(folder / "bench.csv"))


def plainly(source: ingest.IngestSource, settings: Settings) -> float:
    """Seconds of the chunks, two at a time as in the flow."""
    from concurrent.futures import ThreadPoolExecutor

    ingest.read(source, settings)
    plan = ingest.plan(source, settings)
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        left = list(plan.chunks)
        while left:
            counts = list(threads.map(lambda chunk: ingest.run_chunk(chunk, settings), left))
            left = [chunk for chunk, count in zip(left, counts, strict=True) if count.to_do]
    return time.perf_counter() - start


def by_flow(source: ingest.IngestSource, settings: Settings) -> float:
    """Seconds of the same chunks as tasks of a Prefect flow, start-up excluded: its server's, and a first task's."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.chunks import run_chunks
    from flows.ingest import images
    from flows.progress import Progress
    from gzflow.stages.counts import Counts

    ingest.read(source, settings)
    plan = ingest.plan(source, settings)

    @task(cache_policy=None)
    def nothing(_chunk: None, _settings: Settings) -> Counts:
        return Counts()

    @flow(name="fetch", task_runner=ThreadPoolTaskRunner(max_workers=2))
    def fetch(chunks: list[ingest.IngestChunk]) -> float:
        run_chunks(nothing, [None], settings, Progress("start", 1))
        start = time.perf_counter()
        run_chunks(images, chunks, settings, Progress("ingest", sum(len(chunk.ids) for chunk in chunks)))
        return time.perf_counter() - start

    return fetch(list(plan.chunks))


def rival(source: ingest.IngestSource, folder: Path, options: argparse.Namespace) -> float:
    """Seconds of aria2c for the same URLs."""
    folder.mkdir()
    lines = [f"{url}\n  out={name}.jpg" for name, url in urls(source).items()]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    command = ["aria2c", "-q", "-j", str(options.connections), "-x", "1", "-s", "1", "-m", "20", "--retry-wait=0"]
    command += ["--max-file-not-found=20", "--no-conf", "--allow-overwrite=true", "--auto-file-renaming=false"]
    command += ["--file-allocation=none", "--http-accept-gzip=false", "-d", str(folder), "-i", str(folder / "list.txt")]
    start = time.perf_counter()
    for _ in range(20):  # statuses such as 500 and 429 end a file for aria2c: it is run again for what is missing
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        missing = [line for line in lines if not (folder / line.rpartition("=")[2]).exists()]
        if not missing:
            break
        (folder / "list.txt").write_text("\n".join(missing) + "\n")
    return time.perf_counter() - start


def urls(source: ingest.IngestSource) -> dict[str, str]:
    """What each galaxy's image is asked for by."""
    spec = load_survey(source.survey).cutout
    assert spec is not None
    assert source.catalog is not None
    service = SERVICES[spec.service]
    rows = pl.read_csv(source.catalog).select("id", "ra", "dec").iter_rows()
    return {name: service.request(spec, ra, dec, float(spec.pixscale)).where for name, ra, dec in rows}


def wrong(source: ingest.IngestSource, images: dict[str, bytes], options: argparse.Namespace) -> int:
    """Images that are not what the service meant to send."""
    truth = pictures(PICTURES, options.pixels)
    asked = {name: url.partition("//")[2].partition("/") for name, url in urls(source).items()}
    return sum(content != truth[picture_of("".join(asked[name][1:]).encode())] for name, content in images.items())


def images_of(settings: Settings) -> dict[str, bytes]:
    with CatalogStore(settings.catalog_url) as store:
        done = store.cutouts("bench", states=["done"])
    return {id_str: Path(path).read_bytes() for id_str, path in done.select("id_str", "path").iter_rows()}


def told(name: str, seconds: float, server: CutoutServer, before: int, options: argparse.Namespace) -> None:
    requests = server.served().requests - before
    allowed = f", {requests / options.rate / seconds:6.1%} of what is allowed" if name != "aria2c" else ""
    print(
        f"{name:<24} {seconds:7.1f} s {options.galaxies / seconds:7.1f} cutouts/s {requests / seconds:7.1f} requests/s"
        f"{allowed}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=424)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--delay", type=float, default=0.03, help="seconds before each answer")
    parser.add_argument("--faults", type=float, default=0.05, help="share of requests that fail")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--flow-only", nargs=3, metavar=("TOML", "CSV", "HOME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flow_only:
        from flows import environment

        toml, catalog, home = options.flow_only
        settings = Settings.load({}, home=home)
        environment.prepare(settings)
        print(json.dumps(by_flow(ingest.IngestSource(toml, catalog), settings)))
        return
    print(machine())
    setting = (options.delay, options.faults, options.pixels)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with serving(*setting) as server:
            source = prepared(root / "sky", server.url, options)
            settings = Settings.load({}, home=root / "plain")
            seconds = plainly(source, settings)
            told("gzflow", seconds, server, 0, options)
            mine = images_of(settings)
            assert len(mine) == options.galaxies, f"{options.galaxies - len(mine)} were lost"
            assert wrong(source, mine, options) == 0
        with serving(*setting) as server:
            again = prepared(root / "sky2", server.url, options)
            command = [sys.executable, __file__, "--flow-only", again.survey, str(again.catalog), str(root / "flow")]
            environ = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
            under_prefect = json.loads(done.stdout.splitlines()[-1])
            told("gzflow under Prefect", under_prefect, server, 0, options)
            assert len(images_of(Settings.load({}, home=root / "flow"))) == options.galaxies
        print(f"{'Prefect':<24} {under_prefect / seconds - 1:+.2%}")
        if shutil.which("aria2c") is None:
            print("aria2c is not installed (Debian package aria2): no rival in this run")
            return
        with serving(*setting) as server:
            again = prepared(root / "sky3", server.url, options)
            told("aria2c", rival(again, root / "aria", options), server, 0, options)
            theirs = {path.stem: path.read_bytes() for path in (root / "aria").glob("*.jpg")}
            lost, damaged = options.galaxies - len(theirs), wrong(again, theirs, options)
            print(f"gzflow lost 0 and kept 0 damaged files; aria2c lost {lost:,} and kept {damaged:,}")
    print(machine())


if __name__ == "__main__":
    main()
