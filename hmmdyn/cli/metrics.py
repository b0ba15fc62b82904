"""``hmmdyn metrics``: what can be measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hmmdyn.cli.arguments import AsJson
from hmmdyn.cli.console import failing_clearly, out, plain


def metrics(
    metrics_from: Annotated[
        Path | None,
        typer.Option("--metrics-from", help="A Python file of metrics of your own, too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the metrics there are, by family.

    Example:  [bold]hmmdyn analyze runs/ --metrics paper,movement[/bold]
    """
    from rich.table import Table

    from hmmdyn.metrics.registry import all_metrics, families, load_metrics

    with failing_clearly():
        if metrics_from is not None:
            load_metrics(metrics_from)
        found = all_metrics()
    if as_json:
        told = ("name", "family", "description", "needs", "unit", "source", "of")
        typer.echo(json.dumps([{key: getattr(m, key) for key in told} for m in found], indent=2))
        return
    for family in families():
        table = Table("metric", "unit", "what it is", title=family, title_justify="left")
        for m in found:
            if m.family == family:
                source = f" ({m.source})" if m.source else ""
                table.add_row(plain(m.name), plain(m.unit), plain(m.description + source))
        out.print(table)
