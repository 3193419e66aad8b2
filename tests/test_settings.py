from __future__ import annotations

from pathlib import Path

import pytest

from gzflow.errors import SettingsError
from gzflow.settings import Settings


def test_defaults_lie_under_one_absolute_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({})
    assert settings.home == tmp_path / "gzflow-home"
    for path in (settings.shards("decals", 64), settings.predictions("decals"), settings.artifact_root):
        assert path.is_relative_to(settings.home)
    assert settings.catalog_url == f"sqlite:///{tmp_path}/gzflow-home/catalog.db"


def test_workers_get_the_same_settings(tmp_path: Path):
    settings = Settings.load({"GZFLOW_HOME": str(tmp_path), "GZFLOW_CONTACT": "me@observatory.example"})
    assert Settings.load(settings.environment()) == settings


def test_all_problems_in_one_message_without_the_password(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError) as caught:
        Settings.load(
            {
                "GZFLOW_HOME": str(tmp_path / "file"),
                "GZFLOW_CATALOG_URL": "mysql://me:secret@db/x",
                "MLFLOW_TRACKING_URI": "./mlruns",
            }
        )
    assert len(caught.value.problems) == 3
    assert "secret" not in str(caught.value)
