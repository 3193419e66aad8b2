"""Above memory as in memory: the same pairs, the same separations, across the borders of partitions too."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import polars as pl
import pytest

from gzflow import sky
from gzflow.errors import CatalogError, LossyIds, MissingColumns, SettingsError, StackError

# Deprecations in LSDB's own code.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The inplace keyword")]
hats = pytest.importorskip("gzflow.sky.hats", reason="needs the extra lsdb", exc_type=SettingsError)

RADIUS = 5.0
ARCSEC = 1 / 3600


def frame(ids: list[str], ra: np.ndarray, dec: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"id_str": ids, "ra": ra, "dec": dec})


def catalogs(seed: int = 3) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Where matchers of partitions go wrong: pairs over every border of cells, the wrap, the poles, duplicates."""
    rng = np.random.default_rng(seed)
    n = 1200
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    # Borders of HEALPix base cells: the meridians of 0, 90, 180, 270 degrees in the caps, the equator's corners.
    ra[:300] = rng.choice([0, 45, 90, 135, 180, 270, 315], 300) + rng.normal(0, 2 * ARCSEC, 300)
    dec[400:600] = rng.choice([0, 41.8103149, -41.8103149], 200) + rng.normal(0, 2 * ARCSEC, 200)
    dec[600:640], dec[640:660] = 90 - rng.uniform(0, 6 * ARCSEC, 40), -90 + rng.uniform(0, 6 * ARCSEC, 20)
    step = rng.choice([0.0, 0.5, 2.0, RADIUS, RADIUS + 1e-7, 7.0], (2, n)) * rng.choice([-1, 1], (2, n)) * ARCSEC
    step[rng.integers(0, 2, n), np.arange(n)] = 0
    right_dec = np.clip(dec + step[1], -90, 90)
    right_ra = ra + step[0] / np.maximum(np.cos(np.radians(dec)), 1e-3)
    twice = rng.integers(0, n, 300)
    left = frame([f"a{i}" for i in rng.permutation(n)], ra % 360, dec)
    ids = [f"b{i}" for i in rng.permutation(n + 300)]
    right = frame(ids, np.r_[right_ra, right_ra[twice]] % 360, np.r_[right_dec, right_dec[twice]])
    return left, right


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame, Path, Path]:
    folder = tmp_path_factory.mktemp("hats")
    left, right = catalogs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hats, "ROWS", 100)
        unplaced = frame(["nowhere"], np.array([np.nan]), np.array([3.0]))
        assert hats.write_hats(pl.concat([left, unplaced]), folder / "left", name="left") == 1
        assert hats.write_hats(right, folder / "right", name="right", margin_arcsec=6.0) == 0
    assert len(list((folder / "left" / "left").glob("dataset/*/*/*.parquet"))) > 12
    return left, right, folder / "left", folder / "right"


@pytest.mark.parametrize("how", ["all", "nearest", "best"])
def test_the_same_answer_as_in_memory(both, how: sky.How, tmp_path: Path) -> None:
    left, right, *folders = both
    summary = hats.crossmatch_hats(*folders, tmp_path / "pairs", RADIUS, how)
    found = hats.read_pairs(tmp_path / "pairs").collect().sort(pl.all())
    expected = sky.crossmatch(left, right, RADIUS, how)
    assert (summary.n_left, summary.n_right, summary.n_pairs) == (len(left), len(right), len(expected))
    assert found.select("left_id", "right_id").equals(expected.select("left_id", "right_id"))
    if how == "nearest":
        assert found.equals(expected)
    else:
        np.testing.assert_allclose(found["separation_arcsec"], expected["separation_arcsec"], rtol=0, atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_on_worker_processes_and_into_the_same_folder_again(both, tmp_path: Path) -> None:
    left, right, *folders = both
    hats.crossmatch_hats(*folders, tmp_path / "pairs", 1.0, "nearest")
    hats.crossmatch_hats(*folders, tmp_path / "pairs", RADIUS, "nearest", cluster=2)
    found = hats.read_pairs(tmp_path / "pairs").collect().sort(pl.all())
    assert found.equals(sky.crossmatch(left, right, RADIUS, "nearest"))


@pytest.mark.parametrize(("how", "dec"), [("nearest", -40.0), ("best", -40.0), ("best", 40.1)])
def test_catalogs_that_do_not_meet_have_no_pairs(tmp_path: Path, how: sky.How, dec: float) -> None:
    for name, place in (("one", 40.0), ("other", dec)):
        hats.write_hats(frame(["1", "2"], np.array([10.0, 11.0]), np.array([place] * 2)), tmp_path / name, name=name)
    summary = hats.crossmatch_hats(tmp_path / "one", tmp_path / "other", tmp_path / "pairs", 2.0, how)
    assert summary.n_pairs == 0
    assert hats.read_pairs(tmp_path / "pairs").collect().is_empty()


def test_a_radius_may_be_as_large_as_the_margin(both, tmp_path: Path) -> None:
    left, right, *folders = both
    hats.crossmatch_hats(*folders, tmp_path / "pairs", 6.0)
    assert hats.read_pairs(tmp_path / "pairs").collect().sort(pl.all()).equals(sky.crossmatch(left, right, 6.0))


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(tmp_path: Path, margin: float) -> None:
    one = frame(["1"], np.array([10.0]), np.array([40.0]))
    with pytest.raises(SettingsError, match="the margin is"):
        hats.write_hats(one, tmp_path / "one", name="one", margin_arcsec=margin)


@pytest.mark.parametrize("cluster", [0, -1, "many", "host:8786", "-1"])
def test_a_cluster_that_is_none_is_refused(tmp_path: Path, cluster: str | int) -> None:
    with pytest.raises(SettingsError, match="the cluster is"):
        hats.crossmatch_hats(tmp_path / "a", tmp_path / "b", tmp_path / "pairs", 1.0, cluster=cluster)


def test_a_scheduler_that_does_not_answer_is_named(both, tmp_path: Path) -> None:
    _, _, *folders = both
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(StackError, match="no Dask scheduler answers"),
    ):
        hats.crossmatch_hats(*folders, tmp_path / "pairs", 1.0, cluster="tcp://127.0.0.1:1")
    assert not list(tmp_path.iterdir())


def test_what_would_lose_pairs_is_refused(both, tmp_path: Path) -> None:
    _, _, left, right = both
    with pytest.raises(CatalogError, match="margin is 6 arcsec"):
        hats.crossmatch_hats(left, right, tmp_path / "pairs", 6.1)
    with pytest.raises(CatalogError, match="margin is missing"):
        hats.crossmatch_hats(left, right / "right", tmp_path / "pairs", 1.0)
    with pytest.raises(CatalogError, match="no HATS catalog"):
        hats.crossmatch_hats(left, tmp_path, tmp_path / "pairs", 1.0)
    with pytest.raises(MissingColumns, match="no column objid"):
        hats.crossmatch_hats(left, right, tmp_path / "pairs", 1.0, left_id="objid")
    with pytest.raises(LossyIds, match="ids of right"):
        hats.crossmatch_hats(left, right, tmp_path / "pairs", 1.0, right_id="ra")
    with pytest.raises(SettingsError, match="not well described"):
        hats.crossmatch_hats(left, right, tmp_path / "pairs", 0.0)
    assert not list(tmp_path.iterdir())
