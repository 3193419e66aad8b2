"""Evaluation of a real model on real shards, with a store that knows magnitudes and telescopes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from gzflow.errors import EvaluationError, NoChampion
from gzflow.model.losses import constant_dirichlet
from gzflow.model.morphology import Morphology
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.settings import Settings
from gzflow.shards.header import ShardHeader
from gzflow.shards.reader import ShardSet
from gzflow.shards.writer import begin_set, write_manifest, write_shard
from gzflow.stages import ingest
from gzflow.stages.compare import compare
from gzflow.stages.evaluate import RESULT, SLICES, VOTES, EvaluateOptions, NotEvaluated, run, run_where_voted
from gzflow.stages.leakage import GALAXIES, write_galaxies
from gzflow.surveys import load_survey
from gzflow.tracking.client import connect
from gzflow.tracking.registry import Registry
from gzflow.tracking.run import TrackedRun

TOML = """
[survey]
name = "toy"
acknowledgement = "Thank the volunteers."
[catalog]
id = "id_str"
ra = "ra"
dec = "dec"
image = "file"
carry = ["mag", "telescope"]
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
SIZES = {"train": 60, "validation": 20, "test": 160}
PIXELS = 32
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """A home with an ingested catalog, shards and a champion that answers the volunteers' mean."""
    home = tmp_path_factory.mktemp("evaluate")
    toml = home / "toy.toml"
    toml.write_text(TOML)
    settings, survey = Settings.load({}, home=home / "home"), load_survey(str(toml))
    generator = np.random.default_rng(8)
    folder = settings.shards("toy", PIXELS)
    begin_set(folder)
    entries, rows = [], []
    for split, n in SIZES.items():
        fractions = generator.dirichlet([2.0, 3.0, 0.5], n)
        first = np.stack([generator.multinomial(40, each) for each in fractions])
        second = np.stack([generator.multinomial(k, generator.dirichlet([5.0, 2.0])) for k in first[:, 1]])
        votes = np.hstack([first, second]).astype(np.int32)
        ids = [f"{split}-{row}" for row in range(n)]
        ra, dec = generator.uniform(100, 200, n), generator.uniform(-20, 20, n)
        header = ShardHeader(survey="toy", tree=survey.tree.to_dict(), recipe=survey.image_recipe(PIXELS), split=split)
        images = generator.integers(0, 255, (n, PIXELS, PIXELS, 3), dtype=np.uint8)
        path = folder / f"{split}-00000.h5"
        entries.append(
            write_shard(path, header, images=images, votes=votes, ids=ids, ra=ra, dec=dec, pixscale=np.full(n, 0.3))
        )
        for i, id_str in enumerate(ids):
            known = {"id_str": id_str, "ra": ra[i], "dec": dec[i], "file": f"{id_str}.png"}
            known |= {"mag": 14 + 4 * generator.random(), "telescope": "near" if i % 3 else "far"}
            rows.append(known | dict(zip(survey.tree.answers, votes[i].tolist(), strict=True)))
    write_manifest(folder, header, entries)
    pl.DataFrame(rows).write_csv(home / "toy.csv")
    (home / "images").mkdir()
    ingest.read(ingest.IngestSource.of(str(toml), home / "toy.csv", None, {}, [home / "images"]), settings)
    shards = ShardSet.open(folder)
    spec = ModelSpec(
        encoder="shufflenet_v2_x0_5",
        trees=(SurveyTree(survey="toy", tree=shards.tree.to_dict()),),
        recipe=shards.recipe,
        input_pixels=PIXELS,
        mean=(127.0,) * 3,
        std=(70.0,) * 3,
        training_fingerprint="toy",
    )
    torch.manual_seed(1)
    model = Morphology(spec)
    model.head.start_from(constant_dirichlet(shards.votes("test"), shards.tree))
    torch.nn.init.zeros_(model.head.linear.weight)
    model.save(home / "model")
    with TrackedRun(settings, "toy", name="trained") as tracked:
        write_galaxies(shards, home / GALAXIES)
        tracked.log_file(home / GALAXIES)
        Registry(settings).register(home / "model", tracked)
    return settings, str(toml)


@pytest.fixture(scope="module")
def summary(lab):
    settings, toml = lab
    return run(EvaluateOptions(survey=toml, weight_by=("mag", "telescope")), settings, flow_run=("flow-3", ""))


def test_the_page_tells_sample_baselines_slices_and_worst_galaxies(summary) -> None:
    text = summary.report.read_text()
    assert summary.metrics["test/galaxies"] == SIZES["test"]
    for words in (
        "Evaluation of gzflow-toy/1", "By mag", "By telescope", f"By {VOTES}", "Weighted and unweighted",
        "volunteers disagree most", "constant Dirichlet", "votes or more", "Thank the volunteers.", summary.run_id,
        "The model sees colour", "grey = true",
    ):  # fmt: skip
        assert words in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert abs(summary.metrics["test/coverage90"] - 0.9) < 0.05
    assert "constant Dirichlet" in summary.sentence()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")
def test_the_page_fits_a_phone_and_is_read_by_keyboard(summary, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(summary.report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.get_by_text("By telescope").first.focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("cell", name="near").or_(page.get_by_role("rowheader", name="near")).first.is_visible()
        assert page.screenshot(path=tmp_path / "phone.png", full_page=True).startswith(b"\x89PNG")
        assert not [url for url in asked if not url.startswith(("file:", "data:"))]
        browser.close()


def test_the_slices_hold_every_galaxy_once(summary) -> None:
    frame = pl.read_parquet(summary.folder / SLICES).filter(pl.col("question") == "shape")
    assert set(frame["variable"]) == {"mag", "telescope", "pixel scale (arcsec)", VOTES}
    assert set(frame.group_by("variable").agg(pl.col("n").sum())["n"]) == {SIZES["test"]}


def test_it_is_logged_below_the_run_that_made_the_model_and_can_be_compared(lab, summary) -> None:
    settings, _ = lab
    logged = connect(settings).get_run(summary.run_id)
    champion = Registry(settings).champion("toy")
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["mlflow.parentRunId"] == champion.run_id
    assert logged.data.tags["prefect.flow_run_id"] == "flow-3"
    assert {"test/nll", "test/rmse-corrected", "test/pit-distance/shape"} <= set(logged.data.metrics)
    files = {file.path for file in connect(settings).list_artifacts(summary.run_id)}
    assert {"evaluation.html", "scores.parquet", "slices.parquet", "figures"} <= files
    assert compare(summary.run_id, summary.run_id, settings).n_galaxies == SIZES["test"]


def test_the_same_evaluation_is_made_once(lab, summary) -> None:
    settings, toml = lab
    again = run(EvaluateOptions(survey=toml, run="trained", weight_by=("mag", "telescope")), settings)
    assert again == summary


def test_an_interrupted_evaluation_is_finished_in_its_own_run(lab) -> None:
    settings, toml = lab
    first = run(EvaluateOptions(survey=toml, floor=15), settings)
    (first.folder / RESULT).unlink()
    second = run(EvaluateOptions(survey=toml, floor=15), settings)
    assert second.run_id == first.run_id
    assert second.headline == first.headline
    assert json.loads((second.folder / RESULT).read_text())["run_id"] == first.run_id


def test_wrong_wishes_are_refused(lab, tmp_path: Path) -> None:
    settings, toml = lab
    with pytest.raises(EvaluationError, match="cannot be weighted") as caught:
        run(EvaluateOptions(survey=toml, weight_by=("redshift",)), settings)
    assert "mag, telescope" in str(caught.value)
    with pytest.raises(EvaluationError, match="a run and a model"):
        run(EvaluateOptions(survey=toml, run="trained", model="1"), settings)
    with pytest.raises(NoChampion):
        run(EvaluateOptions(survey=toml), Settings.load({}, home=tmp_path / "empty"))


def test_as_a_step_it_says_why_a_survey_without_votes_is_not_scored(lab, tmp_path: Path) -> None:
    settings, _ = lab
    toml = tmp_path / "silent.toml"
    toml.write_text(TOML.replace('name = "toy"', 'name = "silent"'))
    survey, folder, n = load_survey(str(toml)), settings.shards("silent", PIXELS), 4
    begin_set(folder)
    header = ShardHeader(survey="silent", tree=survey.tree.to_dict(), recipe=survey.image_recipe(PIXELS), split="test")
    images, places = np.full((n, PIXELS, PIXELS, 3), 9, np.uint8), np.arange(n, dtype=float)
    entry = write_shard(
        folder / "test-00000.h5", header, images=images, votes=np.zeros((n, 5), np.int32),
        ids=[f"s{i}" for i in range(n)], ra=places, dec=places, pixscale=np.full(n, 0.3),
    )  # fmt: skip
    write_manifest(folder, header, [entry])
    said = run_where_voted(EvaluateOptions(survey=str(toml), model="models:/gzflow-toy/1"), settings)
    assert said == NotEvaluated("silent", "there is no test galaxy to score")


def test_the_command_prints_questions_with_their_baselines(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.cli import app

    settings, toml = lab
    monkeypatch.setenv("GZFLOW_HOME", str(settings.home))
    result = CliRunner().invoke(app, ["evaluate", toml, "--floor", "12"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "majority" in result.output
    assert "shape" in result.output
    assert "12 votes or more" in " ".join(result.output.split())
    assert "evaluation.html" in "".join(result.output.split())
