from __future__ import annotations

import json
from pathlib import Path

import pytest

from gzflow import load_survey, survey_names
from gzflow.catalog.assemble import sql_columns
from gzflow.catalog.members import placeholders
from gzflow.cutouts.services import problems

GZ2, DECALS, HUBBLE = (11, 37), (10, 34), (18, 57)
SIZES = {
    "candels": (17, 50),
    "decals": DECALS,
    "decals_dr12": (10, 30),
    "desi": DECALS,
    "gz2": GZ2,
    "gz2_fits": GZ2,
    "gz2_like_decals": GZ2,
    "gz2_main_photoz": GZ2,
    "gz2_main_specz": GZ2,
    "gz2_stripe82": GZ2,
    "gz2_stripe82_coadd1": GZ2,
    "gz2_stripe82_coadd2": GZ2,
    "gz2_stripe82_normal": GZ2,
    "hubble": HUBBLE,
    "hubble_faded": HUBBLE,
    "hubble_ferengi": HUBBLE,
    "hubble_goods_shallow": HUBBLE,
    "hubble_recoloured": HUBBLE,
    "hubble_sdss_coadd": HUBBLE,
    "hubble_sdss_single": HUBBLE,
    "hubble_simulated_agn": HUBBLE,
    "kaggle": GZ2,
}
TABLES = {
    "candels": "gz_candels_table_2_main_release",
    "decals": "gz_decals_volunteers_5",
    "decals_dr12": "gz_decals_volunteers_1_and_2",
    "gz2": "gz2_hart16.csv",
    "gz2_fits": "gz2_hart16.csv",
    "gz2_like_decals": "gz2_hart16.csv",
    "gz2_main_photoz": "zoo2MainPhotoz",
    "gz2_main_specz": "zoo2MainSpecz",
    "gz2_stripe82": "gz2_prerelease_table5_stripe82_coadd2.csv",
    "gz2_stripe82_coadd1": "zoo2Stripe82Coadd1",
    "gz2_stripe82_coadd2": "zoo2Stripe82Coadd2",
    "gz2_stripe82_normal": "zoo2Stripe82Normal",
    "hubble": "gz_hubble_main",
    "kaggle": "kaggle_training_solutions_rev1.csv",
} | {name: f"gz_{name}" for name in SIZES if name.startswith("hubble_")}
# The real CSV of this table writes a column otherwise than its description, from which the fact was taken.
REAL_NAMES = {"zoo2MainSpecz": {"gz2_class"}}
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
    assert len(survey.vote_columns()) == (len(survey.tree.answers) if name in TABLES else 0)
    about = survey.about
    assert all([about.title, about.citation, about.licence, about.acknowledgement])
    assert about.citation.split(" et al.")[0] in about.acknowledgement


@pytest.mark.parametrize("name", TABLES)
def test_every_column_stands_in_the_released_table(name: str, facts: Path) -> None:
    survey, headers = load_survey(name), json.loads((facts / "headers.json").read_text())
    present = set(headers[TABLES[name]]) | REAL_NAMES.get(TABLES[name], set())
    catalog = survey.catalog
    named = [catalog.id, catalog.ra, catalog.dec, *sql_columns(catalog.where)]
    named += [column for pair in survey.vote_columns() for column in pair]
    assert set(named) - {None} <= present
    joined = set().union(*(headers[join.table] for join in catalog.join))
    carried = survey.carried_columns()
    assert {column for entry in catalog.carry for column in carried[entry]} <= present | joined
    # Of the names that releases differ in, one at least is this release's.
    assert not catalog.carry_if_present or set(catalog.carry_if_present) & (present | joined)
    assert {join.on for join in catalog.join} <= joined
    if survey.cutout is not None:
        assert set(sql_columns(survey.cutout.pixscale)) <= present | joined
    if survey.archive is None:
        return
    mapping = set()
    if survey.archive.mapping is not None:
        mapping = set(headers["gz2_filename_mapping.csv"])
        assert {survey.archive.mapping.id, *survey.archive.mapping.also} <= mapping
    assert set(placeholders(survey.archive.member)) <= present | mapping


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"kaggle"}))
def test_every_answer_is_read_from_the_column_of_that_meaning(name: str) -> None:
    survey = load_survey(name)
    for answer, (column, total) in zip(survey.tree.answers, survey.vote_columns(), strict=True):
        question, _, word = answer.partition("_")
        words = (word, word.replace("-", "_"), *WORDS.get(word, ()))
        assert any(part in column for part in words), (answer, column)
        if not name.startswith("gz2"):
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


def test_the_earlier_decals_tree_is_the_sites_own_but_for_its_last_question(facts: Path) -> None:
    published = json.loads((facts / "schemas.json").read_text())["decals_dr12_volunteer_tree"]["questions"]
    tree = load_survey("decals_dr12").tree
    theirs = {q["name"]: q for q in published}
    assert theirs.keys() - {q.name for q in tree.questions} == {"rare-features"}
    renamed = {"how-rounded=round": "how-rounded=completely"}  # as the published table calls it
    for ours in tree.questions:
        question = theirs[ours.name]
        parents = {f"{p['question']}={p['answer']}" for p in question["parents"]}
        assert set(ours.asked_after) == {renamed.get(parent, parent) for parent in parents}
        given = {renamed.get(f"{ours.name}={a}", f"{ours.name}={a}") for a in question["answers"]}
        assert {f"{ours.name}={a}" for a in ours.answers} == given


def test_kaggle_has_the_tree_of_gz2_in_the_order_of_its_tasks() -> None:
    gz2, kaggle = load_survey("gz2"), load_survey("kaggle")
    by_task = sorted(gz2.question, key=lambda q: q.task or "")
    assert [(q.name, q.answers, set(q.asked_after)) for q in kaggle.question] == [
        (q.name, q.answers, set(q.asked_after)) for q in by_task
    ]
    assert [column for column, _ in kaggle.vote_columns()] == [
        f"Class{task}.{answer}" for task, q in enumerate(by_task, 1) for answer in range(1, len(q.answers) + 1)
    ]


def test_only_surveys_with_a_verified_service_have_one() -> None:
    services = {name: spec.service for name in SIZES if (spec := load_survey(name).cutout)}
    sdss = ("gz2", "gz2_main_photoz", "gz2_main_specz", "gz2_stripe82_normal")
    legacy = ("decals", "decals_dr12", "desi", "gz2_fits", "gz2_like_decals")
    assert services == dict.fromkeys(legacy, "legacysurvey") | dict.fromkeys(sdss, "sdss")


@pytest.mark.parametrize("name", ["decals", "decals_dr12"])
def test_images_of_the_wrong_size_are_left_out_and_said_to_be(name: str) -> None:
    catalog = load_survey(name).catalog
    assert catalog.where is not None
    assert "wrong_size_warning" in catalog.where
    assert {"wrong_size_statistic", "wrong_size_warning", "upload_group", "active_learning_on"} <= set(catalog.carry)


def test_stripe82_inherits_the_tree_and_drops_what_its_table_lacks() -> None:
    base, variant = load_survey("gz2"), load_survey("gz2_stripe82")
    assert variant.tree == base.tree
    assert variant.catalog.id == "objid"
    assert variant.catalog.join == ()
    assert variant.cutout is None
    assert variant.archive is not None
    assert variant.archive.mapping is None
    assert variant.fingerprint != base.fingerprint


def test_gz2_from_fits_is_gz2_with_other_images() -> None:
    gz2, fits, like_decals, decals = map(load_survey, ("gz2", "gz2_fits", "gz2_like_decals", "decals"))
    for survey in (fits, like_decals):
        assert survey.cutout is not None
        assert problems(survey.cutout, survey.image.recipe) == []
        assert survey.catalog == gz2.catalog
        assert survey.tree == gz2.tree
        assert survey.archive is None  # the published pictures were made otherwise
    assert (fits.image.recipe, like_decals.image.recipe) == ("sdss", "gzdecals")
    ours, theirs = (str(survey.cutout.pixscale) for survey in (like_decals, decals) if survey.cutout)
    assert ours.replace("PETROR50_R", "petro_th50").replace("PETROR90_R", "petro_th90") == theirs
