"""What a run's page says, and that it stays out of the way where there is none."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import artifacts, events, origin
from flows.pictures import fitted
from gzflow.errors import SettingsError
from gzflow.stages.counts import Counts
from gzflow.training.config import TrainConfig
from tests.flows.prefect_server import PrefectServer

MANY_PICTURES = """
from io import BytesIO
import numpy as np
from PIL import Image
from prefect import flow
from flows import artifacts

@flow
def album():
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (900, 700, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    artifacts.page("album", "Album", None)
    for number in range(9):
        artifacts.picture("one", f"Picture {number}", buffer.getvalue())
    print(len(artifacts._page(artifacts._run()).text()))

album()
"""


@pytest.mark.parametrize(
    ("flow", "parameters", "name"),
    [
        ("joint", {"surveys": ["gz2", "sky/near.toml"]}, "joint-gz2-near"),
        ("train", {"survey": "decals"}, "train-decals"),
        ("ingest", {"survey": "/data/My Surveys/Rings_2.toml"}, "ingest-rings-2"),
        ("crossmatch", {"left": "gz2", "right": "decals", "radius": 2.0}, "crossmatch-gz2-decals"),
        ("sweep", {}, "sweep"),
    ],
)
def test_a_run_is_named_by_its_flow_and_surveys(flow, parameters, name):
    assert origin.label(flow, parameters) == name


def test_outside_of_a_flow_run_nothing_is_put_anywhere():
    assert origin.flow_run() is None
    artifacts.page("train", "Model", Counts(n_in=1, done=1))
    artifacts.table("scores", "Scores", [{"question": "ring", "NLL": "0.1"}])
    artifacts.picture("loss", "Loss", b"\x89PNG")
    artifacts.link("run", "http://127.0.0.1:5000", "MLflow run")
    artifacts.next_step("gzflow predict rings", "a catalogue")
    events.failures("rings", "ingest", Counts(n_in=1, failed=1), 0.05)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (Path("labels.csv"), "labels.csv"),
        ([Path("a"), Path("b.zip")], "a, b.zip"),
        ({"gz2sample": Path("s.csv")}, "gz2sample s.csv"),
        (TrainConfig(), ""),
        (TrainConfig(epochs=3, seed=7), "epochs 3, seed 7"),
        (300, "300"),
    ],
)
def test_what_was_asked_is_said_as_people_write_it(value, words):
    assert artifacts._readable(value) == words


def test_cells_cannot_break_a_table():
    assert artifacts._markdown_table([{"reason": "a|b\nc", "galaxies": 1234}]) == (
        "| reason | galaxies |\n| --- | ---: |\n| a\\|b c | 1,234 |"
    )


@pytest.mark.parametrize("given", ["five", "-0.1", "1.5", "nan"])
def test_a_wrong_threshold_is_refused(given, monkeypatch):
    monkeypatch.setenv(events.THRESHOLD_VARIABLE, given)
    with pytest.raises(SettingsError, match="between 0 and 1"):
        events.threshold()


def test_the_threshold_has_a_default(monkeypatch):
    monkeypatch.delenv(events.THRESHOLD_VARIABLE, raising=False)
    assert events.threshold() == 0.05


@pytest.mark.parametrize("most", [400_000, 60_000, 2_000])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_large_picture_is_shown_smaller(mode, most):
    noise = np.random.default_rng(0).integers(0, 255, (500, 400, 4), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "PNG")
    shown = fitted(buffer.getvalue(), most)
    assert len(shown) <= most
    with Image.open(BytesIO(shown)) as picture:
        assert picture.height / picture.width == pytest.approx(500 / 400, rel=0.1)
    assert fitted(shown, most) is shown


@pytest.mark.slow
def test_a_page_takes_any_number_of_pictures_and_stays_what_prefect_takes(server: PrefectServer):
    characters = int(server.python(MANY_PICTURES).splitlines()[-1])
    assert 0.9 * artifacts.PAGE_BYTES < characters < 1.02 * artifacts.PAGE_BYTES
