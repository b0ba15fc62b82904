"""``hmmdyn extract``: metrics alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hmmdyn.cli.arguments import EXTRACT, Given, Jobs, Runs, chosen, takes
from hmmdyn.cli.console import n_jobs, out, plain, progress, show_notices
from hmmdyn.errors import UsageError
from hmmdyn.files import require_writable


@takes(EXTRACT)
def extract(
    runs: Runs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Metric table to write (.parquet).")
    ],
    given: Given,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Measure this share of the checkpoints alone: 3/16 is the third of sixteen. "
            "`hmmdyn merge` puts all of them together.",
            metavar="NUMBER/OF",
        ),
    ] = None,
    jobs: Jobs = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that all processes together may take: what does not fit is read again, "
            "for the same numbers.",
            metavar="2GB",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="Compute singular values on a device that PyTorch has, in one process unless "
            "--jobs says otherwise.",
            metavar="cpu|cuda",
        ),
    ] = "cpu",
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Measure on the workers of the Dask or Ray cluster that has this scheduler, in "
            "the place of processes here (extra 'dask' or 'ray').",
            metavar="tcp://HOST:8786|ray://HOST:10001",
        ),
    ] = None,
) -> None:
    """Measure every checkpoint once, or gather recorded runs; write the metric table.

    Stopped and started again, it goes on where it was. Examples:

    [bold]hmmdyn extract runs/ -o metrics.parquet[/bold]
    [bold]hmmdyn extract runs/ -o shards/3.parquet --shard 3/16[/bold]
    """
    from hmmdyn import sources
    from hmmdyn.cli.found import find
    from hmmdyn.metrics.machine import parse_size
    from hmmdyn.metrics.shard import Shard
    from hmmdyn.tables.metric_table import write_table
    from hmmdyn.tables.shards import require_place, write_shard

    if output.suffix != ".parquet":
        raise UsageError(f"The metric table is written as .parquet, got {output}.")
    require_writable(output.parent)
    if scheduler is not None and not (jobs is None and max_memory is None):
        raise UsageError(
            "--jobs and --max-memory are of processes here, and with --scheduler the workers of "
            "the cluster measure. Leave one or the other out."
        )
    options = chosen(given)
    share = None if shard is None else Shard.parse(shard)
    if share is not None:
        require_place(output, share.number, share.of)
    found = find(runs, options, out)
    with progress() as told:
        how: dict[str, Any] = {
            "cache": sources.cache_for(found, output.parent, share),
            "jobs": n_jobs(jobs) if jobs or device == "cpu" else 1,
            "scheduler": scheduler,
            "device": device,
            "max_memory": None if max_memory is None else parse_size(max_memory),
            "progress": told,
        }
        if share is None:
            trajectories = sources.read_runs(found, options, **how)
            write_table(trajectories, output)
        else:
            table = sources.read_shard(found, options, share, **how)
            write_shard(table, output)
            trajectories = table.trajectories
    show_notices(trajectories.notices, out)
    out.print(
        f"Wrote {len(trajectories.table):,} checkpoints × {len(trajectories.metrics)} metrics "
        f"and {len(trajectories.outcomes)} outcomes to {plain(output)}"
    )
