"""Ingest, shard and predict in one process, as a notebook would call the flows; prints what each ended with.

Reads the flows' parameters as JSON from its first argument, and a line from its input before each flow begins.
"""

from __future__ import annotations

import json
import sys

from flows import environment
from flows.guardian import guard
from gzflow.settings import Settings


def main() -> None:
    environment.prepare(Settings.load())
    guard()
    from flows.ingest import ingest
    from flows.predict import predict
    from flows.shard import shard

    for flow, parameters in zip((ingest, shard, predict), json.loads(sys.argv[1]), strict=True):
        sys.stdin.readline()
        summary = flow(**parameters)
        sys.stdout.write(f"{flow.name}: {summary.counts.sentence()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
