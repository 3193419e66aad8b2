"""``gzflow shards`` as a user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from flows.cli_shards import _png
from gzflow.errors import SettingsError, ShardError
from gzflow.settings import Settings
from gzflow.simulation.survey import SimulatedSurvey


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, write_shards) -> Path:
    """A finished set of the simulated DECaLS survey."""
    folder = tmp_path_factory.mktemp("written")
    survey = SimulatedSurvey.draw("decals", 24, 3, pixels=32)
    toml = survey.write(folder / "simulated", "http://127.0.0.1:1", name="sim").toml
    sizes = {"train": 14, "validation": 4, "test": 6}
    return write_shards(Settings.load({}, home=folder / "home"), survey, str(toml), sizes)


@pytest.fixture
def shards(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "32px")


def test_info_tells_what_a_set_holds_and_draws_it(gzflow, shards: Path, tmp_path: Path):
    said = gzflow("shards", "info", shards, "--sheet", tmp_path / "sheet.png", "--galaxies", "9").stdout
    rows = {words[0]: words[1:4] for line in said.splitlines() if (words := line.split())}
    assert rows["train"] == ["1", "14", "14"]
    assert rows["test"][:2] == ["1", "6"]
    for words in ("32 x 32 px, RGB", "recipe       as-delivered", "34 answers", "made by      gzflow"):
        assert words in said
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None
    assert picture.std() > 10


def test_verify_finds_one_flipped_byte(gzflow, shards: Path):
    assert "24 galaxies in 3 shards" in gzflow("shards", "verify", shards).stdout
    path = shards / "test-00000.h5"
    with h5py.File(path) as file:
        images = file["images"]
        place = images.id.get_offset() + images.size // 2
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    done = gzflow("shards", "verify", shards, check=False)
    assert done.returncode == 2
    assert "test-00000.h5" in done.stderr
    assert "train-00000.h5" not in done.stderr
    assert "Traceback" not in done.stderr


def test_counts_that_do_not_add_up_are_found(gzflow, shards: Path):
    manifest = shards / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"train": 14', '"train": 15'))
    done = gzflow("shards", "info", shards, check=False)
    assert done.returncode == 2
    assert "15 train galaxies, its shards hold 14" in done.stderr


def test_neither_folder_nor_survey(gzflow):
    done = gzflow("shards", "info", "nowhere", "--sheet", "sheet.png", check=False)
    assert done.returncode == 2
    assert "'nowhere' is neither a folder nor a survey" in done.stderr


def test_a_set_is_found_by_the_name_that_status_says(written: Path):
    from gzflow.stages.shard_info import open_shards

    settings = Settings.load({}, home=written.parents[2])
    assert open_shards("sim", None, settings).folder == written
    with pytest.raises(ShardError, match="images of 32 px, not of 64"):
        open_shards(str(written), 64, settings)


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet"])
def test_a_sheet_is_a_png(name: str):
    with pytest.raises(SettingsError, match=r"\.png"):
        _png(Path(name))


def test_a_sheet_shows_each_galaxy_once(shards: Path):
    from gzflow.shards import ShardSet
    from gzflow.stages.shard_sheet import sheet

    whole = ShardSet.open(shards)
    first, again = sheet(whole, galaxies=100), sheet(whole, galaxies=24)
    picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert first == again
