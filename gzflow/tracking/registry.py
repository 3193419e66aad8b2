"""Registered models: ``gzflow-<survey>``, its versions, and the aliases champion and challenger."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import gzflow
from gzflow.errors import NoChampion, TrackingError
from gzflow.model.spec import ModelSpec
from gzflow.settings import Settings, without_password
from gzflow.tracking.client import ABSENT, PREFIX, connect, is_server, tracking_errors
from gzflow.tracking.run import TrackedRun
from gzflow.tracking.served import save_served
from gzflow.tracking.succession import MODEL_ID, Succession

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Alias = Literal["champion", "challenger"]
_LOCAL = "artifacts/morphology"


@dataclass(frozen=True)
class ModelRef:
    """One model, pinned.

    Attributes
    ----------
    name, version
        Of the registered model; a folder's name and None for a model that is only files.
    uri
        ``models:/gzflow-<survey>/<version>``, or the folder's ``file:`` URI. Never an alias: aliases move.
    run_id
        The run that made it, if known.
    folder
        Where ``model.json`` and ``model.safetensors`` lie on this machine.
    tags
        Of the version, for instance the decision that made it champion.
    """

    name: str
    version: str | None
    uri: str
    run_id: str | None
    folder: Path
    tags: Mapping[str, str]


class Registry:
    """The model registry of one store.

    Parameters
    ----------
    settings
        Names the store. Models that a server keeps are copied once to ``settings.models``.

    Raises
    ------
    TrackingError
        From every method, when MLflow refuses or cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: MlflowClient = connect(settings)

    def register(
        self, model_folder: Path, run: TrackedRun, *, tags: Mapping[str, str] | None = None, description: str = ""
    ) -> ModelRef:
        """Register a saved model as a version of ``gzflow-<survey>`` of the run's survey.

        The first model of a survey becomes its champion; later ones become the challenger, which another step may
        promote. The decision is a tag of version and run. `description` is what people read on the model's page.
        """
        from gzflow.model.morphology import Morphology

        # Loading it whole proves that description and weights belong together, before anything is sent.
        spec = Morphology.load(model_folder).spec
        name = f"{PREFIX}{run.survey}"
        facts = {
            "gzflow.survey": run.survey,
            "gzflow.tree_fingerprint": spec.tree.fingerprint,
            "gzflow.training_fingerprint": spec.training_fingerprint or "",
            "gzflow.recipe": spec.recipe.name,
            "gzflow.pixels": str(spec.recipe.pixels),
            "gzflow.version": gzflow.__version__,
            **(tags or {}),
        }
        with tracking_errors("register the model", self.settings):
            if (known := self._registered(name, run.id, facts["gzflow.training_fingerprint"])) is not None:
                return self._named(run, name, known)
            self._forget_unfinished(run)
            model_id = self._upload(model_folder, spec, run, facts)
            self._ensure(name)
            # A server refuses paths; MLflow's own code for a database looks models:/<id> up in the global store.
            server = is_server(self.settings.tracking_uri)
            source = f"models:/{model_id}" if server else self.client.get_logged_model(model_id).artifact_location
            made = self.client.create_model_version(
                name,
                source=source,
                run_id=run.id,
                tags=facts | {MODEL_ID: model_id},
                model_id=model_id,
                description=description,
            )
            return self._named(run, name, str(made.version))

    def _registered(self, name: str, run_id: str, fingerprint: str) -> str | None:
        """The version that a run had registered before it was killed."""
        for found in self.client.search_model_versions(f"name = '{name}'"):
            if found.run_id == run_id and found.tags.get("gzflow.training_fingerprint") == fingerprint:
                return str(found.version)
        return None

    def _forget_unfinished(self, run: TrackedRun) -> None:
        """Delete what a killed process had uploaded for this run and not registered."""
        wanted = f"source_run_id = '{run.id}'"
        for left in self.client.search_logged_models([run.experiment_id], filter_string=wanted):
            self.client.delete_logged_model(left.model_id)

    def _named(self, run: TrackedRun, name: str, version: str) -> ModelRef:
        """The version after giving it its place: the first is champion, a later one challenger."""
        self.succession(run.survey).introduce(version)
        return self.resolve(f"models:/{name}/{version}")

    def succession(self, survey: str) -> Succession:
        """Who is champion of the survey and who was: promotion, rollback, history."""
        return Succession(self.client, self.settings, survey)

    def pages(self, name: str, version: str) -> tuple[str | None, str | None]:
        """Pages of a model version and of the run that made it, where a server shows them and they are still there."""
        from mlflow.exceptions import MlflowException

        if not is_server(self.settings.tracking_uri):
            return None, None
        home = f"{without_password(self.settings.tracking_uri).rstrip('/')}/#"
        with tracking_errors("look up the model's run", self.settings):
            run_id = self.client.get_model_version(name, version).run_id
            try:
                experiment = self.client.get_run(run_id).info.experiment_id if run_id else None
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                experiment = None
        run = f"{home}/experiments/{experiment}/runs/{run_id}" if experiment else None
        return f"{home}/models/{name}/versions/{version}", run

    def alias(self, survey: str, alias: Alias) -> str | None:
        """The version that carries an alias, or None."""
        return self.succession(survey).alias(alias)

    def champion(self, survey: str) -> ModelRef:
        """The survey's champion, pinned to its version.

        Raises
        ------
        NoChampion
            Nobody carries the alias yet.
        """
        version = self.alias(survey, "champion")
        if version is None:
            raise NoChampion(
                f"survey {survey!r} has no champion yet",
                where=f"registered model {PREFIX}{survey}",
                expected="a model version with the alias champion",
                fix=f"run `gzflow train {survey}` (the first model becomes champion), or name a model:"
                " a version number, a models:/ URI or a folder with model.json",
            )
        return self.resolve(f"models:/{PREFIX}{survey}/{version}")

    def resolve(self, reference: str | Path, survey: str | None = None) -> ModelRef:
        """The one model that a reference names now.

        Parameters
        ----------
        reference
            ``models:/name/version``, ``models:/name@alias``, a folder that `Morphology.save` wrote, or, given
            `survey`: a version number or an alias.

        Raises
        ------
        NoChampion
            An alias that nobody carries.
        TrackingError
            Nothing of that kind.
        """
        text = str(reference)
        if survey is not None and re.fullmatch(r"\d+", text):
            text = f"models:/{PREFIX}{survey}/{text}"
        elif survey is not None and re.fullmatch(r"@?(champion|challenger)", text):
            text = f"models:/{PREFIX}{survey}@{text.removeprefix('@')}"
        if not text.startswith("models:/"):
            return _local(Path(reference))
        versioned = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", text)
        if versioned is None:
            raise TrackingError(
                f"{text!r} names no model version",
                expected="models:/name/version or models:/name@alias",
                fix="write it in one of these forms",
            )
        return self._pinned(*versioned.groups())

    def trained(self, survey: str, fingerprint: str) -> ModelRef | None:
        """The survey's latest version with that training fingerprint, if it has one."""
        with tracking_errors("look for a model", self.settings):
            found = [
                int(version.version)
                for version in self.client.search_model_versions(f"name = '{PREFIX}{survey}'")
                if version.tags.get("gzflow.training_fingerprint") == fingerprint
            ]
        return self.resolve(f"models:/{PREFIX}{survey}/{max(found)}") if found else None

    def _pinned(self, name: str, version: str | None, alias: str | None) -> ModelRef:
        from mlflow.exceptions import MlflowException

        with tracking_errors("look up the model", self.settings):
            try:
                if alias is not None:
                    found = self.client.get_model_version_by_alias(name, alias)
                else:
                    found = self.client.get_model_version(name, version)
            except MlflowException as error:
                if error.error_code not in ABSENT:
                    raise
                kind = NoChampion if alias == "champion" else TrackingError
                raise kind(
                    f"there is no model {name} {f'with alias {alias}' if alias else f'version {version}'}",
                    where=without_password(self.settings.tracking_uri),
                    expected="a registered version",
                    fix=f"run `gzflow train {name.removeprefix(PREFIX)}`, or look at the models on MLflow's page",
                ) from error
        if MODEL_ID not in found.tags:
            raise TrackingError(
                f"models:/{name}/{found.version} was not registered by gzflow",
                where=str(found.source),
                expected=f"a version with the tag {MODEL_ID}",
                fix="register models with Registry.register; `gzflow train` does",
            )
        return ModelRef(
            name=name,
            version=str(found.version),
            uri=f"models:/{name}/{found.version}",
            run_id=found.run_id,
            folder=self._folder(found),
            tags=dict(found.tags),
        )

    def _folder(self, found: ModelVersion) -> Path:
        """The version's files on this machine: in place where they are local, else copied once and kept."""
        from mlflow.artifacts import download_artifacts

        with tracking_errors("fetch the model", self.settings):
            model_id = found.tags[MODEL_ID]
            location = str(self.client.get_logged_model(model_id).artifact_location)
            if not is_server(self.settings.tracking_uri):
                return Path(download_artifacts(artifact_uri=location, tracking_uri=self.settings.tracking_uri)) / _LOCAL
            kept = self.settings.models / "registered" / str(found.name) / model_id
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                temporary = kept.with_name(f".{kept.name}.{uuid4().hex[:8]}.tmp")
                got = download_artifacts(
                    artifact_uri=location, dst_path=str(temporary), tracking_uri=self.settings.tracking_uri
                )
                _move(Path(got) / _LOCAL, kept)
                shutil.rmtree(temporary, ignore_errors=True)
            return kept

    def _upload(self, model_folder: Path, spec: ModelSpec, run: TrackedRun, facts: Mapping[str, str]) -> str:
        """Id of the logged model that now holds the files; a failed upload leaves none behind."""
        from mlflow.entities import LoggedModelOutput

        logged = self.client.create_logged_model(
            run.experiment_id,
            name="morphology",
            source_run_id=run.id,
            tags=dict(facts),
            params={"encoder": spec.encoder, "dropout": str(spec.dropout), "input_pixels": str(spec.input_pixels)},
            model_type="gzflow.Morphology",
        )
        try:
            with TemporaryDirectory() as temporary:
                saved = save_served(model_folder, spec, Path(temporary), model_id=logged.model_id, run_id=run.id)
                self.client.log_model_artifacts(logged.model_id, str(saved))
            self.client.finalize_logged_model(logged.model_id, "READY")
            self.client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, 0)])
        except BaseException:
            self.client.delete_logged_model(logged.model_id)
            raise
        return str(logged.model_id)

    def _ensure(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _local(folder: Path) -> ModelRef:
    if not (folder / "model.json").is_file():
        raise TrackingError(
            "this is neither a registered model nor a saved one",
            where=str(folder),
            expected="a folder with model.json and model.safetensors, models:/name/version, models:/name@alias,"
            " a version number, champion or challenger",
            fix="check the spelling of the path or the name",
        )
    folder = folder.absolute()
    return ModelRef(folder.name, None, folder.as_uri(), None, folder, {})


def _move(source: Path, target: Path) -> None:
    """Rename a folder; when another process was first, its copy is as good."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
