"""Which file a catalog came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class CatalogFile:
    """A file, known by its content: a copy elsewhere is the same catalog, a new version under its path another.

    Attributes
    ----------
    path
        Absolute.
    digest
        blake2b of the content, 32 hex digits.
    """

    path: str
    digest: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file once, in blocks."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return cls(str(path.absolute()), digest)
