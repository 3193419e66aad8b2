"""Who is champion and was: moves, rollbacks, races and kills, on a real store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.errors import PromotionError
from gzflow.settings import Settings
from gzflow.tracking.client import connect
from gzflow.tracking.decision import LoggedDecision, reigns
from gzflow.tracking.overview import list_versions
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import TrackedRun
from gzflow.tracking.succession import DECISION, Succession

SavedModel = Callable[[int], Path]
HERE = Path(__file__).parent


def promoted(settings: Settings, version: str, champion: str | None, **options) -> LoggedDecision:
    given = {"approved": True, "reasons": ["better"]} | options
    return Registry(settings).succession("toy").promote(version, expected_champion=champion, **given)


@pytest.fixture(scope="session")
def three_versions(empty_store: Path, saved_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("three")
    (home / "mlflow").mkdir()
    shutil.copyfile(empty_store, home / "mlflow" / "mlflow.db")
    made = Settings.load({}, home=home)
    for seed in (1, 2, 3):
        with TrackedRun(made, "toy") as run:
            Registry(made).register(saved_model(seed), run)
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def three(settings: Settings, three_versions: Path) -> Settings:
    """A store with versions 1 (champion), 2 and 3 (challenger)."""
    shutil.copyfile(three_versions, settings.home / "mlflow" / "mlflow.db")
    return settings


@pytest.fixture
def succession(three: Settings) -> Succession:
    return Registry(three).succession("toy")


def test_a_promotion_moves_the_alias_and_is_kept_with_version_and_run(three, succession):
    table = [{"question": "all questions", "NLL": 3.0}, {"question": "arms", "NLL": None}]
    decision = promoted(three, "3", "1", table=table, facts={"scored": 120})
    assert (succession.champion(), succession.alias("challenger")) == ("3", None)
    assert decision.sentence() == "promoted: better"
    version = succession.client.get_model_version("gzflow-toy", "3")
    run = succession.client.get_run(version.run_id)
    assert version.tags[DECISION] == run.data.tags[DECISION] == "promoted: better"
    assert not [key for key in version.tags if key.startswith("gzflow.intent")]
    kept = Path(succession.client.download_artifacts(run.info.run_id, f"promotion/{decision.id}-table.json"))
    assert json.loads(kept.read_text()) == {
        "columns": ["question", "NLL"],
        "data": [["all questions", 3.0], ["arms", None]],
    }
    first, last = succession.history()
    assert (first.kind, first.version, first.champion, first.moved) == ("first", "1", None, True)
    assert last == decision
    assert last.facts == {"scored": 120}


def test_a_refusal_moves_nothing_and_is_kept(three, succession):
    decision = promoted(three, "3", "1", approved=False, reasons=["worse", "and miscalibrated"])
    assert (succession.champion(), succession.alias("challenger")) == ("1", "3")
    assert decision.sentence() == "not promoted: worse; and miscalibrated"
    assert succession.history()[-1] == decision


def test_force_is_logged_with_what_it_overrode(three, succession):
    decision = promoted(three, "2", "1", approved=False, forced=True, reasons=["worse"], table=[{"question": "bar"}])
    assert succession.champion() == "2"
    assert succession.alias("challenger") == "3"
    assert (decision.outcome, decision.forced) == ("forced", True)
    assert succession.history()[-1].table == ({"question": "bar"},)


@pytest.mark.parametrize("forced", [False, True])
def test_nothing_moves_when_the_champion_has_changed_meanwhile(three, succession, forced):
    promoted(three, "2", "1")
    decision = promoted(three, "3", "1", forced=forced)
    assert succession.champion() == "2"
    assert decision.sentence() == ("not promoted: the champion changed from version 1 to version 2 meanwhile; better")
    assert [one.moved for one in succession.history()] == [True, True, False]


def test_each_rollback_goes_one_further_back_and_never_forth(three, succession):
    promoted(three, "2", "1")
    promoted(three, "3", "2")
    assert succession.rollback(expected_champion="3").version == "2"
    assert succession.client.get_model_version("gzflow-toy", "3").tags[DECISION].startswith("rolled back: version 2")
    assert succession.rollback(expected_champion="2").version == "1"
    assert succession.champion() == "1"
    with pytest.raises(PromotionError, match="no champion before version 1") as caught:
        succession.rollback(expected_champion="1")
    assert "--challenger V --force" in str(caught.value)
    promoted(three, "3", "1")
    assert succession.rollback(expected_champion="3").version == "1"


def test_of_two_rollbacks_at_once_one_counts(three, succession):
    promoted(three, "2", "1")
    promoted(three, "3", "2")
    assert succession.rollback(expected_champion="3").moved
    late = succession.rollback(expected_champion="3")
    assert not late.moved
    assert succession.champion() == "2"
    assert "changed from version 3 to version 2 meanwhile" in late.sentence()


def test_a_rollback_passes_over_a_deleted_version(three, succession):
    promoted(three, "2", "1")
    promoted(three, "3", "2")
    succession.client.delete_model_version("gzflow-toy", "2")
    assert succession.rollback(expected_champion="3").version == "1"


def test_an_alias_set_by_hand_is_respected(three, succession):
    succession.client.set_registered_model_alias("gzflow-toy", "champion", "2")
    assert succession.settle() == []
    assert succession.champion() == "2"
    promoted(three, "3", "2")
    assert succession.rollback(expected_champion="3").version == "2"
    assert succession.rollback(expected_champion="2").version == "1"


def test_a_version_whose_run_was_deleted_can_still_be_promoted(three, succession):
    succession.client.delete_run(succession.client.get_model_version("gzflow-toy", "3").run_id)
    assert promoted(three, "3", "1", table=[{"question": "all"}]).moved
    rows, _ = list_versions(three, "toy")
    assert [(row.version, row.aliases) for row in rows] == [("3", ("champion",)), ("2", ()), ("1", ())]


def test_the_first_champion_is_made_without_a_comparison(three, succession):
    succession.client.delete_registered_model_alias("gzflow-toy", "champion")
    assert promoted(three, "2", None, reasons=["no champion before"]).moved
    assert succession.champion() == "2"


def test_of_two_first_versions_the_lower_is_champion_whoever_comes_first(settings, saved_model, monkeypatch):
    """Both are in the registry before either has its place, as when two first trainings end at once."""
    with monkeypatch.context() as held:
        held.setattr(Succession, "introduce", lambda *_: None)
        for seed in (1, 2):
            with TrackedRun(settings, "toy") as run:
                Registry(settings).register(saved_model(seed), run)
    succession = Registry(settings).succession("toy")
    for version in ("2", "1", "2"):
        succession.introduce(version)
        assert succession.champion() == "1"
    assert succession.alias("challenger") == "2"
    said = {v: succession.client.get_model_version("gzflow-toy", v).tags[DECISION] for v in ("1", "2")}
    assert said == {"1": "no champion before", "2": "challenger: another model is champion"}
    assert [one.version for one in succession.history()] == ["1"]


def test_an_interrupted_first_registration_is_finished_by_the_next(settings, saved_model):
    with TrackedRun(settings, "toy") as run:
        Registry(settings).register(saved_model(1), run)
    succession = Registry(settings).succession("toy")
    succession.client.delete_registered_model_alias("gzflow-toy", "champion")
    for key in list(succession.client.get_model_version("gzflow-toy", "1").tags):
        if key.startswith(DECISION):
            succession.client.delete_model_version_tag("gzflow-toy", "1", key)
    with TrackedRun(settings, "toy") as run:
        Registry(settings).register(saved_model(2), run)
    assert (succession.champion(), succession.alias("challenger")) == ("1", "2")


def test_the_overview_shows_every_version(three, succession):
    promoted(three, "3", "1")
    rows, history = list_versions(three, "toy")
    assert [(row.version, row.aliases, row.decision) for row in rows] == [
        ("3", ("champion",), "promoted: better"),
        ("2", (), "challenger: another model is champion"),
        ("1", (), "no champion before"),
    ]
    assert [one.outcome for one in history] == ["first champion", "promoted"]
    assert list_versions(three, "unknown") == ([], [])


moves = st.lists(st.tuples(st.sampled_from(["promotion", "rollback"]), st.integers(1, 5)), max_size=20)


@given(moves)
def test_rollbacks_undo_promotions_in_order(steps):
    """Against the plain model of an undo list."""
    expected, history = ["0"], [LoggedDecision("0", "0", "first", "0", None, moved=True)]
    for number, (kind, version) in enumerate(steps, start=1):
        champion = expected[-1]
        if kind == "rollback" and len(expected) > 1:
            expected.pop()
            history.append(LoggedDecision(str(number), "", "rollback", expected[-1], champion, moved=True))
        elif kind == "promotion" and str(version) not in expected:
            expected.append(str(version))
            history.append(LoggedDecision(str(number), "", "promotion", str(version), champion, moved=True))
            history.append(LoggedDecision(f"{number}-late", "", "promotion", "9", champion, moved=False))
        assert reigns(history) == expected


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def one_winner_a_round(rounds: list[list[dict]], succession: Succession) -> None:
    for decisions in rounds:
        assert sum(one["moved"] for one in decisions) == 1
        winner = next(one for one in decisions if one["moved"])
        for loser in decisions:
            assert loser["moved"] or f"to version {winner['version']} meanwhile" in loser["reasons"][0]
    history = [one for one in succession.history() if one.kind == "promotion"]
    assert len(history) == sum(map(len, rounds))
    chain = [one for one in history if one.moved]
    assert [one.champion for one in chain] == ["1", *(one.version for one in chain[:-1])]
    assert succession.champion() == chain[-1].version


def test_machines_that_share_only_the_store_have_one_winner(three, succession, tmp_path):
    """Their homes, and with them their locks, are not the same: the claim in MLflow decides."""
    printed = script("rivals.py", three.tracking_uri, tmp_path / "machines", "toy", 2, "1", "2", "3")
    one_winner_a_round(json.loads(printed.splitlines()[-1]), succession)


def after_kills(three: Settings, *ks: int) -> list[dict]:
    reports = [json.loads(line) for line in script("dying.py", three.home, "toy", "3", "1", *ks).splitlines()]
    for report in reports:
        assert report["champion"] == "3", report
        assert report["moves"] == [[None, "1"], ["1", "3"]], report
        assert (report["intents"], report["challenger"], report["said"]) == (0, None, "promoted: better"), report
    return reports


# Writes: 1 intent, 2 claim, 3 alias, 4 challenger's alias, 5-6 table, 7 sentence, 8 its run, 9 record, 10 intent.
def test_killed_after_its_claim_a_promotion_is_finished_by_the_next(three):
    (report,) = after_kills(three, 3)
    assert (report["killed"], report["found"], report["finished"]) == (True, "1", 1)


@pytest.mark.slow
def test_killed_before_any_write_history_and_alias_agree_after_the_next(three):
    reports = after_kills(three, *range(1, 12))
    assert [report["killed"] for report in reports] == [True] * 10 + [False]
    assert [report["found"] for report in reports] == ["1"] * 3 + ["3"] * 8
    assert [report["finished"] for report in reports] == [0] * 2 + [1] * 7 + [0] * 2


@pytest.mark.slow
def test_a_claim_of_a_machine_that_died_is_honoured(three, succession, tmp_path, monkeypatch):
    monkeypatch.setattr("gzflow.tracking.succession.GRACE_S", 1.0)
    script("dying.py", three.home, "toy", "3", "1", 3)
    died = three.home.with_name("copy-3")
    store = f"sqlite:///{died / 'mlflow' / 'mlflow.db'}"
    # What dying.py repaired is undone: the claim and the intent of a machine that is no more.
    client = connect(Settings.load({}, home=died))
    tags = client.get_model_version("gzflow-toy", "3").tags
    record = next(key for key in tags if key.startswith("gzflow.decision."))
    dead = json.loads(tags[record]) | {"moved": False, "place": "elsewhere:/home"}
    client.set_model_version_tag("gzflow-toy", "3", record.replace("decision", "intent"), json.dumps(dead))
    client.delete_model_version_tag("gzflow-toy", "3", record)
    client.set_registered_model_alias("gzflow-toy", "champion", "1")
    here = Settings.load({"MLFLOW_TRACKING_URI": store}, home=tmp_path / "here")
    decision = Registry(here).succession("toy").promote("2", expected_champion="1", approved=True)
    assert "changed from version 1 to version 3 meanwhile" in decision.sentence()
    assert Registry(here).alias("toy", "champion") == "3"
