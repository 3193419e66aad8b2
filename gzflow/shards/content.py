"""The galaxies of one shard, checked and hashed before anything is written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import ShardError
from gzflow.shards.codec import jpeg_problem
from gzflow.shards.header import SHARD_SIZE, ShardHeader

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]] | Sequence[bytes]
_SHOWN = 5


@dataclass(frozen=True)
class ShardContent:
    """Checked arrays of one shard.

    Attributes
    ----------
    ids
        n distinct strings.
    ra, dec
        (n,) float64 degrees, NaN where unknown.
    pixscale
        (n,) float64 arcsec per pixel of the image in the shard, NaN where unknown.
    votes
        (n, n_answers) int32.
    images
        n of them; their shapes are checked while they are written, so that they may be made one at a time.
    """

    ids: tuple[str, ...]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    pixscale: NDArray[np.float64]
    votes: NDArray[np.int32]
    images: Images

    @classmethod
    def checked(
        cls, where: str, header: ShardHeader, *, images: Any, votes: Any, ids: Any, ra: Any, dec: Any, pixscale: Any
    ) -> ShardContent:
        """The content, if it fits the header.

        Raises
        ------
        ShardError
            With all problems at once: lengths, dtypes, shapes, values, duplicate ids.
        """
        names = tuple(ids)
        problems = _id_problems(names)
        columns: dict[str, NDArray[np.float64]] = {}
        for name, values in (("ra", ra), ("dec", dec), ("pixscale", pixscale)):
            columns[name], more = _floats(name, values, len(names))
            problems += more
        if not problems:
            problems += _range_problems(names, **columns)
        counts = np.asarray(votes)
        problems += _vote_problems(counts, names, header)
        problems += _image_problems(images, len(names), header)
        if problems:
            n_answers = len(header.decision_tree.answers)
            kind = f"uint8 (n, {', '.join(map(str, header.image_shape))})" if header.codec == "raw" else "JPEG bytes"
            raise ShardError(
                "these galaxies cannot be written as a shard",
                where=where,
                problems=problems,
                expected=f"images: {kind}; votes: whole numbers (n, {n_answers}); ids: n distinct strings;"
                f" ra, dec, pixscale: n numbers, NaN where unknown; 1 <= n <= {SHARD_SIZE}",
                fix="correct the arrays named above",
            )
        return cls(names, columns["ra"], columns["dec"], columns["pixscale"], counts.astype(np.int32), images)

    def each_image(self, header: ShardHeader) -> Iterator[NDArray[np.uint8]]:
        """Images one by one, checked: (H, W, C) pixels when raw, a line of bytes when JPEG.

        Raises
        ------
        ShardError
            Naming the first galaxy whose image does not fit.
        """
        for name, image in zip(self.ids, self.images, strict=True):
            if header.codec == "jpeg":
                content = image if isinstance(image, bytes) else bytes(image)
                problem = jpeg_problem(content, header.image_shape)
                pixels = np.frombuffer(content, np.uint8)
            else:
                pixels = np.asarray(image)
                good = pixels.dtype == np.uint8 and pixels.shape == header.image_shape
                problem = None if good else f"is {pixels.dtype} {pixels.shape}"
            if problem:
                raise ShardError(
                    f"the image {problem}",
                    where=f"galaxy {name!r}",
                    expected=f"uint8 pixels {header.image_shape}, codec {header.codec}",
                    fix="resize and check images before they are written",
                )
            yield pixels


class ContentHash:
    """blake2b over what a shard holds, the same for the arrays to be written and for the file read back."""

    def __init__(self, header: ShardHeader) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        shared = header.model_dump_json(exclude={"source_fingerprint", "format_version", "split"})
        self._add(shared.encode())

    def columns(
        self, ids: Sequence[str], ra: NDArray[Any], dec: NDArray[Any], pixscale: NDArray[Any], votes: NDArray[Any]
    ) -> None:
        """Add everything but the images."""
        self._add("\0".join(ids).encode())
        for values in (ra, dec, pixscale):
            # There are many bit patterns of NaN and two of zero, and one meaning of each.
            self._add((np.where(np.isnan(values), np.nan, values) + 0.0).astype("<f8").tobytes())
        self._add(votes.astype("<i4").tobytes())

    def image(self, pixels: NDArray[np.uint8]) -> None:
        """Add the next image."""
        self._add(np.ascontiguousarray(pixels).data)

    def hexdigest(self) -> str:
        """32 hex digits."""
        return self._hash.hexdigest()

    def _add(self, part: bytes | memoryview) -> None:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        self._hash.update(size.to_bytes(8, "little"))  # or else "ab" + "c" would equal "a" + "bc"
        self._hash.update(part)


def _id_problems(ids: Sequence[Any]) -> list[str]:
    problems = []
    if not 1 <= len(ids) <= SHARD_SIZE:
        problems.append(f"{len(ids)} galaxies")
    wrong = [repr(name) for name in ids if not isinstance(name, str) or not name or "\0" in name]
    if wrong:
        return [*problems, f"ids that are no text: {_some(wrong)}"]
    twice = [repr(name) for name, times in Counter(ids).items() if times > 1]
    return [*problems, f"ids that stand twice: {_some(twice)}"] if twice else problems


def _floats(name: str, values: Any, n: int) -> tuple[NDArray[np.float64], list[str]]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.shape != (n,):
        return np.zeros(0), [f"{name} is {array.dtype} {array.shape}, not {n} numbers"]
    return array.astype(np.float64), []


def _range_problems(
    ids: Sequence[str], ra: NDArray[np.float64], dec: NDArray[np.float64], pixscale: NDArray[np.float64]
) -> list[str]:
    wrong = {
        "ra outside [-180, 360] degrees": (ra < -180) | (ra > 360),
        "dec outside [-90, 90] degrees": np.abs(dec) > 90,
        "pixscale not positive and finite": (pixscale <= 0) | np.isinf(pixscale),
    }
    return [f"{what}: {_named(ids, bad)}" for what, bad in wrong.items() if bad.any()]


def _vote_problems(votes: NDArray[Any], ids: Sequence[str], header: ShardHeader) -> list[str]:
    expected = (len(ids), len(header.decision_tree.answers))
    if votes.dtype.kind not in "iu" or votes.shape != expected:
        return [f"votes are {votes.dtype} {votes.shape}, not whole numbers {expected}"]
    wrong = ((votes < 0) | (votes > np.iinfo(np.int32).max)).any(axis=1)
    if wrong.any():
        return [f"votes that are negative or beyond 2^31: {_named(ids, wrong)}"]
    return []


def _image_problems(images: Any, n: int, header: ShardHeader) -> list[str]:
    """Problems that can be seen without making the images."""
    if isinstance(images, np.ndarray) and header.codec == "raw":
        good = images.dtype == np.uint8 and images.shape == (n, *header.image_shape)
        return [] if good else [f"images are {images.dtype} {images.shape}"]
    if isinstance(images, np.ndarray):
        return ["images are pixels, but the codec is jpeg"]
    return [] if len(images) == n else [f"{len(images)} images for {n} ids"]


def _named(ids: Sequence[str], wrong: Any) -> str:
    """The ids where `wrong`, (n,) of truth values, says so."""
    return _some([repr(ids[i]) for i in np.flatnonzero(wrong).tolist()])


def _some(entries: Sequence[str]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
