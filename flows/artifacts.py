"""What a flow run's page shows: one page to read, and tables that can be sorted.

Whatever is put on a run lands on its one page, under the stage that it belongs to; the page is written anew with each
addition, so that it can be read while the run goes on.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.context import FlowRunContext
from pydantic import BaseModel

from flows.origin import label
from flows.pictures import fitted
from gzflow.stages.counts import Counts

ROWS = 20
"""Most rows of a table on the page; the table's own artifact has them all."""
PAGE_BYTES = 1_300_000
"""What a page may hold: Prefect sends it in an event with each change, and refuses events above 1.5 MB."""
PICTURE_BYTES = 250_000
"""Most bytes of a picture on the page; larger ones are shown smaller."""
_TOO_SMALL = 10_000


def page(key: str, title: str, counts: Counts | None, lines: Sequence[str] = ()) -> None:
    """Begin a part of the run's page, with the accounting first; what follows with other calls stands below it."""
    blocks = []
    if counts is not None:
        names = list(asdict(counts))
        blocks.append(
            f"**{counts.sentence()}**\n\n"
            + _markdown_table([{name.replace("_", " "): f"{getattr(counts, name):,}" for name in names}])
        )
    _put(key, title, [*blocks, *lines])


def table(key: str, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a table on the flow run; an empty one is left out."""
    if rows and _run() is not None:
        create_table_artifact([dict(row) for row in rows], key=key, description=title)
        more = f"\n\n{len(rows) - ROWS:,} more rows in the artifact `{key}`." if len(rows) > ROWS else ""
        _add(f"**{title}**\n\n{_markdown_table(rows[:ROWS])}{more}")


def picture(key: str, title: str, content: bytes) -> None:  # noqa: ARG001 - callers name everything alike
    """Put a PNG or JPEG on the flow run, inside the page: no file server is needed to see it."""
    if (run := _run()) is None:
        return
    room = min(PICTURE_BYTES, (PAGE_BYTES - len(_page(run).text().encode())) * 3 // 4)
    if room < _TOO_SMALL:
        _add(f"**{title}**: this page is full; the picture lies with the run's files.")
        return
    shown = fitted(content, room)
    kind = "jpeg" if shown.startswith(b"\xff\xd8") else "png"
    _add(f"**{title}**\n\n![{title}](data:image/{kind};base64,{base64.b64encode(shown).decode()})")


def link(key: str, url: str, text: str) -> None:  # noqa: ARG001
    """Put a link on the flow run, where there is a page to go to."""
    if url.startswith("http"):
        _add(f"[{text}]({url})")


def next_step(command: str, why: str) -> None:
    """Say what to do next, at the end of the page."""
    _put("next", "Next", [f"```\n{command}\n```\n{why}"])


@dataclass
class _Page:
    """The parts of one run's page, by key, and the artifact that shows them."""

    key: str
    head: str
    parts: dict[str, list[str]] = field(default_factory=dict)
    artifact: UUID | None = None

    def text(self) -> str:
        parts = sorted(self.parts.items(), key=lambda part: part[0] == "next")
        return "\n\n".join([self.head, *(block for _, blocks in parts for block in blocks)])

    def show(self, run_id: UUID) -> None:
        with get_client(sync_client=True) as client:
            if self.artifact is None:
                # A run that is tried again goes on with the page that it had.
                known = client.read_artifacts(
                    artifact_filter=ArtifactFilter(
                        flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[self.key])
                    )
                )
                self.artifact = known[0].id if known else None
            if self.artifact is not None:
                client.update_artifact(self.artifact, ArtifactUpdate(data=self.text()))
                return
        self.artifact = create_markdown_artifact(self.text(), key=self.key, description="The run's page")


_pages: dict[UUID, _Page] = {}


def _put(key: str, title: str, blocks: Sequence[str]) -> None:
    """Set a part of the page."""
    if (run := _run()) is not None:
        shown = _page(run)
        shown.parts[key] = [f"## {title}", *blocks]
        shown.show(run.flow_run.id)


def _add(block: str) -> None:
    """Go on with the part that was put last."""
    if (run := _run()) is not None:
        shown = _page(run)
        last = list(shown.parts)[-1] if shown.parts else "more"
        shown.parts.setdefault(last, []).append(block)
        shown.show(run.flow_run.id)


def _page(run: FlowRunContext) -> _Page:
    if run.flow_run.id not in _pages:
        asked = [
            {"parameter": name, "value": _readable(value)}
            for name, value in (run.parameters or {}).items()
            if _readable(value)
        ]
        head = f"# {run.flow_run.name}"
        _pages[run.flow_run.id] = _Page(
            key=label(run.flow.name, run.parameters or {}),
            head=f"{head}\n\n{_markdown_table(asked)}" if asked else head,
        )
    return _pages[run.flow_run.id]


def _readable(value: Any) -> str:
    """A parameter as people write it; of nested options only what differs from the default."""
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {one}" for name, one in value.model_dump(mode="json", exclude_defaults=True).items())
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(rows[0])
    lines = [columns, ["---:" if _is_number(rows[0][name]) else "---" for name in columns]]
    lines += [[_cell(row.get(name, "")) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or str(value).replace(",", "").replace(".", "", 1).isdigit()


def _run() -> Any:
    # A flow's function called as plain Python (in a notebook, say) has no page to put things on.
    context = FlowRunContext.get()
    return context if context is not None and context.flow_run is not None else None
