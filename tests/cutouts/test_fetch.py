from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from gzflow import __version__
from gzflow.cutouts import host as host_module
from gzflow.cutouts.check import check_image
from gzflow.cutouts.fetch import Fetched, Target, fetch_cutouts
from gzflow.cutouts.host import Hosts
from gzflow.cutouts.rgb import gzdecals, resized
from gzflow.errors import (
    BadPixels,
    DuplicateIds,
    GzflowError,
    NoCoverage,
    NotAnImage,
    RateLimited,
    Refused,
    ServiceUnavailable,
    SurveyError,
    TransientCutoutError,
    TruncatedImage,
    WrongSize,
)
from gzflow.recipe import CutoutSpec


def spec(server, service: str = "legacysurvey", pixels: int = 64, rate: float = 1e4, **options: str) -> CutoutSpec:
    return CutoutSpec(service=service, url=server.url, options=options, pixels=pixels, pixscale=0.3, rate=rate)


def targets(n: int) -> list[Target]:
    return [Target(f"J{k:03}", k + 0.5, 1.0, 0.3) for k in range(n)]


MANNERS = {"connections", "attempts", "deadline", "patience"}


def fetched(targets: list[Target], spec: CutoutSpec, folder: Path, **options: object) -> list[Fetched]:
    """Fetch with a breaker of its own, which gives up at once unless a test says otherwise."""
    manners = {"deadline": 20.0, "patience": 0.0} | {key: options.pop(key) for key in MANNERS & options.keys()}
    breaker = {key: options.pop(key) for key in {"give_up_after", "first_pause_s"} & options.keys()}

    async def fetch() -> list[Fetched]:
        async with Hosts(**breaker) as hosts:
            polite = spec.model_copy(update=manners)
            return await fetch_cutouts(targets, polite, folder, hosts=hosts, **({"backoff_s": 0.01} | options))

    return asyncio.run(fetch())


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("service", ["legacysurvey", "sdss"])
def test_pictures_are_kept_as_delivered(server, tmp_path: Path, service: str) -> None:
    seen: list[str] = []
    results = fetched(targets(20), spec(server, service), tmp_path, on_done=lambda one: seen.append(one.id_str))
    assert [one.id_str for one in results] == [one.id_str for one in targets(20)]
    assert sorted(seen) == [one.id_str for one in results]
    for one in results:
        assert (one.state, one.attempts, one.error) == ("done", 1, None)
        assert one.path is not None
        content = one.path.read_bytes()
        assert (one.bytes, one.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert check_image(content, size=(64, 64), what="").format == "JPEG"
        assert one.path.parent.parent == tmp_path
    assert len(files(tmp_path)) == 20
    assert server.agents == {f"gzflow/{__version__} (+https://github.com/gzflow/gzflow)"}


def test_fits_becomes_a_picture_of_the_wanted_size(server, tmp_path: Path) -> None:
    (one,) = fetched(targets(1), spec(server, format="fits"), tmp_path, recipe_name="gzdecals", contact="me@x.org\n")
    assert one.path is not None
    assert one.path.suffix == ".png"
    side = int(np.ceil(64 * 0.3 / 0.262))
    bands = np.random.default_rng(0).normal(0.02, 0.01, (3, side, side)).astype(np.float32)
    picture = check_image(one.path.read_bytes(), size=(64, 64), what="").pixels
    np.testing.assert_array_equal(picture, resized(gzdecals(bands), 64))
    assert next(iter(server.agents)).endswith("(+me@x.org)")


@pytest.mark.parametrize("fault", ["500", "503", "429", "408", "reset", "cut", "short file", "html", "wait 503 0"])
@pytest.mark.parametrize("kind", ["jpeg", "fits"])
def test_passing_trouble_is_survived(server, tmp_path: Path, fault: str, kind: str) -> None:
    server.faults = {k: [fault, fault, "good"] for k in range(3)}
    recipe_name = "gzdecals" if kind == "fits" else "as-delivered"
    results = fetched(targets(4), spec(server, format=kind), tmp_path, recipe_name=recipe_name)
    assert [one.state for one in results] == ["done"] * 4, [str(one.error) for one in results]
    assert [one.attempts for one in results] == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("fault", "error", "state", "requests"),
    [
        ("429", RateLimited, "to-do", 3),
        ("503", ServiceUnavailable, "to-do", 3),
        ("cut", ServiceUnavailable, "to-do", 3),
        ("reset", ServiceUnavailable, "to-do", 3),
        ("short file", TruncatedImage, "failed", 3),
        ("html", NotAnImage, "failed", 3),
        ("404", Refused, "failed", 1),
        ("no layer", Refused, "failed", 1),
        ("wrong size", WrongSize, "failed", 1),
        ("no-overlap", NoCoverage, "no-coverage", 1),
    ],
)
def test_lasting_trouble_ends_with_its_reason(server, tmp_path: Path, fault, error, state, requests) -> None:
    server.faults = {1: [fault]}
    results = fetched(targets(3), spec(server), tmp_path, attempts=3)
    assert [one.state for one in results] == ["done", state, "done"]
    bad = results[1]
    assert isinstance(bad.error, error)
    assert (bad.path, bad.bytes, bad.sha256) == (None, 0, None)
    assert bad.attempts == len(server.seen[1]) == requests
    assert "J001: http://127.0.0.1" in str(bad.error)
    assert "ra=1.5" in str(bad.error)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(("fault", "state"), [("black", "no-coverage"), ("404", "failed"), ("html", "failed")])
def test_sdss_answers(server, tmp_path: Path, fault: str, state: str) -> None:
    server.faults = {0: [fault]}
    (one,) = fetched(targets(1), spec(server, "sdss"), tmp_path, attempts=2)
    assert one.state == state


def test_fits_500_is_judged_by_a_small_picture_of_the_field(server, tmp_path: Path) -> None:
    server.faults = {0: ["no-overlap"], 2: ["bad pixels"]}
    results = fetched(targets(3), spec(server, format="fits"), tmp_path, recipe_name="gzdecals")
    assert [one.state for one in results] == ["no-coverage", "done", "failed"]
    assert server.seen[0] == ["/viewer/fits-cutout", "/viewer/jpeg-cutout"]
    assert "HTTP 500" in str(results[0].error)
    assert isinstance(results[2].error, BadPixels)


def test_a_second_opinion_that_meets_trouble_is_asked_again(server, tmp_path: Path) -> None:
    server.faults = {0: ["503", "500", "no-overlap"]}
    (one,) = fetched(targets(1), spec(server, format="fits"), tmp_path, recipe_name="gzdecals", attempts=4)
    assert one.state == "no-coverage"
    assert server.seen[0].count("/viewer/jpeg-cutout") == 3


def test_fits_500_where_there_are_images_stays_to_do(server, tmp_path: Path) -> None:
    server.faults = {0: ["fits 500"]}
    (one,) = fetched(targets(1), spec(server, format="fits"), tmp_path, recipe_name="gzdecals", attempts=3)
    assert one.state == "to-do"
    assert isinstance(one.error, ServiceUnavailable)
    assert "3 attempts" in str(one.error)
    assert server.seen[0].count("/viewer/jpeg-cutout") == 1


def test_a_slow_drip_is_cut_off(server, tmp_path: Path) -> None:
    server.faults = {0: ["drip"]}
    results = fetched(targets(2), spec(server), tmp_path, deadline=3.0)
    assert [one.state for one in results] == ["to-do", "done"]
    assert "no complete answer within" in str(results[0].error)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_kept_by_everyone(server, tmp_path: Path, as_date: bool) -> None:
    server.faults = {0: [f"wait 429 {'2.5 from now' if as_date else '1'}", "good"]}
    results = fetched(targets(6), spec(server), tmp_path, connections=1, patience=60)
    assert [one.state for one in results] == ["done"] * 6
    # Galaxies are asked about in any order, one at a time: the pause is one gap, whole only if nobody asked within it.
    assert max(np.diff(server.times)) >= (1.4 if as_date else 0.95)  # a date has whole seconds


def test_a_wish_beyond_the_deadline_ends_the_galaxy_and_nobody_asks_meanwhile(server, tmp_path: Path) -> None:
    server.faults = {k: ["wait 503 3600"] for k in range(5)}
    results = fetched(targets(5), spec(server), tmp_path, connections=1)
    assert len(server.times) == 1
    assert [one.state for one in results] == ["to-do"] * 5
    unasked = [one for one in results if one.attempts == 0]
    assert len(unasked) == 4
    assert all(isinstance(one.error, RateLimited) and "asked for a pause" in str(one.error) for one in unasked)


def test_a_service_that_fails_for_everyone_is_left_alone(server, tmp_path: Path, caplog) -> None:
    server.faults = {k: ["503"] for k in range(100)}
    with caplog.at_level(logging.WARNING):
        results = fetched(targets(100), spec(server), tmp_path, connections=2, attempts=2, give_up_after=4)
    assert len(server.times) <= 2 * (4 + 2)
    assert [one.state for one in results] == ["to-do"] * 100
    last = results[-1]
    assert last.attempts == 0
    assert "fails for everyone" in str(last.error)
    assert "HTTP 503" in str(last.error)
    assert "failed 4 times in a row: given up" in caplog.text


def test_verdicts_about_galaxies_do_not_count_as_failing_service(server, tmp_path: Path) -> None:
    server.faults = {k: ["no-overlap"] for k in range(30)}
    results = fetched(targets(31), spec(server), tmp_path, give_up_after=3)
    assert [one.state for one in results] == ["no-coverage"] * 30 + ["done"]


def test_existing_good_files_are_reused_and_bad_ones_fetched_again(server, tmp_path: Path) -> None:
    first = fetched(targets(3), spec(server), tmp_path)
    assert first[1].path is not None
    first[1].path.write_bytes(first[1].path.read_bytes()[:-20])
    server.times.clear()
    second = fetched(targets(3), spec(server), tmp_path)
    assert [one.attempts for one in second] == [0, 1, 0]
    assert [(one.path, one.sha256) for one in second] == [(one.path, one.sha256) for one in first]
    assert len(server.times) == 1


def test_another_request_never_reuses_the_file(server, tmp_path: Path) -> None:
    fetched(targets(1), spec(server), tmp_path)
    for other in (spec(server, layer="ls-dr10"), spec(server, pixels=80), spec(server, "sdss")):
        assert fetched(targets(1), other, tmp_path)[0].attempts == 1
    assert fetched([Target("J000", 0.5, 1.0, 0.31)], spec(server), tmp_path)[0].attempts == 1
    assert fetched([Target("J000", 0.6, 1.0, 0.3)], spec(server), tmp_path)[0].attempts == 1
    assert len(files(tmp_path)) == 6


def test_odd_ids_get_their_own_files_inside_the_folder(server, tmp_path: Path) -> None:
    ids = ["a", "A", "../../etc/passwd", "a/b", "a_b", "é", "日本", "", ".", "..", "x" * 400, "con", "a b", "a\x00b"]
    results = fetched([Target(id_str, 5.5, 1.0, 0.3) for id_str in ids], spec(server), tmp_path)
    assert [one.state for one in results] == ["done"] * len(ids)
    paths = [one.path for one in results if one.path is not None]
    assert len({str(path).lower() for path in paths}) == len(ids)
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) and len(path.name) < 120 for path in paths)


def test_positions_that_cannot_be_asked_about(server, tmp_path: Path) -> None:
    results = fetched([Target("a", None, 1, 0.3), Target("b", 1, float("nan"), 0.3)], spec(server), tmp_path)
    assert [one.state for one in results] == ["failed", "failed"]
    assert "ra is None" in str(results[0].error)
    assert "where: b" in str(results[1].error)
    assert not server.times


def test_the_rate_and_the_concurrency_are_kept(server, tmp_path: Path) -> None:
    server.delay = 0.05
    fetched(targets(30), spec(server), tmp_path / "a", connections=3)
    assert server.most_at_once <= 3
    started = time.monotonic()
    fetched(targets(40), spec(server, rate=50), tmp_path / "b", connections=8)
    assert server.times[-1] - started >= 0.8 * 39 / 50


def test_bad_plans_are_refused_before_anything_is_sent(server, tmp_path: Path) -> None:
    with pytest.raises(SurveyError) as caught:
        fetched(targets(1), spec(server, "sdss", pixels=32, layer="x"), tmp_path, recipe_name="gzdecals")
    assert len(caught.value.problems) == 3
    with pytest.raises(DuplicateIds, match="1 ids come twice"):
        fetched([*targets(2), targets(1)[0]], spec(server), tmp_path)
    assert not server.times
    assert fetched([], spec(server), tmp_path) == []


def test_an_error_in_the_ledger_stops_everything(server, tmp_path: Path) -> None:
    def full(_: Fetched) -> None:
        raise OSError("disk full")

    server.delay = 0.1
    with pytest.raises(OSError, match="disk full"):
        fetched(targets(1000), spec(server), tmp_path, on_done=full)
    assert len(server.times) < 600


def test_a_host_that_is_not_there(tmp_path: Path, server) -> None:
    gone = spec(server).model_copy(update={"url": "http://127.0.0.1:9"})
    results = fetched(targets(4), gone, tmp_path, attempts=2, give_up_after=2, connections=1)
    assert all(isinstance(one.error, TransientCutoutError) for one in results)
    assert "the connection failed" in str(results[0].error)


def test_an_answer_that_never_ends_is_cut(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "MAX_ANSWER_BYTES", 500)
    (one,) = fetched(targets(1), spec(server), tmp_path)
    assert isinstance(one.error, WrongSize)
    assert "exceeds 500 bytes" in str(one.error)


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_of_faults_accounts_for_every_galaxy(server, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = ["good", "500", "503", "429", "reset", "cut", "short file", "html", "no-overlap", "404", "wrong size"]
    server.faults = {k: [str(fault) for fault in rng.choice(kinds, rng.integers(1, 4))] for k in range(40)}
    ledger: dict[str, str] = {}
    results = fetched(
        targets(40),
        spec(server),
        tmp_path,
        attempts=3,
        give_up_after=1000,
        on_done=lambda one: ledger.__setitem__(one.id_str, one.state),
    )
    assert ledger == {one.id_str: one.state for one in results}
    assert len(ledger) == 40
    final = {"404": "failed", "wrong size": "failed", "no-overlap": "no-coverage", "good": "done"}
    for k, one in enumerate(results):
        asked = (server.faults[k] * 1 + [server.faults[k][-1]] * 3)[:3]
        verdict = next((fault for fault in asked if fault in final), asked[-1])
        expected = final.get(verdict, "failed" if verdict in {"short file", "html"} else "to-do")
        assert one.state == expected, (server.faults[k], one)
        assert (one.error is None) == (one.path is not None)
        assert one.error is None or isinstance(one.error, GzflowError)
    assert set(files(tmp_path)) == {one.path for one in results if one.path}


def test_killed_at_any_moment_nothing_half_written_is_left(server, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from gzflow.cutouts.fetch import Target, fetch_cutouts
        from gzflow.recipe import CutoutSpec
        spec = CutoutSpec(service="legacysurvey", url={server.url!r}, pixels=64, pixscale=0.3, rate=300)
        targets = [Target(f"J{{k:03}}", k + 0.5, 1.0, 0.3) for k in range(300)]
        print("ready", flush=True)
        asyncio.run(fetch_cutouts(targets, spec, Path({str(tmp_path)!r})))
    """)
    for wait in (0.05, 0.3):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    for path in files(tmp_path):
        assert path.suffix in {".jpg", ".tmp"}
        if path.suffix == ".jpg":
            check_image(path.read_bytes(), size=(64, 64), what=str(path))
    results = fetched(targets(300), spec(server), tmp_path)
    assert [one.state for one in results] == ["done"] * 300
    assert len({one.path for one in results}) == 300
