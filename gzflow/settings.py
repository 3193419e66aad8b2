"""Where everything that gzflow writes lives, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gzflow.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """Resolved once, handed down, and given to workers through `environment`.

    Attributes
    ----------
    home
        ``GZFLOW_HOME`` as an absolute path (default ``./gzflow-home``).
    catalog_url
        ``GZFLOW_CATALOG_URL``, an SQLAlchemy URL (default: a SQLite file under `home`).
    tracking_uri
        ``MLFLOW_TRACKING_URI`` (default: a SQLite file under `home`).
    contact
        ``GZFLOW_CONTACT``: an e-mail address or page that cutout services see in the User-Agent.
    """

    home: Path
    catalog_url: str
    tracking_uri: str
    contact: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, home: str | Path | None = None) -> Settings:
        """Read the environment (or a mapping); `home` overrides ``GZFLOW_HOME``.

        Raises
        ------
        SettingsError
            All problems at once.
        """
        environ = os.environ if environ is None else environ
        root = Path(home or environ.get("GZFLOW_HOME") or "gzflow-home").expanduser().absolute()
        problems = []
        if root.exists() and not root.is_dir():
            problems.append(f"GZFLOW_HOME is a file: {root}")
        # SQLite files are named by URLs, where these end the path or stand for another character.
        problems += [f"GZFLOW_HOME has a {bad} in its path: {root}" for bad in "?#%" if bad in str(root)]
        catalog_url = environ.get("GZFLOW_CATALOG_URL") or f"sqlite:///{root / 'catalog.db'}"
        if urlsplit(catalog_url).scheme.split("+")[0] not in {"sqlite", "postgresql"}:
            problems.append(f"GZFLOW_CATALOG_URL is neither sqlite nor postgresql: {without_password(catalog_url)}")
        tracking_uri = environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}"
        if urlsplit(tracking_uri).scheme.split("+")[0] not in {"sqlite", "postgresql", "http", "https", "databricks"}:
            problems.append(f"MLFLOW_TRACKING_URI is no database or server: {without_password(tracking_uri)}")
        elif urlsplit(tracking_uri).scheme in {"http", "https"} and "@" in tracking_uri:
            problems.append(
                "MLFLOW_TRACKING_URI names a user: it is stored and shown with runs and deployments, so take that out"
                " and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        problems += [
            f"{name} has more than one @: a driver would take a part of the password for the host, and show it; write"
            " an @ in a password as %40"
            for name, url in (("GZFLOW_CATALOG_URL", catalog_url), ("MLFLOW_TRACKING_URI", tracking_uri))
            if urlsplit(url).scheme.startswith("postgresql") and url.partition("?")[0].count("@") > 1
        ]
        if problems:
            raise SettingsError(
                "the environment is not usable",
                problems=problems,
                expected="GZFLOW_HOME=<folder without ?, # and %>, GZFLOW_CATALOG_URL=sqlite:///... or postgresql+psycopg://...,"
                " MLFLOW_TRACKING_URI=sqlite:///... or http://...",
                fix="unset the variable to get the default under GZFLOW_HOME",
            )
        return cls(root, catalog_url, tracking_uri, environ.get("GZFLOW_CONTACT") or None)

    def __repr__(self) -> str:
        """Without passwords: tasks receive settings, and what a task receives is logged."""
        shown = {
            "home": str(self.home),
            "catalog_url": without_password(self.catalog_url),
            "tracking_uri": without_password(self.tracking_uri),
            "contact": self.contact,
        }
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def artifact_root(self) -> Path:
        """Where MLflow keeps files when it is not a server."""
        return self.home / "mlflow" / "artifacts"

    @property
    def models(self) -> Path:
        """Saved models, one folder a training run."""
        return self.home / "models"

    @property
    def simulated(self) -> Path:
        """Catalogs and TOMLs of simulated skies, one folder a survey."""
        return self.home / "simulated"

    @property
    def reading(self) -> Path:
        """Rows of a catalog that is being read, until all of it is known to be sound."""
        return self.home / "reading"

    def cutouts(self, survey: str) -> Path:
        """Images fetched from services."""
        return self.home / "cutouts" / survey

    def archives(self, record: str) -> Path:
        """Files of a published record, such as ``zenodo-4573248``."""
        return self.home / "archives" / record

    def shards(self, survey: str, pixels: int) -> Path:
        """The shard set of one survey at one size."""
        return self.home / "shards" / survey / f"{pixels}px"

    def training(self, survey: str) -> Path:
        """Checkpoints and curves, one folder a run."""
        return self.home / "training" / survey

    def predictions(self, survey: str) -> Path:
        """Prediction parts, one folder a run."""
        return self.home / "predictions" / survey

    def reports(self, survey: str) -> Path:
        """HTML pages and their pictures."""
        return self.home / "reports" / survey

    def environment(self) -> dict[str, str]:
        """What a worker on the same machine needs to see the same home."""
        variables = {
            "GZFLOW_HOME": str(self.home),
            "GZFLOW_CATALOG_URL": self.catalog_url,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
        }
        return variables | ({"GZFLOW_CONTACT": self.contact} if self.contact else {})


def without_password(url: str) -> str:
    """The address as it may be shown: a password before the host and one among the options are replaced by ``***``."""
    # Passwords of databases may contain /, : and @ as they are, so this is greedier than a parser of URLs.
    hidden = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&]password=)[^&#]*", r"\1***", hidden)
