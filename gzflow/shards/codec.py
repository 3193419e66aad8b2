"""JPEG bytes to pixels and back, for shards that would be too large as raw pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gzflow.errors import ShardError


class EncodedImage(bytes):
    """JPEG bytes that `encode_jpeg` made of (H, W, C) pixels: they need no decoding to be known as whole."""

    shape: tuple[int, ...]


def encode_jpeg(image: NDArray[np.uint8], quality: int = 95) -> EncodedImage:
    """JPEG bytes of an (H, W, 3) RGB or (H, W, 1) grey image."""
    pixels: NDArray[Any] = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image[..., 0]
    done, buffer = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ShardError(f"an image of shape {image.shape} and type {image.dtype} cannot be written as JPEG")
    encoded = EncodedImage(buffer)
    encoded.shape = image.shape
    return encoded


def decode_jpeg(content: bytes | NDArray[np.uint8], channels: int) -> NDArray[np.uint8] | None:
    """(H, W, channels) pixels, or None where the bytes are no image.

    The rotation flag that a camera may leave is ignored: it means nothing on the sky.
    """
    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return None
    return pixels.reshape(*pixels.shape[:2], channels)


def jpeg_problem(content: bytes, shape: tuple[int, int, int]) -> str | None:
    """Why these bytes are not one whole JPEG of `shape` (H, W, C), or None."""
    if isinstance(content, EncodedImage):
        return None if content.shape == shape else f"has shape {content.shape}"
    if not content.startswith(b"\xff\xd8"):
        return "is no JPEG"
    # OpenCV decodes a truncated file without complaint, the rest grey.
    if not content.endswith(b"\xff\xd9"):
        return "is a JPEG that ends early"
    pixels = decode_jpeg(content, shape[2])
    if pixels is None:
        return "is a JPEG that does not decode"
    return None if pixels.shape == shape else f"has shape {pixels.shape}"
