from __future__ import annotations

import csv
import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gzflow.catalog.store import CatalogStore
from gzflow.errors import CatalogError, EmptyCatalog, MissingColumns, SurveyError
from gzflow.settings import Settings
from gzflow.stages import ingest
from gzflow.stages.votes import VotesSummary, count_votes
from gzflow.surveys import load_survey
from tests.catalog.zooniverse.exports import ICON, RINGS, TASKS, answered, row, subjects, write

FEATURED = ICON.format(name="features") + " Features or Disk"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rings.toml").write_text(RINGS)
    (tmp_path / "tasks.toml").write_text(TASKS)
    return tmp_path


def count(folder: Path, rows, **options) -> tuple[VotesSummary, dict[str, dict]]:
    export = rows if isinstance(rows, Path) else write(folder / "export.csv", rows)
    options = {"tasks": folder / "tasks.toml", **options}
    summary = count_votes(export, str(folder / "rings.toml"), folder / "votes.parquet", **options)
    table = pl.read_parquet(summary.file)
    return summary, {entry["name"]: entry for entry in table.to_dicts()}


def left_out(summary: VotesSummary) -> list[dict[str, str]]:
    with summary.left_out_file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_votes_positions_and_totals(folder: Path) -> None:
    rows = [
        row(1, 100, answered(T0=FEATURED, T1="Yes", T10=[])),
        row(2, 100, answered(T0="**features or disk**", T1="No")),
        row(3, 100, answered(T0="Smooth")),
        row(4, 101, answered(T0="Smooth")),
    ]
    summary, table = count(folder, rows)
    assert table["J100"] == {
        "name": "J100", "shape_smooth": 1, "shape_featured-or-disk": 2, "ring_yes": 1, "ring_no": 1,
        "shape_total": 3, "ring_total": 2, "ra": 10.5, "dec": -0.25, "redshift": None, "classifications": 3,
    }  # fmt: skip
    assert table["J101"]["shape_total"] == 1
    assert summary.sentence() == "4 rows = 4 counted; 6 votes for 2 galaxies"
    assert summary.empty == ("redshift",)
    assert left_out(summary) == []


def test_nothing_about_people_is_kept(folder: Path) -> None:
    rows = [row(1, 100, answered(T0="Smooth"), user=290475), row(2, 100, answered(T0="??"), user=290475)]
    summary, _ = count(folder, rows)
    for path in (summary.file, summary.left_out_file):
        content = path.read_bytes()
        assert not any(secret in content for secret in (b"person", b"290475", b"2c61707e", b"Mozilla"))


def test_everything_that_is_not_counted_is_listed_with_its_reason(folder: Path) -> None:
    rows = [
        row(1, 100, answered(T0="Smooth")),
        row(1, 100, answered(T0="Smooth")),
        row(2, 100, answered(T0="Smooth"), user=1),
        row(3, 100, answered(T0="Smooth"), workflow_version="29.1"),
        row(4, 100, answered(T0="Smooth"), workflow_id=7),
        row(5, 102, answered(T0="Smooth"), about={"nsa_id": 5}),
        row(6, 103, answered(T0="Smooth"), about={"!iauname": 5.87726016142836e17}),
        row(7, 100, '[{"task": "T0", "val'),
        row(8, 100, answered(T0=None, T1="")),
        row(9, 100, answered(T0="Smooth"), subject_ids="100;101"),
        row(10, 100, answered(T0="Smooth"), classification_id="x"),
        row(11, 100, answered(T0="can't see it")),
        row(12, 104, answered(T0="Smooth"), subject_data="{"),
        row(13, 100, answered(T0=["Smooth", "Features or Disk"], T1="Yes", T5="a")),
        row(14, 100, answered(T0="Round", T1=[{"x": 1.5}])),
        row(15, 100, answered(T1="Yes") + answered(T1="No")),
    ]
    summary, table = count(folder, rows)
    assert summary.rows_left_out == {
        "repeated-row": 1, "same-person-again": 1, "other-workflow": 2, "no-galaxy-id": 1, "lossy-id": 1,
        "unreadable": 2, "no-votes": 3, "several-subjects": 1, "unreadable-subject": 1,
    }  # fmt: skip
    assert summary.answers_left_out == {"several-answers": 1, "unknown-task": 1, "answered-twice": 1}
    assert summary.n_read == summary.n_counted + sum(summary.rows_left_out.values()) == len(rows)
    lines = left_out(summary)
    assert len(lines) == sum(summary.rows_left_out.values()) + sum(summary.answers_left_out.values())
    by_number = {line["classification_id"]: line for line in lines}
    assert by_number["14"]["reason"] == "no-votes"
    assert by_number["14"]["detail"] == "T0: unknown-answer round; T1: not-a-question"
    assert by_number["3"]["workflow_version"] == "29.1"
    assert (table["J100"]["shape_smooth"], table["J100"]["ring_yes"], table["J100"]["ring_no"]) == (1, 1, 1)


def test_which_of_a_persons_classifications_counts(folder: Path) -> None:
    rows = [
        row(3, 100, answered(T0="Smooth"), user=5, created_at="2018-02-20 11:00:00 UTC"),
        row(2, 100, answered(T0=FEATURED), user=5, created_at="2018-02-20 10:00:00 UTC"),
        row(4, 101, answered(T0=FEATURED), user=5),
    ]
    for keep, votes in (("first", (0, 1)), ("last", (1, 0)), ("all", (1, 1))):
        summary, table = count(folder, rows, keep=keep)
        assert (table["J100"]["shape_smooth"], table["J100"]["shape_featured-or-disk"]) == votes
        assert table["J101"]["shape_total"] == 1
        assert summary.rows_left_out == ({} if keep == "all" else {"same-person-again": 1})


def test_volunteers_without_an_account(folder: Path) -> None:
    rows = [row(k, 100, answered(T0="Smooth"), user=0) for k in (1, 2, 3)] + [row(4, 100, answered(T0="Smooth"))]
    for choice, votes in (("by-name", 2), ("each", 4), ("drop", 1)):
        assert count(folder, rows, logged_out=choice)[1]["J100"]["shape_smooth"] == votes


def test_a_galaxy_that_was_uploaded_twice_is_one(folder: Path) -> None:
    about = {"#iauname": "ignored", "!iauname": "J1", "!ra": 1.0}
    rows = [row(1, 100, answered(T0="Smooth"), about=about), row(2, 200, answered(T0="Smooth"), about=about)]
    assert count(folder, rows)[1]["J1"]["shape_smooth"] == 2


def test_ids_of_19_digits_and_whole_floats(folder: Path) -> None:
    rows = [
        row(1, 100, answered(T0="Smooth"), about={"!iauname": 1237648720693755918}),
        row(2, 101, answered(T0="Smooth"), about={"!iauname": 189862.0}),
        row(3, 102, answered(T0="Smooth"), about={"!iauname": " padded "}),
    ]
    assert set(count(folder, rows)[1]) == {"1237648720693755918", "189862", "padded"}


def test_combined_tasks_and_lists_of_one(folder: Path) -> None:
    combined = [{"task": "T9", "task_label": "", "value": answered(T0=["Smooth"], T1="Yes")}]
    assert count(folder, [row(1, 100, combined)])[1]["J100"]["ring_yes"] == 1


def test_the_same_names_need_no_tasks_file(folder: Path) -> None:
    about = {"#gzflow_id": "a", "ra": 1.0}
    same = [{"task": "T0", "task_label": "**Shape**", "value": FEATURED.replace("Features", "Featured")}]
    same += [{"task": "T1", "task_label": "Ring", "value": "Yes"}]
    _, table = count(folder, [row(1, 100, same, about=about)], tasks=None)
    assert table["a"]["ring_yes"] == 1
    assert not (folder / "votes.tasks.toml").exists()


def test_other_names_get_a_file_to_complete_and_no_guess(folder: Path) -> None:
    rows = [
        row(1, 100, answered(T0=FEATURED, T1='Say "yes"')),
        row(2, 100, answered(T0="Smooth"), workflow_version="29.1"),
    ]
    with pytest.raises(CatalogError, match="not guessed") as caught:
        count(folder, rows, tasks=None)
    assert any("!iauname" in problem for problem in caught.value.problems)
    draft = folder / "votes.tasks.toml"
    written = draft.read_text()
    assert "versions = [28, 29]" in written
    assert '"say \\"yes\\"" = ""' in written
    completed = written.replace("#gzflow_id", "!iauname").replace('question = ""', 'question = "shape"', 1)
    completed = completed.replace('"features or disk" = ""', '"features or disk" = "featured-or-disk"')
    draft.write_text(completed.replace('"smooth" = ""', '"smooth" = "smooth"'))
    assert count(folder, rows, tasks=draft)[1]["J100"]["shape_total"] == 2
    with pytest.raises(CatalogError):
        count(folder, rows, tasks=None)
    assert 'featured-or-disk"' in draft.read_text()  # a completed file is not written over


def test_what_volunteers_wrote_is_no_question(folder: Path) -> None:
    rows = [row(k, 100, answered(T0="Smooth", T3=f"I saw {k} rings")) for k in range(1, 100)]
    with pytest.raises(CatalogError):
        count(folder, rows, tasks=None)
    written = (folder / "votes.tasks.toml").read_text()
    assert "(free text)" in written
    assert "rings" not in written.replace("I saw", "").split("[[task]]")[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('question = "shape"', 'question = "shpe"'), "no question 'shpe' (did you mean shape?)"),
        (('= "smooth"', '= "smoth"'), "no answer 'smoth' (did you mean smooth?)"),
        (('"Smooth" =', '"**features OR disk**" ='), "stands for two answers"),
        (('task = "T1"', 'task = "T0"'), "described twice for version 28"),
        (('task = "T1"', 'tsk = "T1"'), "tsk"),
        (("[[task]]", "[[task"), "Expected"),
    ],
)
def test_a_wrong_tasks_file_says_what_is_wrong(folder: Path, change: tuple[str, str], said: str) -> None:
    (folder / "tasks.toml").write_text(TASKS.replace(*change, 1))
    with pytest.raises(CatalogError) as caught:
        count(folder, [row(1, 100, answered(T0="Smooth"))])
    assert said in str(caught.value)


def test_subjects_export_and_catalog_fill_what_the_export_lacks(folder: Path) -> None:
    about = subjects(folder / "subjects.csv", {100: {"!iauname": "J100"}, 101: {"!iauname": "J101"}})
    (folder / "galaxies.csv").write_text("NAME,ra,dec,redshift\nJ100,1.5,2.5,0.1\nJ7,1,1,1\n")
    rows = [row(k, subject, answered(T0="Smooth"), about={}) for k, subject in ((1, 100), (2, 101))]
    summary, table = count(folder, rows, subjects=about, catalog=folder / "galaxies.csv")
    assert float(table["J100"]["ra"]) == 1.5
    assert float(table["J100"]["redshift"]) == 0.1
    assert table["J101"]["ra"] is None
    assert summary.unknown == ("J101",)
    assert summary.empty == ()


def test_reductions_in_both_forms(folder: Path) -> None:
    (folder / "tasks.toml").write_text(TASKS.replace("versions = [28]\n", ""))
    about = subjects(folder / "subjects.csv", {100: {"!iauname": "J100"}, 101: {}})
    wide = folder / "wide.csv"
    wide.write_text(
        "subject_id,workflow_id,task,reducer,data.features-or-disk,data.smooth,data.yes,data.None,data.aggregation_version\n"
        "100,6122,T0,question_reducer,3.0,2.0,,1.0,4.1.0\n"
        "100,6122,T1,question_reducer,,,3.0,,4.1.0\n"
        "100,6122,T1,question_reducer,,,3.0,,4.1.0\n"
        "100,6122,T0,point_reducer,3.0,,,,4.1.0\n"
        "100,6122,T77,question_reducer,3.0,,,,4.1.0\n"
        "101,6122,T0,question_reducer,3.0,,,,4.1.0\n"
        "999,6122,T0,question_reducer,3.0,,,,4.1.0\n"
    )
    summary, table = count(folder, wide, subjects=about)
    assert (table["J100"]["shape_featured-or-disk"], table["J100"]["shape_smooth"], table["J100"]["ring_yes"]) == (
        3,
        2,
        3,
    )
    assert table["J100"]["classifications"] == 5
    assert summary.rows_left_out == {
        "repeated-row": 1, "other-reducer": 1, "unknown-task": 1, "no-galaxy-id": 1, "unknown-subject": 1,
    }  # fmt: skip
    assert summary.answers_left_out == {"no-answer": 1}
    stream = folder / "stream.csv"
    stream.write_text(
        "subject_id,workflow_id,task,reducer,data\n"
        "100,6122,T0,question_reducer,\"{'features-or-disk': 3, 'smooth': 2.5, 'odd': 1}\"\n"
    )
    summary, table = count(folder, stream, subjects=about)
    assert table["J100"]["shape_total"] == 3
    assert summary.answers_left_out == {"no-count": 1, "unknown-answer": 1}
    with pytest.raises(CatalogError, match="subjects"):
        count(folder, stream)


def test_files_of_other_kinds_are_named(folder: Path) -> None:
    about = subjects(folder / "subjects.csv", {100: {}})
    with pytest.raises(CatalogError, match="no votes"):
        count(folder, about)
    extracts = folder / "extracts.csv"
    extracts.write_text(
        "classification_id,user_name,user_id,workflow_id,task,created_at,subject_id,extractor,data.yes\n"
    )
    with pytest.raises(CatalogError, match="extracts"):
        count(folder, extracts)
    (folder / "old.csv").write_text("classification_id,annotations,subject_data\n1,[],{}\n")
    with pytest.raises(MissingColumns, match="lacks"):
        count(folder, folder / "old.csv")


def test_short_rows_gz_and_no_votes_at_all(folder: Path) -> None:
    export = write(folder / "export.csv", [row(1, 100, answered(T0="Smooth"))])
    content = export.read_bytes() + b"2,cut off,5\r\n"
    (folder / "export.csv.gz").write_bytes(gzip.compress(content))
    summary, _ = count(folder, folder / "export.csv.gz")
    assert summary.rows_left_out == {"unreadable": 1}
    assert left_out(summary)[0]["detail"] == "3 cells instead of 14"
    with pytest.raises(EmptyCatalog, match="not one vote"):
        count(folder, [row(1, 100, answered(T0=None))])


def test_a_survey_that_wants_fractions_gets_them_and_ingest_reads_them(folder: Path) -> None:
    (folder / "rings.toml").write_text(RINGS.replace('count = "', 'fraction = "'))
    rows = [row(k, 100, answered(T0=FEATURED if k < 3 else "Smooth")) for k in (1, 2, 3)]
    _, table = count(folder, rows)
    assert table["J100"]["shape_featured-or-disk"] == pytest.approx(2 / 3)
    assert table["J100"]["ring_yes"] is None
    (folder / "rings.toml").write_text(
        RINGS.split("[catalog.votes]")[0] + "[[question]]" + RINGS.split("[[question]]")[1]
    )
    with pytest.raises(SurveyError, match="counts or fractions"):
        count(folder, rows)


ANSWERS = {"Smooth": ("shape", "smooth"), FEATURED: ("shape", "featured-or-disk"), None: None, "odd": None}


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.sampled_from(list(ANSWERS))), min_size=1, max_size=30)
)
def test_counting_equals_counting_by_hand(tmp_path_factory: pytest.TempPathFactory, clicks) -> None:
    folder = tmp_path_factory.mktemp("export")
    (folder / "rings.toml").write_text(RINGS)
    (folder / "tasks.toml").write_text(TASKS)
    rows = [row(k, subject, answered(T0=value, T1="Yes"), user=user) for k, (subject, user, value) in enumerate(clicks)]
    summary, table = count(folder, rows)
    first: dict[tuple[int, int], object] = {}
    for subject, user, value in clicks:
        first.setdefault((subject, user), value)
    for subject in {subject for subject, _ in first}:
        for answer in ("smooth", "featured-or-disk"):
            by_hand = sum(ANSWERS[v] == ("shape", answer) for (s, _), v in first.items() if s == subject)
            assert table[f"J{subject}"][f"shape_{answer}"] == by_hand
        assert table[f"J{subject}"]["ring_yes"] == sum(s == subject for s, _ in first)
    assert summary.n_read == len(clicks)


def test_ingest_reads_the_table(folder: Path) -> None:
    rows = [row(k, 100 + k % 2, answered(T0=FEATURED, T1="Yes" if k % 3 else "No")) for k in range(1, 12)]
    summary, table = count(folder, rows)
    home = Settings.load({}, home=folder / "home")
    toml = str(folder / "with-images.toml")
    Path(toml).write_text(
        RINGS.replace("[[question]]", "[cutout]\nservice = 'legacysurvey'\npixscale = 0.5\n[[question]]", 1)
    )
    counts = ingest.read(ingest.IngestSource.of(toml, summary.file, None, {}, None), home)
    assert counts.n_in == 2
    assert counts.failed == counts.filtered == 0
    with CatalogStore(home.catalog_url) as store:
        stored = {entry["id_str"]: entry for entry in store.votes(load_survey(toml)).to_dicts()}
    for name, entry in table.items():
        assert {answer: entry[answer] for answer in ("shape_smooth", "ring_yes")} == {
            answer: stored[name][answer] for answer in ("shape_smooth", "ring_yes")
        }
