from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gzflow.errors import ShardError
from gzflow.recipe import ImageRecipe
from gzflow.shards.header import SPLITS, ShardHeader
from gzflow.shards.joint import JointSet, open_shards
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.tree import DecisionTree, Question

ROUND = DecisionTree((Question("shape", ("round", "disk")), Question("bar", ("yes", "no"), ("shape=disk",))))
CLUMPY = DecisionTree((Question("shape", ("smooth", "clumpy", "odd")),))


def write_set(folder: Path, survey: str, tree: DecisionTree, n: int, **recipe: object) -> ShardSet:
    rng = np.random.default_rng(n)
    begin_set(folder)
    image_recipe = ImageRecipe(**{"pixels": 16, "scale_rule": survey, **recipe})
    entries = []
    for split in SPLITS:
        header = ShardHeader(survey=survey, tree=tree.to_dict(), recipe=image_recipe, split=split)
        entries.append(
            write_shard(
                folder / f"{split}-00000.h5",
                header,
                images=rng.integers(0, 255, (n, *header.image_shape), np.uint8),
                votes=rng.integers(1, 9, (n, len(tree.answers))).astype(np.int32),
                ids=[f"{split}-{i}" for i in range(n)],
                ra=np.arange(n, dtype=float),
                dec=np.zeros(n),
                pixscale=np.ones(n),
            )
        )
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


@pytest.fixture
def parts(tmp_path: Path) -> list[ShardSet]:
    return [write_set(tmp_path / "b", "b", ROUND, 3), write_set(tmp_path / "a", "a_1", CLUMPY, 2)]


def test_every_galaxy_is_there_with_its_own_questions_alone(parts: list[ShardSet], tmp_path: Path) -> None:
    joint = JointSet(tmp_path / "joint", parts)
    assert joint.survey == "joint-a_1-b"
    assert [question.name for question in joint.tree.questions] == ["a-1.shape", "b.shape", "b.bar"]
    assert joint.tree.questions[2].asked_after == ("b.shape=disk",)
    assert joint.n("train") == 5
    assert joint.ids("train") == ["train-0", "train-1", "train-0", "train-1", "train-2"]
    second, first = parts
    votes = joint.votes("train")
    np.testing.assert_array_equal(votes[:2, :3], first.votes("train"))
    np.testing.assert_array_equal(votes[2:, 3:], second.votes("train"))
    assert not votes[:2, 3:].any()
    assert not votes[2:, :3].any()
    images = np.concatenate([reader.images(slice(None)) for reader in joint.readers("test")])
    wanted = np.concatenate([part.readers("test")[0].images(slice(None)) for part in (first, second)])
    np.testing.assert_array_equal(images, wanted)
    joint.verify()


def test_the_order_in_which_surveys_are_named_changes_nothing(parts: list[ShardSet], tmp_path: Path) -> None:
    assert JointSet(tmp_path, parts).fingerprint == JointSet(tmp_path, parts[::-1]).fingerprint


def test_it_is_found_again_unless_its_sets_changed(parts: list[ShardSet], tmp_path: Path) -> None:
    joint = JointSet(tmp_path / "joint", parts)
    joint.save()
    assert open_shards(joint.folder).fingerprint == joint.fingerprint
    assert open_shards(parts[0].folder).survey == "b"
    (parts[0].folder / "manifest.json").unlink()
    write_set(parts[0].folder, "b", ROUND, 4)
    with pytest.raises(ShardError, match="written anew"):
        open_shards(joint.folder)


def test_what_cannot_be_learnt_together_is_refused_with_all_reasons(parts: list[ShardSet], tmp_path: Path) -> None:
    small = write_set(tmp_path / "c", "b", ROUND, 2, pixels=20, channels="L")
    with pytest.raises(ShardError) as caught:
        JointSet(tmp_path / "joint", [*parts, small])
    assert {"survey b stands twice", "b: L images of 20 px"} <= set(caught.value.problems)
    with pytest.raises(ShardError, match="1 survey"):
        JointSet(tmp_path / "joint", parts[:1])
