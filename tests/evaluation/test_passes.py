"""One pass, dropout, several networks: the same scores as those of each prediction by itself."""

from __future__ import annotations

import numpy as np
import pytest

from gzflow.evaluation.metrics import evaluate
from gzflow.evaluation.passes import compare_passes
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"), ("shape=disk",))))
N = 200


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    votes = np.stack([np.r_[rng.multinomial(30, [0.5, 0.4, 0.1]), 0, 0] for _ in range(N)])
    for row in votes:
        row[3:] = rng.multinomial(row[1], [0.3, 0.7])
    votes[:5] = 0
    passes = [rng.uniform(1, 20, (N, 1, 5)) for _ in range(3)]
    dropout = [one * rng.uniform(0.9, 1.1, (N, 4, 5)) for one in passes]
    return passes, dropout, np.concatenate(dropout, axis=1), votes


def test_every_row_is_what_the_evaluation_says_of_it(arrays) -> None:
    passes, dropout, ensemble, votes = arrays
    found = compare_passes(passes, dropout, ensemble, votes, TREE)
    assert (found.n, found.floor) == (N - 5, 10)
    assert [(score.name, score.network) for score in found.scores] == [
        *(("one pass", i) for i in range(3)), *(("dropout", i) for i in range(3)), ("passes", None), ("ensemble", None),
    ]  # fmt: skip
    ways = [*passes, *dropout, np.concatenate(passes, axis=1), ensemble]
    for score, samples in zip(found.scores, ways, strict=True):
        total = evaluate(samples, votes, TREE, np.ones(5), floor=found.floor, resamples=20).total
        assert (score.nll, score.coverage) == pytest.approx((total.nll, total.coverage))


def test_metrics_are_means_over_the_networks_and_the_gain_is_paired(arrays) -> None:
    passes, dropout, ensemble, votes = arrays
    found = compare_passes(passes, dropout, ensemble, votes, TREE)
    metrics = found.metrics()
    assert metrics["ensemble/members"] == 3
    assert metrics["ensemble/nll-one-pass"] == pytest.approx(np.mean([score.nll for score in found.scores[:3]]))
    assert metrics["ensemble/gain"] == pytest.approx(metrics["ensemble/nll-dropout"] - metrics["ensemble/nll-ensemble"])
    assert 0 < metrics["ensemble/gain-lower"] < metrics["ensemble/gain"] < metrics["ensemble/gain-upper"]
    # What one network says three times is no ensemble.
    alike = compare_passes([passes[0]] * 3, [dropout[0]] * 3, dropout[0], votes, TREE)
    assert alike.gain.mean == pytest.approx(0, abs=1e-12)
    assert alike.scores[0].nll == pytest.approx(alike.scores[-2].nll)
