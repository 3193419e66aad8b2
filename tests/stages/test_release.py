"""A release proves itself, never changes, and is refused where its run is not finished."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from gzflow import load_survey
from gzflow.durable import write_json
from gzflow.errors import ExportError
from gzflow.export.source import PredictedCatalogue
from gzflow.model.morphology import Morphology, read_spec
from gzflow.model.spec import ModelSpec, SurveyTree
from gzflow.prediction.export import part_table, write_part
from gzflow.prediction.predict import PredictionPart
from gzflow.recipe import ImageRecipe
from gzflow.settings import Settings
from gzflow.stages.diff import DiffOptions, diff
from gzflow.stages.drift import DRIFT
from gzflow.stages.model_card import model_card
from gzflow.stages.release import MODEL, ReleaseOptions, release
from gzflow.stages.release_check import CARD, CITATION, DICTIONARY, LICENCE, check
from gzflow.tracking.client import connect
from gzflow.tracking.run import TrackedRun

SURVEY = load_survey("decals")
N = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a model that is only files, the MLflow run that scored it, and a finished prediction run."""
    folder = tmp_path_factory.mktemp("released")
    settings = Settings.load({}, home=folder / "home")
    spec = ModelSpec(
        trees=(SurveyTree(survey="decals", tree=SURVEY.tree.to_dict()),),
        encoder="mobilenet_v3_small",
        recipe=ImageRecipe(pixels=32),
        input_pixels=32,
        mean=(60.0,) * 3,
        std=(40.0,) * 3,
        training_fingerprint="abcd",
        training={"epochs": 3, "seed": 42},
    )
    Morphology(spec).save(folder / "model")
    with TrackedRun(settings, "decals", name="training") as run:
        scores = {"galaxies": 900, "nll": 8.1, "nll-constant": 9.2, "nll-majority": 30.0, "coverage90": 0.91}
        one = {"galaxies": 700, "accuracy": 0.83, "majority-accuracy": 0.61, "mae": 0.08, "coverage90": 0.9}
        run.log_results(
            {f"test/{name}": value for name, value in scores.items()}
            | {f"test/{name}/smooth-or-featured": value for name, value in one.items()}
        )
    alpha = np.random.default_rng(0).uniform(1, 101, (N, 2, len(SURVEY.tree.answers))).astype(np.float32)
    part = PredictionPart([f"g{i}" for i in range(N)], np.zeros(N), np.zeros(N), alpha)
    about = {
        "survey": "decals",
        "model_uri": (folder / "model").as_uri(),
        "training_fingerprint": "abcd",
        "run_id": run.id,
        "samples": 2,
        "seed": 42,
        "citation": SURVEY.about.citation,
        "acknowledgement": SURVEY.about.acknowledgement,
        "recipe_mismatch": "pixels: 32 in the model, 64 in the images",
    }
    predicted = settings.predictions("decals") / "v1-aaaa"
    name = "part-test-00000.parquet"
    write_part(predicted / name, part_table(part, SURVEY.tree, about | {"split": "test"}))
    counts = {"n_in": N, "done": N}
    entries = [{"file": name, "n": N, "split": "test"}]
    write_json(predicted / "manifest.json", {"entries": entries, "counts": counts, "pinned": {"samples": 2}})
    return settings


@pytest.fixture(scope="module")
def released(home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "decals-1.0"
    release(options(folder, log=True), home)
    return folder


def options(to: Path, **more) -> ReleaseOptions:
    given = {
        "formats": ("parquet", "fits"),
        "authors": ("Curie, Marie, 0000-0002-1825-0097", "A group"),
        "licence": "CC BY 4.0",
        "version": "1.0",
        "log": False,
    }
    return ReleaseOptions("decals", to, **(given | more))


def test_a_release_holds_what_an_archive_and_its_readers_need(released: Path) -> None:
    summary = check(released)
    assert (summary.galaxies, summary.files) == (N, len([p for p in released.rglob("*") if p.is_file()]))
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=released, check=True)
    citation = yaml.safe_load((released / CITATION).read_text("utf-8"))
    assert citation["keywords"] == ["galaxies", "morphology", *SURVEY.about.keywords]
    assert citation["license"] == "CC-BY-4.0"
    assert citation["authors"] == [
        {"family-names": "Curie", "given-names": "Marie", "orcid": "https://orcid.org/0000-0002-1825-0097"},
        {"name": "A group"},
    ]
    assert SURVEY.about.citation in citation["message"]
    assert citation["version"] == "1.0"
    readme = (released / "README.md").read_text("utf-8")
    for said in (SURVEY.about.acknowledgement, "30 in = 30 done", "30 galaxies", "made another way", "`decals.fits`"):
        assert said in readme
    card = (released / CARD).read_text("utf-8")
    assert "| smooth-or-featured | 700 | 83.0 % | 61.0 % | 0.080 | 90.0 % |" in card
    assert "NLL 8.100 nats a galaxy (a constant Dirichlet\n9.200" in card
    assert "| epochs | 3 |" in card
    rows = list(csv.DictReader((released / DICTIONARY).read_text("utf-8").splitlines()))
    assert rows[1] == {
        "column": "ra",
        "type": "double",
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
        "description": "right ascension, J2000",
    }
    assert all(row["description"] for row in rows)
    assert read_spec(released / MODEL).training_fingerprint == "abcd"


def test_the_same_release_is_the_same_bytes_and_stays_as_it_is(home: Settings, released: Path, tmp_path: Path) -> None:
    again = release(options(tmp_path / "again"), home)
    assert not again.reused
    one, other = (
        {p.relative_to(f).as_posix(): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (released, tmp_path / "again")
    )
    assert one == other
    assert release(options(tmp_path / "again"), home).reused
    with pytest.raises(ExportError, match=r"another release stands(.|\n)*LICENCE.txt differs"):
        release(options(tmp_path / "again", licence="CC0 1.0"), home)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_release_of_galaxies_that_the_model_does_not_know_says_so_first(home: Settings, tmp_path: Path) -> None:
    drift = home.predictions("decals") / "v1-aaaa" / DRIFT
    write_json(drift, {"drifts": True, "sentence": "40.0% of 30 galaxies are out of support"})
    try:
        release(options(tmp_path / "odd"), home)
    finally:
        drift.unlink()
    for name in ("README.md", CARD):
        assert "- These galaxies differ from those that the model learnt" in (tmp_path / "odd" / name).read_text(
            "utf-8"
        )
    check(tmp_path / "odd")


def test_what_was_left_by_a_killed_process_is_no_obstacle(home: Settings, tmp_path: Path) -> None:
    left = tmp_path / ".made.partial" / "release"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    plain = options(tmp_path / "made", formats=("csv",), authors=(), licence="", model=False)
    summary = release(plain, home)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert not (tmp_path / "made" / MODEL).exists()
    assert (tmp_path / "made" / "decals.csv-metadata.json").is_file()
    assert {note.split()[0] for note in summary.notes} == {CITATION, LICENCE}
    assert yaml.safe_load((tmp_path / "made" / CITATION).read_text("utf-8"))["authors"] == [{"name": "anonymous"}]


def test_a_check_names_everything_that_is_not_as_it_was(released: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(released, folder)
    check(folder)
    (folder / LICENCE).write_text("do what you like\n")
    (folder / "more.txt").write_text("")
    (folder / CARD).unlink()
    with pytest.raises(ExportError, match="not what it was") as caught:
        check(folder)
    assert set(caught.value.problems) == {
        f"{CARD} is missing",
        "more.txt is not in SHA256SUMS",
        f"{LICENCE} is not the file that was released",
    }
    with pytest.raises(ExportError, match="this is no release"):
        check(tmp_path)


def test_what_is_not_finished_or_not_its_own_is_refused(home: Settings, tmp_path: Path) -> None:
    predicted = home.predictions("decals")
    (predicted / "v2-begun").mkdir(exist_ok=True)
    with pytest.raises(ExportError, match="no finished prediction runs of decals go by 'v2-begun'"):
        release(options(tmp_path / "new", run="v2-begun"), home)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(ExportError, match="something else than a release"):
        release(options(tmp_path / "thesis"), home)
    with pytest.raises(ExportError, match="names no author"):
        release(options(tmp_path / "new", authors=("Curie, Marie, 12",)), home)
    description = home.home.parent / "model" / "model.json"
    kept = description.read_bytes()
    write_json(description, json.loads(kept) | {"training_fingerprint": "ffff"})
    with pytest.raises(ExportError, match=r"not the one that made the catalogue(.|\n)*trained as ffff"):
        release(options(tmp_path / "new"), home)
    description.write_bytes(kept)
    assert not (tmp_path / "new").exists()


def test_a_release_is_noted_once_and_can_be_compared(home: Settings, released: Path) -> None:
    again = release(options(released, log=True), home)
    assert again.reused
    client = connect(home)
    runs = [
        run
        for run in client.search_runs([client.get_experiment_by_name("gzflow-decals").experiment_id])
        if run.data.tags.get("gzflow.kind") == "release"
    ]
    assert [run.info.run_id for run in runs] == [again.run_id]
    assert runs[0].inputs.dataset_inputs[0].dataset.name == "decals-release"
    found = diff(DiffOptions(str(released), "decals"), home)
    assert (found.n_both, sum(entry.n_changed for entry in found.questions)) == (N, 0)


def test_the_card_of_a_joint_model_speaks_of_the_survey_that_was_predicted(home: Settings) -> None:
    spec = read_spec(Path(home.home).parent / "model")
    first = SurveyTree(survey="another", tree=spec.trees[0].tree)
    own = spec.trees[0].model_copy(update={"recipe": spec.recipe.model_copy(update={"scale_rule": "of its own"})})
    spec = ModelSpec(**spec.model_dump() | {"trees": (first, own), "components": 3, "members": 2})
    catalogue = PredictedCatalogue.open(home.predictions("decals") / "v1-aaaa")
    with TrackedRun(home, "joint-another-decals", name="joint") as run:
        run.log_results({"test/galaxies": 9, "test/galaxies/decals.merging": 4, "test/accuracy/decals.merging": 0.75})
    metadata = {**catalogue.schema.metadata, b"run_id": run.id.encode()}
    catalogue = replace(catalogue, schema=catalogue.schema.with_metadata(metadata))
    card = model_card(spec, catalogue, SURVEY, home, weights=True, caveats=()).decode()
    for said in (
        "scale of its own", "2 networks of it", "a mixture of 3 a question", '.answering("decals")',
        "9 test galaxies of all surveys together", "| merging | 4 | 75.0 % |",
    ):  # fmt: skip
        assert said in card
