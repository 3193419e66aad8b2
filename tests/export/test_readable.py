"""What was exported in any format reads back as the run that it was exported from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from gzflow.errors import ExportError
from gzflow.export.readable import ReadableCatalogue
from gzflow.settings import Settings
from gzflow.stages.export import ExportOptions, export

from .conftest import SIZES, TREE, Run, write_run

FORMATS = ["parquet", "fits", "vot", "csv", "csv.gz", "hdf5"]
QUESTION = TREE.questions[1]
NAMES = ["id_str", "ra", "split", f"{QUESTION.name}_proportion-asked"]
NAMES += [f"{column}_{kind}" for column in QUESTION.columns for kind in ("fraction", "lower", "upper")]


def exported(run: Run, file: Path, **options: float) -> ReadableCatalogue:
    export(ExportOptions("decals", file, log=False, **options), run.settings)
    return ReadableCatalogue.open(file)


def assert_same(one: ReadableCatalogue, other: ReadableCatalogue, names: list[str]) -> None:
    found, expected = one.read(names), other.read(names)
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_columns_tree_and_provenance_of_its_run(
    finished: Run, tmp_path: Path, suffix: str
) -> None:
    catalogue, run = exported(finished, tmp_path / f"a.{suffix}"), ReadableCatalogue.open(finished.folder)
    assert catalogue.tree == run.tree
    assert set(NAMES) <= set(catalogue.columns)
    assert catalogue.provenance["model_uri"] == "models:/gzflow-decals/1"
    assert_same(catalogue, run, NAMES)


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_too_few_would_be_asked_is_left_out_in_every_format(finished: Run, tmp_path: Path, suffix: str) -> None:
    catalogue = exported(finished, tmp_path / f"a.{suffix}", asked=0.3)
    run = ReadableCatalogue.open(finished.folder)
    answer, share = NAMES[4], NAMES[3]
    kept = run.read([share])[share] >= np.float32(0.3)
    assert 0 < kept.sum() < len(kept)
    expected = np.where(kept, run.read([answer])[answer], np.nan)
    np.testing.assert_array_equal(catalogue.read([answer])[answer], expected)
    shares = catalogue.read([share])[share]
    np.testing.assert_array_equal(shares[kept], run.read([share])[share][kept])


def test_shares_below_an_answer_that_was_left_out_are_not_made_up(finished: Run, tmp_path: Path) -> None:
    """HDF5 keeps no shares: they come from the samples of the questions before."""
    catalogue, run = (exported(finished, tmp_path / f"a.{suffix}", asked=0.6) for suffix in ("hdf5", "parquet"))
    unknown = 0
    for question in TREE.questions:
        name = f"{question.name}_proportion-asked"
        found, expected = (one.read([name])[name] for one in (catalogue, run))
        unknown += np.isnan(found).sum()
        np.testing.assert_array_equal(found[~np.isnan(found)], expected[~np.isnan(found)])
    assert unknown


@pytest.mark.parametrize("suffix", ["vot", "csv", "hdf5"])
def test_ids_beyond_ascii_are_read_back(tmp_path: Path, suffix: str) -> None:
    settings = Settings.load({}, home=tmp_path / "home")
    ids = [f"Gál-{i}Ā" if i % 2 else f"🌌{i}" for i in range(sum(SIZES.values()))]
    folder = settings.predictions("decals") / "v1-abcd1234"
    catalogue = exported(Run(settings, folder, *write_run(folder, ids=ids)), tmp_path / f"a.{suffix}")
    assert catalogue.ids.tolist() == ids


def test_a_votable_that_another_program_saved_again_is_read(finished: Run, tmp_path: Path) -> None:
    ours = exported(finished, tmp_path / "ours.vot")
    document = Table.read(tmp_path / "ours.vot", format="votable")
    again = tmp_path / "again.xml"
    document.write(again, format="votable")
    again.write_text(again.read_text().replace("<TABLE", f"{_infos(tmp_path / 'ours.vot')}<TABLE", 1))
    assert_same(ReadableCatalogue.open(again), ours, NAMES)


def _infos(file: Path) -> str:
    """The provenance, which astropy's tables drop and other programs keep."""
    return "\n".join(line for line in file.read_text().splitlines() if line.lstrip().startswith("<INFO"))


@pytest.mark.parametrize("suffix", ["csv", "hdf5", "vot", "txt"])
def test_a_file_without_tree_is_refused(finished: Run, tmp_path: Path, suffix: str) -> None:
    exported(finished, tmp_path / "a.csv")
    (tmp_path / "a.csv-metadata.json").unlink()
    file = tmp_path / f"b.{suffix}"
    if suffix in {"csv", "txt"}:
        (tmp_path / "a.csv").rename(file)
    else:
        table = Table({"id_str": ["a"], "ra": [1.0]})
        table.write(file, **({"path": "table"} if suffix == "hdf5" else {"format": "votable"}))
    with pytest.raises(ExportError, match="no catalogue that can be read back"):
        ReadableCatalogue.open(file)


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_was_cut_off_is_refused_by_its_name(
    finished: Run, tmp_path: Path, suffix: str, share: float
) -> None:
    file = tmp_path / f"a.{suffix}"
    exported(finished, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError, match=rf"cannot be read(.|\n)*a.{suffix}"):
        assert ReadableCatalogue.open(file).ids is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_that_somebody_took_away_are_named(finished: Run, tmp_path: Path, suffix: str) -> None:
    catalogue = exported(finished, tmp_path / f"a.{suffix}")
    with pytest.raises(ExportError, match=r"lacks 1 of 2 columns(.|\n)*bar_fraction"):
        catalogue.read(["ra", "bar_fraction"])


def test_a_csv_that_another_program_describes_is_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id_str\n1\n")
    (tmp_path / "a.csv-metadata.json").write_text('{"tableSchema": {"columns": [{"name": "id_str"}]}}')
    with pytest.raises(ExportError, match="no catalogue that can be read back"):
        ReadableCatalogue.open(tmp_path / "a.csv")
