"""A new HATS catalog takes the place of an old one, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gzflow.errors import Busy, SettingsError
from gzflow.sky.hats_folder import is_hats, replacing


def catalog(folder: Path, word: str = "old") -> Path:
    folder.mkdir(parents=True)
    (folder / "hats.properties").write_text(word)
    return folder


@pytest.mark.parametrize("before", ["absent", "empty", "catalog"])
def test_a_new_catalog_takes_its_place(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "out"
    if before == "empty":
        folder.mkdir()
    elif before == "catalog":
        (catalog(folder) / "stale").touch()
    with replacing(folder) as new:
        catalog(new, "new")
    assert is_hats(folder)
    assert (folder / "hats.properties").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["hats.properties"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    folder = catalog(tmp_path / "out")

    def write() -> None:
        with replacing(folder) as new:
            catalog(new, "half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert (folder / "hats.properties").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_catalog_is_kept(tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious"
    thesis = precious / "thesis.tex" if kind == "folder" else precious
    thesis.parent.mkdir(exist_ok=True)
    thesis.write_text("years")
    with pytest.raises(SettingsError, match="would be lost"), replacing(precious):
        pass
    assert thesis.read_text() == "years"


@pytest.mark.parametrize("out", ["sky/left", "sky", "sky/left/dataset", "link"])
def test_an_input_is_kept(tmp_path: Path, out: str) -> None:
    left = catalog(tmp_path / "sky" / "left")
    (tmp_path / "sky" / "properties").touch()
    (tmp_path / "link").symlink_to(left)
    with pytest.raises(SettingsError, match="catalog that is matched"), replacing(tmp_path / out, left):
        pass
    assert is_hats(left)


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as new:
        catalog(new)
        with pytest.raises(Busy, match="writing"), replacing(tmp_path / "out"):
            pass
    assert is_hats(tmp_path / "out")


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path: Path) -> None:
    catalog(tmp_path / ".out.part" / "new", "half")
    with replacing(tmp_path / "out") as new:
        assert not new.exists()
        catalog(new)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
