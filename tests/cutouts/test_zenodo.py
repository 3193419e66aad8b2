from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gzflow.cutouts import zenodo
from gzflow.cutouts.pace import Pace
from gzflow.cutouts.zenodo import Record, RecordFile, ZenodoClient, parse_reference
from gzflow.errors import DiskError, RecordError, RecordUnavailable, SettingsError
from gzflow.settings import Settings
from gzflow.simulation.faults import Fault
from gzflow.simulation.services import LoopbackServices
from gzflow.stages import acquire

BODY = bytes(range(256)) * 4096 * 3
FILES = {"part 1.zip": BODY, "table.csv": b"id\n1\n", "empty.txt": b""}


@pytest.fixture
def services() -> Iterator[LoopbackServices]:
    with LoopbackServices(records={7: dict(FILES)}) as running:
        Pace.of(running.url)._gap = 0.0  # 60 requests a minute is a rule of the real service
        yield running


@pytest.fixture
def client(services: LoopbackServices) -> Iterator[ZenodoClient]:
    with ZenodoClient(services.url, backoff_s=0.01) as asking:
        yield asking


def part_of(client: ZenodoClient, name: str = "part 1.zip") -> RecordFile:
    return next(file for file in client.record(7).files if file.name == name)


def left_by_an_earlier_run(file: RecordFile, folder: Path, content: bytes, tag: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f".{file.name}.part").write_bytes(content)
    note = {"md5": file.md5, "size": file.size, "tag": tag or f'"md5:{file.md5}"'}
    (folder / f".{file.name}.part.json").write_text(json.dumps(note))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("text", "origin", "number"),
    [
        ("zenodo:4573248", zenodo.ZENODO, 4573248),
        ("4573248", zenodo.ZENODO, 4573248),
        ("10.5281/zenodo.4573248", zenodo.ZENODO, 4573248),
        ("https://doi.org/10.5281/zenodo.4573248", zenodo.ZENODO, 4573248),
        ("https://zenodo.org/record/4573248", zenodo.ZENODO, 4573248),
        ("https://sandbox.zenodo.org/records/12/files/a.csv?download=1", "https://sandbox.zenodo.org", 12),
    ],
)
def test_records_go_by_number_doi_and_page(text: str, origin: str, number: int) -> None:
    assert parse_reference(text) == (origin, number)


@pytest.mark.parametrize("text", ["zenodo:abc", "https://example.org/4573248", "10.5281/figshare.1", ""])
def test_what_is_no_record(text: str) -> None:
    with pytest.raises(SettingsError, match="no record"):
        parse_reference(text)


def test_a_record_is_listed_and_its_files_come_whole(client: ZenodoClient, tmp_path: Path) -> None:
    record = client.record(7)
    assert {file.name: file.size for file in record.files} == {name: len(body) for name, body in FILES.items()}
    assert record.licence == "cc-by-4.0"
    heard: list[int] = []
    for file in record.files:
        got = client.bring(file, tmp_path, heard.append)
        assert got.path.read_bytes() == FILES[file.name]
        assert not got.reused
        assert client.bring(file, tmp_path).reused
    assert sum(heard) == sum(map(len, FILES.values()))
    assert names(tmp_path) == sorted(FILES)


def test_patterns_choose_files_and_a_typing_error_lists_them(client: ZenodoClient) -> None:
    record = client.record(7)
    assert [file.name for file in record.chosen(("*.csv", "empty.txt"))] == ["empty.txt", "table.csv"]
    assert len(record.chosen(())) == 3
    with pytest.raises(SettingsError, match=r"part 1\.zip") as caught:
        record.chosen(("*.parquet", "*.csv"))
    assert "'*.parquet'" in caught.value.what
    assert "*.csv" not in caught.value.what


def test_only_the_missing_bytes_are_asked_for(client: ZenodoClient, services: LoopbackServices, tmp_path: Path) -> None:
    file = part_of(client)
    left_by_an_earlier_run(file, tmp_path, BODY[:1_000_000])
    heard: list[int] = []
    assert client.bring(file, tmp_path, heard.append).path.read_bytes() == BODY
    assert heard[0] == 1_000_000
    assert [one.status for one in services.served if "content" in one.path] == [206]
    assert names(tmp_path) == [file.name]


def test_an_answer_that_breaks_off_is_gone_on_with(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path
) -> None:
    services.faults = (Fault("truncated", attempts=4, path="content"),)
    file = part_of(client)
    assert client.bring(file, tmp_path).path.read_bytes() == BODY
    assert [one.status for one in services.served if "content" in one.path] == [200, 206, 206, 206, 206]


def test_a_server_without_ranges_sends_it_all_again(tmp_path: Path) -> None:
    with LoopbackServices(records={7: FILES}, ranges="ignore") as services, ZenodoClient(services.url) as client:
        Pace.of(services.url)._gap = 0.0
        file = part_of(client)
        left_by_an_earlier_run(file, tmp_path, BODY[:1_000_000])
        heard: list[int] = []
        assert client.bring(file, tmp_path, heard.append).path.read_bytes() == BODY
        assert sum(heard) == len(BODY)


def test_a_file_that_changed_meanwhile_is_begun_anew(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path
) -> None:
    file = part_of(client)
    left_by_an_earlier_run(file, tmp_path, b"x" * 1_000_000, tag='"an earlier version"')
    assert client.bring(file, tmp_path).path.read_bytes() == BODY
    assert [one.status for one in services.served if "content" in one.path] == [200]  # If-Range did not fit


def test_a_damaged_beginning_shows_in_the_md5_and_is_fetched_again(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path
) -> None:
    file = part_of(client)
    left_by_an_earlier_run(file, tmp_path, b"x" * 1_000_000)
    assert client.bring(file, tmp_path).path.read_bytes() == BODY
    assert [one.status for one in services.served if "content" in one.path] == [206, 200]


def test_a_part_of_another_version_or_of_nobody_is_not_used(client: ZenodoClient, tmp_path: Path) -> None:
    file = part_of(client)
    left_by_an_earlier_run(file, tmp_path, b"x" * (len(BODY) + 1))
    assert client.bring(file, tmp_path).path.read_bytes() == BODY
    (tmp_path / file.name).unlink()
    (tmp_path / f".{file.name}.part").write_bytes(b"whose?")
    assert client.bring(file, tmp_path).path.read_bytes() == BODY


def test_wrong_ranges_are_noticed(tmp_path: Path) -> None:
    with LoopbackServices(records={7: FILES}, ranges="shifted") as services, ZenodoClient(services.url) as client:
        Pace.of(services.url)._gap = 0.0
        file = part_of(client)
        left_by_an_earlier_run(file, tmp_path, BODY[:1_000_000])
        assert client.bring(file, tmp_path).path.read_bytes() == BODY


def test_a_file_that_is_shorter_than_its_record_says(client: ZenodoClient, services, tmp_path: Path) -> None:
    """416: the server has no bytes after those that came."""
    file = part_of(client, "table.csv")
    claimed = RecordFile(file.name, file.size + 5, file.md5, file.url)
    with pytest.raises((RecordError, RecordUnavailable)):
        client.bring(claimed, tmp_path)
    assert 416 in {one.status for one in services.served}
    assert "table.csv" not in names(tmp_path)


def test_a_checksum_that_never_fits_is_an_error(client: ZenodoClient, tmp_path: Path) -> None:
    file = part_of(client, "table.csv")
    with pytest.raises(RecordError, match="not the published file") as caught:
        client.bring(RecordFile(file.name, file.size, "0" * 32, file.url), tmp_path)
    assert file.md5 in caught.value.what
    assert names(tmp_path) == []


def test_somebody_elses_file_is_not_touched(client: ZenodoClient, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(RecordError, match="another file of that name"):
        client.bring(part_of(client, "table.csv"), tmp_path)
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_trouble_passes_and_a_dead_server_is_given_up(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path
) -> None:
    file = part_of(client)
    services.faults = (Fault("unavailable", attempts=2), Fault("reset", attempts=4))
    assert client.bring(file, tmp_path).path.read_bytes() == BODY
    (tmp_path / file.name).unlink()
    services.faults = (Fault("error"),)
    with pytest.raises(RecordUnavailable, match="does not deliver"):
        client.bring(file, tmp_path)
    with pytest.raises(RecordUnavailable, match="500"):
        client.record(7)


def test_the_rate_limit_is_kept_by_what_the_answers_say(tmp_path: Path) -> None:
    with LoopbackServices(records={7: FILES}, allowance=2, window_s=1.0) as services:
        Pace.of(services.url)._gap = 0.0
        with ZenodoClient(services.url, backoff_s=0.01) as client:
            for file in client.record(7).files:
                client.bring(file, tmp_path)
        assert services.count("records/7") == 3
        assert 429 not in {one.status for one in services.served}  # waited instead of being refused
        services.faults = (Fault("rate-limited", attempts=2, retry_after=0.5, path="records/7"),)
        with ZenodoClient(services.url, backoff_s=0.01) as client:
            start = time.monotonic()
            client.record(7)
            assert time.monotonic() - start >= 0.5


def test_what_there_is_not(client: ZenodoClient, services: LoopbackServices) -> None:
    with pytest.raises(RecordError, match="404"):
        client.record(8)
    assert services.count("/records/8") == 1  # asking again would not help
    services.faults = (Fault("html"),)
    with pytest.raises(RecordError, match="no JSON"):
        client.record(7)


@pytest.mark.parametrize("name", ["../up.csv", "/etc/passwd", ".hidden", "a\\b", "a/b.csv", "tab\t.csv"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with (
        LoopbackServices(records={7: {name: b"x", "good.csv": b""}}) as services,
        ZenodoClient(services.url) as client,
        pytest.raises(RecordError, match="leave its folder"),
    ):
        client.record(7)


def _acquire(url: str, folder: Path) -> None:
    home = Settings.load({}, home=folder / "home")
    plan = acquire.plan(f"{url}/records/7", ["part*"], folder, home)
    with acquire.alone(plan.folder):
        acquire.run_chunk(plan, plan.files[0], home)


def test_kill_9_in_the_middle_and_run_again(services: LoopbackServices, tmp_path: Path) -> None:
    services.faults = (Fault("drip", attempts=2, path="content", seconds=8.0),)
    context = multiprocessing.get_context("spawn")
    part, sizes = tmp_path / ".part 1.zip.part", [0]
    for _ in range(2):
        victim = context.Process(target=_acquire, args=(services.url, tmp_path))
        victim.start()
        deadline = time.monotonic() + 200
        while (not part.exists() or part.stat().st_size <= sizes[-1] + 100_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
        sizes.append(part.stat().st_size)
    assert sizes == sorted(set(sizes))  # every run went on where the one before was killed
    assert not (tmp_path / "part 1.zip").exists()
    _acquire(services.url, tmp_path)
    assert (tmp_path / "part 1.zip").read_bytes() == BODY
    assert [one.status for one in services.served if "content" in one.path] == [200, 206, 206]


def _with_a_small_disk(url: str, folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    try:
        _acquire(url, folder)
    except OSError as error:
        (folder / "said").write_text(str(error.errno))


@pytest.mark.slow  # starts a process
def test_a_disk_that_takes_no_more_keeps_what_came(services: LoopbackServices, tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk: the write is cut short, then refused."""
    process = multiprocessing.get_context("spawn").Process(target=_with_a_small_disk, args=(services.url, tmp_path))
    process.start()
    process.join()
    assert (tmp_path / "said").read_text()
    assert (tmp_path / ".part 1.zip.part").stat().st_size == 500_000
    _acquire(services.url, tmp_path)
    assert (tmp_path / "part 1.zip").read_bytes() == BODY
    assert services.served[-1].status == 206


def test_too_little_space_is_said_before_anything_is_fetched(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = RecordFile("huge.zip", 10**18, "0" * 32, f"{services.url}/huge.zip")
    monkeypatch.setattr(acquire, "look", lambda *_: Record(7, "Huge", "", "", (huge,)))
    with pytest.raises(DiskError, match="too little space"):
        acquire.plan(f"{services.url}/records/7", None, tmp_path, Settings.load({}, home=tmp_path))
    assert names(tmp_path) == []


def test_a_file_is_no_folder_and_space_to_spare_is_part_of_what_is_asked_for(
    client: ZenodoClient, services: LoopbackServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, home = f"{services.url}/records/7", Settings.load({}, home=tmp_path)
    (tmp_path / "file").touch()
    for to in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(SettingsError, match="is a file, not a folder"):
            acquire.plan(record, None, to, home)
    # Room for the files themselves alone.
    monkeypatch.setattr(acquire.shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    with pytest.raises(DiskError, match=r"3\.1 MB and 67\.1 MB to spare, not 4\.0 MB free"):
        acquire.plan(record, None, tmp_path / "new", home)


def test_a_record_without_public_files(tmp_path: Path) -> None:
    with LoopbackServices(records={7: {}}) as services, pytest.raises(RecordError, match="shows no files"):
        acquire.plan(f"{services.url}/records/7", None, tmp_path, Settings.load({}, home=tmp_path))


def test_the_simulated_md5_is_the_real_one(client: ZenodoClient) -> None:
    assert part_of(client).md5 == hashlib.md5(BODY).hexdigest()


@pytest.mark.slow  # needs to mount a disk of its own
def test_a_disk_that_fills_meanwhile_is_said_and_gone_on_with(services: LoopbackServices, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=72m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        home = Settings.load({}, home=tmp_path / "home")
        plan = acquire.plan(f"{services.url}/records/7", ["part*"], place, home)
        (place / "filler").write_bytes(bytes(70 * 2**20))
        with pytest.raises(DiskError, match="the disk is full"):
            acquire.run_chunk(plan, plan.files[0], home)
        assert 0 < (place / ".part 1.zip.part").stat().st_size < len(BODY)
        with pytest.raises(DiskError, match="too little space"):
            acquire.plan(f"{services.url}/records/7", ["part*"], place, home)
        (place / "filler").unlink()
        assert acquire.run_chunk(plan, plan.files[0], home).path.read_bytes() == BODY
        assert services.served[-1].status == 206
    finally:
        subprocess.run(["umount", str(place)], check=True)
