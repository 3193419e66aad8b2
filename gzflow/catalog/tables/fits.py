"""FITS binary tables, plain or gzipped."""

from __future__ import annotations

import errno
import gzip
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from gzflow.catalog.tables.vectors import element_names, split_name
from gzflow.errors import CatalogError, DiskError


class FitsTable:
    """The first binary table of a FITS file.

    TNULL and the undefined logical are NULL; blanks and NULs that pad text are not part of it; TSCAL, TZERO and
    unsigned integers are applied. Vector columns are read by element, ``PETRO_TH50[4]`` counted from 0 as astropy does.
    A gzipped file is unpacked to a temporary one first: a table in memory would not be bounded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Columns of text, numbers and logicals; those of variable length, bits and complex numbers are left out."""
        with self._opened(self.path) as hdu:
            return [name for column in hdu.columns for name in _readable_names(column)]

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Typed columns, in this machine's byte order."""
        with self._plain() as path, self._opened(path) as hdu:
            known = set(hdu.columns.names)
            places = {name: (name, None) if name in known else split_name(name) for name in names}
            n = int(hdu.header["NAXIS2"])
            for start in range(0, max(n, 1), rows):
                part = hdu.data[start : start + rows]
                columns = {name: _values(part, hdu.columns, *place) for name, place in places.items()}
                yield pl.DataFrame(columns)

    @contextmanager
    def _plain(self) -> Iterator[Path]:
        if not self.path.name.lower().endswith(".gz"):
            yield self.path
            return
        with tempfile.TemporaryFile() as copy:  # it has no name, so that nothing is left by kill -9
            try:
                with gzip.open(self.path) as packed:
                    shutil.copyfileobj(packed, copy, 2**20)
                copy.flush()
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                raise DiskError(
                    "there is no room to unpack the table",
                    where=f"{self.path}, unpacked in {tempfile.gettempdir()}",
                    expected="room for the unpacked file",
                    fix="make room there, name a folder with more room in TMPDIR, or unpack it yourself and give that",
                ) from error
            yield Path(f"/dev/fd/{copy.fileno()}")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # headers that bend the standard are the rule
            hdus = fits.open(path, memmap=True)
            try:
                table = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
            except BaseException:
                hdus.close()
                raise
        with hdus:
            if table is None:
                raise CatalogError(
                    "the FITS file holds no binary table",
                    where=str(self.path),
                    expected="a BINTABLE extension",
                    fix="give the file of the table, not of an image; an ASCII table can be converted with"
                    " astropy.table.Table.read(...).write(...)",
                )
            self._refuse_cut(table, path)
            yield table

    def _refuse_cut(self, table: Any, path: Path) -> None:
        """A table whose rows end early would otherwise be read as far as it goes, or as zeros."""
        if path.name.lower().endswith(".gz"):
            return  # unpacking it finds that out
        end = table.fileinfo()["datLoc"] + int(table.header["NAXIS1"]) * int(table.header["NAXIS2"])
        if path.stat().st_size < end:
            raise OSError(f"the table needs {end:,} bytes, the file has {path.stat().st_size:,}")


def _readable_names(column: Any) -> list[str]:
    kind = column.format.format  # one of LXBIJKAEDCMPQ
    if kind in "XCMPQ":
        return []
    if kind == "A":
        return [column.name] if column.dim is None else []
    shape = column.dtype.shape if column.dtype is not None else ()
    return element_names(column.name, shape)


def _values(part: Any, columns: Any, name: str, element: tuple[int, ...] | None) -> pl.Series:
    raw: NDArray[Any] = np.asarray(part)[name]
    if raw.dtype.kind == "S":
        return _text(raw)
    values: NDArray[Any] = np.asarray(part.field(name))
    if element is not None:
        index: Any = (slice(None), *element)
        raw, values = raw[index], values[index]
    elif values.ndim > 1:  # one element, written as a vector
        raw, values = raw.reshape(len(raw)), values.reshape(len(values))
    null = columns[name].null
    absent = np.zeros(len(raw), bool)
    if values.dtype.kind == "b":
        absent = raw == 0
    elif isinstance(null, int) and raw.dtype.kind in "iu":
        absent = raw == null
    native = pl.Series(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))))
    return native.to_frame("v").select(pl.when(pl.Series(~absent)).then("v").alias("v")).to_series()


def _text(raw: NDArray[Any]) -> pl.Series:
    # numpy drops the NULs at the end; the blanks go with those of other formats.
    encoded = pa.array(np.ascontiguousarray(raw).tolist(), pa.binary())
    return pl.Series(encoded.cast(pa.string()))
