"""A folder for one process's passing files that does not outlive a kill -9 for long."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gzflow.errors import Busy
from gzflow.lock import exclusive

_PREFIX = "rows-"


@contextmanager
def own_folder(parent: Path, doing: str) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end; those that killed processes left there go first.

    Parameters
    ----------
    doing
        What it is for, as in `gzflow.lock.exclusive`.
    """
    with ExitStack() as stack:
        # Its maker holds a folder's lock; between making and locking it, the parent's keeps others from removing it.
        with exclusive(parent, f"making a folder for {doing}"):
            for left in parent.glob(f"{_PREFIX}*"):
                _remove_left(left)
            made = stack.enter_context(TemporaryDirectory(dir=parent, prefix=_PREFIX, ignore_cleanup_errors=True))
            stack.enter_context(exclusive(Path(made), doing))
        yield Path(made)


def _remove_left(folder: Path) -> None:
    try:
        with exclusive(folder, "removing what a killed process left", patience_s=0):
            shutil.rmtree(folder)
    except Busy:
        return  # another process reads another catalog
    except FileNotFoundError:
        return  # it has just ended
