"""``gzflow shards``: a look into a set of shards, and the proof that it is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from flows.cli_options import PixelsOption
from flows.console import err, out
from gzflow.errors import SettingsError
from gzflow.settings import Settings

if TYPE_CHECKING:
    from gzflow.shards import ShardSet

app = typer.Typer(help="Look into a set of shards, or prove that it is as it was written.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="DIR", help="Folder of a set of shards, or a survey's name.")]


def _png(file: Path | None) -> Path | None:
    if file is not None and file.suffix.lower() != ".png":
        raise SettingsError(
            "this kind of picture cannot be drawn", where=str(file), expected="a name that ends in .png"
        )
    return file


SheetOption = Annotated[
    Path | None, typer.Option(dir_okay=False, callback=_png, help="Draw some of its galaxies to this PNG file.")
]


@app.command()
def info(
    folder: NameArgument,
    pixels: PixelsOption = None,
    sheet: SheetOption = None,
    galaxies: Annotated[int, typer.Option(min=1, max=400, help="How many the sheet shows.")] = 48,
) -> None:
    """What a set of shards holds: galaxies and votes by split, the recipe of its images, its fingerprints."""
    from gzflow.stages.shard_info import open_shards, shard_info

    shards = open_shards(folder, pixels, Settings.load())
    found = shard_info(shards)
    table = Table("split", "shards", "galaxies", "with votes", "votes", "with position", "MB", box=None)
    for split, row in found.splits.items():
        numbers = (row.shards, row.galaxies, row.voted, row.votes, row.placed)
        table.add_row(split, *(f"{number:,}" for number in numbers), f"{row.bytes / 1e6:,.1f}")
    out.print(table)
    manifest = found.manifest
    height, width, channels = manifest.image_shape
    recipe = manifest.recipe
    facts = {
        "survey": manifest.survey,
        "images": f"{height} x {width} px, {recipe.channels} ({channels} channels), codec {manifest.codec}",
        "recipe": f"{recipe.name}, bands {', '.join(recipe.bands) or 'unknown'}, pixel scale {recipe.scale_rule}",
        "tree": f"{len(manifest.decision_tree.questions)} questions, {len(manifest.decision_tree.answers)} answers,"
        f" fingerprint {manifest.decision_tree.fingerprint}",
        "fingerprint": manifest.fingerprint,
        "left out": f"{manifest.counts.get('failed', 0):,} galaxies whose image failed",
        "made by": manifest.created_by,
        "notes": "; ".join(manifest.notes),
        "citation": str(manifest.survey_info.get("citation", "")),
        "licence": str(manifest.survey_info.get("licence", "")),
        "folder": str(found.folder),
    }
    for name, fact in facts.items():
        if fact:
            out.print(f"{name:<12} {fact}", markup=False)
    _draw(shards, sheet, galaxies)


@app.command()
def verify(
    folder: NameArgument,
    pixels: PixelsOption = None,
    sheet: SheetOption = None,
) -> None:
    """Read every byte of a set and compare it with the fingerprints that were taken when it was written."""
    from gzflow.stages.shard_info import open_shards

    shards = open_shards(folder, pixels, Settings.load())
    size = sum(entry.bytes for entry in shards.entries())
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(f"{len(shards.entries())} shards", total=size)
        shards.verify(on_shard=lambda entry: progress.advance(task, entry.bytes))
    out.print(
        f"{shards.n():,} galaxies in {len(shards.entries())} shards, {size / 1e6:,.1f} MB:"
        f" all as they were written, fingerprint {shards.fingerprint}",
        markup=False,
    )
    _draw(shards, sheet, 48)


def _draw(shards: ShardSet, file: Path | None, galaxies: int) -> None:
    if file is None:
        return
    from gzflow.durable import write_bytes
    from gzflow.stages.shard_sheet import sheet

    write_bytes(file, sheet(shards, galaxies=galaxies))
    out.print(f"{'sheet':<12} {file}", markup=False)
