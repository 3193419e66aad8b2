"""What speaks for each answer of each Galaxy Zoo question: non-negative weights, compared within the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.simulation.exposure import GLARE, MISSING_BAND, TRAIL
from gzflow.simulation.galaxies import ARRANGEMENTS, MANY_ARMS
from gzflow.simulation.perception import Perception
from gzflow.simulation.structure import clump_places

Column = NDArray[Any]
Weights = Mapping[str, Column]


@dataclass(frozen=True)
class KnownQuestion:
    """A question that simulated volunteers understand.

    Attributes
    ----------
    answers
        All the answers that any survey offers.
    weights
        (n,) weight of each of them.
    """

    answers: frozenset[str]
    weights: Callable[[Perception], Weights]


QUESTIONS: dict[str, KnownQuestion] = {}


def _question(name: str, answers: str) -> Callable[[Callable[[Perception], Weights]], Callable[[Perception], Weights]]:
    def known(weights: Callable[[Perception], Weights]) -> Callable[[Perception], Weights]:
        QUESTIONS[name] = KnownQuestion(frozenset(answers.split()), weights)
        return weights

    return known


def _sigmoid(x: Column) -> Column:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


def _near(x: Column, centre: float, width: Column | float) -> Column:
    return np.exp(-(((x - centre) / width) ** 2) / 2)


def _yes_no(yes: Column) -> Weights:
    return {"yes": yes, "no": 1 - yes}


@_question("smooth-or-featured", "smooth featured-or-disk features artifact")
def _smooth_or_featured(seen: Perception) -> Weights:
    featured = _sigmoid(8.0 * (seen.featured - 0.42))
    spoilt = np.select([seen.flaw == TRAIL, seen.flaw == GLARE, seen.flaw == MISSING_BAND], [0.6, 0.8, 0.45], 0.01)
    artifact = spoilt + 0.12 * (1 - seen.visibility) ** 2
    share = (1 - artifact) * featured
    return {
        "smooth": (1 - artifact) * (1 - featured),
        "featured-or-disk": share,
        "features": share,
        "artifact": artifact,
    }


@_question("disk-edge-on", "yes no")
def _disk_edge_on(seen: Perception) -> Weights:
    return _yes_no(_sigmoid(9.0 * (seen.edge_on / np.maximum(seen.visibility, 0.05) - 0.5)))


@_question("has-spiral-arms", "yes no")
def _has_spiral_arms(seen: Perception) -> Weights:
    return _yes_no(_sigmoid(11.0 * (seen.arms - 0.33)))


@_question("bar", "strong weak yes no")
def _bar(seen: Perception) -> Weights:
    barred = _sigmoid(10.0 * (seen.bar - 0.33))
    strong = _sigmoid(12.0 * (seen.bar - 0.6))
    return {"strong": barred * strong, "weak": barred * (1 - strong), "yes": barred, "no": 1 - barred}


_BULGE_SIZES = {
    "none": 0.0,
    "small": 0.12,
    "just-noticeable": 0.14,
    "moderate": 0.28,
    "obvious": 0.36,
    "large": 0.46,
    "dominant": 0.72,
}


@_question("bulge-size", " ".join(_BULGE_SIZES))
def _bulge_size(seen: Perception) -> Weights:
    # The less can be seen, the closer to the middle of the scale and the less certain.
    size = 0.2 + (seen.galaxies["bulge"] - 0.2) * np.sqrt(seen.visibility)
    width = 0.06 + 0.12 * (1 - seen.visibility) + 0.15 * size
    return {answer: _near(size, centre, width) for answer, centre in _BULGE_SIZES.items()}


@_question("how-rounded", "round completely in-between cigar-shaped")
def _how_rounded(seen: Perception) -> Weights:
    width = 0.11 + 0.08 * (1 - seen.visibility)
    round_ = _near(seen.axis_ratio, 0.95, width)
    return {
        "round": round_,
        "completely": round_,
        "in-between": _near(seen.axis_ratio, 0.62, width),
        "cigar-shaped": _near(seen.axis_ratio, 0.28, width),
    }


@_question("edge-on-bulge", "boxy none rounded yes no")
def _edge_on_bulge(seen: Perception) -> Weights:
    absent = _sigmoid((0.14 - seen.galaxies["bulge"] * np.sqrt(seen.visibility)) / 0.04)
    boxy = np.clip(seen.galaxies["bulge_boxiness"] * seen.visibility * 1.1, 0, 0.9)
    return {
        "none": absent,
        "no": absent,
        "boxy": (1 - absent) * boxy,
        "rounded": (1 - absent) * (1 - boxy),
        "yes": 1 - absent,
    }


@_question("bulge-shape", "rounded boxy none")
def _bulge_shape(seen: Perception) -> Weights:
    return _edge_on_bulge(seen)


@_question("spiral-winding", "tight medium loose")
def _spiral_winding(seen: Perception) -> Weights:
    width = 4.0 + 7.0 * (1 - seen.arms)
    pitch = seen.galaxies["pitch"]
    return {
        "tight": _near(np.maximum(pitch, 10.0), 10.0, width),
        "medium": _near(pitch, 19.0, width),
        "loose": _near(np.minimum(pitch, 30.0), 30.0, width),
    }


@_question("spiral-arm-count", "1 2 3 4 more-than-4 cant-tell")
def _spiral_arm_count(seen: Perception) -> Weights:
    arms = seen.galaxies["arms"].astype(float)
    blur = 1 - seen.arms
    width = 0.35 + 1.1 * blur
    known = arms > 0
    unclear = 0.08 + 0.9 * seen.galaxies["flocculence"] * known + 0.7 * blur**2
    weights = {str(n): known * _near(arms, n, width) + 0.1 * (n == 2) for n in (1, 2, 3, 4)}
    return weights | {
        "more-than-4": known * _near(np.minimum(arms, MANY_ARMS), MANY_ARMS, width),
        "cant-tell": np.where(known, unclear, 1.0),
    }


def _tides(seen: Perception) -> tuple[Column, Column]:
    """Probability to see a merger, and strength of the disturbance seen."""
    return _sigmoid(13.0 * (seen.companion - 0.3)), seen.disturbance


@_question("merging", "none minor-disturbance major-disturbance merger tidal-debris both neither")
def _merging(seen: Perception) -> Weights:
    merger, disturbance = _tides(seen)
    debris = _sigmoid(11.0 * (disturbance - 0.42))
    calm = _near(disturbance, 0.0, 0.17)
    minor, major = _near(disturbance, 0.38, 0.13), _sigmoid(14.0 * (disturbance - 0.6))
    alone = (1 - merger) / (calm + minor + major)
    return {
        "none": alone * calm,
        "minor-disturbance": alone * minor,
        "major-disturbance": alone * major,
        # Where "both" is offered it shares the weight of mergers; elsewhere it is never asked for.
        "merger": merger,
        "both": merger * debris / np.maximum(1 - debris, 0.05),
        "tidal-debris": (1 - merger) * debris,
        "neither": (1 - merger) * (1 - debris),
    }


def _oddities(seen: Perception) -> dict[str, Column]:
    merger, disturbance = _tides(seen)
    return {
        "ring": _sigmoid(10.0 * (seen.ring - 0.4)),
        "lens-or-arc": _sigmoid(10.0 * (seen.lens - 0.4)),
        "disturbed": _sigmoid(10.0 * (disturbance - 0.5)),
        "irregular": _sigmoid(9.0 * (seen.irregular - 0.45)),
        "merger": merger,
        "dust-lane": _sigmoid(10.0 * (seen.dust_lane - 0.35)),
    }


@_question("something-odd", "yes no")
def _something_odd(seen: Perception) -> Weights:
    plain = np.prod([1 - 0.9 * strength for strength in _oddities(seen).values()], axis=0)
    return _yes_no(1 - 0.95 * plain)


@_question("odd-feature", "ring lens-or-arc disturbed irregular other merger dust-lane")
def _odd_feature(seen: Perception) -> Weights:
    return _oddities(seen) | {"other": np.full(len(seen.galaxies), 0.12)}


@_question("clumpy-appearance", "yes no")
def _clumpy_appearance(seen: Perception) -> Weights:
    return _yes_no(_sigmoid(9.0 * (np.maximum(seen.clumpy, 0.7 * seen.irregular) - 0.4)))


@_question("clump-count", "1 2 3 4 more-than-4 cant-tell")
def _clump_count(seen: Perception) -> Weights:
    clumps = seen.galaxies["clumps"].astype(float)
    width = 0.4 + 1.2 * (1 - seen.clumpy)
    known = clumps > 0
    weights = {str(n): known * _near(clumps, n, width) for n in (1, 2, 3, 4)}
    return weights | {
        "more-than-4": known * _near(np.minimum(clumps, 5.5), 5.5, width),
        "cant-tell": np.where(known, 0.1 + 0.6 * (1 - seen.clumpy) ** 2, 1.0),
    }


@_question("clump-configuration", " ".join(ARRANGEMENTS))
def _clump_configuration(seen: Perception) -> Weights:
    sure = 0.15 + 0.8 * seen.clumpy
    true = seen.galaxies["clump_arrangement"]
    return {name: np.where(true == i, sure, (1 - sure) / 3) for i, name in enumerate(ARRANGEMENTS)}


@_question("one-clump-brightest", "yes no")
def _one_clump_brightest(seen: Perception) -> Weights:
    return _yes_no(_sigmoid(7.0 * (seen.galaxies["brightest_clump"] - 0.35)))


@_question("brightest-clump-central", "yes no")
def _brightest_clump_central(seen: Perception) -> Weights:
    nearest = np.array([_distance_of_brightest(galaxy) if galaxy.clumps else 1.0 for galaxy in seen.galaxies])
    return _yes_no(_sigmoid(6.0 * (0.7 - nearest)))


def _distance_of_brightest(galaxy: Any) -> float:
    places, light = clump_places(galaxy)
    return float(np.hypot(*places[int(np.argmax(light))]))


@_question("galaxy-symmetrical", "yes no")
def _galaxy_symmetrical(seen: Perception) -> Weights:
    ordered = seen.galaxies["clump_arrangement"] != ARRANGEMENTS.index("cluster-or-irregular")
    mess = np.maximum(seen.irregular, seen.disturbance)
    return _yes_no(np.clip(0.25 + 0.4 * ordered - 0.3 * mess, 0.03, 0.97))


@_question("clumps-embedded-larger-object", "yes no")
def _clumps_embedded(seen: Perception) -> Weights:
    return _yes_no(np.clip(0.9 - 0.6 * seen.galaxies["clump_strength"] * seen.clumpy, 0.05, 0.95))
