"""``hmmdyn extract``: metrics alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    jobs: Jobs = None,
) -> None:
    """Measure every checkpoint once, or gather recorded runs; write the metric table.

    Stopped and started again, it goes on where it was. Example:
    [bold]hmmdyn extract runs/ -o metrics.parquet[/bold]
    """
    from hmmdyn import pipeline
    from hmmdyn.cli.found import find
    from hmmdyn.tables.metric_table import write_table

    if output.suffix != ".parquet":
        raise UsageError(f"The metric table is written as .parquet, got {output}.")
    require_writable(output.parent)
    options = chosen(given)
    found = find(runs, options, out)
    with progress() as told:
        trajectories = pipeline.read_runs(
            found,
            options,
            cache=pipeline.cache_for(found, output.parent),
            jobs=n_jobs(jobs),
            progress=told,
        )
    write_table(trajectories, output)
    show_notices(trajectories.notices, out)
    out.print(
        f"Wrote {len(trajectories.table):,} checkpoints × {len(trajectories.metrics)} metrics "
        f"and {len(trajectories.outcomes)} outcomes to {plain(output)}"
    )
