"""What a release says in words: README, model card, data dictionary."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from gzflow.dictionary import Meaning


def written(template: str, **facts: Any) -> bytes:
    """A text of the templates with its facts filled in."""
    environment = Environment(
        loader=PackageLoader("gzflow.export", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(**facts).encode()


def data_dictionary(schema: pa.Schema) -> bytes:
    """CSV with a line a column: its name, type, unit, UCD and description."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(("column", "type", "unit", "ucd", "description"))
    for field in schema:
        meaning = Meaning.of(field)
        rows.writerow((field.name, field.type, meaning.unit, meaning.ucd, meaning.description))
    return stream.getvalue().encode()


def dictionary_columns(content: bytes) -> list[str]:
    """The columns that a data dictionary describes."""
    return [row["column"] for row in csv.DictReader(io.StringIO(content.decode()))]
