"""Each format, opened again by somebody else's reader, gives the numbers that the parts hold."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table

from gzflow.dictionary import Meaning, meanings
from gzflow.errors import ExportError
from gzflow.stages.export import ExportOptions, export

from .conftest import METADATA, SAMPLES, TREE, Run, write_run


def exported(finished: Run, file: Path, **options) -> Path:
    assert export(ExportOptions("decals", file, log=False, **options), finished.settings).galaxies == 101
    return file


def the_parts(finished: Run) -> pa.Table:
    return pq.read_table(sorted(finished.folder.glob("part-*.parquet"), key=lambda path: "test" in path.name))


def assert_same(found: Table, parts: pa.Table) -> None:
    assert found.colnames == [*parts.column_names, "split"]
    assert [str(value) for value in found["id_str"]] == parts.column("id_str").to_pylist()
    assert [str(value) for value in found["split"]] == ["train"] * 70 + ["test"] * 31
    for name in parts.column_names[1:]:
        column = parts.column(name)
        expected = (
            np.array(column.to_pylist(), np.float32) if pa.types.is_fixed_size_list(column.type) else column.to_numpy()
        )
        values = np.ma.filled(found[name], np.nan) if hasattr(found[name], "mask") else found[name]
        np.testing.assert_array_equal(np.asarray(values), expected)


@pytest.mark.parametrize(("name", "how"), [("a.fits", "fits"), ("a.vot", "votable"), ("a.parquet", "parquet.votable")])
def test_astropy_reads_values_units_and_descriptions(finished: Run, tmp_path: Path, name: str, how: str) -> None:
    table = Table.read(exported(finished, tmp_path / name), format=how)
    assert_same(table, the_parts(finished))
    assert table["ra"].unit == u.deg
    if how != "fits":
        assert table["bar_no_fraction"].description == "expected fraction of those asked: answer no to bar"
        assert table["dec"].meta["ucd"] == "pos.eq.dec;meta.main"


def test_a_fits_header_says_where_the_numbers_come_from(finished: Run, tmp_path: Path) -> None:
    with fits.open(exported(finished, tmp_path / "a.fits"), checksum=True) as hdus:
        hdus.verify("exception")
        for header in (hdus[0].header, hdus[1].header):
            assert header["SURVEY"] == "decals"
            assert header["REFERENC"] == 'Walmsley et al. 2022 - "DECaLS"'
            assert header["ACKNOWL"].startswith("Thanks to the volunteers & Galvez, Galvez")
            assert header["MODELURI"] == METADATA["model_uri"]
            assert json.loads(header["TREE"]) == TREE.to_dict()
            assert "odd_new_fact: something that a later gzflow notes" in header["HISTORY"]
        column = hdus[1].columns.names.index("bar_no_lower") + 1
        assert hdus[1].header[f"TCOMM{column}"] == "lower end of the central 90% interval: answer no to bar"
        assert hdus[1].header[f"TUCD{column}"] == "src.morph.param;stat.min"
        assert hdus[1].name == "DECALS"


def test_a_votable_is_valid_and_thanks(finished: Run, tmp_path: Path) -> None:
    document = votable.parse(str(exported(finished, tmp_path / "a.xml")), verify="exception")
    facts = {info.name: info.value for info in document.resources[0].infos}
    assert {key: facts[key] for key in METADATA} == {key: str(value) for key, value in METADATA.items()}
    assert document.get_first_table().nrows == 101


def test_csv_is_plain_and_its_companion_describes_it(finished: Run, tmp_path: Path) -> None:
    for name in ("a.csv", "a.csv.gz"):
        frame = pl.read_csv(exported(finished, tmp_path / name), schema_overrides={"id_str": pl.String})
        parts = the_parts(finished)
        assert frame.columns == [*parts.column_names, "split"]
        assert frame["id_str"].to_list() == parts.column("id_str").to_pylist()
        np.testing.assert_array_equal(
            frame["bar_no_upper"].to_numpy().astype(np.float32), parts.column("bar_no_upper").to_numpy()
        )
        assert frame["ra"].null_count() == 1
        cell = json.loads(frame["bar_no_concentrations"][7])
        np.testing.assert_array_equal(np.float32(cell), parts.column("bar_no_concentrations")[7].as_py())
        about = json.loads((tmp_path / f"{name}-metadata.json").read_text("utf-8"))
        assert about["url"] == name
        assert [column["titles"] for column in about["tableSchema"]["columns"]] == frame.columns
        assert about["gzflow:citation"] == METADATA["citation"]


def test_hdf5_has_the_layout_of_zoobot(finished: Run, tmp_path: Path) -> None:
    with h5py.File(exported(finished, tmp_path / "a.hdf5")) as file:
        np.testing.assert_array_equal(file["predictions"], finished.concentrations.transpose(0, 2, 1))
        assert list(file["id_str"].asstr()) == finished.ids
        assert tuple(file["label_cols"].asstr()) == TREE.answers
        assert file["predictions"].shape == (101, len(TREE.answers), SAMPLES)
        assert file.attrs["acknowledgement"] == METADATA["acknowledgement"]
        assert file["split"].asstr()[-1] == "test"


def test_parquet_columns_carry_their_meaning(finished: Run, tmp_path: Path) -> None:
    schema = pq.read_schema(exported(finished, tmp_path / "a.parquet"))
    assert Meaning.of(schema.field("ra")) == Meaning("right ascension, J2000", "deg", "pos.eq.ra;meta.main")
    assert all(Meaning.of(field).description for field in schema)
    assert json.loads(schema.metadata[b"tree"]) == TREE.to_dict()


def test_the_ucds_are_words_of_the_vocabulary() -> None:
    for meaning in meanings(TREE, 0.9).values():
        parse_ucd(meaning.ucd, check_controlled_vocabulary=True)


@pytest.mark.parametrize("name", ["a.fits", "a.vot", "a.csv", "a.h5", "a.parquet"])
def test_the_same_export_is_the_same_bytes(finished: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "again").mkdir()
    first = exported(finished, tmp_path / name).read_bytes()
    assert exported(finished, tmp_path / "again" / name).read_bytes() == first


def test_ids_beyond_ascii_survive_where_the_format_has_them(finished: Run, tmp_path: Path) -> None:
    names = [f"Galáxia-{i}-𝔤" for i in range(101)]
    write_run(tmp_path / "run", ids=names)
    for name, how in (("a.vot", "votable"), ("a.parquet", "parquet")):
        found = Table.read(exported(finished, tmp_path / name, run=str(tmp_path / "run")), format=how)
        assert [str(value) for value in found["id_str"]] == names
    with pytest.raises(ExportError, match="'id_str' has texts that are not ASCII"):
        exported(finished, tmp_path / "a.fits", run=str(tmp_path / "run"))
    assert not (tmp_path / "a.fits").exists()
