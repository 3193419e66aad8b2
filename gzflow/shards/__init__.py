"""Shards: the galaxies of a survey as images, votes and positions, ready for training and prediction."""

from __future__ import annotations

from gzflow.shards.header import SHARD_SIZE, SPLITS, Manifest, SetHeader, ShardEntry, ShardHeader, Split
from gzflow.shards.plan import ShardPlan, plan_shards
from gzflow.shards.reader import ShardSet
from gzflow.shards.shard_file import ShardReader, reusable
from gzflow.shards.writer import begin_set, write_manifest, write_shard

__all__ = [
    "SHARD_SIZE",
    "SPLITS",
    "Manifest",
    "SetHeader",
    "ShardEntry",
    "ShardHeader",
    "ShardPlan",
    "ShardReader",
    "ShardSet",
    "Split",
    "begin_set",
    "plan_shards",
    "reusable",
    "write_manifest",
    "write_shard",
]
