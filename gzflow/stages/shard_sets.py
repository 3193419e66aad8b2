"""Which shard set a stage works on."""

from __future__ import annotations

from gzflow.errors import ShardError
from gzflow.settings import Settings
from gzflow.shards.header import MANIFEST
from gzflow.shards.reader import ShardSet


def find_shards(survey: str, pixels: int | None, settings: Settings) -> ShardSet:
    """The survey's shards of `pixels` a side, or, without that, the only finished set there is.

    Raises
    ------
    ShardError
        None, several, or one that is not whole.
    """
    if pixels is not None:
        return ShardSet.open(settings.shards(survey, pixels))
    folder = settings.home / "shards" / survey
    found = sorted(manifest.parent for manifest in folder.glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        raise ShardError(
            f"survey {survey} has {len(found) or 'no'} finished shard sets",
            where=str(folder),
            problems=[path.name for path in found],
            expected="exactly one, or its size named with --pixels",
            fix="name one with --pixels" if found else f"run `gzflow shard {survey}` first",
        )
    return ShardSet.open(found[0])
