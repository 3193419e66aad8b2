"""One table in every format gives the same rows, in slices of any size."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gzflow.catalog.columns import as_ids, as_numbers, column_batches, header, read_columns, without_missing
from gzflow.errors import CatalogError, DiskError

BIG = 8_647_474_690_312_307_154
IDS = [BIG, BIG + 1, -5]
TH50 = np.arange(21, dtype=np.float32).reshape(3, 7) / 10


def fits_file(path: Path) -> None:
    """FITS keeps numbers big-endian, pads text, and marks nothing in its own ways."""
    columns = [
        fits.Column("objid", "K", array=np.array(IDS)),
        fits.Column("IAUNAME", "9A", array=np.array(["AEGIS", "", "J1"])),
        fits.Column("ra", "E", unit="deg", array=np.array([150.1, np.nan, 359.9], np.float32)),
        fits.Column("count", "J", null=-9, array=np.array([3, -9, 0])),
        fits.Column("PETRO_TH50", "7E", array=TH50),
        fits.Column("one", "1D", array=np.array([1.5, 2.5, 3.5])),
        fits.Column("flag", "L", array=np.array([True, False, True])),
        fits.Column("unsigned", "K", bzero=2**63, array=np.array([2**63 + 5, 1, 2], dtype=np.uint64)),
        fits.Column("spectrum", "PE()", array=np.array([np.zeros(2), np.zeros(1), np.zeros(3)], dtype=object)),
    ]
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 4))), fits.BinTableHDU.from_columns(columns)]
    fits.HDUList(hdus).writeto(path)


def votable_file(path: Path, form: str = "tabledata") -> None:
    Table(
        {
            "objid": np.array(IDS),
            "IAUNAME": ["AEGIS   ", "", "J1"],
            "ra": np.array([150.1, np.nan, 359.9], np.float32),
            "count": MaskedColumn([3, 0, 0], mask=[False, True, False]),
            "PETRO_TH50": TH50,
            "flag": [True, False, True],
        }
    ).write(path, format="votable", tabledata_format=form)


def zipped(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    return target


def binary_votable(path: Path) -> None:
    votable_file(path, "binary2")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("write", "ending"),
    [(fits_file, ".fits"), (votable_file, ".vot"), (binary_votable, ".vot")],
    ids=["fits", "votable", "votable-binary"],
)
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_astronomers_tables(
    tmp_path: Path, write: Callable[[Path], None], ending: str, rows: int, *, packed: bool
) -> None:
    path = tmp_path / f"t{ending}"
    write(path)
    if packed:
        path = zipped(path)
    names = header(path)
    assert names[:4] == ["objid", "IAUNAME", "ra", "count"]
    assert {"PETRO_TH50[0]", "PETRO_TH50[6]", "flag"} <= set(names)
    wanted = ["objid", "IAUNAME", "ra", "count", "PETRO_TH50[4]", "flag"]
    batches = list(column_batches(path, {name: name for name in wanted}, rows))
    assert max(map(len, batches)) <= rows
    frame = pl.concat(batches)
    assert as_ids(frame["objid"], "here").to_list() == [str(i) for i in IDS]
    assert frame["IAUNAME"].to_list() == ["AEGIS", None, "J1"]
    ra, unreadable = as_numbers(frame["ra"])
    assert ra.to_list() == [float(np.float32(150.1)), None, float(np.float32(359.9))]
    assert not unreadable.any()
    assert frame["count"].to_list() == [3, None, 0]
    assert frame["PETRO_TH50[4]"].to_list() == TH50[:, 4].tolist()
    assert frame["flag"].to_list() == [True, False, True]


def test_what_only_fits_has(tmp_path: Path) -> None:
    path = tmp_path / "t.fits"
    fits_file(path)
    assert "spectrum" not in header(path)
    frame = read_columns(path, {"unsigned": "unsigned", "one": "one"})
    assert frame.rows() == [(2**63 + 5, 1.5), (1, 2.5), (2, 3.5)]


def test_a_fits_table_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.fits"
    Table({"objid": np.arange(10_000), "ra": np.ones(10_000)}).write(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CatalogError, match="cannot be read as a table") as caught:
        read_columns(path, {"objid": "objid"})
    assert "needs 16" in str(caught.value)
    packed = zipped(path)
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(CatalogError, match="cannot be read as a table"):
        read_columns(packed, {"objid": "objid"})


def test_an_image_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path)
    with pytest.raises(CatalogError, match="holds no binary table"):
        header(path)


def test_a_real_fits_table(shared_data: Path) -> None:
    path = shared_data / "hubble" / "randomselect_uniformwithmag_basicinfo.fits"
    expected = Table.read(path)
    names = [name for name in expected.colnames if expected[name].ndim == 1]
    frame = pl.concat(column_batches(path, {name: name for name in names}, 100))
    assert len(frame) == len(expected) == 566
    for name in names:
        if expected[name].dtype.kind in "if":
            found = frame[name].cast(pl.Float64).to_numpy()
            np.testing.assert_array_equal(found, np.asarray(expected[name], float))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    cells=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), max_size=40),
    rows=st.integers(1, 50),
)
def test_slices_put_together_are_the_csv_file(tmp_path: Path, cells: list[str], rows: int) -> None:
    path = tmp_path / "t.csv"
    whole = pl.DataFrame(
        {"n": [str(i) for i in range(len(cells))], "text": cells}, schema_overrides={"text": pl.String}
    )
    whole.write_csv(path)
    parts = list(column_batches(path, {"n": "n", "text": "text"}, rows))
    assert all(len(part) <= rows for part in parts)
    frame = pl.concat(parts)
    assert frame["n"].to_list() == whole["n"].to_list()
    nothing = {"", "nan", "null", "none", "na", "n/a", "--"}
    stripped = whole["text"].str.strip_chars()
    assert frame["text"].to_list() == [None if text.lower() in nothing else text for text in stripped]


def test_gzip_in_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"id\n1\n") + gzip.compress(b"2\n3\n"))
    assert read_columns(path, {"id": "id"})["id"].to_list() == ["1", "2", "3"]


def test_values_that_mean_none() -> None:
    frame = pl.DataFrame(
        {
            "id": ["-999", "b", "c"],
            "z": ["999.0", "0.1", None],
            "mu": pl.Series([-999.9, 1.0, np.nan], dtype=pl.Float32),
            "n": [-999, 5, 99],
            "note": ["unknown", "x", "999"],
        }
    )
    missing = {"z": (999.0,), "mu": (-999.9,), "note": ("unknown",), "*": (-999,)}
    found = without_missing(frame, missing, "id")
    assert found["id"].to_list() == ["-999", "b", "c"]
    assert found["z"].to_list() == [None, "0.1", None]
    assert found["mu"].is_null().to_list() == [True, False, False]
    assert found["n"].to_list() == [None, 5, 99]
    assert found["note"].to_list() == [None, "x", "999"]


ONE_ROW_GROUP = """
import sys
from pathlib import Path
from gzflow.catalog.columns import column_batches
def peak():  # in KiB; ru_maxrss would begin with that of the process that started this one
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
n = sum(len(batch) for batch in column_batches(Path(sys.argv[1]), {"id": "id", "x": "x"}, 50_000))
print(n, (peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".parquet", ".csv.gz", ".fits"])
def test_a_large_table_is_never_in_memory(tmp_path: Path, ending: str) -> None:
    n, path = 3_000_000, tmp_path / f"t{ending}"
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"id": rng.integers(0, 2**62, n), "x": rng.random(n), "y": rng.random(n)})
    if ending == ".parquet":
        frame.write_parquet(path, row_group_size=n, compression="uncompressed")
    elif ending == ".fits":
        Table({name: frame[name].to_numpy() for name in frame.columns}).write(path)
    else:
        frame.write_csv(tmp_path / "t.csv")
        path = zipped(tmp_path / "t.csv")
    call = [sys.executable, "-c", ONE_ROW_GROUP, str(path)]
    rows, mib = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()
    assert int(rows) == n
    assert int(mib) < 250  # libraries among it; as objects or frames the columns take more


def test_no_room_to_unpack_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Table({"id": ["a"]}).write(tmp_path / "t.fits")
    path = zipped(tmp_path / "t.fits")
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda: full)
        with pytest.raises(DiskError, match="TMPDIR"):
            read_columns(path, {"id": "id"})
