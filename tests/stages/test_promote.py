"""Promotion by real models on real shards: each model answers the same for every galaxy, well or badly on purpose."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gzflow.errors import NoChampion, PromotionError, TrackingError
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.settings import Settings
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.stages.compare import compare
from gzflow.stages.leakage import GALAXIES, write_galaxies
from gzflow.stages.promote import promote, rollback
from gzflow.stages.scoring import SCORES, galaxy_scores
from gzflow.surveys import load_survey
from gzflow.tracking.client import connect
from gzflow.tracking.registry import ModelRef, Registry
from gzflow.tracking.run import Lineage, TrackedRun
from gzflow.tracking.succession import Succession

TOML = """
[survey]
name = "toy"
[catalog]
id = "id_str"
image = "file"
[catalog.votes]
count = "{question}_{answer}"
[[question]]
name = "shape"
answers = ["smooth", "featured", "artifact"]
[[question]]
name = "arms"
answers = ["few", "many"]
asked_after = ["shape=featured"]
"""
SIZES = {"train": 60, "validation": 20, "test": 120}


def write_survey(folder: Path, text: str = TOML) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.toml").write_text(text)
    return str(folder / "toy.toml")


def write_shards(settings: Settings, toml: str, pixels: int = 32, sizes: dict[str, int] = SIZES) -> ShardSet:
    """Galaxies with volunteers' votes; the same galaxies whatever the pixels."""
    survey, generator = load_survey(toml), np.random.default_rng(8)
    folder = settings.shards(survey.name, pixels)
    begin_set(folder)
    entries = []
    for split, n in sizes.items():
        fractions = generator.dirichlet([2.0, 3.0, 0.5], n)
        first = np.stack([generator.multinomial(40, each) for each in fractions])
        second = np.stack([generator.multinomial(k, [0.7, 0.3]) for k in first[:, 1]])
        header = ShardHeader(
            survey=survey.name, tree=survey.tree.to_dict(), recipe=survey.image_recipe(pixels), split=split
        )
        entry = write_shard(
            folder / f"{split}-00000.h5",
            header,
            images=np.random.default_rng(1).integers(0, 255, (n, pixels, pixels, 3), dtype=np.uint8),
            votes=np.hstack([first, second]).astype(np.int32),
            ids=[f"{split}-{row}" for row in range(n)],
            ra=generator.uniform(100, 200, n),
            dec=generator.uniform(-20, 20, n),
            pixscale=np.full(n, 0.3),
        )
        entries.append(entry)
    write_manifest(folder, header, entries)
    return ShardSet.open(folder)


def save_model(folder: Path, shards: ShardSet, precision: float = 1.0) -> Path:
    """A model that answers the volunteers' mean everywhere, as surely as they vary, times `precision`."""
    spec = ModelSpec(
        encoder="shufflenet_v2_x0_5",
        trees=(SurveyTree(survey=shards.survey, tree=shards.tree.to_dict()),),
        recipe=shards.recipe,
        input_pixels=shards.recipe.pixels,
        mean=(127.0,) * 3,
        std=(70.0,) * 3,
        training_fingerprint=f"{shards.recipe.pixels}px-{precision:g}",
    )
    torch.manual_seed(1)
    model = Morphology(spec)
    model.head.start_from(precision * constant_dirichlet(shards.votes("test"), shards.tree))
    torch.nn.init.zeros_(model.head.linear.weight)
    model.save(folder)
    return folder


def register(settings: Settings, folder: Path, shards: ShardSet, *, galaxies: bool = True) -> ModelRef:
    """A saved model as a version, with a run that says what it was trained on."""
    with TrackedRun(settings, shards.survey, name=folder.name) as run:
        if galaxies:
            write_galaxies(shards, folder / GALAXIES)
            run.log_file(folder / GALAXIES)
        return Registry(settings).register(folder, run)


@dataclass(frozen=True)
class Lab:
    """A home with the survey ``toy``: version 1 (bad) is champion, 2 (good) was registered after it."""

    settings: Settings
    toml: str
    shards: ShardSet
    models: Path

    def add(self, precision: float, shards: ShardSet | None = None, **options) -> str:
        shards = shards or self.shards
        name = f"{shards.recipe.pixels}px-{precision:g}"
        return str(
            register(self.settings, save_model(self.models / name, shards, precision), shards, **options).version
        )

    @property
    def succession(self) -> Succession:
        return Registry(self.settings).succession("toy")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    settings = Settings.load({}, home=folder / "home")
    toml = write_survey(folder)
    lab = Lab(settings, toml, write_shards(settings, toml), folder / "saved")
    lab.add(8.0)
    lab.add(1.0)
    return lab


@pytest.fixture
def lab(prepared: Lab, tmp_path: Path) -> Lab:
    """A copy of the prepared home; the store's files stay where they are."""
    home = tmp_path / "home"
    shutil.copytree(prepared.settings.home, home, ignore=shutil.ignore_patterns("artifacts", ".lock"))
    return Lab(Settings.load({}, home=home), prepared.toml, prepared.shards, tmp_path / "saved")


def test_a_better_challenger_becomes_champion_with_its_table_logged(lab):
    summary = promote(lab.toml, lab.settings, flow_run=("flow-1", "http://here/flow-1"))
    assert (summary.promoted, summary.version, summary.champion_before) == (True, "2", "1")
    assert summary.decision.rows[0].compared.gain.lower > 0
    assert (summary.decision.n_galaxies, summary.logged.facts["scored"]) == (120, 120)
    assert "better: NLL" in summary.sentence()
    assert "calibration was not checked: no question has 500 test galaxies" in summary.sentence()
    assert summary.accounting().startswith("120 test galaxies in common = 120 scored + 0 left out")
    assert lab.succession.champion() == "2"
    run_id = Registry(lab.settings).resolve("2", "toy").run_id
    kept = connect(lab.settings).download_artifacts(run_id, f"promotion/{summary.logged.id}-table.json")
    table = json.loads(Path(kept).read_text())
    assert table["columns"][:3] == ["question", "galaxies", "NLL"]
    assert [row[0] for row in table["data"]] == ["all questions", "shape", "arms"]
    assert lab.succession.history()[-1].facts["flow_run"] == "http://here/flow-1"


def test_a_worse_challenger_stays_and_force_is_logged_with_the_table_it_overrode(lab):
    worse = lab.add(20.0)
    refused = promote(lab.toml, lab.settings)
    assert (refused.version, refused.promoted, lab.succession.champion()) == (worse, False, "1")
    assert "worse" in refused.sentence()
    forced = promote(lab.toml, lab.settings, force=True)
    assert (forced.promoted, lab.succession.champion()) == (True, worse)
    assert forced.logged.forced
    assert list(forced.logged.table) == refused.decision.table()
    assert [one.outcome for one in lab.succession.history()] == ["first champion", "not promoted", "forced"]
    assert rollback(lab.toml, lab.settings).version == "1"


def test_force_on_what_the_table_allows_is_no_force(lab):
    assert not promote(lab.toml, lab.settings, force=True).logged.forced


def test_where_there_is_nothing_to_decide_the_summary_says_so(lab):
    promote(lab.toml, lab.settings)
    n = len(lab.succession.history())
    nobody = promote(lab.toml, lab.settings)
    assert not nobody.promoted
    assert "no version has the alias challenger" in nobody.sentence()
    for reference in ("2", "models:/gzflow-toy/2", "champion"):
        assert "it is the champion already" in promote(lab.toml, lab.settings, challenger=reference).sentence()
    assert len(lab.succession.history()) == n


def test_without_a_champion_the_challenger_needs_no_comparison(lab):
    lab.succession.client.delete_registered_model_alias("gzflow-toy", "champion")
    summary = promote(lab.toml, lab.settings)
    assert summary.promoted
    assert summary.sentence().endswith("promoted: no champion before")


def test_without_any_model_the_messages_say_what_to_run(lab, tmp_path):
    empty = Settings.load({}, home=tmp_path / "empty")
    with pytest.raises(PromotionError, match=r"neither champion nor challenger(.|\n)*gzflow train toy"):
        promote(lab.toml, empty)
    with pytest.raises(NoChampion):
        rollback(lab.toml, empty)
    with pytest.raises(TrackingError, match="version 7"):
        promote(lab.toml, lab.settings, challenger="7")
    with pytest.raises(PromotionError, match="is no version of gzflow-toy"):
        promote(lab.toml, lab.settings, challenger=str(save_model(lab.models / "files", lab.shards, 3.0)))


def test_a_model_of_another_tree_is_refused_naming_the_answers(lab, tmp_path):
    changed = write_survey(tmp_path / "changed", TOML.replace('"few", "many"', '"one", "many"'))
    with pytest.raises(PromotionError, match="answers another decision tree") as caught:
        promote(changed, lab.settings)
    assert "the model alone has the answer arms_few" in str(caught.value)
    assert "the survey alone has the answer arms_one" in str(caught.value)
    with pytest.raises(PromotionError, match="another decision tree"):
        promote(changed, lab.settings, force=True)


def test_each_model_is_scored_on_shards_of_its_own_recipe(lab):
    larger = write_shards(lab.settings, lab.toml, pixels=48)
    version = lab.add(1.0, larger)
    summary = promote(lab.toml, lab.settings, challenger=version)
    assert summary.promoted
    assert summary.logged.facts["shards"] == [larger.fingerprint, lab.shards.fingerprint]
    assert summary.logged.facts["scored"] == 120


def test_without_shards_of_its_recipe_a_model_can_be_promoted_by_force_alone(lab):
    larger = write_shards(lab.settings, lab.toml, pixels=48)
    version = lab.add(1.0, larger)
    shutil.rmtree(larger.folder)
    with pytest.raises(PromotionError, match=r"no shards(.|\n)*32px: pixels: 48 here(.|\n)*--pixels 48"):
        promote(lab.toml, lab.settings, challenger=version)
    forced = promote(lab.toml, lab.settings, challenger=version, force=True)
    assert forced.promoted
    assert "not compared: no shards of survey 'toy'" in forced.sentence()


def test_galaxies_that_either_model_has_seen_are_left_out_and_counted(lab):
    """The challenger was trained on the first 80 test galaxies, half an arcsecond off: 40 are left, too few."""
    folder = save_model(lab.models / "cheat", lab.shards, 0.9)
    reader = lab.shards.readers("test")[0]
    with TrackedRun(lab.settings, "toy") as run:
        table = {"id_str": reader.ids[:80], "ra": reader.ra[:80], "dec": reader.dec[:80] + 0.5 / 3600}
        seen = pl.DataFrame(table).with_columns(pl.lit("train").alias("split"), pl.lit(0.0).alias("stamp"))
        seen.write_parquet(folder / GALAXIES)
        run.log_file(folder / GALAXIES)
        Registry(lab.settings).register(folder, run)
    summary = promote(lab.toml, lab.settings)
    assert not summary.promoted
    assert summary.decision.reasons[0] == "only 40 test galaxies in common; a decision needs 50"
    assert summary.logged.facts["left_out_as_seen"] == 80
    assert summary.accounting() == (
        "120 test galaxies in common = 40 scored + 80 left out as seen in training + 0 without votes"
    )


def test_what_a_parent_has_seen_is_left_out_too(lab):
    """Version 1 is made the parent of a fine-tune of another survey's model that saw 100 of the test galaxies."""
    folder = save_model(lab.models / "parent", lab.shards, 5.0)
    reader = lab.shards.readers("test")[0]
    with TrackedRun(lab.settings, "elsewhere") as run:
        table = {"id_str": reader.ids[:20], "ra": reader.ra[:20], "dec": reader.dec[:20]}
        seen = pl.DataFrame(table).with_columns(pl.lit("train").alias("split"), pl.lit(0.0).alias("stamp"))
        seen.write_parquet(folder / GALAXIES)
        run.log_file(folder / GALAXIES)
        parent = Registry(lab.settings).register(folder, run)
    child = save_model(lab.models / "child", lab.shards, 0.9)
    with TrackedRun(lab.settings, "toy", lineage=Lineage(parent_model=parent.uri)) as run:
        write_galaxies(lab.shards, child / GALAXIES)
        run.log_file(child / GALAXIES)
        Registry(lab.settings).register(child, run)
    assert promote(lab.toml, lab.settings).logged.facts["left_out_as_seen"] == 20


def test_a_guard_that_is_blind_says_so_in_the_reasons(lab):
    version = lab.add(0.9, galaxies=False)
    summary = promote(lab.toml, lab.settings)
    assert summary.version == version
    assert "test galaxies that were seen in training may be among them" in summary.sentence()


PROMOTE = """
import sys, time
from pathlib import Path
from gzflow.settings import Settings
from gzflow.stages.promote import promote
home, toml, version, go = sys.argv[1:]
Path(go + version).touch()
while not Path(go).exists():
    time.sleep(0.01)
summary = promote(toml, Settings.load({}, home=home), challenger=version)
sys.stdout.write(f"{summary.promoted}|{summary.sentence()}")
"""


@pytest.mark.slow
def test_of_two_commands_at_once_one_wins_and_both_are_logged(lab, tmp_path):
    third, go = lab.add(1.1), tmp_path / "go"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(lab.settings.home), lab.toml, version, str(go)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in ("2", third)
    ]
    while not all(go.with_name(f"go{version}").exists() for version in ("2", third)):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    go.touch()
    said = [process.communicate(timeout=280) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    promoted = [out.startswith("True") for out, _ in said]
    history = lab.succession.history()
    winner = ("2", third)[promoted.index(True)] if any(promoted) else None
    moved = [one.version for one in history[1:] if one.moved]
    assert len(history) == 3
    assert moved[-1] == lab.succession.champion()
    if sum(promoted) == 1:
        assert moved == [winner]
        assert "champion changed from version 1 to" in "".join(out for out, _ in said)
    else:
        # One was so slow to begin that it saw the other as champion already, and had to be better than that.
        assert history[2].champion == history[1].version


@pytest.mark.slow
def test_the_commands_show_the_table_and_tell_of_the_new_champion(lab):
    """`gzflow promote` and `gzflow rollback` through their flows: console, page of the flow run, event."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "GZFLOW_"))
    }
    environment = kept | {"GZFLOW_HOME": str(lab.settings.home), "COLUMNS": "100"}

    def gzflow(*arguments: str) -> str:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=280).stdout

    said = gzflow("promote", lab.toml)
    assert "120 test galaxies in common = 120 scored" in said
    assert "gzflow-toy version 2: promoted: better" in said
    assert f"next: gzflow predict {lab.toml}" in said
    assert max(map(len, said.partition("120 test galaxies")[0].splitlines())) <= 100
    assert "gzflow-toy version 1: rolled back: version 2 was champion" in gzflow("rollback", lab.toml)
    with sqlite3.connect(lab.settings.home / "prefect" / "prefect.db") as database:
        told = [
            json.loads(resource)["gzflow.message"].partition(":")[0]
            for (resource,) in database.execute(
                "select resource from events where event = 'gzflow.champion' order by occurred"
            )
        ]
        pages = [data for (data,) in database.execute("select data from artifact where type = 'markdown'")]
    assert told == ["gzflow-toy version 2", "gzflow-toy version 1"]
    assert any("Challenger against champion" in page and "Champion before: version 1." in page for page in pages)


@pytest.fixture
def two_runs(lab) -> tuple[str, str]:
    """Names of two runs with scores; the second lacks ten galaxies and is better on the question of arms."""
    votes, ids = lab.shards.votes("test"), np.array(lab.shards.ids("test"))
    tree, baseline = lab.shards.tree, constant_dirichlet(lab.shards.votes("train"), lab.shards.tree)
    unsure = np.append(baseline[:3], [1.0, 1.0])
    for name, alpha, rows, params in (
        ("plain", unsure, slice(None), {"lr": 0.001, "epochs": 5}),
        ("tuned", baseline, slice(10, None), {"lr": 0.0001, "epochs": 5, "blocks": 3}),
    ):
        concentrations = np.broadcast_to(alpha, (len(votes), 2, 5))
        parent = "models:/gzflow-decals/1" if name == "tuned" else None
        with TrackedRun(lab.settings, "toy", name=name, lineage=Lineage(parent_model=parent)) as run:
            scores = galaxy_scores(ids[rows], concentrations[rows], votes[rows], baseline, tree)
            scores.write_parquet(lab.settings.home / SCORES)
            run.log_file(lab.settings.home / SCORES)
            run.log_params(params)
            run.log_metrics({"test/nll": 9.0, "test/nll/arms": 1.0, "test/skill": float(len(scores))})
    return "plain", "tuned"


def test_two_runs_side_by_side(lab, two_runs, tmp_path):
    found = compare(*two_runs, lab.settings, picture=tmp_path / "pictures" / "gains.png")
    told = {(one.kind, one.name): (one.first, one.second) for one in found.differences}
    assert told == {
        ("parameters", "lr"): ("0.001", "0.0001"),
        ("parameters", "blocks"): (None, "3"),
        ("parent", "fine-tuned from"): (None, "models:/gzflow-decals/1"),
    }
    assert [(pair.name, pair.first, pair.second) for pair in found.metrics] == [
        ("test/nll", 9.0, 9.0),
        ("test/skill", 120.0, 110.0),
    ]
    total, shape, arms = found.gains
    assert (total.question, total.n, found.n_galaxies, found.floor) == ("all questions", 110, 110, 10)
    assert (shape.gain.mean, shape.better, arms.better) == (0.0, "neither", "second")
    assert arms.gain.mean == pytest.approx(arms.first - arms.second)
    assert arms.mae.change.upper < 0
    assert arms.coverage.change.mean == pytest.approx(arms.coverage.second - arms.coverage.first)
    assert found.notes == ("10 test galaxies are left out: scored by plain alone",)
    assert (tmp_path / "pictures" / "gains.png").read_bytes().startswith(b"\x89PNG")
    back = compare("tuned", "plain", lab.settings)
    assert back.gains[2].gain.mean == pytest.approx(-arms.gain.mean)


def test_a_run_of_an_earlier_gzflow_is_compared_in_its_likelihoods(lab, two_runs):
    path = lab.settings.home / SCORES
    old = pl.read_parquet(path)
    old.select(pl.selectors.exclude(pl.selectors.ends_with("_agrees", "_error", "_inside"))).write_parquet(path)
    with TrackedRun(lab.settings, "toy", name="old") as run:
        run.log_file(path)
    found = compare("old", "plain", lab.settings)
    assert "a run of an earlier gzflow keeps likelihoods alone" in " ".join(found.notes)
    assert found.gains[2].gain.mean < 0
    assert np.isnan(found.gains[2].mae.change.mean)


def test_runs_go_by_id_prefix_name_version_and_alias(lab, two_runs):
    by_name = compare(*two_runs, lab.settings)
    by_id = compare(by_name.first.id[:10], by_name.second.id, lab.settings)
    assert (by_id.first, by_id.second) == (by_name.first, by_name.second)
    versions = compare("toy@champion", "models:/gzflow-toy/2", lab.settings)
    assert (versions.first.versions, versions.second.versions) == (("gzflow-toy/1",), ("gzflow-toy/2",))
    assert versions.gains == ()
    assert [note.split(":")[0] for note in versions.notes] == [
        f"run {run.name} keeps no scores.parquet" for run in (versions.first, versions.second)
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nobody", "no run goes by 'nobody'"),
        ("it's", "no run goes by"),
        ("toy/9", "there is no model version 'toy/9'"),
        ("toy@hero", "there is no model version 'toy@hero'"),
        ("plain", "2 runs go by 'plain'"),
    ],
)
def test_a_reference_to_nothing_or_to_several_is_explained(lab, two_runs, reference, message):
    with TrackedRun(lab.settings, "toy", name="plain"):
        pass
    with pytest.raises(TrackingError, match=message) as caught:
        compare(reference, "tuned", lab.settings)
    assert "SURVEY@ALIAS" in str(caught.value)
