"""``gzflow hats`` and ``gzflow crossmatch-hats``: catalogs above memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli_options import SurveyArgument
from flows.console import out as console
from gzflow.settings import Settings


def hats(
    survey: SurveyArgument,
    folder: Annotated[
        Path, typer.Argument(help="Where the HATS collection goes; only a HATS catalog that is there is replaced.")
    ],
    margin: Annotated[
        float, typer.Option(min=0.001, help="Arcsec beyond each partition: the largest radius of later matches.")
    ] = 10.0,
) -> None:
    """Write an ingested survey's ids and positions as a HATS catalog, for matches above memory."""
    from gzflow.stages.hats import export

    console.print(export(survey, folder, Settings.load(), margin_arcsec=margin).sentence(), markup=False)


def crossmatch_hats(
    left: Annotated[Path, typer.Argument(help="A HATS catalog: from `gzflow hats`, or a published one on disk.")],
    right: Annotated[Path, typer.Argument(help="Another one, with a margin of the radius or more.")],
    out: Annotated[
        Path, typer.Argument(help="Where the pairs go, as a HATS catalog; only such a one that is there is replaced.")
    ],
    radius: Annotated[float, typer.Option(help="Largest separation in arcsec, inclusive.")] = 2.0,
    how: Annotated[Literal["all", "nearest", "best"], typer.Option(help="Which pairs to keep.")] = "nearest",
    left_id: Annotated[str, typer.Option(help="Column of the left ids.")] = "id_str",
    right_id: Annotated[str, typer.Option(help="Column of the right ids.")] = "id_str",
    cluster: Annotated[
        str | None, typer.Option(help="A Dask scheduler's address, or a number of local processes. Empty: threads.")
    ] = None,
) -> None:
    """Match two catalogs that need not fit into memory, partition by partition, with LSDB on Dask."""
    from gzflow.stages.hats import crossmatch

    workers = int(cluster) if cluster and cluster.isdigit() else cluster or None
    said = crossmatch(left, right, out, radius, how, left_id=left_id, right_id=right_id, cluster=workers)
    console.print(said, markup=False)
