"""Which run is exported, what is left out of it, and what MLflow knows of the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.errors import ExportError
from gzflow.posterior import expected_votes, proportions_asked
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart
from gzflow.settings import Settings
from gzflow.stages.export import EXPORT_TAG, ExportOptions, export
from gzflow.tracking.client import connect
from gzflow.tracking.run import TrackedRun

TREE = load_survey("decals").tree
N = 40


def finished_run(folder: Path, *, keep: bool = False, seed: int = 0, run_id: str = "") -> np.ndarray:
    concentrations = np.random.default_rng(seed).uniform(1, 101, (N, 2, len(TREE.answers))).astype(np.float32)
    part = PredictionPart([f"g{i}" for i in range(N)], np.zeros(N), np.zeros(N), concentrations)
    about = {"survey": "decals", "split": "test", "model_uri": "models:/gzflow-decals/1", "run_id": run_id}
    write_part(folder / "part-test-00000.parquet", part_table(part, TREE, about, keep_concentrations=keep))
    write_json(folder / "manifest.json", {"entries": [{"file": "part-test-00000.parquet", "n": N, "split": "test"}]})
    return concentrations


def test_the_latest_finished_run_is_exported_unless_one_is_named(settings: Settings, tmp_path: Path) -> None:
    home = settings.predictions("decals")
    for age, name in enumerate(["v3-aaaa", "v3-bbbb", "v12-cccc"]):
        finished_run(home / name, seed=age)
        os.utime(home / name / "manifest.json", (1000 - age, 1000 - age))
    (home / "v4-unfinished").mkdir()

    def of(run: str | None) -> str:
        options = ExportOptions("decals", tmp_path / "a.csv", run=run, log=False)
        return export(options, settings).folder.name

    assert of(None) == "v3-aaaa"
    assert of("v12") == "v12-cccc"
    assert of(str(home / "v3-bbbb")) == "v3-bbbb"
    with pytest.raises(ExportError, match=r"2 finished prediction runs of decals go by 'v3'(.|\n)*v3-bbbb"):
        of("v3")
    with pytest.raises(ExportError, match=r"no finished prediction runs of decals go by 'v4'(.|\n)*v12-cccc"):
        of("v4")
    with pytest.raises(ExportError, match="run `gzflow predict gz2` first"):
        export(ExportOptions("gz2", tmp_path / "a.csv"), settings)
    with pytest.raises(ExportError, match="is one of survey decals, not gz2"):
        export(ExportOptions("gz2", tmp_path / "a.csv", run=str(home / "v3-bbbb")), settings)


def test_numbers_below_the_cut_are_nan_and_those_at_it_stay(settings: Settings, tmp_path: Path) -> None:
    alpha = finished_run(settings.predictions("decals") / "v1-a", keep=True)
    asked = proportions_asked(alpha, TREE)[:, TREE.index("bar")].astype(np.float32)
    cut = float(np.sort(asked)[N // 2])
    export(ExportOptions("decals", tmp_path / "a.parquet", asked=cut, volunteers=40, log=False), settings)
    table = pq.read_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(table["bar_proportion-asked"].to_numpy(), asked)
    kept = asked >= cut
    assert 0 < kept.sum() < N
    for column in ("fraction", "std", "lower", "upper", "expected-votes"):
        assert (np.isfinite(table[f"bar_no_{column}"].to_numpy()) == kept).all()
        assert np.isfinite(table[f"smooth-or-featured_smooth_{column}"].to_numpy()).all()
    samples = np.array(table["bar_no_concentrations"].to_pylist())
    assert (np.isfinite(samples).all(1) == kept).all()
    votes = expected_votes(alpha, TREE, 40)
    np.testing.assert_allclose(table["smooth-or-featured_smooth_expected-votes"].to_numpy(), votes[:, 0], rtol=1e-5)
    assert table.schema.metadata[b"least_proportion_asked"] == str(cut).encode()
    assert table.schema.metadata[b"volunteers"] == b"40"


@pytest.mark.parametrize("options", [{"volunteers": 40}, {"format": "hdf5"}], ids=["votes", "hdf5"])
def test_what_needs_samples_says_how_to_keep_them(settings: Settings, tmp_path: Path, options: dict) -> None:
    finished_run(settings.predictions("decals") / "v1-a")
    with pytest.raises(ExportError, match="gzflow predict SURVEY --concentrations"):
        export(ExportOptions("decals", tmp_path / "a.csv", log=False, **options), settings)
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize("options", [{"asked": 1.5}, {"volunteers": -1}, {"asked": -1, "volunteers": 0}])
def test_options_that_cannot_be_are_named(settings: Settings, tmp_path: Path, options: dict) -> None:
    finished_run(settings.predictions("decals") / "v1-a")
    with pytest.raises(ExportError, match="cannot be") as caught:
        export(ExportOptions("decals", tmp_path / "a.csv", log=False, **options), settings)
    assert len(caught.value.problems) == len(options)


def test_an_unknown_ending_asks_for_the_format(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a\.txt is not known(.|\n)*\.parquet(.|\n)*--format fits\|votable"):
        export(ExportOptions("decals", tmp_path / "a.txt"), settings)


def test_parts_that_are_not_those_of_the_manifest_are_all_named(settings: Settings, tmp_path: Path) -> None:
    folder = settings.predictions("decals") / "v1-a"
    finished_run(folder)
    entries = [
        {"file": "part-test-00000.parquet", "n": N + 1, "split": "test"},
        {"file": "part-train-00000.parquet", "n": 7, "split": "train"},
    ]
    write_json(folder / "manifest.json", {"entries": entries})
    with pytest.raises(ExportError, match="not those of the manifest") as caught:
        export(ExportOptions("decals", tmp_path / "a.csv", log=False), settings)
    assert set(caught.value.problems) == {
        "part-train-00000.parquet is missing",
        "part-test-00000.parquet has 40 galaxies, not 41",
    }


def test_a_failed_export_leaves_the_file_of_before(settings: Settings, tmp_path: Path) -> None:
    folder = settings.predictions("decals") / "v1-a"
    finished_run(folder)
    file = tmp_path / "a.fits"
    export(ExportOptions("decals", file, log=False), settings)
    before = file.read_bytes()
    part = folder / "part-test-00000.parquet"
    content = bytearray(part.read_bytes())
    content[200:3000] = bytes(2800)
    part.write_bytes(content)
    with pytest.raises(OSError):
        export(ExportOptions("decals", file, log=False), settings)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*a.fits*")] == ["a.fits"]


def test_mlflow_notes_a_file_once_below_the_run_that_made_its_model(settings: Settings, tmp_path: Path) -> None:
    with TrackedRun(settings, "decals", name="training") as training:
        pass
    finished_run(settings.predictions("decals") / "v1-a", run_id=training.id)
    options = ExportOptions("decals", tmp_path / "a.vot")
    first, again = export(options, settings), export(options, settings)
    assert first.run_id == again.run_id
    client = connect(settings)
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == training.id
    assert run.data.tags[EXPORT_TAG] == first.digest
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("decals-catalogue", first.digest)
    assert str(tmp_path / "a.vot") in entry.dataset.source
    assert '"galaxies": 40' in entry.dataset.profile
    assert len(client.search_runs([run.info.experiment_id])) == 2


def test_without_mlflow_nothing_is_written_unless_it_is_left_out(settings: Settings, tmp_path: Path) -> None:
    finished_run(settings.predictions("decals") / "v1-a")
    away = Settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, home=settings.home)
    with pytest.raises(ExportError, match=r"does not answer(.|\n)*--no-log"):
        export(ExportOptions("decals", tmp_path / "a.parquet"), away)
    assert not (tmp_path / "a.parquet").exists()
    export(ExportOptions("decals", tmp_path / "a.parquet", log=False), away)
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == N
