"""Which galaxy a Zooniverse subject shows, by the metadata that it was uploaded with."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gzflow.catalog.zooniverse.export import parsed, rows, whole

log = logging.getLogger(__name__)
_EXACT = 2**53


class Subjects:
    """Galaxies by subject; a galaxy that was uploaded twice has two subjects, whose votes belong together.

    Parameters
    ----------
    keys
        Keys of the metadata that name the galaxy; the first that a subject has decides.
    keep
        Further entries to keep, in any case and with or without the marks that hide them from volunteers.
    """

    def __init__(self, keys: Sequence[str], keep: Collection[str] = ()) -> None:
        self._keys = tuple(keys)
        self._keep = {name.casefold(): name for name in keep}
        self._numbers: dict[str, int] = {}
        self._of_subject: dict[int, int | str] = {}
        self.ids: list[str] = []
        self.metadata: list[Mapping[str, Any]] = []

    def known(self, subject: int) -> int | str | None:
        """The galaxy's number, the reason why there is none, or None for a subject never seen."""
        return self._of_subject.get(subject)

    def enter(self, subject: int, metadata: object) -> int | str:
        """The number of the galaxy that a subject's metadata name, or why they name none."""
        found = self._number(metadata)
        self._of_subject[subject] = found
        return found

    def read(self, path: Path) -> None:
        """Take a subjects export; a subject stands in it once for each of its workflows and sets."""
        bad: list[str] = []
        for piece in rows(path, ("subject_id", "metadata"), bad.append):
            for subject, metadata in piece:
                number = whole(subject)
                if number is not None and number not in self._of_subject:
                    self.enter(number, parsed(metadata))
        if bad:
            log.warning("%d rows of %s are left out: %s", len(bad), path, bad[0])

    def _number(self, metadata: object) -> int | str:
        if not isinstance(metadata, Mapping):
            return "unreadable-subject"
        value = next((metadata[key] for key in self._keys if str(metadata.get(key) or "").strip()), None)
        if value is None or isinstance(value, (dict, list, bool)):
            return "no-galaxy-id"
        if isinstance(value, float):
            # Uploads from tables with gaps have 189862.0; beyond 2**53 digits are lost, and another galaxy is named.
            if not value.is_integer() or abs(value) >= _EXACT:
                return "lossy-id"
            value = int(value)
        name = str(value).strip()
        if name not in self._numbers:
            self._numbers[name] = len(self.ids)
            self.ids.append(name)
            bare = {_bare(key): each for key, each in metadata.items()}
            self.metadata.append({self._keep[key]: each for key, each in bare.items() if key in self._keep})
        return self._numbers[name]


def _bare(key: str) -> str:
    """A metadata key without the marks that hide it from volunteers, in lower case."""
    return key.strip().lstrip("#!/").strip().casefold()
