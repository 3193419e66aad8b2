from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow.errors import SettingsError
from gzflow.settings import Settings, without_password


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


@pytest.mark.parametrize("bad", "?#%")
def test_a_home_that_a_url_would_misread_is_refused(tmp_path: Path, bad: str):
    with pytest.raises(SettingsError, match="expected: GZFLOW_HOME=<folder without") as caught:
        Settings.load({"GZFLOW_HOME": str(tmp_path / f"50{bad}20lab")})
    assert caught.value.problems == (f"GZFLOW_HOME has a {bad} in its path: {tmp_path}/50{bad}20lab",)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.sampled_from(["me", ""]))
def test_no_password_of_a_database_is_shown_whatever_it_is_made_of(ending: str, user: str):
    password = f"hidden{ending}"
    assert without_password(f"postgresql+psycopg://{user}:{password}@host:5432/db") == (
        f"postgresql+psycopg://{user}:***@host:5432/db"
    )


def test_addresses_without_a_password_are_shown_as_they_are():
    for address in ("sqlite:////a@b/c:d.db", "http://127.0.0.1:5000", "postgresql://me@host/db"):
        assert without_password(address) == address
    assert without_password("postgresql://host/db?user=me&password=hidden&x=1") == (
        "postgresql://host/db?user=me&password=***&x=1"
    )


def test_settings_show_no_password(tmp_path: Path):
    urls = {"GZFLOW_CATALOG_URL": "postgresql://me:hidden@h/c", "MLFLOW_TRACKING_URI": "postgresql://me:hidden@h/m"}
    settings = Settings.load(urls, home=tmp_path)
    assert "hidden" in settings.catalog_url
    for shown in (repr(settings), str(settings), f"{settings}", f"{[settings]}"):
        assert "hidden" not in shown
        assert str(tmp_path) in shown


@pytest.mark.parametrize("name", ["GZFLOW_CATALOG_URL", "MLFLOW_TRACKING_URI"])
def test_a_password_that_a_driver_would_take_for_a_host_is_refused(name: str, tmp_path: Path):
    with pytest.raises(SettingsError, match=f"{name}(.|\n)*%40") as caught:
        Settings.load({name: "postgresql://me:one@hidden@host/db"}, home=tmp_path)
    assert "hidden" not in str(caught.value)
    assert Settings.load({name: "postgresql://me:one%40hidden@host/db?x=@"}, home=tmp_path)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_servers_password_does_not_belong_into_its_address(scheme: str, tmp_path: Path):
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        Settings.load({"MLFLOW_TRACKING_URI": f"{scheme}://me:hidden@host:5000"}, home=tmp_path)
    assert "hidden" not in str(caught.value)
