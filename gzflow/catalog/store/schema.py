"""Tables of the catalog store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Table, Text
from sqlalchemy.types import TypeEngine

from gzflow.errors import StoreError
from gzflow.tree import DecisionTree

FORMAT_VERSION = 2
metadata = MetaData()


def _table(name: str, *columns: Column[Any]) -> Table:
    # Rows lie in the order of their key: a survey's rows are read in one sweep, and the key is stored once.
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


def _key(name: str) -> Column[Any]:
    return Column(name, Text, primary_key=True)


def _column(name: str, kind: type[TypeEngine[Any]] = Text, *, nullable: bool = True) -> Column[Any]:
    return Column(name, kind, nullable=nullable)


store = _table("gzflow_store", _key("name"), _column("value"))
surveys = _table("surveys", _key("survey"), _column("title"), _column("tree", nullable=False), _column("updated"))
galaxies = _table(
    "galaxies",
    _key("survey"),
    _key("id_str"),
    _column("ra", Float),
    _column("dec", Float),
    _column("pixscale", Float),
    _column("image"),
    _column("carried", nullable=False),
    _column("ingest", Integer),  # number of the catalog file that wrote the row last
)
cutouts = _table(
    "cutouts",
    _key("survey"),
    _key("id_str"),
    _column("state", nullable=False),
    _column("path"),
    _column("member"),
    _column("source"),
    _column("bytes", BigInteger),
    _column("sha256"),
    _column("reason"),
    _column("detail"),
    _column("attempts", Integer, nullable=False),
    _column("updated"),
)
failures = _table(
    "failures",
    _key("survey"),
    _key("stage"),
    _key("id_str"),
    _key("reason"),
    _column("detail", nullable=False),
    _column("at", nullable=False),
    _column("ingest", Integer),
)
catalog_files = _table(
    "catalog_files",
    _key("survey"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _column("path", nullable=False),
    _column("digest"),
    _column("counts"),  # NULL until all rows of the file are in the store
    _column("at"),
)
crossmatches = _table(
    "crossmatches",
    _key("left_survey"),
    _key("right_survey"),
    _column("radius_arcsec", Float, nullable=False),
    _column("how", nullable=False),
    _column("n_matches", Integer, nullable=False),
    _column("at"),
)
matches = _table(
    "matches",
    _key("left_survey"),
    _key("right_survey"),
    _key("left_id"),
    _key("right_id"),
    _column("separation_arcsec", Float, nullable=False),
)
Index("cutouts_by_state", cutouts.c.survey, cutouts.c.state)


def votes_table(survey: str, tree: DecisionTree, *, longest_name: int) -> Table:
    """The wide votes table of one survey: ``id_str`` and one integer column an answer.

    Column keys are a0, a1, ... in the order of ``tree.answers``: statements need no quoting of names such as
    ``disk-edge-on_yes``.

    Raises
    ------
    StoreError
        A name is longer than `longest_name` bytes, which the database would cut off.
    """
    name = f"votes_{survey}"
    long = [text for text in (name, *tree.answers) if len(text.encode()) > longest_name]
    if long:
        raise StoreError(
            f"this database cuts names after {longest_name} bytes",
            where=f"survey {survey!r}",
            problems=[f"{text!r} has {len(text.encode())}" for text in long],
            expected="'{question}_{answer}' within that length",
            fix="shorten the question or the answer in the survey's TOML, or use SQLite",
        )
    columns = [Column(answer, Integer, key=f"a{i}", nullable=False) for i, answer in enumerate(tree.answers)]
    return Table(name, MetaData(), Column("id_str", Text, primary_key=True), *columns, sqlite_with_rowid=False)
