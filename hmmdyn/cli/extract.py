"""``hmmdyn extract``: metrics alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hmmdyn.cli.arguments import EXTRACT, Given, Jobs, Runs, chosen, takes
from hmmdyn.cli.console import cache_in, n_jobs, out, plain, progress, show_notices
from hmmdyn.errors import UsageError
from hmmdyn.files import require_writable
from hmmdyn.options import TABLE


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
    from hmmdyn.checkpoints.logs.outcomes import find_outcomes
    from hmmdyn.cli.found import show_index, show_table
    from hmmdyn.tables.metric_table import write_table

    if output.suffix != ".parquet":
        raise UsageError(f"The metric table is written as .parquet, got {output}.")
    require_writable(output.parent)
    options = chosen(given)
    if pipeline.is_table(runs):
        options.require_fit_for(TABLE, str(runs))
        trajectories = pipeline.read_metrics(runs, options)
        show_table(trajectories, out)
    else:
        index = pipeline.scan(runs, layout=options.layout)
        show_index(index, find_outcomes(index, options.outcomes_file).outcomes, out)
        with progress() as told:
            trajectories = pipeline.read_runs(
                index, options, cache=cache_in(output.parent), jobs=n_jobs(jobs), progress=told
            )
    write_table(trajectories, output)
    show_notices(trajectories.notices, out)
    out.print(
        f"Wrote {len(trajectories.table):,} checkpoints × {len(trajectories.metrics)} metrics "
        f"and {len(trajectories.outcomes)} outcomes to {plain(output)}"
    )
