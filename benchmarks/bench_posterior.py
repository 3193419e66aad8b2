"""Galaxies a second from concentrations to 90 % intervals, and how exact they are: gzflow against scipy.

    python benchmarks/bench_posterior.py

gzflow inverts the mixture of all samples' Beta marginals; the rival, as zoobot's catalogues do, takes the median over
samples of scipy's single quantiles (which is not the mixture's quantile: the difference is shown), and scipy's
bisection of the mixture is the truth.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta
from timing import machine

from gzflow import load_survey
from gzflow.posterior import intervals


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=20)
    options = parser.parse_args()
    tree = load_survey("decals").tree
    rng = np.random.default_rng(42)
    # As a trained head gives them: galaxies differ by a factor of three, samples of one galaxy by a fifth.
    centre = np.exp(rng.normal(1.5, 1.0, (options.galaxies, 1, len(tree.answers))))
    scatter = np.exp(0.2 * rng.standard_normal((options.galaxies, options.samples, len(tree.answers))))
    alpha = np.clip(1 + centre * scatter, 1, 101)
    print(machine())
    start = time.perf_counter()
    lower, upper = intervals(alpha, tree)
    seconds = time.perf_counter() - start
    fast = options.galaxies / seconds
    print(f"gzflow, mixture quantiles:           {fast:8.0f} galaxies/s")

    few = alpha[: min(100, options.galaxies)]
    total = np.add.reduceat(few, [part.start for part in tree.slices], axis=2)[:, :, tree.question_of_answer]
    start = time.perf_counter()
    rival = np.median(beta.ppf(0.05, few, total - few), axis=1), np.median(beta.ppf(0.95, few, total - few), axis=1)
    slow = time.perf_counter() - start
    rate = len(few) / slow
    print(f"scipy, median of single quantiles:   {rate:8.0f} galaxies/s   gzflow: {fast / rate:.0f} x")
    off = max(np.abs(rival[0] - lower[: len(few)]).max(), np.abs(rival[1] - upper[: len(few)]).max())
    print(f"largest difference of the median of quantiles from the mixture's quantile: {off:.3f}")

    worst = 0.0
    for galaxy in range(5):
        for answer in range(len(tree.answers)):
            a, b = few[galaxy, :, answer], (total - few)[galaxy, :, answer]
            for level, bound in ((0.05, lower), (0.95, upper)):
                truth = brentq(lambda x, a=a, b=b, p=level: beta.cdf(x, a, b).mean() - p, 1e-9, 1 - 1e-9, xtol=1e-13)
                worst = max(worst, abs(truth - bound[galaxy, answer]))
    print(f"largest error against bisection with scipy: {worst:.1e}")
    assert worst < 1e-6


if __name__ == "__main__":
    main()
