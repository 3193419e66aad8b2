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
STATISTICS = {
    "image_sky": "median grey level at the upper and lower edge, 0 to 255",
    "image_noise": "grain at these edges: ln of 1 plus the mean absolute second difference of neighbours, in levels",
    "image_grain": "how coarse that grain is: ln of the second difference over two pixels against that over one",
    "image_brightness": "mean grey level, 0 to 255",
    "image_contrast": "standard deviation of the grey level, 0 to 255",
    "image_sharpness": "ln of the mean step between neighbours against that over four pixels, in the middle",
    "image_concentration": "ln of the mean light above the sky in the middle quarter against that of the picture",
    "image_saturation": "share of values, of all channels, of 250 or more",
    "image_darkness": "share of values, of all channels, of 2 or less",
    "image_colour": "mean of the first channel minus the last, in levels",
}
"""Statistics of a picture, from `gzflow.model.image_statistics`; a grey picture has no ``image_colour``."""
SUPPORT = {
    "support": "share of galaxies like those of the training that look at least as unlike them; below 0.05: do not"
    " trust the model",
    "support_features": "the same by the encoder's features alone",
    "support_image": "the same by the statistics of the picture alone",
}
"""How like the training galaxies one is, from `gzflow.model.support`."""


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
    known |= {name: Meaning(text, ucd="stat.probability") for name, text in SUPPORT.items()}
    known |= {name: Meaning(f"of the picture: {text}", ucd="stat.value;instr.det") for name, text in STATISTICS.items()}
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
