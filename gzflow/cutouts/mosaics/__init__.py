"""Cutouts from folders of FITS tiles with a WCS."""

from gzflow.cutouts.mosaics.cut import cut, cut_bands, native_side
from gzflow.cutouts.mosaics.index import NOWHERE, Places, TileIndex
from gzflow.cutouts.mosaics.picture import encoded, picture_on_tile
from gzflow.cutouts.mosaics.tile import Tile
from gzflow.cutouts.mosaics.unpack import opened

__all__ = [
    "NOWHERE",
    "Places",
    "Tile",
    "TileIndex",
    "cut",
    "cut_bands",
    "encoded",
    "native_side",
    "opened",
    "picture_on_tile",
]
