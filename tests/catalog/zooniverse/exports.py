"""Exports as Zooniverse writes them, with the columns of real files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = [
    "classification_id",
    "user_name",
    "user_id",
    "user_ip",
    "workflow_id",
    "workflow_name",
    "workflow_version",
    "created_at",
    "gold_standard",
    "expert",
    "metadata",
    "annotations",
    "subject_data",
    "subject_ids",
]
SUBJECT_COLUMNS = [
    "subject_id",
    "project_id",
    "workflow_id",
    "subject_set_id",
    "metadata",
    "locations",
    "classifications_count",
    "retired_at",
    "retirement_reason",
]
ICON = "![{name}.png](https://panoptes-uploads.zooniverse.org/project_attached_image/f353.png =60x)"

RINGS = """
[survey]
name = "rings"
[catalog]
id = "name"
ra = "ra"
dec = "dec"
carry = ["redshift"]
[catalog.votes]
count = "{question}_{answer}"
total = "{question}_total"
[[question]]
name = "shape"
answers = ["smooth", "featured-or-disk"]
[[question]]
name = "ring"
answers = ["yes", "no"]
asked_after = ["shape=featured-or-disk"]
"""

TASKS = """
id = "!iauname"
[[task]]
workflow = 6122
versions = [28]
task = "T0"
question = "shape"
[task.answers]
"Smooth" = "smooth"
"Features or Disk" = "featured-or-disk"
"Can't see it" = ""
[[task]]
workflow = 6122
versions = [28]
task = "T1"
question = "ring"
answers = { Yes = "yes", No = "no" }
[[task]]
workflow = 6122
task = "T10"
"""


def answered(**tasks: Any) -> list[dict[str, Any]]:
    return [{"task": task, "task_label": f"Question {task}?", "value": value} for task, value in tasks.items()]


def row(number: int, subject: int, annotations: Any, **over: Any) -> dict[str, Any]:
    user = over.pop("user", number)
    subject_metadata: Mapping[str, Any] = over.pop("about", {"!iauname": f"J{subject}", "#ra": 10.5, "dec": -0.25})
    return {
        "classification_id": number,
        "user_name": f"person {user}" if user else "not-logged-in-3f2a",
        "user_id": user or "",
        "user_ip": "2c61707e96c97a759840",
        "workflow_id": 6122,
        "workflow_name": "DECaLS DR5",
        "workflow_version": "28.30",
        "created_at": f"2018-02-20 10:{number % 60:02}:42 UTC",
        "metadata": json.dumps({"user_agent": 'Mozilla/5.0, "quoted"\nand broken', "session": "e69d"}),
        "annotations": annotations if isinstance(annotations, str) else json.dumps(annotations),
        "subject_data": json.dumps({str(subject): {"retired": None, **subject_metadata}}),
        "subject_ids": subject,
        **over,
    }


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:  # real exports begin with a byte-order mark
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def subjects(path: Path, metadata: Mapping[int, Mapping[str, Any]]) -> Path:
    entries = [
        {"subject_id": subject, "workflow_id": workflow, "metadata": json.dumps(about), "locations": '{"0":"url"}'}
        for subject, about in metadata.items()
        for workflow in (6122, 6490)
    ]
    return write(path, entries, SUBJECT_COLUMNS)
