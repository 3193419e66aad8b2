"""Images in folders, ZIP and tar files, found where they lie."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gzflow.cutouts.places import ARCHIVES, ImagePlace, open_archive, read_image
from gzflow.errors import MissingImage, SettingsError

__all__ = ["ImageFiles", "ImagePlace", "Resolved", "read_image"]
log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".fits"})
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True)
class Resolved:
    """Where the images of many galaxies are, and why some have none.

    Attributes
    ----------
    files
        The index that was searched.
    places, failures
        By galaxy id; together they hold every id that was asked for.
    """

    files: ImageFiles = field(repr=False)
    places: Mapping[str, ImagePlace]
    failures: Mapping[str, MissingImage]

    @cached_property
    def unclaimed(self) -> list[str]:
        """Images that no galaxy asked for, sorted."""
        return self.files.unclaimed(self.places.values())


class ImageFiles:
    """An index of all images under some folders, ZIP and tar files; nothing is unpacked or copied.

    Archives inside the folders count too. Each archive's directory is read once. Looking a name up costs the same for
    six images as for 300,000.

    Parameters
    ----------
    paths
        Folders, ZIP files, tar files, single images.

    Attributes
    ----------
    refused
        What is never read, with the reason: members whose names try to leave the archive, links, encrypted members;
        compressed tars, which have no random access.

    Raises
    ------
    SettingsError
        Missing paths, paths of another kind, and broken archives, all at once.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._places: list[ImagePlace] = []
        self._relative: list[str] = []
        self._by_tail: dict[int, dict[tuple[str, ...], list[int]]] = {}
        self.refused: list[str] = []
        self._files: set[Path] = set()
        problems: list[str] = []
        for path in dict.fromkeys(Path(path).expanduser().absolute() for path in paths):
            try:
                self._add(path)
            except (SettingsError, OSError) as error:
                problems.append(str(error))
        self._files.clear()
        if problems:
            raise SettingsError(
                "images cannot be read from these paths",
                problems=problems,
                expected="folders, ZIP or tar files, or JPEG and PNG files",
                fix="correct the paths; unpack other kinds of archives first",
            )
        if self.refused:
            log.warning("%d archives or members refused, first: %s", len(self.refused), self.refused[0])

    def __len__(self) -> int:
        return len(self._places)

    def find(self, member: str) -> ImagePlace | None:
        """Place of the image that a catalog calls `member`; None where there is none.

        The name may be relative to one of the paths, or the tail of a file's whole path
        (``J081/J081412.47+220853.0.png`` in any folder or ZIP), or a path on another machine whose last two parts or
        more agree with one file's. The first of these rules that finds anything decides.

        Raises
        ------
        MissingImage
            Several files fit equally well; names them.
        """
        wanted = _parts(member)
        candidates = self._candidates(wanted[-2:])
        for fitting in self._fitting(wanted, candidates):
            if len(fitting) == 1:
                return self._places[fitting[0]]
            if fitting:
                raise MissingImage(
                    f"{len(fitting)} files could be {member!r}",
                    problems=[str(self._places[at]) for at in fitting[:5]],
                    expected="one",
                    fix="name more of the path in the catalog or archive.member, or give fewer folders",
                )
        return None

    def resolve(self, members: Mapping[str, str | None]) -> Resolved:
        """Places for many galaxies, from id to the name in the catalog.

        Two galaxies that claim one file by different names are both failures: one of them would get the other's image.
        """
        places: dict[str, ImagePlace] = {}
        failures: dict[str, MissingImage] = {}
        claims: dict[ImagePlace, dict[str, str]] = {}
        for id_str, member in members.items():
            try:
                place = self.find(member) if member else None
                if place is None:
                    raise self._missing(member)
            except MissingImage as error:
                error.where = id_str
                failures[id_str] = error
                continue
            places[id_str] = place
            claims.setdefault(place, {})[id_str] = member or ""
        for place, claimed in claims.items():
            if len(set(claimed.values())) > 1:
                for id_str in claimed:
                    del places[id_str]
                    failures[id_str] = MissingImage(
                        f"{str(place)!r} is claimed by {len(claimed)} galaxies under different names",
                        where=id_str,
                        problems=[f"{other}: {name}" for other, name in list(claimed.items())[:5]],
                        fix="name more of the path in the catalog, so that one file fits",
                    )
        return Resolved(self, places, failures)

    def read(self, place: ImagePlace) -> bytes:
        """The image's bytes; see `read_image`."""
        return read_image(place)

    def unclaimed(self, found: Iterable[ImagePlace]) -> list[str]:
        """Images in the index that are not among `found`, sorted."""
        known = set(found)
        return sorted(str(place) for place in self._places if place not in known)

    def _add(self, path: Path) -> None:
        if path.is_dir():
            for file in _walk(path):
                self._add_file(file, file.relative_to(path).as_posix())
        elif not path.exists():
            raise SettingsError(f"{path} does not exist")
        elif path.name.lower().endswith(_COMPRESSED_TARS):
            raise SettingsError(_unpack(path))
        elif path.suffix.lower() in SUFFIXES | ARCHIVES:
            self._add_file(path, path.name)
        else:
            raise SettingsError(f"{path} is neither a folder nor a ZIP or tar file nor an image")

    def _add_file(self, file: Path, relative: str) -> None:
        if file in self._files:  # a folder and something inside it were both given
            return
        self._files.add(file)
        if file.name.lower().endswith(_COMPRESSED_TARS):
            self.refused.append(_unpack(file))
        elif file.suffix.lower() not in ARCHIVES:
            self._index(ImagePlace(str(file)), relative)
        else:
            archive = open_archive(file)
            for name in filter(_is_image, archive.extents):
                self._index(ImagePlace(str(file), name), name)
            self.refused += [
                f"{ImagePlace(str(file), name)}: {reason}"
                for name, reason in archive.refused.items()
                if _is_image(name)
            ]

    def _index(self, place: ImagePlace, relative: str) -> None:
        self._places.append(place)
        self._relative.append(relative)

    def _candidates(self, tail: tuple[str, ...]) -> list[int]:
        """Images whose path ends so, from an index over tails of that length that the first question builds."""
        if len(tail) not in self._by_tail:
            index: dict[tuple[str, ...], list[int]] = {}
            for at, place in enumerate(self._places):
                index.setdefault(_whole(place)[-len(tail) :], []).append(at)
            self._by_tail[len(tail)] = index
        return self._by_tail[len(tail)].get(tail, [])

    def _fitting(self, wanted: tuple[str, ...], candidates: list[int]) -> Iterator[list[int]]:
        """Candidates by rule, the strictest first."""
        yield [at for at in candidates if _parts(self._relative[at]) == wanted]
        agreement = {at: _common_tail(wanted, _whole(self._places[at])) for at in candidates}
        yield [at for at, length in agreement.items() if length == len(wanted)]
        longest = max(agreement.values(), default=0)
        yield [at for at, length in agreement.items() if length == longest >= 2]

    def _missing(self, member: str | None) -> MissingImage:
        if not member:
            return MissingImage("the catalog names no image for this galaxy", fix="fill the column, or drop the row")
        stem = Path(_parts(member)[-1]).stem if _parts(member) else ""
        others = [self._places[at] for suffix in sorted(SUFFIXES) for at in self._candidates((f"{stem}{suffix}",))]
        return MissingImage(
            f"no file fits {member!r} among {len(self):,} images",
            expected="a file whose path ends so",
            fix=f"did you mean {others[0]}?" if others else "give the folder or ZIP that holds it with --images",
        )


def _walk(folder: Path) -> Iterator[Path]:
    """Images and archives below a folder in a stable order; links are followed, but no folder is visited twice.

    Raises
    ------
    OSError
        A folder cannot be read: its images would pass for missing.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(names):
            archive = Path(name).suffix.lower() in ARCHIVES or name.lower().endswith(_COMPRESSED_TARS)
            if _is_image(name) or (archive and not name.startswith(".")):
                yield Path(root) / name


def _is_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return Path(base).suffix.lower() in SUFFIXES and not base.startswith(".") and not name.startswith("__MACOSX/")


def _unpack(tar: Path) -> str:
    folder = tar.with_name(tar.name.split(".")[0])
    return (
        f"{tar} is a compressed tar, which can only be read from its beginning: unpack it"
        f" (mkdir {folder} && tar -xf {tar} -C {folder}) and give the folder"
    )


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."})


def _whole(place: ImagePlace) -> tuple[str, ...]:
    # `part1/J081/x.png` fits part1.zip!J081/x.png: people unpack archives into folders of the same name.
    outer = str(Path(place.path).with_suffix("")) if place.member is not None else place.path
    return _parts(outer) + (_parts(place.member) if place.member is not None else ())


def _common_tail(wanted: tuple[str, ...], have: tuple[str, ...]) -> int:
    length = 0
    for mine, theirs in zip(reversed(wanted), reversed(have), strict=False):
        if mine != theirs:
            break
        length += 1
    return length
