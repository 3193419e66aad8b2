"""Check: whether a release is whole, unchanged and agrees with itself; needs no home and no server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gzflow.errors import ExportError
from gzflow.export.checksums import SUMS, checksum_problems, listed
from gzflow.export.citation import citation_problems
from gzflow.export.readable import ReadableCatalogue
from gzflow.export.texts import dictionary_columns

README, CARD, CITATION = "README.md", "MODEL-CARD.md", "CITATION.cff"
LICENCE, THANKS = "LICENCE.txt", "ACKNOWLEDGEMENTS.txt"
DICTIONARY, PROVENANCE, TREE = "data-dictionary.csv", "provenance.json", "decision-tree.svg"
PARTS = {
    DICTIONARY: "every column: type, unit, UCD, meaning",
    TREE: "the questions and what leads to them",
    CARD: "the model: what it is for, how it was trained, how good it is",
    CITATION: "how to cite the catalogue",
    LICENCE: "what may be done with it",
    THANKS: "whom to thank, in the surveys' words",
    PROVENANCE: "model version, run, seed, shards and accounting, for programs",
    SUMS: "SHA-256 of every other file",
}
"""What every release has beside its README and catalogue, in the README's words."""


@dataclass(frozen=True)
class ReleaseSummary:
    """A release that was checked.

    Attributes
    ----------
    galaxies
        Rows of the catalogue.
    files, bytes
        In the folder.
    reused
        It was there already, the same to the bit.
    notes
        What its readers will miss.
    run_id, url
        Of the MLflow run that notes it, where it is noted.
    """

    folder: Path
    galaxies: int
    files: int
    bytes: int
    reused: bool = False
    notes: tuple[str, ...] = ()
    run_id: str | None = None
    url: str | None = None

    def sentence(self) -> str:
        """One line for people."""
        there = "was there already" if self.reused else "is complete"
        size = f"{self.galaxies:,} galaxies, {self.files} files, {self.bytes / 1e6:,.1f} MB"
        return f"the release {there}, every checksum and column verified ({size}): {self.folder}"


def check(folder: Path) -> ReleaseSummary:
    """The release in a folder, after a look at all that it promises.

    Raises
    ------
    ExportError
        All that is missing, changed or does not belong together.
    """
    if not (folder / SUMS).is_file():
        raise ExportError(
            "this is no release",
            where=str(folder),
            expected=f"a folder with {SUMS}, as `gzflow release SURVEY --to FOLDER` makes it",
            fix="name the folder itself",
        )
    sums = (folder / SUMS).read_bytes()
    problems = [f"{SUMS} does not list {name}" for name in (README, *PARTS) if name not in {*listed(sums), SUMS}]
    problems += checksum_problems(folder, sums)
    if not problems:
        problems = [f"{CITATION}: {problem}" for problem in citation_problems((folder / CITATION).read_bytes())]
        problems += _catalogue_problems(folder)
    if problems:
        raise ExportError(
            "the release is not what it was",
            where=str(folder),
            problems=problems,
            expected="every file as it was released, and columns as the data dictionary has them",
            fix="fetch it again, or make it anew with `gzflow release` in another folder",
        )
    facts = json.loads((folder / PROVENANCE).read_text("utf-8"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return ReleaseSummary(folder, facts["galaxies"], len(files), sum(path.stat().st_size for path in files))


def _catalogue_problems(folder: Path) -> list[str]:
    facts = json.loads((folder / PROVENANCE).read_text("utf-8"))
    described = dictionary_columns((folder / DICTIONARY).read_bytes())
    problems = []
    for name in facts["catalogue"]:
        catalogue = ReadableCatalogue.open(folder / name)
        if (n := len(catalogue.ids)) != facts["galaxies"]:
            problems.append(f"{name} has {n:,} galaxies, not {facts['galaxies']:,}")
        if name.endswith(".hdf5"):  # Of samples: what the dictionary describes is worked out from them.
            continue
        problems += [f"{name}: {DICTIONARY} does not describe {c}" for c in catalogue.columns if c not in described]
        problems += [f"{name} lacks {c}, which {DICTIONARY} describes" for c in described if c not in catalogue.columns]
    return problems
