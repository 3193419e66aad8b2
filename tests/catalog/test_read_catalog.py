from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gzflow.catalog.read import CatalogTable, read_catalog
from gzflow.errors import CatalogError, DuplicateIds, EmptyCatalog, LossyIds, MissingColumns
from gzflow.surveys import Survey

Make = Callable[..., Survey]
Row = Callable[..., dict[str, object]]
Table = Callable[..., Path]
ARCHIVE = '[archive]\nmember = "{asset}.jpg"\n[archive.mapping]\nid = "objid"\nalso = ["sample"]\n'
JOIN = ('dec = "dec"', 'dec = "dec"\n[[catalog.join]]\ntable = "sizes"\non = "OBJID"')
CUTOUT = '[cutout]\nservice = "sdss"\npixscale = "0.02 * R90"\n'


def balanced(table: CatalogTable) -> bool:
    return (
        table.n_read
        == len(table.galaxies) + table.n_filtered + table.n_failed
        == len(table.votes) + (table.n_filtered + table.n_failed)
    )


@pytest.mark.parametrize("name", ["catalog.csv", "catalog.parquet"])
def test_galaxies_and_votes_of_both_formats(survey: Make, row: Row, table: Table, name: str) -> None:
    found = read_catalog(survey(), table(row("a"), row("b", ra=359.5), name=name))
    assert found.galaxies.schema == {
        "id_str": pl.String, "ra": pl.Float64, "dec": pl.Float64, "pixscale": pl.Float64, "image": pl.String,
        "carried": pl.String,
    }  # fmt: skip
    assert found.galaxies.rows() == [("a", 10.0, -5.0, None, None, "{}"), ("b", 359.5, -5.0, None, None, "{}")]
    assert found.votes.columns == ["id_str", "disk_yes", "disk_no", "bar_strong", "bar_weak", "bar_no"]
    assert set(found.votes.dtypes[1:]) == {pl.Int32}
    assert found.votes.row(1) == ("b", 4, 1, 1, 0, 3)
    assert (found.n_read, found.n_filtered, found.failures, found.notes) == (2, 0, (), ())


def test_ids_of_19_digits_survive_every_way_in(survey: Make, row: Row, table: Table) -> None:
    first, last = 8_647_474_690_312_307_154, 8_647_474_690_312_307_155
    for name in ("t.csv", "t.parquet"):
        found = read_catalog(survey(), table(row(first), row(last), name=name))
        assert found.galaxies["id_str"].to_list() == [str(first), str(last)]


def test_float_ids_are_refused(survey: Make, row: Row, table: Table) -> None:
    with pytest.raises(LossyIds, match="stored as Float64"):
        read_catalog(survey(), table(row(8.647e18), name="t.parquet"))
    with pytest.raises(LossyIds, match="2 ids are written as floats") as caught:
        read_catalog(survey(), table(row("587726016142835881.0"), row("1.0"), row("a")))
    assert "587726016142835881.0, 1.0" in str(caught.value)


def test_all_missing_columns_come_in_one_message(survey: Make, row: Row, table: Table) -> None:
    poor = row()
    for name in ("dec", "bar_strong", "disk_total"):
        del poor[name]
    path = table(poor | {"bar_strongly": 1})
    with pytest.raises(MissingColumns, match="lacks 3 column") as caught:
        read_catalog(survey(), path)
    text = str(caught.value)
    assert str(path) in text
    assert "'bar_strong' (did you mean bar_strongly" in text
    assert "'disk_total'" in text
    assert "'dec'" in text


def test_a_column_that_stands_twice_is_refused(survey: Make, row: Row, table: Table) -> None:
    path = table(row("a") | {"other": 5})
    path.write_text(path.read_text().replace("other", "disk_yes"))
    with pytest.raises(CatalogError, match="stand twice in the header") as caught:
        read_catalog(survey(), path)
    assert "'disk_yes': 2 times" in str(caught.value)


def test_text_stored_as_bytes_is_text(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "sample = \'original\'"'))
    found = read_catalog(chosen, table(row(b"COS_1  ", sample=b"original  "), name="t.parquet"))
    assert found.galaxies["id_str"].to_list() == ["COS_1"]


def test_another_case_of_a_column_is_accepted(survey: Make, row: Row, table: Table) -> None:
    loud = {key.upper() if key in {"ra", "dec", "name"} else key: value for key, value in row().items()}
    assert read_catalog(survey(), table(loud)).galaxies["dec"].to_list() == [-5.0]


def test_duplicate_ids_are_refused_even_if_the_rows_agree(survey: Make, row: Row, table: Table) -> None:
    with pytest.raises(DuplicateIds, match="1 ids stand in more than one row") as caught:
        read_catalog(survey(), table(row("a"), row("a"), row("b")))
    assert "for example a" in str(caught.value)


def test_duplicates_that_the_filter_resolves_are_none(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "sample = \'original\'"'))
    path = table(row("a", sample="original  "), row("a", sample="extra"))
    found = read_catalog(chosen, path)
    assert (len(found.galaxies), found.n_filtered) == (1, 1)
    assert balanced(found)


def test_an_empty_id_is_a_failure(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(), table(row("a"), row(None), row("  ")))
    assert [failure.reason for failure in found.failures] == ["missing-id"] * 2
    assert len({failure.id_str for failure in found.failures}) == 2
    assert balanced(found)


def test_an_empty_catalog_is_refused(survey: Make, table: Table, row: Row, tmp_path: Path) -> None:
    path = table(row())
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(EmptyCatalog, match="has no rows"):
        read_catalog(survey(), path)


def test_a_filter_that_keeps_nothing_shows_what_is_there(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "sample = \'original\'"'))
    with pytest.raises(EmptyCatalog, match="keeps none of 2 rows") as caught:
        read_catalog(chosen, table(row("a", sample="stripe82"), row("b", sample="extra")))
    assert "sample is stripe82, extra" in str(caught.value)


def test_a_filter_leaves_out_null_and_false(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "NOT wrong AND mag < 17.5"'))
    rows = [row("a", wrong="False", mag=17), row("b", wrong="True", mag=17), row("c", wrong=None, mag=17)]
    found = read_catalog(chosen, table(*rows, row("d", wrong="False", mag=18.5)))
    assert found.galaxies["id_str"].to_list() == ["a"]
    assert found.n_filtered == 3


def test_a_filter_that_does_not_fit_the_table_says_so(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "NOT mag"'))
    with pytest.raises(CatalogError, match=r"catalog.where does not work on this table") as caught:
        read_catalog(chosen, table(row("a", mag="bright")))
    assert "mag (String)" in str(caught.value)


def test_numbers_with_text_among_them_are_not_compared_as_text(survey: Make, row: Row, table: Table) -> None:
    """As text, 9 would be more than 17.5."""
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "mag < 17.5"'))
    with pytest.raises(CatalogError, match=r"catalog.where needs numbers where this table has text") as caught:
        read_catalog(chosen, table(row("a", mag="9"), row("b", mag="17"), row("c", mag="bright")))
    assert "mag: 2 numbers and 1 texts, for example bright" in str(caught.value)


def test_galaxies_without_position_are_kept_and_noted(survey: Make, row: Row, table: Table) -> None:
    rows = [row("a"), row("b", ra=float("nan")), row("c", dec=None), row("d", ra=None, dec=None)]
    found = read_catalog(survey(), table(*rows))
    assert found.galaxies["ra"].to_list() == [10.0, None, None, None]
    assert found.galaxies["dec"].to_list() == [-5.0, None, None, None]
    assert found.notes == ("3 of 4 galaxies have no position, so that only files can give their images",)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 90.5), (10.0, -999.0), (-999.0, 0.0), (400.0, 0.0), ("12:01:37", 0.0)])
def test_positions_off_the_sky_are_failures(survey: Make, row: Row, table: Table, ra: object, dec: object) -> None:
    found = read_catalog(survey(), table(row("a"), row("b", ra=str(ra), dec=str(dec))))
    (failure,) = found.failures
    assert (failure.id_str, failure.stage, failure.reason) == ("b", "catalog", "bad-position")
    assert f"ra = {ra}" in failure.detail
    assert balanced(found)


@pytest.mark.parametrize(("ra", "kept"), [(-0.5, 359.5), (360.0, 0.0), (-180.0, 180.0), (0.0, 0.0)])
def test_right_ascension_is_brought_into_one_turn(survey: Make, row: Row, table: Table, ra: float, kept: float) -> None:
    assert read_catalog(survey(), table(row("a", ra=ra))).galaxies["ra"].to_list() == [kept]


def test_a_catalog_without_positions_needs_none(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(('ra = "ra"\ndec = "dec"\n', "")), table(row("a")))
    assert found.galaxies["ra"].to_list() == [None]
    assert found.notes == ()


def test_a_galaxy_with_two_problems_has_one_failure(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(), table(row("a"), row("b", dec=99, disk_yes=-1), row("c")))
    (failure,) = found.failures
    assert failure.reason == "bad-position"
    assert "disk_yes = -1" in failure.detail
    assert balanced(found)


def test_nothing_usable_is_an_error_with_examples(survey: Make, row: Row, table: Table) -> None:
    with pytest.raises(EmptyCatalog, match="none of 2 rows is usable: 0 left out by the filter, 2 failed") as caught:
        read_catalog(survey(), table(row("a", dec=99), row("b", dec=99)))
    assert "a: bad-position" in str(caught.value)


def test_carried_columns_keep_their_types(survey: Make, row: Row, table: Table) -> None:
    carrying = survey(('dec = "dec"', 'dec = "dec"\ncarry = ["z", "group", "big", "flag"]'))
    path = table(row("a", z=0.1, group='say "hi"', big=8647474690312307154, flag=True), row("b", z=None, group=None))
    found = read_catalog(carrying, path)
    assert [json.loads(text) for text in found.galaxies["carried"]] == [
        {"z": 0.1, "group": 'say "hi"', "big": 8647474690312307154, "flag": True},
        {"z": None, "group": None, "big": None, "flag": None},
    ]


def test_the_pixel_scale_follows_the_rule_row_by_row(survey: Make, row: Row, table: Table) -> None:
    scaled = survey(more='[cutout]\nservice = "sdss"\npixscale = "GREATEST(LEAST(r50 * 0.04, r90 * 0.02), 0.1)"\n')
    rows = [row("a", r50=5, r90=20), row("b", r50=1, r90=1), row("c", r50=None, r90=None), row("d", r50=20.5, r90=15)]
    found = read_catalog(scaled, table(*rows)).galaxies["pixscale"].to_list()
    assert found[:2] == pytest.approx([0.2, 0.1])
    assert found[2:] == [None, pytest.approx(0.3)]


@pytest.mark.parametrize("nothing", ["NaN", "", "inf"])
def test_a_galaxy_without_any_size_has_no_pixel_scale_whatever_the_rules_floor(
    survey: Make, row: Row, table: Table, nothing: str
) -> None:
    scaled = survey(more='[cutout]\nservice = "sdss"\npixscale = "GREATEST(LEAST(r50 * 0.04, r90 * 0.02), 0.1)"\n')
    rows = [row("a", r50=nothing, r90=nothing), row("b", r50=nothing, r90=20.0), row("c", r50=1.0, r90=1.0)]
    found = read_catalog(scaled, table(*rows))
    assert found.galaxies["pixscale"].to_list() == [None, pytest.approx(0.4), pytest.approx(0.1)]
    assert found.notes == ("1 of 3 galaxies have no pixel scale, so that only files can give their images",)


def test_a_pixel_scale_that_names_no_column_holds_for_all(survey: Make, row: Row, table: Table) -> None:
    scaled = survey(more='[cutout]\nservice = "sdss"\npixscale = "0.396 / 2"\n')
    assert read_catalog(scaled, table(row("a"))).galaxies["pixscale"].to_list() == [pytest.approx(0.198)]


def test_a_fixed_pixel_scale_holds_for_all(survey: Make, row: Row, table: Table) -> None:
    scaled = survey(more='[cutout]\nservice = "sdss"\npixscale = 0.396\n')
    assert read_catalog(scaled, table(row("a"))).galaxies["pixscale"].to_list() == [0.396]


def test_a_pixel_scale_that_is_none_is_null_and_noted(survey: Make, row: Row, table: Table) -> None:
    scaled = survey(more='[cutout]\nservice = "sdss"\npixscale = "r"\n')
    found = read_catalog(scaled, table(row("a", r=-1.0), row("b", r=0.5), row("c", r=None), row("d", r=0)))
    assert found.galaxies["pixscale"].to_list() == [None, 0.5, None, None]
    assert found.notes == ("3 of 4 galaxies have no pixel scale, so that only files can give their images",)


def joined(folder: Path, text: str) -> Path:
    path = folder / "sizes.csv"
    path.write_text(text)
    return path


def test_a_joined_table_brings_columns_of_any_case(survey: Make, row: Row, table: Table, tmp_path: Path) -> None:
    with_sizes = survey(JOIN, more=CUTOUT)
    big = "587726016142835881"
    sizes = joined(tmp_path, f"objid,r90,other\n{big},10.0,x\nzzz,3,x\n")
    found = read_catalog(with_sizes, table(row(big), row("b")), joins={"sizes": sizes})
    assert found.galaxies["id_str"].to_list() == [big, "b"]
    assert found.galaxies["pixscale"].to_list() == [pytest.approx(0.2), None]
    assert "1 of 2 rows have no partner in sizes" in found.notes


def test_without_the_joined_table_its_columns_are_empty(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(JOIN, more=CUTOUT), table(row("a")))
    assert found.galaxies["pixscale"].to_list() == [None]
    assert found.notes[0] == "table sizes was not given: no R90"


def test_a_filter_cannot_do_without_the_joined_table(survey: Make, row: Row, table: Table) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "R90 > 3"\n[[catalog.join]]\ntable = "sizes"\non = "OBJID"'))
    with pytest.raises(MissingColumns) as caught:
        read_catalog(chosen, table(row("a")))
    assert "'R90' (it may be in sizes, which was not given)" in str(caught.value)


def test_a_joined_table_must_have_its_key_and_one_row_an_id(
    survey: Make, row: Row, table: Table, tmp_path: Path
) -> None:
    with_sizes, path = survey(JOIN, more=CUTOUT), table(row("a"))
    with pytest.raises(MissingColumns, match="lacks 1 column") as missing:
        read_catalog(with_sizes, path, joins={"sizes": joined(tmp_path, "objidd,R90\na,1\n")})
    assert "'OBJID' in" in str(missing.value)
    with pytest.raises(DuplicateIds, match="1 ids stand several times in the joined table 'sizes'"):
        read_catalog(with_sizes, path, joins={"sizes": joined(tmp_path, "OBJID,R90\na,1\na,1\n")})
    with pytest.raises(LossyIds, match="written as floats"):
        read_catalog(with_sizes, path, joins={"sizes": joined(tmp_path, "OBJID,R90\n5877.0,1\n")})


def test_tables_that_the_survey_does_not_use_are_refused(survey: Make, row: Row, table: Table) -> None:
    path = table(row("a"))
    with pytest.raises(CatalogError, match="joins no table called sizes"):
        read_catalog(survey(), path, joins={"sizes": path})
    with pytest.raises(CatalogError, match=r"has no \[archive.mapping\]"):
        read_catalog(survey(), path, mapping=path)


def test_images_are_named_by_the_catalog(survey: Make, row: Row, table: Table) -> None:
    named = survey(('dec = "dec"', 'dec = "dec"\nimage = "file"'))
    found = read_catalog(named, table(row("a", file="x/a.jpg"), row("b", file=None)))
    assert found.galaxies["image"].to_list() == ["x/a.jpg", None]


def test_images_are_named_by_a_pattern(survey: Make, row: Row, table: Table) -> None:
    named = survey(more='[archive]\nmember = "{id[:2]}/{number}.png"\n')
    found = read_catalog(named, table(row("abc", number=7), row("xyz", number=None)))
    assert found.galaxies["image"].to_list() == ["ab/7.png", None]


def test_images_are_named_by_a_mapping(survey: Make, row: Row, table: Table, tmp_path: Path) -> None:
    named = survey(more=ARCHIVE)
    path = table(row("1", sample="original "), row("2", sample="original"))
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("objid,sample,asset\n1,original,10\n1,extra,11\n2,extra,12\n")
    found = read_catalog(named, path, mapping=mapping)
    assert found.galaxies["image"].to_list() == ["10.jpg", None]
    assert found.notes == ("1 of 2 galaxies are not in the mapping file",)
    unmapped = read_catalog(named, path)
    assert unmapped.galaxies["image"].to_list() == [None, None]
    assert "no mapping file was given" in unmapped.notes[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "3.5", "-91", "north"]),
            st.sampled_from([None, "original", "extra", "original "]),
            st.sampled_from(["5", "6", "-1", "", "x"]),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
def test_every_row_is_in_exactly_one_place(
    survey: Make, row: Row, table: Table, rows: list[tuple[str | None, str | None, str]]
) -> None:
    chosen = survey(('dec = "dec"', 'dec = "dec"\nwhere = "sample = \'original\'"'))
    sound = [row(f"sound-{i}", sample="original") for i in range(len(rows) + 1)]
    odd = [row(f"odd-{i}", dec=dec, sample=sample, disk_total=n) for i, (dec, sample, n) in enumerate(rows)]
    found = read_catalog(chosen, table(*sound, *odd))
    assert balanced(found)
    kept, failed = set(found.galaxies["id_str"]), {failure.id_str for failure in found.failures}
    assert not kept & failed
    assert kept | failed == {r["name"] for r in sound + odd if str(r["sample"]).strip() == "original"}


def test_an_id_with_a_nul_is_no_id(survey: Make, row: Row, table: Table) -> None:
    found = read_catalog(survey(), table(row("a"), row("b\0c")))
    assert found.galaxies["id_str"].to_list() == ["a"]
    assert [(f.id_str, f.reason, f.detail) for f in found.failures] == [
        ("row 2 of catalog.csv", "missing-id", "column 'name' has a NUL character: 'b\\x00c'")
    ]


def test_lists_are_no_values(survey: Make, row: Row, table: Table) -> None:
    with pytest.raises(CatalogError, match="lists or structures") as caught:
        read_catalog(survey(), table(row(["a"]), name="t.parquet"))
    assert "'name': List(String)" in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [("", "the file is empty"), ("<!DOCTYPE html>\n", "a web page")])
def test_what_is_no_table_is_said_to_be_none(survey: Make, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(CatalogError, match=said):
        read_catalog(survey(), tmp_path / "t.csv")
