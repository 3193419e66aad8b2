"""The raw images of a shard, written into the room that HDF5 keeps for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

_AHEAD = 32 << 20
"""Bytes after which the disk is set to work."""


class PixelFile:
    """Room for images in an open shard, filled from its beginning.

    HDF5 copies with the interpreter's lock held, and the cores that decode the next images wait for it; the kernel's
    own write does not. And a system with much memory lets a whole shard lie in it until the shard is synced: here the
    disk begins early.
    """

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._begun = self._next = offset

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """Write the next image.

        Raises
        ------
        OSError
            As writing raises it: no space, for one.
        """
        left = np.ascontiguousarray(pixels).data.cast("B")
        while left:
            written = os.pwrite(self._descriptor, left, self._next)
            self._next += written
            left = left[written:]
        if self._next - self._begun >= _AHEAD:
            # Pages that are still to be written are not dropped by this, but queued for writing.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._descriptor, self._begun, self._next - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self._next


@contextmanager
def room_for_images(file: h5py.File, shape: tuple[int, ...]) -> Iterator[PixelFile]:
    """The dataset ``images`` of a file, (n, H, W, C) uint8 and contiguous, to be filled with n images."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same galaxies give the same bytes
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, layout)
    file.flush()
    descriptor = os.open(Path(file.filename), os.O_WRONLY)
    try:
        yield PixelFile(descriptor, dataset.get_offset())
    finally:
        os.close(descriptor)
