from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial

from gzflow.evaluation import likelihood
from gzflow.evaluation.likelihood import log_likelihood, mixture_nll
from gzflow.tree import DecisionTree, Question

TREE = DecisionTree((Question("a", ("x", "y", "z")), Question("b", ("yes", "no"), ("a=x",))))

votes = st.lists(st.integers(0, 60), min_size=5, max_size=5)
alphas = st.lists(st.floats(0.05, 101), min_size=5, max_size=5)


@given(votes, alphas)
def test_every_question_agrees_with_scipy(counts: list[int], alpha: list[float]) -> None:
    found = log_likelihood(np.array([counts]), np.array([alpha]), TREE)[0]
    for q, part in enumerate(TREE.slices):
        total = sum(counts[part])
        expected = dirichlet_multinomial.logpmf(counts[part], alpha[part], total) if total else 0.0
        np.testing.assert_allclose(found[q], expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(st.lists(alphas, min_size=2, max_size=4), votes)
def test_samples_are_mixed_as_probabilities_not_as_logarithms(samples: list[list[float]], counts: list[int]) -> None:
    each = np.exp(log_likelihood(np.array(counts), np.array(samples), TREE))
    found = mixture_nll(np.array([counts]), np.array([samples]), TREE)[0]
    np.testing.assert_allclose(found, -np.log(each.mean(axis=0)), rtol=1e-9, atol=1e-9)


def test_a_question_nobody_was_asked_costs_exactly_nothing() -> None:
    alpha = np.random.default_rng(0).uniform(1, 101, (1, 7, 5))
    assert mixture_nll(np.array([[3, 0, 1, 0, 0]]), alpha, TREE)[0, 1] == 0.0


def test_chunks_do_not_change_the_result(monkeypatch) -> None:
    generator = np.random.default_rng(1)
    counts, alpha = generator.integers(0, 9, (11, 5)), generator.uniform(1, 9, (11, 4, 5))
    whole = mixture_nll(counts, alpha, TREE)
    monkeypatch.setattr(likelihood, "CHUNK", 45)
    np.testing.assert_array_equal(mixture_nll(counts, alpha, TREE), whole)
