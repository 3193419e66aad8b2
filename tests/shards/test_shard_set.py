from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gzflow.errors import ShardError
from gzflow.recipe import ImageRecipe
from gzflow.shards import ShardHeader, ShardSet, begin_set, write_manifest, write_shard

MakeHeader = Callable[..., ShardHeader]
MakeGalaxies = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> Path:
    """A finished set: two train shards, one of each other split."""
    folder = tmp_path / "17px"
    begin_set(folder)
    entries = []
    for seed, (name, split) in enumerate(
        [("train-00000", "train"), ("train-00001", "train"), ("validation-00000", "validation"), ("test-00000", "test")]
    ):
        header = make_header(split=split)
        entries.append(write_shard(folder / f"{name}.h5", header, **make_galaxies(header, 5 + seed, seed=seed)))
    write_manifest(
        folder, header, entries, counts={"failed": 2}, notes=["toy"], survey_info={"image_rights": "restricted"}
    )
    return folder


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_open_set_tells_what_it_holds(folder: Path, make_galaxies: MakeGalaxies, make_header: MakeHeader) -> None:
    shards = ShardSet.open(folder)
    assert shards.survey == "toy"
    assert shards.tree.answers == make_header().decision_tree.answers
    assert shards.recipe == ImageRecipe(pixels=17)
    assert [shards.n(split) for split in (None, "train", "validation", "test")] == [26, 11, 7, 8]
    assert shards.manifest.counts == {"train": 11, "validation": 7, "test": 8, "failed": 2}
    assert shards.manifest.notes == ("toy",)
    assert shards.manifest.survey_info == {"image_rights": "restricted"}
    assert shards.manifest.created_by.startswith("gzflow ")
    assert [entry.file for entry in shards.entries("train")] == ["train-00000.h5", "train-00001.h5"]
    first, second = make_galaxies(make_header(), 5, seed=0), make_galaxies(make_header(), 6, seed=1)
    assert shards.ids("train") == first["ids"] + second["ids"]
    np.testing.assert_array_equal(shards.votes("train"), np.concatenate([first["votes"], second["votes"]]))
    np.testing.assert_array_equal(shards.readers("train")[1].images([2]), second["images"][[2]])
    shards.verify()


def test_a_split_without_shards_is_empty(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header(split="test")
    write_manifest(tmp_path, header, [write_shard(tmp_path / "a.h5", header, **make_galaxies(header, 1))])
    shards = ShardSet.open(tmp_path)
    assert shards.n("train") == 0
    assert shards.votes("train").shape == (0, 5)
    assert shards.ids("train") == []


def test_the_fingerprint_is_of_the_content(folder: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    before = ShardSet.open(folder).fingerprint
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    moved = folder.parent / "elsewhere"
    shutil.copytree(folder, moved)
    assert ShardSet.open(moved).fingerprint == before
    old = ShardSet.open(moved).entries()
    begin_set(moved)
    header = make_header(split="test")
    changed = write_shard(moved / old[3].file, header, **make_galaxies(header, 8, seed=99))
    assert write_manifest(moved, header, [*old[:3], changed]).fingerprint != before


def test_no_set(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"there is no set of shards(.|\n)*gzflow shard"):
        ShardSet.open(tmp_path / "nowhere")


def test_an_unfinished_set_is_refused(folder: Path) -> None:
    begin_set(folder)
    with pytest.raises(ShardError, match=r"unfinished(.|\n)*4 shards lie there without it(.|\n)*keeps finished shards"):
        ShardSet.open(folder)


def test_all_that_is_not_whole_is_said_at_once(
    folder: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    (folder / "train-00000.h5").unlink()
    with (folder / "train-00001.h5").open("ab") as stream:
        stream.write(b"x")
    stray = folder.parent / "stray"
    header = make_header(split="validation")
    write_shard(stray / "v.h5", header, **make_galaxies(header, 7, seed=2, prefix="K"))
    shutil.copy(stray / "v.h5", folder / "validation-00000.h5")
    with pytest.raises(ShardError) as caught:
        ShardSet.open(folder)
    text = str(caught.value)
    assert "train-00000.h5 is missing" in text
    assert "train-00001.h5 has" in text
    assert "validation-00000.h5 is not as the manifest says: content fingerprint" in text
    assert len(caught.value.problems) == 3
    assert "gzflow shard toy" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"survey": "decals"}, "survey: 'toy' here, 'decals' there"),
        ({"codec": "jpeg"}, "codec: 'raw' here, 'jpeg' there"),
        ({"recipe": ImageRecipe(pixels=18).model_dump()}, "image recipe: pixels: 17 here, 18 there"),
        ({"tree": [{"name": "ring", "answers": ["yes", "no"]}]}, "tree: fingerprint"),
        ({"fingerprint": "0"}, "its fingerprint is not that of its entries"),
    ],
)
def test_a_manifest_that_disagrees_with_its_shards(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ShardError) as caught:
        ShardSet.open(folder)
    assert sentence in str(caught.value)


def test_a_shard_of_another_split(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["entries"][0]["split"] = "test"
    edit(folder, entries=document["entries"])
    with pytest.raises(ShardError, match="split: 'train' here, 'test' there"):
        ShardSet.open(folder)


def test_another_format_version_is_refused(folder: Path) -> None:
    edit(folder, format_version=2)
    with pytest.raises(ShardError, match=r"format version 2(.|\n)*expected: format version 1"):
        ShardSet.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1, "extra": 0}'])
def test_a_manifest_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match="the manifest cannot be read"):
        ShardSet.open(folder)


@pytest.mark.parametrize("tree", [[{}], [{"name": "ring", "answers": ["yes"]}], [{"name": "ring", "answers": 7}]])
def test_a_manifest_holds_a_tree(folder: Path, tree: Any) -> None:
    edit(folder, tree=tree)
    with pytest.raises(ShardError, match=r"the manifest cannot be read(.|\n)*do not form a decision tree"):
        ShardSet.open(folder)


def test_a_manifest_names_no_file_outside_its_folder(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["entries"][0]["file"] = "../train-00000.h5"
    edit(folder, entries=document["entries"])
    with pytest.raises(ShardError, match="the manifest cannot be read"):
        ShardSet.open(folder)


def test_damaged_pixels_are_found_by_verify(folder: Path) -> None:
    for name in ("train-00001.h5", "test-00000.h5"):
        with h5py.File(folder / name) as file:
            place = file["images"].id.get_offset() + 500
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)
    shards = ShardSet.open(folder)  # sizes and headers are as they were
    with pytest.raises(ShardError) as caught:
        shards.verify()
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["train-00001.h5", "test-00000.h5"]


def test_a_galaxy_stands_in_one_shard(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    train, test = make_header(), make_header(split="test")
    one = write_shard(tmp_path / "a.h5", train, **make_galaxies(train, 5))
    two = write_shard(tmp_path / "b.h5", test, **make_galaxies(test, 4))
    with pytest.raises(ShardError, match=r"4 galaxies of b.h5 stand in a.h5 too, as 'J0-0 ñ'"):
        write_manifest(tmp_path, train, [one, two])
    assert not (tmp_path / "manifest.json").exists()


def test_a_set_is_closed_over_what_is_there(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    header = make_header()
    old = write_shard(tmp_path / "a.h5", header, **make_galaxies(header, 5))
    write_shard(tmp_path / "a.h5", header, **make_galaxies(header, 5, seed=1))
    gone = old.model_copy(update={"file": "gone.h5"})
    with pytest.raises(ShardError) as caught:
        write_manifest(tmp_path, header, [old, gone, gone])
    assert "a.h5: its content is not that of its entry" in caught.value.problems
    assert "gone.h5: there is no such shard" in caught.value.problems
    assert "gone.h5 is listed twice" in caught.value.problems
    with pytest.raises(ShardError, match="there is no shard"):
        write_manifest(tmp_path, header, [])


def test_shards_of_an_earlier_plan_go_and_nothing_else(folder: Path, make_header: MakeHeader) -> None:
    (folder / "notes.h5").write_bytes(b"a user's own")
    kept = ShardSet.open(folder).entries()[1:]
    begin_set(folder)
    write_manifest(folder, make_header(), kept)
    names = {path.name for path in folder.iterdir()}
    assert names == {"manifest.json", "notes.h5", *(entry.file for entry in kept)}
