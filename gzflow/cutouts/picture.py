"""RGB pixels of any image that a user or an archive may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gzflow.cutouts.check import check_fits, check_image
from gzflow.cutouts.formats import sniff
from gzflow.cutouts.rgb import RECIPE_BANDS, RECIPES
from gzflow.errors import NotAnImage


def read_picture(
    content: bytes, *, what: str, recipe_name: str = "as-delivered", size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a checked JPEG, PNG or FITS file; FITS goes through the recipe.

    JPEG and PNG are taken as they are, also where the survey names a recipe: published pictures were made with it.

    Parameters
    ----------
    content
        The file's bytes.
    what
        Galaxy id or path for messages.
    recipe_name
        The survey's ``image.recipe``.
    size
        (width, height) in pixels that a JPEG or PNG must have; None allows any.

    Raises
    ------
    NotAnImage, TruncatedImage, WrongSize, BlankImage, BadPixels
        Why it cannot be used.
    """
    if sniff(content) != "FITS":
        return check_image(content, size=size, what=what).pixels
    if recipe_name not in RECIPES:
        raise NotAnImage(
            "FITS bands are no picture yet",
            where=what,
            expected=f"image.recipe = one of {', '.join(sorted(RECIPES))} in the survey's TOML, or a JPEG or PNG",
        )
    image = check_fits(content, shape=None, what=what)
    wanted = RECIPE_BANDS[recipe_name]
    if len(image.pixels) != len(wanted) or (image.bands not in {"", "".join(wanted)} and wanted != ("any",)):
        raise NotAnImage(
            f"the FITS image has {len(image.pixels)} bands ({image.bands or 'unnamed'})",
            where=what,
            expected=f"{', '.join(wanted)}, in this order, for the recipe {recipe_name}",
        )
    return RECIPES[recipe_name](image.pixels)
