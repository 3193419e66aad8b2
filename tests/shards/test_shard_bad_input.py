from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gzflow.errors import ShardError
from gzflow.shards import SHARD_SIZE, ShardHeader, begin_set, plan_shards, write_manifest, write_shard
from gzflow.shards.codec import encode_jpeg

MakeHeader = Callable[..., ShardHeader]
MakeGalaxies = Callable[..., dict[str, Any]]

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"images": np.zeros((4, 17, 17, 3), np.float32)}, "images are float32 (4, 17, 17, 3)"),
    ({"images": np.zeros((4, 17, 18, 3), np.uint8)}, "images are uint8 (4, 17, 18, 3)"),
    ({"images": np.zeros((3, 17, 17, 3), np.uint8)}, "images are uint8 (3, 17, 17, 3)"),
    ({"images": np.zeros((4, 3, 17, 17), np.uint8)}, "images are uint8 (4, 3, 17, 17)"),
    ({"images": [np.zeros((17, 17, 3), np.uint8)] * 5}, "5 images for 4 ids"),
    ({"votes": np.zeros((4, 5), np.float64)}, "votes are float64 (4, 5), not whole numbers (4, 5)"),
    ({"votes": np.zeros((4, 4), np.int32)}, "votes are int32 (4, 4), not whole numbers (4, 5)"),
    ({"votes": np.array([[0] * 5] * 3 + [[-1] * 5])}, "votes that are negative or beyond 2^31: 'd'"),
    ({"votes": np.array([[2**31] * 5] + [[0] * 5] * 3)}, "votes that are negative or beyond 2^31: 'a'"),
    ({"ids": ["a", "b", "a", "d"]}, "ids that stand twice: 'a'"),
    ({"ids": ["a", "", "c", "d"]}, "ids that are no text: ''"),
    ({"ids": ["a", 7, None, "d"]}, "ids that are no text: 7, None"),
    ({"ids": ["a", "b\0", "c", "d"]}, "ids that are no text: 'b\\x00'"),
    ({"ra": np.zeros(3)}, "ra is float64 (3,), not 4 numbers"),
    ({"ra": ["1", "2", "3", "4"]}, "ra is <U1 (4,), not 4 numbers"),
    ({"ra": np.array([0, 1, 2, 361.0])}, "ra outside [-180, 360] degrees: 'd'"),
    ({"dec": np.array([0, -90.1, 2, np.inf])}, "dec outside [-90, 90] degrees: 'b', 'd'"),
    ({"pixscale": np.array([0.1, 0.0, np.inf, 0.3])}, "pixscale not positive and finite: 'b', 'c'"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies, wrong: dict[str, Any], sentence: str
) -> None:
    header = make_header()
    given = make_galaxies(header, 4) | {"ids": ["a", "b", "c", "d"]} | wrong
    with pytest.raises(ShardError) as caught:
        write_shard(tmp_path / "a.h5", header, **given)
    text = str(caught.value)
    assert sentence in text
    assert "a.h5" in text
    assert "expected: images: uint8 (n, 17, 17, 3); votes: whole numbers (n, 5)" in text
    assert not list(tmp_path.iterdir())


def test_all_problems_come_at_once(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header()
    given = make_galaxies(header, 4) | {"ids": ["a"] * 4, "votes": np.zeros(3), "dec": np.zeros(2), "images": []}
    with pytest.raises(ShardError) as caught:
        write_shard(tmp_path / "a.h5", header, **given)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("n", [0, SHARD_SIZE + 1])
def test_a_shard_has_a_size(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies, n: int) -> None:
    header = make_header(pixels=16)
    with pytest.raises(ShardError, match=f"{n} galaxies"):
        write_shard(tmp_path / "a.h5", header, **make_galaxies(header, n))


def test_an_image_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    header = make_header()
    given = make_galaxies(header, 3)
    given["images"] = [*given["images"][:2], np.zeros((18, 17, 3), np.uint8)]
    with pytest.raises(ShardError, match=r"the image is uint8 \(18, 17, 3\)(.|\n)*galaxy 'J0-2 ñ'"):
        write_shard(tmp_path / "a.h5", header, **given)
    assert not list(tmp_path.iterdir())


GOOD_JPEG = encode_jpeg(np.full((17, 17, 3), 90, np.uint8))
OTHER_JPEG = encode_jpeg(np.full((19, 17, 3), 90, np.uint8))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>no coverage</html>", "is no JPEG"),
        (GOOD_JPEG[:-20], "ends early"),
        (b"\xff\xd8 no image \xff\xd9", "does not decode"),
        (OTHER_JPEG, r"has shape \(19, 17, 3\)"),
    ],
)
def test_jpeg_bytes_are_looked_at(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies, content: bytes, sentence: str
) -> None:
    header = make_header(codec="jpeg")
    given = make_galaxies(header, 2)
    with pytest.raises(ShardError, match=sentence):
        write_shard(tmp_path / "a.h5", header, **given | {"images": [GOOD_JPEG, content]})
    with pytest.raises(ShardError, match="images are pixels, but the codec is jpeg"):
        write_shard(tmp_path / "a.h5", header, **given | {"images": np.zeros((2, 17, 17, 3), np.uint8)})
    assert not list(tmp_path.iterdir())


def test_a_finished_set_takes_no_more_shards(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    header = make_header()
    entry = write_shard(tmp_path / "a.h5", header, **make_galaxies(header, 3))
    write_manifest(tmp_path, header, [entry])
    with pytest.raises(ShardError, match=r"finished(.|\n)*begin_set"):
        write_shard(tmp_path / "b.h5", header, **make_galaxies(header, 3, seed=1))
    begin_set(tmp_path)
    write_shard(tmp_path / "b.h5", header, **make_galaxies(header, 3, seed=1))


def test_plans_cover_every_galaxy_once() -> None:
    splits = ["test", "train", "train", "validation", "train", "train", "train"]
    plans = plan_shards(splits, size=2)
    assert [(plan.file, plan.split, plan.rows.tolist()) for plan in plans] == [
        ("train-00000.h5", "train", [1, 2]),
        ("train-00001.h5", "train", [4, 5]),
        ("train-00002.h5", "train", [6]),
        ("validation-00000.h5", "validation", [3]),
        ("test-00000.h5", "test", [0]),
    ]
    assert plan_shards([]) == []


def test_plans_that_cannot_be() -> None:
    with pytest.raises(ShardError) as caught:
        plan_shards(["train", "dev"], size=5000)
    assert caught.value.problems == ("unknown split 'dev'", "5000 galaxies a shard")
