"""A real table as CSV, Parquet, FITS and VOTable is one catalog."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from astropy.table import Table

from gzflow import load_survey
from gzflow.catalog.assemble import Assembly
from gzflow.catalog.read import read_catalog
from gzflow.surveys import Survey

ROWS = 400


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    """The shipped survey, for the table's form before publication: another name of its sample."""
    path = tmp_path / "variant.toml"
    path.write_text(
        '[survey]\nname = "variant"\nextends = "gz2_stripe82"\n'
        '[catalog]\nwhere = "sample = \'stripe82_c\'"\ncarry = ["total_classifications", "ra"]\n'
    )
    return load_survey(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.fits", "t.fits.gz", "t.vot"])
def test_stripe82_in_every_format(shared_data: Path, tmp_path: Path, survey: Survey, name: str) -> None:
    source = pl.read_csv(shared_data / "gz2_stripe82" / "table5.csv.gz", n_rows=ROWS)
    source.write_csv(tmp_path / "t.csv")
    expected = read_catalog(survey, tmp_path / "t.csv")
    assert len(expected.galaxies) + expected.n_failed == ROWS
    needed = [column for column in source.columns if column in Assembly(survey, tmp_path / "t.csv", {}).names]
    table = source.select(needed)
    if name.endswith(".parquet"):
        table.write_parquet(tmp_path / name)
    else:
        columns = {column: table[column].to_numpy() for column in needed if column != "sample"}
        # Text of a FITS table is padded to one width.
        Table(columns | {"sample": [text.ljust(20) for text in table["sample"]]}).write(
            tmp_path / name, format="votable" if name.endswith(".vot") else "fits"
        )
    found = read_catalog(survey, tmp_path / name, rows=150)
    assert found.galaxies.equals(expected.galaxies)
    assert found.votes.equals(expected.votes)
    assert set(found.failures) == set(expected.failures)
    assert found.notes == expected.notes
