"""Runs are compared galaxy by galaxy, where their questions and ids allow it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gzflow.settings import Settings
from gzflow.stages.compare import compare
from gzflow.stages.scoring import SCORES, galaxy_scores
from gzflow.tracking.run import Lineage, TrackedRun
from gzflow.tree import DecisionTree, Question

JOINT = DecisionTree((Question("near.shape", ("round", "flat")), Question("far.shape", ("round", "flat"))))
VOTES = np.array([[3, 1, 0, 0], [5, 2, 0, 0], [0, 0, 4, 4], [0, 0, 1, 8]])
IDS = ["a", "b", "a", "c"]


def log_scores(
    settings: Settings,
    name: str,
    tree: DecisionTree,
    rows: slice,
    columns: slice,
    folder: Path,
    survey: str = "joint-far-near",
) -> str:
    """A run that keeps the scores of some galaxies for some answers."""
    votes, flat = VOTES[rows, columns], np.ones((rows.stop - rows.start, 2, len(tree.answers)), np.float32)
    ids = np.array(IDS[rows])
    with TrackedRun(settings, survey, name=name, lineage=Lineage("tree", "shards"), folder=folder) as run:
        galaxy_scores(ids, flat, votes, np.ones(votes.shape[1]), tree).write_parquet(folder / SCORES)
        run.log_file(folder / SCORES)
    return run.id


def test_an_id_of_two_surveys_is_two_galaxies_and_other_trees_have_none_in_common(
    settings: Settings, tmp_path: Path
) -> None:
    everything = slice(0, 4)
    one = log_scores(settings, "one", JOINT, everything, everything, tmp_path)
    other = log_scores(settings, "other", JOINT, slice(0, 3), everything, tmp_path)
    found = compare(one, other, settings)
    assert found.n_galaxies == 3
    assert found.notes == ("1 test galaxy is left out: scored by one alone",)
    share = DecisionTree((Question("shape", ("round", "flat")),))
    alone = log_scores(settings, "alone", share, slice(0, 2), slice(0, 2), tmp_path, survey="elsewhere")
    found = compare(one, alone, settings)
    assert (found.gains, found.n_galaxies) == ((), 0)
    assert found.notes == ("their trees have no question in common: no galaxy can be compared",)


def test_surveys_learnt_together_are_compared_with_one_of_them_by_its_own_questions(
    settings: Settings, tmp_path: Path
) -> None:
    """The joint run knows "a" in both surveys: each share meets its own."""
    joint = log_scores(settings, "joint", JOINT, slice(0, 4), slice(0, 4), tmp_path)
    share = DecisionTree((Question("shape", ("round", "flat")),))
    near = log_scores(settings, "share", share, slice(0, 2), slice(0, 2), tmp_path, survey="near")
    far = log_scores(settings, "alone", share, slice(2, 4), slice(2, 4), tmp_path, survey="far")
    for pair in ((joint, near), (near, joint), (joint, far)):
        found = compare(*pair, settings)
        assert (found.n_galaxies, found.notes) == (2, ())
        assert {gain.question for gain in found.gains} >= {"shape"}
    both = compare(near, far, settings)
    assert both.n_galaxies == 0
    assert "1 test galaxy is left out: without votes, or with others than before" in both.notes
