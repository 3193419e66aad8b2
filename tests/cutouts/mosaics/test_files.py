"""Which files are tiles: patterns with placeholders, in any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gzflow.cutouts.mosaics.files import tile_files
from gzflow.errors import SettingsError, SurveyError
from gzflow.surveys import load_survey
from gzflow.surveys.mosaic import Mosaic
from tests.unlistable import bury


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def mosaic(**bands: str) -> Mosaic:
    return Mosaic(bands=bands, pixels=32, pixscale=0.5)


def found(folder: Path, **bands: str) -> dict[str, dict[str, str]]:
    tiles = tile_files([folder], mosaic(**bands))
    return {name: {band: path.name for band, path in files.items()} for name, files in tiles.items()}


def test_bricks_in_folders_of_their_own(tmp_path):
    """As the Legacy Surveys lay them out: the brick's name in folder and file."""
    for brick in ("0001m002", "3599p010"):
        names = [f"legacysurvey-{brick}-{kind}.fits.fz" for kind in ("image-g", "image-r", "invvar-g")]
        touch(tmp_path, *(f"coadd/{brick[:3]}/{brick}/{name}" for name in names))
    tiles = found(
        tmp_path,
        g="coadd/*/{brick}/legacysurvey-{brick}-image-g.fits.fz",
        r="coadd/*/{brick}/legacysurvey-{brick}-image-r.fits.fz",
    )
    assert list(tiles) == ["0001m002", "3599p010"]
    assert tiles["3599p010"]["r"] == "legacysurvey-3599p010-image-r.fits.fz"


def test_names_with_dates_and_several_placeholders(tmp_path):
    touch(tmp_path, "x/MOSAIC-VIS_TILE102-AB12_2024.fits", "y/MOSAIC-NIR-Y_TILE102-CD34_2025.fits", "x/README")
    bands = {"VIS": "MOSAIC-VIS_TILE{tile}-*.fits", "Y": "MOSAIC-NIR-Y_TILE{tile}-*.fits"}
    assert found(tmp_path, **bands) == {
        "102": {"VIS": "MOSAIC-VIS_TILE102-AB12_2024.fits", "Y": "MOSAIC-NIR-Y_TILE102-CD34_2025.fits"}
    }
    tmp_path /= "other"
    touch(tmp_path, "deep/i/9813/4,5.fits", "deep/i/9813/4,6.fits")
    assert list(found(tmp_path, i="{tract}/{patch}.fits")) == ["4,5-9813", "4,6-9813"]
    assert list(found(tmp_path, i="deep/**/4,6.fits")) == ["mosaic"]


def test_a_tile_may_lack_a_band_but_a_band_may_not_lack_all_tiles(tmp_path):
    touch(tmp_path, "a-g.fits", "a-r.fits", "b-g.fits")
    assert found(tmp_path, g="{tile}-g.fits", r="{tile}-r.fits")["b"] == {"g": "b-g.fits"}
    with pytest.raises(SettingsError, match="band z: no file"):
        found(tmp_path, g="{tile}-g.fits", z="{tile}-z.fits")


def test_two_files_for_one_band_of_a_tile_and_a_missing_folder_are_said_together(tmp_path):
    touch(tmp_path, "1/a-g.fits", "2/a-g.fits")
    with pytest.raises(SettingsError) as caught:
        tile_files([tmp_path, tmp_path / "absent"], mosaic(g="{tile}-g.fits"))
    assert len(caught.value.problems) == 2
    assert "two files" in str(caught.value)


def test_one_file_for_two_bands_is_refused_once(tmp_path):
    """All bands have one unit number, so that both would be the same pixels."""
    touch(tmp_path, "a.fits", "b.fits")
    with pytest.raises(SettingsError) as caught:
        tile_files([tmp_path], mosaic(g="{tile}.fits", r="{tile}.fits"))
    assert len(caught.value.problems) == 1
    assert "bands g, r: one file for all of them" in caught.value.problems[0]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path):
    touch(tmp_path, "a-g.fits")
    bury(tmp_path)
    with pytest.raises(SettingsError, match="this folder cannot be read: File name too long"):
        tile_files([tmp_path], mosaic(g="{tile}-g.fits"))


TOML = """
[survey]
name = "t"
[catalog]
id = "id"
{positions}
{cutout}
[mosaic]
{mosaic}
[[question]]
name = "ring"
answers = ["yes", "no"]
"""
POSITIONS = 'ra = "ra"\ndec = "dec"'
CUTOUT = '[cutout]\nservice = "legacysurvey"\npixscale = 0.3'
SIZES = "pixels = 64\npixscale = 0.3"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("", "", f'bands = {{ g = "g.fits" }}\n{SIZES}'), "catalog.ra and catalog.dec"),
        ((POSITIONS, CUTOUT, f'bands = {{ g = "g.fits" }}\n{SIZES}'), "those of [cutout]"),
        ((POSITIONS, "", 'bands = { g = "g.fits" }'), "give pixels and pixscale"),
        ((POSITIONS, CUTOUT, 'bands = { g = "{tile}-g.fits", r = "r.fits" }'), "same placeholders"),
        ((POSITIONS, CUTOUT, 'bands = { g = "{tile-g.fits" }'), "braces"),
        ((POSITIONS, CUTOUT, 'bands = { g = "../{tile}.fits" }'), "stay below"),
        ((POSITIONS, CUTOUT, "bands = {}"), "mosaic.bands"),
        ((POSITIONS, CUTOUT, 'bands = { g = "g.fits" }\nzero_point = { r = 25 }'), "mosaic.zero_point"),
        ((POSITIONS, "", 'bands = { g = "g.fits" }\npixels = 64\npixscale = "a +"'), "mosaic.pixscale: not an SQL"),
    ],
)
def test_a_wrong_table_is_refused_with_the_survey(parts, words, tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(TOML.format(**dict(zip(("positions", "cutout", "mosaic"), parts, strict=True))))
    with pytest.raises(SurveyError) as caught:
        load_survey(path)
    assert words in str(caught.value)


def test_sizes_come_from_cutout_or_from_mosaic(tmp_path):
    path = tmp_path / "t.toml"
    for parts in ((POSITIONS, CUTOUT, 'bands = { g = "g.fits" }'), (POSITIONS, "", f'bands = {{ g = "g" }}\n{SIZES}')):
        path.write_text(TOML.format(**dict(zip(("positions", "cutout", "mosaic"), parts, strict=True))))
        survey = load_survey(path)
        assert survey.pixscale == 0.3
        assert survey.pixels == (424 if survey.cutout else 64)
        assert survey.image_recipe(64).scale_rule == "0.3"
