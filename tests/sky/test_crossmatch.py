from __future__ import annotations

from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow import sky
from gzflow.errors import CatalogError, LossyIds, MissingColumns, SettingsError
from gzflow.sky.match import pairs_within

ARCSEC = 1 / 3600
HOWS: tuple[sky.How, ...] = ("all", "nearest", "best")


def frame(*rows: tuple[object, object, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id_str": pl.String, "ra": pl.Float64, "dec": pl.Float64}, orient="row")


def pairs(result: pl.DataFrame) -> list[tuple[str, str]]:
    return list(zip(result["left_id"], result["right_id"], strict=True))


def brute_force(left: pl.DataFrame, right: pl.DataFrame, radius: float, how: sky.How) -> list[tuple[str, str, float]]:
    """Every pair tried; nearest and best by (separation, id)."""

    def known(frame: pl.DataFrame) -> list[tuple[str, float, float]]:
        return [
            row for row in frame.select("id_str", "ra", "dec").rows() if np.isfinite(row[1]) and np.isfinite(row[2])
        ]

    near = {}
    for a, ra1, dec1 in known(left):
        for b, ra2, dec2 in known(right):
            separation = float(sky.separations_arcsec(ra1, dec1, ra2, dec2))
            if separation <= radius + sky.BOUNDARY_TOLERANCE:
                near[a, b] = separation
    of_left = {a: min((s, b) for (x, b), s in near.items() if x == a)[1] for a, _ in near}
    of_right = {b: min((s, a) for (a, x), s in near.items() if x == b)[1] for _, b in near}
    kept = {
        "all": near,
        "nearest": {(a, b) for a, b in near if of_left[a] == b},
        "best": {(a, b) for a, b in near if of_left[a] == b and of_right[b] == a},
    }[how]
    return sorted((a, b, min(near[a, b], radius)) for a, b in kept)


# Where matchers go wrong: the wrap, both poles, and an ordinary place.
CENTRES = st.sampled_from([(0.0, 0.0), (360.0, -30.0), (123.4, 89.9999), (0.0, 90.0), (10.0, -90.0), (150.1, 2.2)])
STEP = st.sampled_from([-2, -1, -0.5, 0, 0, 0.5, 1, 1, 2, 3.7])


@st.composite
def clusters(draw: st.DrawFn, prefix: str, centre: tuple[float, float]) -> pl.DataFrame:
    n = draw(st.integers(0, 12))
    rows = []
    for number in range(n):
        dec = centre[1] + draw(STEP) * ARCSEC
        stretch = max(np.cos(np.radians(centre[1])), 1e-6)
        ra = centre[0] + draw(STEP) * ARCSEC / stretch
        if abs(dec) > 90:  # over the pole and down the other side
            dec, ra = np.sign(dec) * 180 - dec, ra + 180
        position = draw(st.sampled_from([(ra % 360, dec)] * 9 + [(float("nan"), dec)]))
        rows.append((f"{prefix}{number}", *position))
    return frame(*draw(st.permutations(rows)))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), how=st.sampled_from(HOWS), radius=st.sampled_from([0.5, 1.0, 2.0, 3.0, 1000.0]))
def test_equals_brute_force(data: st.DataObject, how: sky.How, radius: float) -> None:
    centre = data.draw(CENTRES)
    left, right = data.draw(clusters("a", centre)), data.draw(clusters("b", centre))
    result = sky.crossmatch(left, right, radius, how)
    expected = brute_force(left, right, radius, how)
    assert pairs(result) == [(a, b) for a, b, _ in expected]
    assert result["separation_arcsec"].to_list() == [s for _, _, s in expected]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), how=st.sampled_from(HOWS), radius=st.floats(1e-3, 648000))
def test_equals_brute_force_all_over_the_sky(seed: int, how: sky.How, radius: float) -> None:
    rng = np.random.default_rng(seed)
    left, right = (
        pl.DataFrame(
            {
                "id_str": [f"{n}" for n in rng.permutation(15)],
                "ra": rng.uniform(-180, 360, 15),
                "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, 15))),
            }
        )
        for _ in range(2)
    )
    expected = brute_force(left, right, radius, how)
    assert [tuple(row) for row in sky.crossmatch(left, right, radius, how).rows()] == expected


@settings(max_examples=40, deadline=None)
@given(data=st.data(), radius=st.sampled_from([0.5, 1.0, 2.0, 1000.0]))
def test_pairs_of_arrays_are_those_of_frames(data: st.DataObject, radius: float) -> None:
    """What LSDB's partitions are matched with: rows instead of ids, and separations that are not cut at the radius."""
    centre = data.draw(CENTRES)
    left, right = data.draw(clusters("a", centre)), data.draw(clusters("b", centre))
    places = [(frame["ra"].to_numpy(), frame["dec"].to_numpy()) for frame in (left, right)]
    i, j, separation = pairs_within(places[0], places[1], radius)
    found = sorted(zip(left["id_str"][i], right["id_str"][j], np.minimum(separation, radius).tolist(), strict=True))
    assert found == brute_force(left, right, radius, "all")
    assert all(s <= radius + sky.BOUNDARY_TOLERANCE for s in separation)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), how=st.sampled_from(HOWS), radius=st.sampled_from([0.5, 2.0, 1000.0]))
def test_float32_positions_equal_brute_force(data: st.DataObject, how: sky.How, radius: float) -> None:
    """Half of the surveys publish them: at 180 degrees they are rounded to 0.05 arcsec, and many pairs are as near."""
    centre = data.draw(CENTRES)
    left, right = (
        data.draw(clusters(prefix, centre)).with_columns(pl.col("ra", "dec").cast(pl.Float32)) for prefix in "ab"
    )
    assert [tuple(row) for row in sky.crossmatch(left, right, radius, how).rows()] == brute_force(
        left.with_columns(pl.col("ra", "dec").cast(pl.Float64)),
        right.with_columns(pl.col("ra", "dec").cast(pl.Float64)),
        radius,
        how,
    )


@settings(max_examples=30, deadline=None)
@given(data=st.data(), radius=st.sampled_from([1.0, 2.0]))
def test_modes_nest_and_best_is_symmetric(data: st.DataObject, radius: float) -> None:
    centre = data.draw(CENTRES)
    left, right = data.draw(clusters("a", centre)), data.draw(clusters("b", centre))
    every, nearest, best = (set(pairs(sky.crossmatch(left, right, radius, how))) for how in HOWS)
    assert best <= nearest <= every
    assert {(a, b) for b, a in pairs(sky.crossmatch(right, left, radius, "best"))} == best
    assert len({a for a, _ in best}) == len({b for _, b in best}) == len(best)


@pytest.mark.parametrize("dec", [0.0, 10.0, -33.3, 60.0, 89.0, 89.9999])
@pytest.mark.parametrize("radius", [0.1, 1.0, 2.0, 10.0, 3600.0])
@pytest.mark.parametrize("how", HOWS)
def test_the_boundary_is_inside(dec: float, radius: float, how: sky.How) -> None:
    left = frame(("a", 359.9, dec))
    right = frame(("b", 359.9, dec - radius / 3600))
    result = sky.crossmatch(left, right, radius, how)
    assert pairs(result) == [("a", "b")]
    assert result["separation_arcsec"][0] <= radius
    beyond = sky.crossmatch(left, frame(("b", 359.9, dec - (radius + 1e-8) / 3600)), radius, how)
    assert beyond.is_empty()


def test_across_the_wrap_and_over_the_pole() -> None:
    left = frame(("wrap", 359.9999, 0.0), ("pole", 0.0, 89.9999), ("same", 360.0, -5.0), ("minus", -10.0, 5.0))
    right = frame(("wrap", 0.0001, 0.0), ("pole", 180.0, 89.9999), ("same", 0.0, -5.0), ("minus", 350.0, 5.0))
    result = sky.crossmatch(left, right, 1.0)
    assert pairs(result) == [(name, name) for name in ("minus", "pole", "same", "wrap")]
    assert result["separation_arcsec"].to_list() == pytest.approx([0, 0.72, 0, 0.72], abs=1e-9)


def test_right_ascension_means_nothing_at_the_pole() -> None:
    result = sky.crossmatch(frame(("a", 17.0, 90.0)), frame(("b", 251.0, 90.0)), 0.001)
    assert pairs(result) == [("a", "b")]


def test_equally_near_galaxies_are_taken_by_id() -> None:
    left = frame(("a", 10.0, 0.0))
    right = frame(("z", 10.0, ARCSEC), ("b10", 10.0, -ARCSEC), ("b9", 10.0, ARCSEC), ("far", 10.0, 1.5 * ARCSEC))
    assert pairs(sky.crossmatch(left, right, 2.0)) == [("a", "b10")]


def test_duplicate_positions() -> None:
    left = frame(("a2", 10.0, 0.0), ("a1", 10.0, 0.0))
    right = frame(("b2", 10.0, 0.0), ("b1", 10.0, 0.0))
    assert len(sky.crossmatch(left, right, 1.0, "all")) == 4
    assert pairs(sky.crossmatch(left, right, 1.0, "nearest")) == [("a1", "b1"), ("a2", "b1")]
    assert pairs(sky.crossmatch(left, right, 1.0, "best")) == [("a1", "b1")]


def test_a_thousand_galaxies_at_one_place() -> None:
    crowd = pl.DataFrame({"id_str": [f"{n:04}" for n in range(1000)], "ra": [7.0] * 1000, "dec": [-7.0] * 1000})
    assert set(sky.crossmatch(crowd, crowd, 1.0)["right_id"]) == {"0000"}
    assert len(sky.crossmatch(crowd, crowd, 1.0, "all")) == 1_000_000


def test_galaxies_without_position_never_match_and_are_counted() -> None:
    nowhere = frame(("n1", None, 0.0), ("n2", 0.0, float("nan")), ("n3", None, None), ("here", 0.0, 0.0))
    assert sky.count_unpositioned(nowhere) == 3
    for how in HOWS:
        assert pairs(sky.crossmatch(nowhere, nowhere, 648000, how)) == [("here", "here")]


@pytest.mark.parametrize("how", HOWS)
def test_empty_frames_give_a_typed_empty_frame(how: sky.How) -> None:
    here, untyped = frame(("a", 0.0, 0.0)), pl.DataFrame({"id_str": ["x"], "ra": [None], "dec": [None]})
    bare = pl.DataFrame({"id_str": [], "ra": [], "dec": []})
    for left, right in ((frame(), here), (here, frame()), (bare, bare), (untyped, here), (here, untyped)):
        result = sky.crossmatch(left, right, 1.0, how)
        assert result.is_empty()
        assert result.schema == {"left_id": pl.String, "right_id": pl.String, "separation_arcsec": pl.Float64}
    assert sky.count_unpositioned(untyped) == 1


def test_float32_positions_are_taken_as_they_are() -> None:
    left = frame(("a", 309.3204, -1.1483592), ("b", 12.5, 33.25))
    narrow = left.with_columns(pl.col("ra", "dec").cast(pl.Float32))
    result = sky.crossmatch(left, narrow, 0.5)
    assert pairs(result) == [("a", "a"), ("b", "b")]
    assert result["separation_arcsec"][0] == pytest.approx(
        float(sky.separations_arcsec(309.3204, -1.1483592, np.float32(309.3204), np.float32(-1.1483592)))
    )
    assert result["separation_arcsec"][1] == 0


def test_the_result_is_sorted_and_ids_become_text() -> None:
    left = pl.DataFrame({"id_str": [10, 9, 2], "ra": [1.0, 1.0, 1.0], "dec": [0.0, 0.0, 0.0]})
    right = left.with_columns(pl.col("id_str").cast(pl.String).cast(pl.Categorical))
    result = sky.crossmatch(left, right, 1.0, "all")
    assert pairs(result) == sorted((a, b) for a in ("10", "2", "9") for b in ("10", "2", "9"))


@pytest.mark.parametrize("radius", [0, -1.0, float("nan"), float("inf"), 648000.1, "2", None])
def test_a_radius_that_is_none(radius: object) -> None:
    with pytest.raises(SettingsError, match="radius_arcsec is"):
        sky.crossmatch(frame(), frame(), radius, "nearest")  # type: ignore[arg-type]


def test_all_options_are_judged_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        sky.crossmatch(frame(), frame(), -1, "closest")  # type: ignore[arg-type]
    assert "radius_arcsec is -1" in str(caught.value)
    assert "how is 'closest'" in str(caught.value)
    assert "all, nearest, best" in str(caught.value)


def test_missing_columns_are_named() -> None:
    with pytest.raises(MissingColumns, match=r"the right frame has no column id_str, dec(.|\n)*RA"):
        sky.crossmatch(frame(), pl.DataFrame({"ra": [1.0], "RA": [1.0]}), 1.0)
    with pytest.raises(MissingColumns, match="dec"):
        sky.count_unpositioned(pl.DataFrame({"ra": [1.0]}))


def test_ids_that_were_floats() -> None:
    left = pl.DataFrame({"id_str": [8.647474690312307e18], "ra": [0.0], "dec": [0.0]})
    with pytest.raises(LossyIds, match="left frame are Float64"):
        sky.crossmatch(left, frame(), 1.0)


@pytest.mark.parametrize("ids", [["x", None], [True, False], [[1], [2]]])
def test_ids_that_are_no_text(ids: list[object]) -> None:
    with pytest.raises(CatalogError, match="the ids of the right frame are no text"):
        sky.crossmatch(frame(), pl.DataFrame({"id_str": ids, "ra": [0.0, 1.0], "dec": [0.0, 1.0]}), 1.0)


def test_positions_off_the_sphere_name_their_rows() -> None:
    bad = frame(("good", 0.0, 0.0), ("hours", 361.0, 0.0), ("sentinel", -9999.0, -9999.0), ("inf", 0.0, np.inf))
    with pytest.raises(CatalogError) as caught:
        sky.crossmatch(bad, frame(), 1.0)
    text = str(caught.value)
    assert "ra outside [-180, 360]: row 1 (id hours): 361, row 2 (id sentinel): -9999" in text
    assert "dec outside [-90, 90]: row 2 (id sentinel): -9999, row 3 (id inf): inf" in text
    many = frame(*((str(n), 0.0, 91.0) for n in range(9)))
    with pytest.raises(CatalogError, match="and 4 more"):
        sky.count_unpositioned(many)


def test_positions_that_are_text() -> None:
    with pytest.raises(CatalogError, match="ra is String"):
        sky.crossmatch(pl.DataFrame({"id_str": ["a"], "ra": ["12:30"], "dec": [0.0]}), frame(), 1.0)


def test_separations_agree_with_astropy_to_1e_9() -> None:
    from astropy.coordinates import angular_separation

    rng = np.random.default_rng(5)
    ra1, ra2 = rng.uniform(-180, 360, (2, 2000))
    dec1, dec2 = np.degrees(np.arcsin(rng.uniform(-1, 1, (2, 2000))))
    expected = np.degrees(angular_separation(*np.radians([ra1, dec1, ra2, dec2]))) * 3600
    np.testing.assert_allclose(sky.separations_arcsec(ra1, dec1, ra2, dec2), expected, rtol=1e-13, atol=1e-9)


@pytest.mark.parametrize("dec", [0.0, 45.0, 89.99999, -89.9])
def test_small_separations_keep_their_digits(dec: float) -> None:
    """A milliarcsecond along a parallel, against the small-angle formula in 50 digits."""
    ra2 = 100 + 1e-7
    with localcontext() as context:
        context.prec = 50
        pi = Decimal("3.14159265358979323846264338327950288419716939937511")
        colatitude = (90 - abs(Decimal(dec))) * pi / 180
        sine = sum((-1) ** k * colatitude ** (2 * k + 1) / _factorial(2 * k + 1) for k in range(25))
        expected = float((Decimal(ra2) - 100) * 3600 * sine)
    assert float(sky.separations_arcsec(100.0, dec, ra2, dec)) == pytest.approx(expected, rel=1e-14)


def _factorial(n: int) -> Decimal:
    return Decimal(n) * _factorial(n - 1) if n > 1 else Decimal(1)


def test_separations_at_the_antipodes_keep_their_digits() -> None:
    assert float(sky.separations_arcsec(0.0, 90.0, 0.0, -90.0)) == 648000
    assert float(sky.separations_arcsec(10.0, 30.0, 190.0, -30.0 + ARCSEC)) == pytest.approx(648000 - 1, abs=1e-9)


def test_separations_are_symmetric_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-90, 90, (2, 5000)) for _ in range(2))
    assert np.array_equal(sky.separations_arcsec(*a, *b), sky.separations_arcsec(*b, *a))


def test_unit_vectors() -> None:
    vectors = sky.unit_vectors([0, 90, 0, np.nan], [0, 0, 90, 1])
    np.testing.assert_allclose(vectors[:3], np.eye(3), atol=1e-16)
    assert np.isnan(vectors[3]).any()


def test_cells_are_healpix_nested() -> None:
    assert sky.cells([0.0, 50.0, np.nan, 10.0], [0.0, 89.9, 3.0, np.nan], order=0).tolist() == [4, 0, -1, -1]
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    fine = sky.cells(ra, dec)
    assert fine.dtype == np.int64
    assert (fine >= 0).all()
    assert (fine < 12 * 4**10).all()
    # NESTED: four cells of one order make one of the order below.
    assert np.array_equal(fine // 4, sky.cells(ra, dec, order=9))
    assert np.array_equal(fine, sky.cells(ra - 360 * (ra > 180), dec))
    assert sky.cells([], []).shape == (0,)


def test_cells_of_positions_off_the_sphere() -> None:
    with pytest.raises(CatalogError, match="row 1: 95"):
        sky.cells([0.0, 0.0], [0.0, 95.0])


@pytest.fixture(scope="module")
def stripe82(shared_data: Path) -> pl.DataFrame:
    table = pl.read_csv(
        shared_data / "gz2_stripe82" / "table5.csv.gz",
        columns=["objid", "ra", "dec"],
        schema_overrides={"objid": pl.String},
    )
    return table.rename({"objid": "id_str"})


def test_stripe_82_matches_itself(stripe82: pl.DataFrame) -> None:
    assert len(stripe82) == 19_761
    for how in ("nearest", "best"):
        result = sky.crossmatch(stripe82, stripe82.sample(fraction=1.0, shuffle=True, seed=1), 2.0, how)
        twins = result.filter(pl.col("left_id") != pl.col("right_id"))
        assert len(result) == 19_761 if how == "nearest" else len(result) >= 19_761 - len(twins)
        assert result["separation_arcsec"].max() == 0
    every = sky.crossmatch(stripe82, stripe82, 60.0, "all")
    swapped = every.select(left_id="right_id", right_id="left_id", separation_arcsec="separation_arcsec")
    assert every.equals(swapped.sort("left_id", "right_id"))


def test_stripe_82_against_astropy(stripe82: pl.DataFrame) -> None:
    """Real positions, moved by up to two arcsec, against search_around_sky."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord, search_around_sky

    rng = np.random.default_rng(82)
    moved = stripe82.with_columns(pl.col("ra", "dec") + pl.Series(rng.uniform(-2, 2, len(stripe82))) / 3600)
    here, there = (SkyCoord(f["ra"].to_numpy(), f["dec"].to_numpy(), unit="deg") for f in (stripe82, moved))
    i, j, separation, _ = search_around_sky(here, there, 2 * u.arcsec)
    expected = pl.DataFrame(
        {"left_id": stripe82["id_str"][i], "right_id": moved["id_str"][j], "separation_arcsec": separation.arcsec}
    ).sort("left_id", "right_id")
    result = sky.crossmatch(stripe82, moved, 2.0, "all")
    assert pairs(result) == pairs(expected)
    np.testing.assert_allclose(result["separation_arcsec"], expected["separation_arcsec"], atol=1e-8)
