"""``hmmdyn merge``: the shards of a metric table to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmmdyn.cli.arguments import MERGE, Given, chosen, takes
from hmmdyn.cli.console import out, plain
from hmmdyn.errors import UsageError
from hmmdyn.files import require_writable


@takes(MERGE)
def merge(
    shards: Annotated[
        list[Path], typer.Argument(help="Shards, written by `hmmdyn extract … --shard`.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Metric table to write (.parquet).")
    ],
    given: Given,
) -> None:
    """Put the shards of a metric table together: the table that one extraction would have written.

    Example: [bold]hmmdyn merge shards/*.parquet -o metrics.parquet[/bold]
    """
    from hmmdyn import sources
    from hmmdyn.tables.metric_table import write_table

    if output.suffix != ".parquet":
        raise UsageError(f"The metric table is written as .parquet, got {output}.")
    require_writable(output.parent)
    trajectories = sources.merge(shards, chosen(given).metrics_from)
    write_table(trajectories, output)
    out.print(
        f"Wrote {len(trajectories.table):,} checkpoints × {len(trajectories.metrics)} metrics "
        f"and {len(trajectories.outcomes)} outcomes to {plain(output)}"
    )
