from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import betabinom, dirichlet_multinomial

from gzflow.errors import TrainingError
from gzflow.model.losses import constant_dirichlet, dirichlet_multinomial_nll, multinomial_nll, unidentified
from gzflow.tree import DecisionTree, Question


def question(n_answers: int) -> DecisionTree:
    return DecisionTree((Question("shape", tuple(f"a{i}" for i in range(n_answers))),))


TREE = DecisionTree((Question("shape", ("round", "disk", "odd")), Question("bar", ("yes", "no"), ("shape=disk",))))


def nll(alpha: list[float], votes: list[int], dtype: torch.dtype = torch.float64) -> float:
    tree = question(len(alpha))
    return float(dirichlet_multinomial_nll(torch.tensor([votes]), torch.tensor([alpha], dtype=dtype), tree)[0, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("alpha", "votes", "wanted"),
    [
        ([2, 3, 5], [1, 2, 3], 2.4779379804719053),
        ([1, 1], [0, 0], 0.0),
        ([1, 1, 1], [40, 0, 0], 6.758094504427731),
        ([101, 1, 1], [40, 0, 0], 0.6644936178539638),
        ([51, 51, 51], [14, 13, 13], 4.147343217195953),
        ([1, 1], [5, 0], math.log(6)),
        ([20.5, 3.25, 1], [30, 8, 2], 4.635637899134807),
        ([8, 2], [3, 2], 1.7157979284250082),
    ],
)
def test_golden_values(alpha: list[float], votes: list[int], wanted: float, dtype: torch.dtype) -> None:
    assert nll(alpha, votes, dtype) == pytest.approx(wanted, rel=1e-12 if dtype == torch.float64 else 1e-6, abs=0)


counts = st.integers(0, 80)
concentration = st.floats(1.0, 101.0)


@given(st.lists(st.tuples(counts, concentration), min_size=2, max_size=8))
@settings(max_examples=200, deadline=None)
def test_agrees_with_scipy(answers: list[tuple[int, float]]) -> None:
    votes, alpha = [k for k, _ in answers], [a for _, a in answers]
    wanted = -dirichlet_multinomial.logpmf(votes, alpha, sum(votes)) if sum(votes) else 0.0
    assert nll(alpha, votes) == pytest.approx(wanted, abs=1e-6)
    rounded = np.float32(alpha).astype(float).tolist()
    wanted = -dirichlet_multinomial.logpmf(votes, rounded, sum(votes)) if sum(votes) else 0.0
    assert nll(alpha, votes, torch.float32) == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@given(n=st.integers(1, 60), m=st.integers(2, 6))
def test_all_ones_make_every_count_vector_equally_likely(n: int, m: int) -> None:
    votes = [n] + [0] * (m - 1)
    assert nll([1.0] * m, votes) == pytest.approx(math.log(math.comb(n + m - 1, m - 1)))


def test_the_probabilities_of_all_outcomes_add_up_to_one() -> None:
    outcomes = [[i, j, 7 - i - j] for i in range(8) for j in range(8 - i)]
    alpha = torch.tensor([[2.5, 1.0, 30.0]], dtype=torch.float64).expand(len(outcomes), -1)
    total = torch.exp(-dirichlet_multinomial_nll(torch.tensor(outcomes), alpha, question(3))).sum()
    assert float(total) == pytest.approx(1)


def test_gradcheck() -> None:
    alpha = (
        torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 50 + 1
    ).requires_grad_()
    votes = torch.tensor([[3, 0, 1, 2, 2], [0, 0, 0, 0, 0], [40, 1, 0, 0, 0], [0, 0, 0, 1, 9]])
    assert torch.autograd.gradcheck(lambda a: dirichlet_multinomial_nll(votes, a, TREE), alpha)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_nobody_asked_is_exactly_zero_with_exactly_zero_gradient(dtype: torch.dtype) -> None:
    alpha = torch.tensor([[1.5, 70.0, 3.0, 2.0, 100.0]], dtype=dtype, requires_grad=True)
    votes = torch.tensor([[5, 3, 1, 0, 0]])
    loss = dirichlet_multinomial_nll(votes, alpha, TREE)
    assert loss[0, 1] == 0
    loss.sum().backward()
    assert alpha.grad is not None
    assert (alpha.grad[0, 3:] == 0).all()
    assert (alpha.grad[0, :3] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    alpha = torch.tensor([[2.0, 3.0, 5.0]], dtype=dtype)
    loss = dirichlet_multinomial_nll(torch.tensor([[1, 2, 3]]), alpha, question(3))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(2.4779379804719053, rel=1e-6)


def test_questions_are_apart() -> None:
    alpha = torch.tensor([[2.0, 3, 5, 8, 2]], dtype=torch.float64)
    loss = dirichlet_multinomial_nll(torch.tensor([[1, 2, 3, 3, 2]]), alpha, TREE)
    torch.testing.assert_close(loss, torch.tensor([[2.4779379804719053, 1.7157979284250082]], dtype=torch.float64))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_bad_concentrations_name_the_question(bad: float) -> None:
    alpha = torch.tensor([[1.0, 1, 1, bad, 1]])
    with pytest.raises(TrainingError, match="question 'bar': concentrations not positive and finite for 1 galaxies"):
        dirichlet_multinomial_nll(torch.ones(1, 5), alpha, TREE)


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_bad_votes_name_the_question(bad: float) -> None:
    with pytest.raises(TrainingError, match="question 'shape': negative or missing votes for 2 galaxies"):
        dirichlet_multinomial_nll(torch.tensor([[bad, 1, 1, 1, 1]] * 2), torch.ones(2, 5), TREE)


def test_shapes_are_checked() -> None:
    with pytest.raises(TrainingError, match=r"\(2, 4\).*\n.*expected: both \(n_galaxies, 5\)"):
        dirichlet_multinomial_nll(torch.ones(2, 4), torch.ones(2, 5), TREE)


def drawn(alpha: list[float], n: int, rng: np.random.Generator, most: int = 40) -> np.ndarray:
    return np.stack([rng.multinomial(rng.integers(0, most), rng.dirichlet(alpha)) for _ in range(n)])


def test_constant_dirichlet_finds_what_the_votes_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    votes = np.concatenate([drawn([4, 2, 0.5], 20_000, rng), drawn([30, 60], 20_000, rng)], axis=1)
    np.testing.assert_allclose(constant_dirichlet(votes, TREE), [4, 2, 0.5, 30, 60], rtol=0.06)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_constant_dirichlet_is_the_maximum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = drawn(np.exp(rng.normal(0.5, 1, 3)).tolist(), 60, rng)
    tree = question(3)
    votes_t = torch.from_numpy(votes)

    def total(alpha: np.ndarray) -> float:
        expanded = torch.from_numpy(np.ascontiguousarray(alpha)).expand(len(votes), -1)
        return float(dirichlet_multinomial_nll(votes_t, expanded, tree).sum())

    bounds = (0.01, 10_000.0)
    found = constant_dirichlet(votes, tree, bounds)
    rival = minimize(lambda t: total(np.exp(t)), np.zeros(3), bounds=[tuple(np.log(bounds))] * 3, method="L-BFGS-B")
    assert total(found) <= rival.fun + 1e-4


@pytest.mark.parametrize("bounds", [(0.01, 1e4), (1.05, 100.0)])
def test_constant_dirichlet_survives_extreme_votes(bounds: tuple[float, float]) -> None:
    everybody_agrees = np.tile([30, 0, 0, 5, 5], (50, 1))
    one_galaxy = np.array([[1, 0, 0, 0, 1]])
    for votes in (everybody_agrees, one_galaxy, np.zeros((5, 5), int), np.zeros((0, 5), int)):
        found = constant_dirichlet(votes, TREE, bounds)
        assert np.isfinite(found).all()
        assert (found >= bounds[0] * (1 - 1e-9)).all()
        assert (found <= bounds[1] * (1 + 1e-9)).all()


def test_questions_without_votes_are_even() -> None:
    votes = np.array([[3, 1, 2, 0, 0]] * 9)
    np.testing.assert_array_equal(constant_dirichlet(votes, TREE)[3:], [1, 1])


def test_constant_dirichlet_refuses_negative_votes() -> None:
    with pytest.raises(TrainingError, match="0 or more"):
        constant_dirichlet([[1, -1, 0, 0, 0]], TREE)


def test_votes_on_check_boxes_are_beta_binomial() -> None:
    boxes = DecisionTree((Question("feature", ("ring", "lens"), multiple_choice=True),)).parted
    votes, alpha = [[7, 3, 0, 10]], [[2.0, 5.0, 0.4, 30.0]]
    loss = dirichlet_multinomial_nll(torch.tensor(votes), torch.tensor(alpha, dtype=torch.float64), boxes)
    wanted = [-betabinom.logpmf(7, 10, 2, 5), -betabinom.logpmf(0, 10, 0.4, 30)]
    np.testing.assert_allclose(loss[0].numpy(), wanted, rtol=1e-10)


def test_the_multinomial_loss_is_the_binomial_one_of_w20() -> None:
    """Their loss leaves out the binomial coefficient, which does not depend on the network."""
    k, n, share = torch.tensor([7.0, 0.0, 40.0]), torch.tensor([10.0, 5.0, 40.0]), torch.tensor([0.6, 0.01, 0.999])
    share = share.double().requires_grad_()
    theirs = -(k * torch.log(share + 1e-8) + (n - k) * torch.log(1 - share + 1e-8))
    votes = torch.stack([k, n - k], 1)
    ours = multinomial_nll(votes, 1e4 * torch.stack([share, 1 - share], 1), question(2))[:, 0]
    coefficient = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    torch.testing.assert_close(ours + coefficient, theirs)
    (mine,) = torch.autograd.grad(ours.sum(), share, retain_graph=True)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs.sum(), share)[0])


def test_the_multinomial_loss_is_a_likelihood() -> None:
    outcomes = [[a, b, 4 - a - b] for a in range(5) for b in range(5 - a)]
    alpha = torch.tensor([[2.0, 3.0, 5.0]], dtype=torch.float64).expand(len(outcomes), -1)
    total = torch.exp(-multinomial_nll(torch.tensor(outcomes), alpha, question(3))).sum()
    assert float(total) == pytest.approx(1, abs=1e-6)
    assert float(multinomial_nll(torch.zeros(1, 3), alpha[:1], question(3))) == 0


def test_one_vote_a_galaxy_identifies_fractions_alone() -> None:
    """Any concentrations of the same fractions make single votes equally likely."""
    votes = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    alpha = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]], dtype=torch.float64).expand(3, -1)
    torch.testing.assert_close(
        dirichlet_multinomial_nll(votes, alpha, TREE), dirichlet_multinomial_nll(votes, 7 * alpha, TREE)
    )
    assert unidentified(votes, TREE) == ("shape", "bar")
    votes[0, 0] = 2
    assert unidentified(votes, TREE) == ("bar",)
    # Nobody was asked: there is nothing that a single vote could have misled.
    assert unidentified(votes[1:], TREE) == ("shape",)
