"""Parts of the sky that surveys observe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Footprint:
    """Boxes in right ascension and declination, degrees.

    Attributes
    ----------
    boxes
        (ra from, ra to, dec from, dec to); from > to in right ascension wraps through 0.
    """

    boxes: tuple[tuple[float, float, float, float], ...]

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """True inside any of the boxes, edges included."""
        ra, dec = np.asarray(ra, dtype=float) % 360.0, np.asarray(dec, dtype=float)
        inside = np.zeros(np.broadcast(ra, dec).shape, dtype=bool)
        for start, stop, low, high in self.boxes:
            width = (stop - start) % 360.0 or 360.0
            inside |= ((ra - start) % 360.0 <= width) & (dec >= low) & (dec <= high)
        return inside

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(n,) right ascensions and declinations, uniform on the sphere."""
        boxes = np.asarray(self.boxes)
        widths = (boxes[:, 1] - boxes[:, 0]) % 360.0
        widths[widths == 0] = 360.0
        low, high = np.sin(np.radians(boxes[:, 2])), np.sin(np.radians(boxes[:, 3]))
        area = widths * (high - low)
        which = rng.choice(len(boxes), n, p=area / area.sum())
        ra = (boxes[which, 0] + widths[which] * rng.random(n)) % 360.0
        dec = np.degrees(np.arcsin(low[which] + (high - low)[which] * rng.random(n)))
        return ra, dec


ALL_SKY = Footprint(((0.0, 360.0, -90.0, 90.0),))
SDSS = Footprint(((120.0, 250.0, -2.0, 55.0), (330.0, 50.0, -1.25, 1.25)))
DECALS = Footprint(((110.0, 265.0, -7.0, 32.0), (320.0, 55.0, -6.0, 6.0)))
# The deep fields are small: a degree or less a side.
HUBBLE = Footprint(
    ((149.4, 150.8, 1.5, 2.9), (214.3, 215.5, 52.3, 53.2), (52.9, 53.4, -28.0, -27.6), (188.9, 189.6, 62.1, 62.4))
)
CANDELS = Footprint(((150.0, 150.2, 2.15, 2.55), (34.2, 34.55, -5.3, -5.1), (53.0, 53.25, -27.95, -27.65)))
