"""``hmmdyn analyze``: all of it, into a report folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmmdyn.choices import DEFAULT_FORMATS, FORMATS, THEMES
from hmmdyn.cli.arguments import ANALYZE, AsJson, Given, Jobs, Preset, chosen, takes
from hmmdyn.cli.console import err, n_jobs, out, plain, progress, show_notices, silent
from hmmdyn.errors import UsageError
from hmmdyn.files import require_writable
from hmmdyn.places import shown

if TYPE_CHECKING:
    from rich.console import Console


@takes(ANALYZE)
def analyze(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of checkpoints, recordings or logs, or a metric table (.csv, .parquet, "
            "…); these may also lie in a store: s3://…, https://…, hf://… (extra 'remote')."
        ),
    ],
    given: Given,
    output: Annotated[Path, typer.Option("--output", "-o", help="Report folder to write.")] = Path(
        "hmmdyn-report"
    ),
    preset: Preset = None,
    jobs: Jobs = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"What to write, separated by commas: {', '.join(FORMATS)}. Pictures need "
            "hmmdyn\\[export], films (mp4) hmmdyn\\[video].",
            rich_help_panel="Output",
        ),
    ] = ",".join(DEFAULT_FORMATS),
    theme: Annotated[
        str,
        typer.Option(
            "--theme",
            help="Of pictures.",
            metavar="|".join(THEMES),
            autocompletion=lambda: list(THEMES),
            rich_help_panel="Output",
        ),
    ] = THEMES[0],
    opened: Annotated[
        bool,
        typer.Option("--open", help="Open the page when it is done.", rich_help_panel="Output"),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Print all that was found in brief, not only the answers.",
            rich_help_panel="Output",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print the report's path only; warnings go to stderr.",
            rich_help_panel="Output",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Do everything: find checkpoints, measure them, fit states, write the report.

    Run again, no checkpoint is measured twice. Examples:

    [bold]hmmdyn analyze runs/ --open[/bold]
    [bold]hmmdyn analyze metrics.csv --outcome eval_loss --threshold 2.5[/bold]
    [bold]hmmdyn analyze runs/ --preset paper -o paper-report[/bold]
    [bold]hmmdyn analyze runs/ --format html,svg --theme dark[/bold]
    [bold]xdg-open $(hmmdyn analyze runs/ --quiet)[/bold]
    [bold]hmmdyn analyze runs/ --json | jq .tables.convergence[/bold]
    """
    from hmmdyn import pipeline, sources
    from hmmdyn.cli.found import find
    from hmmdyn.report.export import require_formats
    from hmmdyn.report.folder import alone_in

    options = chosen(given, preset)
    written = tuple(name.strip() for name in formats.split(","))
    require_formats(written, theme)
    if opened and "html" not in written:
        raise UsageError("There is no page to open: leave out --open, or add html to --format.")
    require_writable(output)
    notes = silent if quiet else err if as_json else out
    with alone_in(output):
        found = find(source, options, notes)
        with progress(quiet) as told:
            analysis = pipeline.analyze(
                found,
                options,
                cache=sources.cache_for(found, output),
                jobs=n_jobs(jobs),
                progress=told,
                source_name=shown(source),
            )
        page = analysis.write(output, written, theme)
    if as_json:
        print(analysis.to_json(), end="")
    elif quiet:
        print(page)
    if quiet:
        show_notices([n for n in analysis.notices if n.kind != "limit"], err)
    others = analysis.other_maps if "html" in written else ()
    text = analysis.summary(notes.width) if verbose else analysis.answer(notes.width)
    _show(text, page, {other.what: output / other.page for other in others}, notes)
    if opened:
        _open(page)


def _open(page: Path) -> None:
    """Open the page in the user's browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        err.print(f"There is no browser to open {plain(page)} in.", soft_wrap=True)


def _show(text: str, page: Path, others: Mapping[str, Path], notes: Console) -> None:
    """Show what was found, and where it is; ``others`` are the pages of other maps."""
    notes.print(f"\n{plain(text).rstrip()}\n", soft_wrap=True)
    notes.print(f"The report is at [bold]{plain(page)}[/bold]", soft_wrap=True)
    for what, where in others.items():
        notes.print(
            f"Another map, {plain(what)}, is at [bold]{plain(where)}[/bold]", soft_wrap=True
        )
