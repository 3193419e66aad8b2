"""Pictures of a size that a page can hold."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

_QUALITY = 80


def fitted(content: bytes, most: int) -> bytes:
    """The PNG or JPEG itself if it has at most `most` bytes, else as a JPEG that has, smaller where it must be."""
    if len(content) <= most:
        return content
    with Image.open(BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    scale = 1.0
    while True:
        size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
        buffer = BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        if buffer.tell() <= most or size == (1, 1):
            return buffer.getvalue()
        scale *= 0.9 * min(1.0, (most / buffer.tell()) ** 0.5)
