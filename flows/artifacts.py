"""What a flow run's page shows: the accounting, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext

from gzflow.stages.counts import Counts


def page(key: str, title: str, counts: Counts | None, lines: Sequence[str] = ()) -> None:
    """Put a markdown page on the flow run, with the accounting first."""
    parts = [f"# {title}"]
    if counts is not None:
        rows = "\n".join(f"| {name.replace('_', ' ')} | {value:,} |" for name, value in asdict(counts).items())
        parts.append(f"| galaxies | |\n|---|---:|\n{rows}\n\n{counts.sentence()}")
    parts += lines
    if _on_a_run():
        create_markdown_artifact("\n\n".join(parts), key=key, description=title)


def table(key: str, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a table on the flow run; an empty one is left out."""
    if rows and _on_a_run():
        create_table_artifact([dict(row) for row in rows], key=key, description=title)


def picture(key: str, title: str, content: bytes) -> None:
    """Put a PNG or JPEG on the flow run, inside the page: no file server is needed to see it."""
    if _on_a_run():
        kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
        url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        create_image_artifact(url, key=key, description=title)


def link(key: str, url: str, text: str) -> None:
    """Put a link on the flow run."""
    if url.startswith("http") and _on_a_run():
        create_link_artifact(url, link_text=text, key=key, description=text)


def _on_a_run() -> bool:
    # A flow's function called as plain Python (in a notebook, say) has no page to put things on.
    return FlowRunContext.get() is not None
