"""A survey with check boxes, from a Zooniverse export to an evaluated catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gzflow.settings import Settings
from gzflow.shards.reader import ShardSet
from gzflow.simulation.survey import SimulatedSurvey
from gzflow.stages import export, ingest, predict, report, shard, train
from gzflow.stages.counts import total
from gzflow.stages.evaluate import EvaluateOptions
from gzflow.stages.evaluate import run as evaluate
from gzflow.stages.votes import count_votes
from gzflow.surveys import load_survey
from gzflow.training.config import TrainConfig
from tests.catalog.zooniverse.exports import answered, row, write

pytestmark = pytest.mark.slow
N, PIXELS, VOLUNTEERS = 80, 32, 12
BOXES = ("ring", "disturbed", "irregular", "merger", "dust-lane")
SURVEY = f"""
[survey]
name = "oddities"
[catalog]
id = "name"
ra = "ra"
dec = "dec"
image = "file"
[catalog.votes]
count = "{{question}}_{{answer}}"
total = "{{question}}_total"
[[question]]
name = "something-odd"
answers = ["yes", "no"]
[[question]]
name = "odd-feature"
answers = {list(BOXES)}
multiple_choice = true
asked_after = ["something-odd=yes"]
[[question]]
name = "ring-colour"
answers = ["blue", "red"]
asked_after = ["odd-feature=ring"]
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, np.ndarray]:
    """A folder with pictures and counted votes, the survey's TOML, and what was clicked: (N, 2 + boxes + 2)."""
    folder = tmp_path_factory.mktemp("boxes")
    sky = SimulatedSurvey.draw("gz2", N, 5, pixels=PIXELS)
    known = dict(zip(sky.base.tree.answers, sky.votes.truth.T, strict=True))
    rng = np.random.default_rng(6)
    (folder / "pictures").mkdir()
    clicked, rows = np.zeros((N, 4 + len(BOXES)), int), []
    for i in range(N):
        Image.fromarray(sky.picture(i)).save(folder / "pictures" / f"g{i}.png")
        about = {"#gzflow_id": f"g{i}", "file": f"g{i}.png"}
        about |= {"ra": float(sky.galaxies["ra"][i]), "dec": float(sky.galaxies["dec"][i])}
        for _ in range(VOLUNTEERS):
            said = {"something-odd": "No"}
            clicked[i, 1] += 1
            if rng.random() < max(0.5, known["something-odd_yes"][i]):
                ticks = [box for box in BOXES if rng.random() < known[f"odd-feature_{box}"][i]]
                said = {"something-odd": "Yes", "odd-feature": ticks}
                clicked[i, :2] += (1, -1)
                clicked[i, [2 + BOXES.index(box) for box in ticks]] += 1
                if "ring" in ticks:
                    said["ring-colour"] = "Blue" if rng.random() < 0.5 else "Red"
                    clicked[i, -2 + (said["ring-colour"] == "Red")] += 1
            rows.append(row(len(rows) + 1, 100 + i, answered(**said), about=about))
    (folder / "oddities.toml").write_text(SURVEY)
    toml = str(folder / "oddities.toml")
    count_votes(write(folder / "export.csv", rows), toml, folder / "votes.csv")
    return folder, toml, clicked


@pytest.fixture(scope="module")
def done(counted: tuple[Path, str, np.ndarray]) -> tuple[Settings, report.PipelineRun]:
    folder, toml, _ = counted
    settings = Settings.load({}, home=folder / "home")
    source = ingest.IngestSource.of(toml, folder / "votes.csv", None, {}, [folder / "pictures"])
    ingest.read(source, settings)
    for chunk in ingest.plan(source, settings).chunks:
        ingest.run_chunk(chunk, settings)
    ingested = ingest.finish(source, settings)
    sharding = shard.plan(toml, settings, pixels=PIXELS)
    sharded = shard.finish(sharding, total(shard.run_chunk(chunk, settings) for chunk in sharding.chunks))
    config = TrainConfig(encoder="mobilenet_v3_small", epochs=1, batch_size=16, seed=1)
    trained = train.run_chunk(train.plan(toml, settings, pixels=None, config=config), settings)
    predicting = predict.plan(predict.PredictOptions(survey=toml, samples=3, keep_concentrations=True), settings)
    counts = total(predict.run_chunk(chunk, settings) for chunk in predicting.chunks)
    return settings, report.PipelineRun(toml, ingested, sharded, trained, predict.finish(predicting, counts, settings))


def test_the_shards_hold_each_box_ticked_and_not_ticked(counted, done) -> None:
    (_, toml, clicked), (_, run) = counted, done
    shards = ShardSet.open(run.sharded.folder)
    assert shards.n() == N
    votes = pl.DataFrame(shards.votes(), schema=list(load_survey(toml).tree.answers), orient="row")
    of = np.array([int(name.removeprefix("g")) for name in shards.ids()])
    np.testing.assert_array_equal(votes["something-odd_yes"], clicked[of, 0])
    for place, box in enumerate(BOXES, start=2):
        np.testing.assert_array_equal(votes[f"odd-feature-{box}_yes"], clicked[of, place])
        np.testing.assert_array_equal(votes[f"odd-feature-{box}_no"], clicked[of, 0] - clicked[of, place])
    np.testing.assert_array_equal(votes["ring-colour_red"], clicked[of, -1])


@pytest.mark.parametrize("form", ["fits", "votable", "csv", "hdf5", "parquet"])
def test_the_catalogue_has_a_fraction_of_each_box_in_every_format(form: str, done, tmp_path: Path) -> None:
    settings, run = done
    options = export.ExportOptions(run.survey, tmp_path / "catalogue", format=form, volunteers=40, log=False)
    assert export.export(options, settings).galaxies == N
    if form == "parquet":
        table = pl.read_parquet(options.out)
        for box in BOXES:
            pair = table[f"odd-feature-{box}_yes_fraction"] + table[f"odd-feature-{box}_no_fraction"]
            np.testing.assert_allclose(pair, 1, atol=1e-5)
        asked = table["something-odd_yes_fraction"] * table["odd-feature-ring_yes_fraction"]
        np.testing.assert_allclose(table["ring-colour_proportion-asked"], asked, atol=0.02)


def test_boxes_are_scored_and_reported_like_questions(done) -> None:
    settings, run = done
    evaluated = evaluate(EvaluateOptions(run.survey, samples=3, floor=3), settings)
    assert "odd-feature-ring" in evaluated.report.read_text("utf-8")
    assert "odd-feature-ring" in report.build(run, settings).report.read_text("utf-8")
