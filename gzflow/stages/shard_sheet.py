"""A picture of some of the galaxies in a set of shards."""

from __future__ import annotations

import numpy as np

from gzflow.evaluation.figures import contact_sheet, figure_png
from gzflow.shards.reader import ShardSet


def sheet(shards: ShardSet, *, galaxies: int = 48, seed: int = 42) -> bytes:
    """PNG of galaxies of the set, drawn at random from all splits alike."""
    numbers = np.cumsum([0, *(entry.n for entry in shards.entries())])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(numbers[-1], size=min(galaxies, int(numbers[-1])), replace=False))
    images, captions = [], []
    for reader, start, stop in zip(shards.readers(), numbers[:-1], numbers[1:], strict=True):
        rows = chosen[(chosen >= start) & (chosen < stop)] - start
        if len(rows):
            images.append(reader.images(rows))
            captions += [reader.ids[row] for row in rows.tolist()]
    about, recipe = shards.manifest.survey_info, shards.recipe
    rights = "" if about.get("image_rights", "open") == "open" else "; these images may not be published"
    return figure_png(
        contact_sheet(
            np.concatenate(images),
            captions,
            title=str(about.get("title") or shards.survey),
            subtitle=f"{len(captions)} of {numbers[-1]:,} galaxies, {recipe.pixels} px, recipe {recipe.name}{rights}",
        )
    )
