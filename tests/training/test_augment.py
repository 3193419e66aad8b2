from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from gzflow.training.augment import Augmentation, OneWarp


@pytest.fixture
def galaxy() -> np.ndarray:
    """A smooth, lopsided blob on a dark sky."""
    y, x = np.mgrid[:60, :60] - 29.5
    blob = np.exp(-((x / 9) ** 2 + (y / 4) ** 2) / 2) + 0.5 * np.exp(-((x - 10) ** 2 + (y - 6) ** 2) / 8)
    return (np.stack([blob, blob * 0.7, blob * 0.4], -1) * 200).clip(0, 255).astype(np.uint8)


def warp(image: np.ndarray, size: int, **how: object) -> np.ndarray:
    transform = OneWarp(size=size, zoom=(1.0, 1.0), shift=0.0)
    values = {"angle": 0.0, "scale": 1.0, "mirror": 1.0, "move": (0.0, 0.0)} | how
    return transform.apply(image, **values)  # type: ignore[arg-type]


def test_doing_nothing_is_the_central_crop(galaxy: np.ndarray) -> None:
    np.testing.assert_array_equal(warp(galaxy, 60), galaxy)
    np.testing.assert_array_equal(warp(galaxy, 40), galaxy[10:50, 10:50])


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_and_mirrors_are_exact(galaxy: np.ndarray, quarter: int) -> None:
    turned = warp(galaxy, 60, angle=quarter * np.pi / 2)
    np.testing.assert_allclose(turned.astype(int), np.rot90(galaxy, quarter).astype(int), atol=1)
    np.testing.assert_array_equal(warp(galaxy, 60, mirror=-1.0), galaxy[:, ::-1])


def test_zoom_is_about_the_centre(galaxy: np.ndarray) -> None:
    wider = warp(galaxy, 60, scale=2.0)
    wanted = cv2.resize(galaxy[15:45, 15:45], (60, 60), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(wider[10:50, 10:50].astype(int), wanted[10:50, 10:50].astype(int), atol=4)


def test_light_is_kept_by_a_rotation(galaxy: np.ndarray) -> None:
    for angle in (0.3, 1.1, 2.9):
        assert int(warp(galaxy, 60, angle=angle).sum()) == pytest.approx(int(galaxy.sum()), rel=0.02)


def test_the_seed_decides(galaxy: np.ndarray) -> None:
    augment = Augmentation(40, (0.9, 1.1), 0.05)
    one = augment(galaxy, 7)
    augment(galaxy, 8)
    np.testing.assert_array_equal(augment(galaxy, 7), one)
    np.testing.assert_array_equal(Augmentation(40, (0.9, 1.1), 0.05)(galaxy, 7), one)
    assert not np.array_equal(augment(galaxy, 8), one)
    assert one.shape == (40, 40, 3)
    assert one.dtype == np.uint8


def test_views_spread_over_all_angles_and_both_hands(galaxy: np.ndarray) -> None:
    transform = OneWarp(size=40, zoom=(0.9, 1.1), shift=0.05)
    transform.set_random_seed(1)
    draws = [transform.get_params() for _ in range(2000)]
    angles = np.array([draw["angle"] for draw in draws])
    scales = np.array([draw["scale"] for draw in draws])
    assert np.histogram(angles, 8, (0, 2 * np.pi))[0].min() > 180
    assert 0.45 < np.mean([draw["mirror"] for draw in draws]) / 2 + 0.5 < 0.55
    assert 0.9 <= scales.min() < 0.91
    assert 1.09 < scales.max() <= 1.1
    assert np.abs([draw["move"] for draw in draws]).max() <= 2.0


def test_no_black_corners() -> None:
    sky = np.full((50, 50, 3), 90, np.uint8)
    assert (warp(sky, 50, angle=0.7, scale=0.8) == 90).all()


def test_grey_images_keep_their_channel() -> None:
    assert Augmentation(30, (1.0, 1.0), 0.0)(np.zeros((40, 40, 1), np.uint8), 1).shape == (30, 30, 1)


def test_importing_asks_the_network_nothing() -> None:
    code = "import os; os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None); import gzflow.training.augment, os; "
    code += "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'"
    subprocess.run([sys.executable, "-c", code], check=True)
