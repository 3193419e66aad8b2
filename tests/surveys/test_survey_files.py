from __future__ import annotations

from pathlib import Path

import pytest

from gzflow import load_survey
from gzflow.errors import SurveyError, UnknownSurvey
from tests.survey_files import RINGS


def written(folder: Path, text: str, name: str = "survey.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(SurveyError) as caught:
        load_survey(written(folder, text))
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_users_own_labels_are_a_survey(tmp_path: Path) -> None:
    survey = load_survey(written(tmp_path, RINGS))
    assert survey.tree.answers == ("ring_yes", "ring_no")
    assert survey.vote_columns() == (("ring_yes", None), ("ring_no", None))
    assert survey.cutout is None
    assert survey.image_recipe(64).scale_rule == "file"


def test_a_survey_without_votes_can_be_predicted(tmp_path: Path) -> None:
    text = RINGS.replace('[catalog.votes]\ncount = "{question}_{answer}"\n', "")
    assert load_survey(written(tmp_path, text)).vote_columns() == ()


def test_unknown_survey_lists_the_known_ones() -> None:
    with pytest.raises(UnknownSurvey, match="no survey 'gz3'") as caught:
        load_survey("gz3")
    assert "candels, decals, decals_dr12, desi, gz2," in str(caught.value)


def test_everything_wrong_is_reported_at_once(tmp_path: Path) -> None:
    text = """
[survey]
name = "Bad Name"
colour = "blue"
[catalog]
id = "id"
ra = "ra"
where = "a = = 1"
[catalog.votes]
count = "{question}_{answer}"
fraction = "f"
[cutout]
service = "telepathy"
pixscale = "SQRT("
[[question]]
name = "ring"
answers = ["yes"]
asked_after = ["bar=maybe"]
[[question]]
name = "ring"
answers = ["yes", "no"]
columns = ["one"]
color = "red"
multiple_choice = true
"""
    found = problems(tmp_path, text)
    for part in (
        "survey.name:",
        "survey.colour: unknown key",
        "catalog: give both ra and dec, or neither",
        "catalog.votes: give either count or fraction",
        "cutout.service:",
        "question 'ring'.color: unknown key",
        "question 'ring' stands twice",
        "question 'ring' has 1 answer(s)",
        "'bar=maybe' names an unknown question",
        "1 columns for 2 answers",
        "catalog.where: not an SQL expression",
        "cutout.pixscale: not an SQL expression",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ('count = "{nothing}"', "{nothing} is not known there"),
        ('count = "{task}_x"', "uses {task} but the question has no task"),
        ('count = "{column}"', "uses {column} but it has no columns"),
        ('cumulative = "{question}_{answer}"', "cumulative and volunteers go together"),
        ('cumulative = "{question}_{answer}"\nvolunteers = 0', "catalog.votes.volunteers:"),
        ('cumulative = "{question}_{answer}"\nvolunteers = 9\ntotal = "n"', "cumulative has no total"),
        ('count = "{question}_{answer}"\ncumulative = "x"\nvolunteers = 9', "give either count or fraction"),
        ('count = "votes"', "two answers are read from the same column 'votes'"),
        ('fraction = "{question}_{answer}"', "fraction needs total"),
        ('fraction = "{question}_{answer}"\ntotal = "{answer}_total"', "catalog.votes.total: {answer} is not known"),
    ],
)
def test_patterns_are_checked(tmp_path: Path, pattern: str, message: str) -> None:
    assert message in problems(tmp_path, RINGS.replace('count = "{question}_{answer}"', pattern))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{nothing}_x", "catalog.carry: {nothing} is not known there"),
        ("{task}_x", "question 'ring': catalog.carry uses {task} but the question has no task"),
        ("{question_x", "braces that are no placeholder"),
    ],
)
def test_patterns_to_carry_are_checked(tmp_path: Path, entry: str, message: str) -> None:
    assert message in problems(tmp_path, RINGS.replace('id = "id_str"', f'id = "id_str"\ncarry = ["{entry}"]'))


def test_a_pattern_to_carry_stands_for_a_column_of_each_answer_or_question(tmp_path: Path) -> None:
    carry = 'carry = ["z", "{question}_{answer}_debiased", "{question}_n"]'
    survey = load_survey(written(tmp_path, RINGS.replace('id = "id_str"', f'id = "id_str"\n{carry}')))
    assert survey.carried_columns() == {
        "z": ("z",),
        "{question}_{answer}_debiased": ("ring_yes_debiased", "ring_no_debiased"),
        "{question}_n": ("ring_n",),
    }


@pytest.mark.parametrize(
    ("member", "message"),
    [("{id[:4}/{id}.png", "braces that are no placeholder"), ("galaxy.png", "all galaxies would share one image")],
)
def test_members_are_checked(tmp_path: Path, member: str, message: str) -> None:
    assert message in problems(tmp_path, RINGS + f'[archive]\nmember = "{member}"\n')


def test_text_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    assert "line 2" in problems(tmp_path, "[survey]\nname = rings\n")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "survey.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SurveyError, match="not text"):
        load_survey(path)


def test_a_variant_overrides_adds_and_switches_off(tmp_path: Path) -> None:
    text = """
cutout = false
[survey]
extends = "decals"
name = "mine"
[catalog]
where = false
carry = ["redshift"]
join = [{ table = "more", on = "name" }]
[archive]
member = "{id}.png"
"""
    survey, base = load_survey(written(tmp_path, text)), load_survey("decals")
    assert survey.tree == base.tree
    assert survey.cutout is None
    assert survey.catalog.where is None
    assert survey.catalog.id == "iauname"
    assert [join.table for join in survey.catalog.join] == ["more"]
    assert survey.archive is not None
    assert survey.archive.member == "{id}.png"


def test_false_does_not_switch_off_what_is_required(tmp_path: Path) -> None:
    text = 'question = false\n[survey]\nextends = "decals"\nname = "mine"\n'
    assert "question" in problems(tmp_path, text)


def test_a_variant_may_extend_a_file_beside_it(tmp_path: Path) -> None:
    written(tmp_path, RINGS, "rings.toml")
    variant = written(tmp_path, '[survey]\nextends = "rings.toml"\nname = "more-rings"\n')
    assert load_survey(variant).tree.answers == ("ring_yes", "ring_no")


def test_a_variant_of_an_unknown_survey_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownSurvey, match="no survey 'gz9'"):
        load_survey(written(tmp_path, '[survey]\nextends = "gz9"\nname = "x"\n'))


def test_surveys_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(f'[survey]\nextends = "{two}"\nname = "one"\n')
    two.write_text(f'[survey]\nextends = "{one}"\nname = "two"\n')
    with pytest.raises(SurveyError, match="extend each other in a circle"):
        load_survey(one)


def test_keys_that_came_later_leave_the_fingerprint_of_older_surveys_alone(tmp_path: Path) -> None:
    """This one was computed before there were `missing`, `carry_if_present`, cumulative votes and mosaics."""
    plain = load_survey(written(tmp_path, RINGS))
    assert plain.fingerprint == "12fa5c3d75dd0ee7"
    for more in ("missing = { z = 999.0 }", 'carry_if_present = ["z"]'):
        text = RINGS.replace('image = "file"', f'image = "file"\n{more}')
        assert load_survey(written(tmp_path, text)).fingerprint != plain.fingerprint


def test_the_fingerprint_ignores_words_and_sees_data(tmp_path: Path) -> None:
    plain = load_survey(written(tmp_path, RINGS))
    worded = load_survey(written(tmp_path, RINGS.replace('name = "rings"', 'name = "rings"\ntitle = "Rings"')))
    changed = load_survey(written(tmp_path, RINGS.replace('image = "file"', 'image = "path"')))
    assert plain.fingerprint == worded.fingerprint != changed.fingerprint


BOXES = """
[survey]
name = "rare"
[catalog]
id = "id"
image = "file"
[catalog.votes]
count = "{question}_{answer}"
[[question]]
name = "odd"
answers = ["yes", "no"]
[[question]]
name = "feature"
answers = ["ring", "lens"]
multiple_choice = true
asked_after = ["odd=yes"]
"""


def test_check_boxes_are_questions_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rare.toml"
    path.write_text(BOXES, "utf-8")
    survey = load_survey(path)
    assert survey.tree.answers[2:] == ("feature-ring_yes", "feature-ring_no", "feature-lens_yes", "feature-lens_no")
    assert [column for column, _ in survey.vote_columns()] == ["odd_yes", "odd_no", "feature_ring", "feature_lens"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('asked_after = ["odd=yes"]', "", "question 'feature': how many volunteers saw the check boxes is unknown"),
        ('count = "{question}_{answer}"', 'cumulative = "{question}_{answer}"\nvolunteers = 40', "no cumulative prob"),
        ('name = "odd"', 'name = "feature-ring"', "question 'feature-ring' stands twice"),
    ],
)
def test_check_boxes_that_cannot_be_counted_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems(
        tmp_path,
        BOXES.replace(old, new).replace('"odd=yes"', '"feature-ring=yes"')
        if "name" in old
        else BOXES.replace(old, new),
    )
    assert message in found


def test_wrong_types_are_said_in_tomls_words(tmp_path: Path) -> None:
    said = problems(
        tmp_path, RINGS.replace('answers = ["yes", "no"]', 'answers = "yes"').replace("[catalog]", "[[catalog]]")
    )
    assert "question 'ring'.answers: must be a list: [ ... ]" in said
    assert "catalog: must be a table: [ ... ] or { ... }" in said


def test_a_survey_of_ones_own_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownSurvey, match="named by the path of its TOML"):
        load_survey("rings")
    written(tmp_path, RINGS, "rings.toml")
    with pytest.raises(UnknownSurvey, match=r"say rings\.toml"):
        load_survey("rings")
    with pytest.raises(UnknownSurvey, match="no file of that name"):
        load_survey("ring.toml")


def test_a_misspelt_survey_is_guessed_at_and_the_file_that_names_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownSurvey, match="did you mean decals"):
        load_survey("decalz")
    path = written(tmp_path, '[survey]\nname = "x"\nextends = "decalz"\n')
    with pytest.raises(UnknownSurvey, match="toml, extends"):
        load_survey(path)
