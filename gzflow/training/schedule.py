"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable


def warm_cosine(total_steps: int, warmup: float, final: float) -> Callable[[int], float]:
    """A factor on the learning rate for each step: a straight rise over the share `warmup`, then half a cosine.

    Parameters
    ----------
    total_steps
        Of the whole run.
    warmup
        Share of the steps over which the factor rises to 1.
    final
        Factor at the last step.
    """
    rise = max(1, round(total_steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total_steps - 1 - rise))
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return factor
