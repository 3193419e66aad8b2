"""What each column of a catalogue is: unit, UCD and a sentence, kept with the column from the first part on.

The UCDs are words of the IVOA's UCD1+ vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

from gzflow.tree import DecisionTree

UNIT, UCD, DESCRIPTION = b"unit", b"ucd", b"description"
"""Keys of a column's metadata in Parquet."""
TREE, LEVEL = b"tree", b"interval_level"
"""Keys of a part's metadata that the descriptions depend on."""


@dataclass(frozen=True)
class Meaning:
    """Of one column; a number without unit is dimensionless."""

    description: str
    unit: str = ""
    ucd: str = ""

    def metadata(self) -> dict[bytes, bytes]:
        """As a Parquet column carries it."""
        texts = {UNIT: self.unit, UCD: self.ucd, DESCRIPTION: self.description}
        return {key: text.encode() for key, text in texts.items() if text}

    @classmethod
    def of(cls, field: pa.Field) -> Meaning:
        """What a column says of itself."""
        known = field.metadata or {}
        return cls(*(known.get(key, b"").decode() for key in (DESCRIPTION, UNIT, UCD)))


def meanings(tree: DecisionTree, level: float) -> dict[str, Meaning]:
    """Meanings of all columns that a catalogue of this tree may have, by name.

    Parameters
    ----------
    level
        Probability inside ``_lower`` to ``_upper``.
    """
    known = {
        "id_str": Meaning("identifier in the survey", ucd="meta.id;meta.main"),
        "ra": Meaning("right ascension, J2000", "deg", "pos.eq.ra;meta.main"),
        "dec": Meaning("declination, J2000", "deg", "pos.eq.dec;meta.main"),
        "split": Meaning("part of the data: the model may have learnt from train and validation", ucd="meta.code"),
        "recipe_mismatch": Meaning("how the image differs from those the model was trained on", ucd="meta.note"),
    }
    for question in tree.questions:
        known[f"{question.name}_proportion-asked"] = Meaning(
            f"share of volunteers who would be asked {question.name}", ucd="stat.probability;src.morph"
        )
        for answer, column in zip(question.answers, question.columns, strict=True):
            said = f"answer {answer} to {question.name}"
            known |= {
                f"{column}_fraction": Meaning(
                    f"expected fraction of those asked: {said}", ucd="src.morph.param;stat.mean"
                ),
                f"{column}_std": Meaning(
                    f"standard deviation of the fraction: {said}", ucd="stat.stdev;src.morph.param"
                ),
                f"{column}_lower": Meaning(
                    f"lower end of the central {level:.0%} interval: {said}", ucd="src.morph.param;stat.min"
                ),
                f"{column}_upper": Meaning(
                    f"upper end of the central {level:.0%} interval: {said}", ucd="src.morph.param;stat.max"
                ),
                f"{column}_concentrations": Meaning(
                    f"Dirichlet concentrations, no fractions, one a sample: {said}", ucd="stat.param;src.morph.param"
                ),
                f"{column}_expected-votes": Meaning(f"expected number of votes: {said}", ucd="meta.number;stat.mean"),
            }
    return known


def described(schema: pa.Schema) -> pa.Schema:
    """The schema of a part with meanings at the columns that have none yet, from the part's own tree."""
    known = meanings(DecisionTree.from_dict(json.loads(schema.metadata[TREE])).parted, float(schema.metadata[LEVEL]))
    for i, field in enumerate(schema):
        if field.name in known and not field.metadata:
            schema = schema.set(i, field.with_metadata(known[field.name].metadata()))
    return schema
