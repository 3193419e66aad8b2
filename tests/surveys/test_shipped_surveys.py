from __future__ import annotations

import json
from pathlib import Path

import pytest

from gzflow import load_survey, survey_names
from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.members import placeholders

SIZES = {"candels": (17, 50), "decals": (10, 34), "gz2": (11, 37), "gz2_stripe82": (11, 37), "hubble": (18, 57)}
TABLES = {
    "candels": "gz_candels_table_2_main_release",
    "decals": "gz_decals_volunteers_5",
    "gz2": "gz2_hart16.csv",
    "gz2_stripe82": "gz2_prerelease_table5_stripe82_coadd2.csv",
    "hubble": "gz_hubble_main",
}
# Our name of an answer -> words that its column must contain, wherever the two differ.
WORDS = {
    "artifact": ("artifact",),
    "featured-or-disk": ("feature",),
    "round": ("completely",),
    "cigar-shaped": ("cigar",),
    "in-between": ("in_between", "inbetween"),
    "none": ("no_bulge",),
    "straight-line": ("line",),
    "cluster-or-irregular": ("cluster",),
    "more-than-4": ("more_than_4", "5_plus"),
    "merger": ("merger", "merging"),
    "yes": ("yes", "bar", "spiral"),
    "no": ("no",),
}


@pytest.fixture(scope="session")
def facts(shared_data: Path) -> Path:
    folder = shared_data.parent / "facts"
    if not (folder / "headers.json").is_file():
        pytest.skip("the collected table headers are not beside this checkout (../shared/facts)")
    return folder


def test_the_shipped_surveys_are_these() -> None:
    assert survey_names() == tuple(sorted(SIZES))


@pytest.mark.parametrize("name", SIZES)
def test_every_shipped_survey_is_complete(name: str) -> None:
    survey = load_survey(name)
    assert survey.name == name
    assert (len(survey.tree.questions), len(survey.tree.answers)) == SIZES[name]
    assert len(survey.vote_columns()) == len(survey.tree.answers)
    about = survey.about
    assert all([about.title, about.citation, about.licence, about.acknowledgement])
    assert about.citation.split(" et al.")[0] in about.acknowledgement


@pytest.mark.parametrize("name", SIZES)
def test_every_column_stands_in_the_released_table(name: str, facts: Path) -> None:
    survey, headers = load_survey(name), json.loads((facts / "headers.json").read_text())
    present = set(headers[TABLES[name]])
    catalog = survey.catalog
    named = [catalog.id, catalog.ra, catalog.dec, *catalog.carry, *sql_columns(catalog.where)]
    named += [column for pair in survey.vote_columns() for column in pair]
    assert set(named) - {None} <= present
    joined = set().union(*(headers[join.table] for join in catalog.join))
    assert {join.on for join in catalog.join} <= joined
    if survey.cutout is not None:
        assert set(sql_columns(survey.cutout.pixscale)) <= present | joined
    assert survey.archive is not None
    mapping = set()
    if survey.archive.mapping is not None:
        mapping = set(headers["gz2_filename_mapping.csv"])
        assert {survey.archive.mapping.id, *survey.archive.mapping.also} <= mapping
    assert set(placeholders(survey.archive.member)) <= present | mapping


@pytest.mark.parametrize("name", SIZES)
def test_every_answer_is_read_from_the_column_of_that_meaning(name: str) -> None:
    survey = load_survey(name)
    for answer, (column, total) in zip(survey.tree.answers, survey.vote_columns(), strict=True):
        question, _, word = answer.partition("_")
        words = (word, word.replace("-", "_"), *WORDS.get(word, ()))
        assert any(part in column for part in words), (answer, column)
        if name not in {"gz2", "gz2_stripe82"}:
            assert total is not None
            assert column[:4] == total[:4] or column.startswith(question)


@pytest.mark.parametrize(
    ("name", "schema"),
    [("gz2", "gz2_volunteer_tree"), ("hubble", "hubble_volunteer_tree"), ("candels", "candels_volunteer_tree")],
)
def test_the_trees_are_the_volunteers_own(name: str, schema: str, facts: Path) -> None:
    published = json.loads((facts / "schemas.json").read_text())[schema]["questions"]
    tree = load_survey(name).tree
    assert [(q.name, list(q.answers)) for q in tree.questions] == [(q["name"], q["answers"]) for q in published]
    for ours, theirs in zip(tree.questions, published, strict=True):
        assert set(ours.asked_after) == {f"{p['question']}={p['answer']}" for p in theirs["parents"]}


def test_decals_is_the_peers_tree_but_for_merging(facts: Path) -> None:
    published = json.loads((facts / "schemas.json").read_text())["decals_dr5"]["questions"]
    tree = load_survey("decals").tree
    assert [(q.name, list(q.answers)) for q in tree.questions] == [(q["base_name"], q["answers"]) for q in published]
    for ours, theirs in zip(tree.questions[:-1], published[:-1], strict=True):
        parent = theirs["parent"]
        expected = () if parent is None else (f"{parent['question'].removesuffix('-dr5')}={parent['answer']}",)
        assert ours.asked_after == expected
    assert tree.questions[-1].asked_after == ("smooth-or-featured=smooth", "smooth-or-featured=featured-or-disk")


def test_only_surveys_with_a_verified_service_have_one() -> None:
    services = {name: load_survey(name).cutout for name in SIZES}
    assert {name: spec.service for name, spec in services.items() if spec} == {"decals": "legacysurvey", "gz2": "sdss"}


def test_stripe82_inherits_the_tree_and_drops_what_its_table_lacks() -> None:
    base, variant = load_survey("gz2"), load_survey("gz2_stripe82")
    assert variant.tree == base.tree
    assert variant.catalog.id == "objid"
    assert variant.catalog.join == ()
    assert variant.cutout is None
    assert variant.archive is not None
    assert variant.archive.mapping is None
    assert variant.fingerprint != base.fingerprint
