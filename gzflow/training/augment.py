"""What happens to a galaxy's image before each time it is learnt from: the only user of albumentations."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Without it, the import asks the network for a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import cv2

Image = NDArray[np.uint8]


class Augmentation:
    """A random rotation, mirroring, zoom and small move of a galaxy, cut to the encoder's input.

    Galaxies look as likely from any side, and their sizes and centres are known within the ranges given. Image in,
    image out, uint8 all along.

    Parameters
    ----------
    size
        Side of the output in pixels.
    zoom
        Range of scales; 1 keeps the pixel scale, as the evaluation's central crop does.
    shift
        Largest move along either axis, as a share of `size`.
    """

    def __init__(self, size: int, zoom: tuple[float, float], shift: float) -> None:
        # A loader's parallelism is its workers. And OpenCV's own threads must be gone before workers are forked off:
        # a child that inherits the pool without its threads waits for them for ever.
        cv2.setNumThreads(1)
        self._pipeline = albumentations.Compose([OneWarp(size=size, zoom=zoom, shift=shift)])

    def __call__(self, image: Image, seed: int) -> Image:
        """(size, size, C) of one (H, W, C) image; the same `seed` gives the same view."""
        self._pipeline.set_random_seed(seed)
        augmented: Image = self._pipeline(image=image)["image"]
        return augmented


class OneWarp(albumentations.ImageOnlyTransform):
    """Rotation by any angle, mirroring, zoom, move and crop in a single bilinear interpolation.

    One warp costs a third of separate steps and blurs once. Beyond the image's edge the sky is mirrored, so that no
    black corner tells how a galaxy was turned.
    """

    class InitSchema(albumentations.ImageOnlyTransform.InitSchema):
        """Types of the parameters, as albumentations wants them."""

        size: int
        zoom: tuple[float, float]
        shift: float

    def __init__(self, size: int, zoom: tuple[float, float], shift: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.size = size
        self.zoom = zoom
        self.shift = shift

    def get_params(self) -> dict[str, Any]:
        """One draw."""
        draw = self.py_random.uniform
        reach = self.shift * self.size
        return {
            "angle": draw(0.0, 2 * math.pi),
            "scale": math.exp(draw(math.log(self.zoom[0]), math.log(self.zoom[1]))),
            "mirror": -1.0 if draw(0.0, 1.0) < 0.5 else 1.0,
            "move": (draw(-reach, reach), draw(-reach, reach)),
        }

    def apply(
        self, img: Image, angle: float, scale: float, mirror: float, move: tuple[float, float], **_: Any
    ) -> Image:
        """Take the output pixel's place, mirror, turn and scale it about the centre: there lies its input pixel."""
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        turn = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
        centre = (np.array(img.shape[1::-1]) - 1) / 2 + move
        offset = centre - turn @ np.full(2, (self.size - 1) / 2)
        warped = cv2.warpAffine(
            img,
            np.column_stack([turn, offset]),
            (self.size, self.size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(warped, np.uint8).reshape(self.size, self.size, -1)
