"""The ``hmmdyn`` command: its subcommands together."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from hmmdyn.cli.analyze import analyze
from hmmdyn.cli.console import out
from hmmdyn.cli.extract import extract
from hmmdyn.cli.fit import fit
from hmmdyn.cli.merge import merge
from hmmdyn.cli.metrics import metrics
from hmmdyn.cli.reproduce import reproduce
from hmmdyn.cli.scan import scan
from hmmdyn.version import __version__

app = typer.Typer(
    name="hmmdyn",
    help="See the phases training went through, and compare seeds for convergence speed.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for _command in (scan, extract, merge, fit, analyze, metrics):
    app.command()(_command)
app.add_typer(reproduce, name="reproduce")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    if version:
        out.print(f"hmmdyn {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command that the process was started with."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show an arrow shows a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    app(prog_name="hmmdyn")
