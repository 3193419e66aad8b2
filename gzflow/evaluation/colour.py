"""What a model that sees colour can be asked, and what not."""

from __future__ import annotations


def colour_note(n_channels: int) -> str:
    """Whether colour may have leaked into the answers of a model that sees so many channels."""
    if n_channels == 1:
        return "The model sees grey images: no part of its answers is read off a galaxy's colour."
    return (
        "The model sees colour, and disks tend to be blue, smooth galaxies red: part of its answers may be read off the"
        " colour. Where morphology is to be compared with colour, or with what colour goes with (star formation, age,"
        " environment), these fractions argue in a circle: train with “grey = true” for that."
    )
