"""What the command line prints: messages, progress, notices, tables; and its exit codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from hmmdyn.errors import HmmdynError, UsageError
from hmmdyn.names import printable
from hmmdyn.options import as_typed

if TYPE_CHECKING:
    import pandas as pd

    from hmmdyn.results.notice import Notice
    from hmmdyn.sources import Progress

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
silent = Console(quiet=True)

_STAGE_NAMES = {
    "audit": "Comparing checkpoints",
    "metrics": "Measuring checkpoints",
    "states": "Fitting hidden states",
    "training": "Training",
}


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn errors into a message and an exit code: 1 the work failed, 2 wrong usage."""
    try:
        yield
    except UsageError as error:
        err.print(f"[bold red]Wrong usage:[/] {plain(as_typed(error.message))}", soft_wrap=True)
        raise typer.Exit(2) from None
    except HmmdynError as error:
        err.print(f"[bold red]Error:[/] {plain(as_typed(error.message))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print(
            "Stopped. What was measured or trained is kept: the same command goes on from there."
        )
        raise typer.Exit(130) from None


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Show one progress bar per stage, on the terminal's error stream."""
    from rich import progress as bar

    columns = (
        bar.TextColumn("{task.description:<22}"),
        bar.BarColumn(),
        bar.MofNCompleteColumn(),
        bar.TimeRemainingColumn(),
    )
    with bar.Progress(*columns, console=err, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage == "reused":
                if done and not quiet:
                    err.print(f"{done:,} of {total:,} checkpoints had been measured before.")
                return
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGE_NAMES[stage], total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def plain(text: object) -> str:
    """Text safe to print with markup on; line breaks are kept."""
    return escape("\n".join(map(printable, str(text).split("\n"))))


def show_notices(notices: Sequence[Notice], console: Console) -> None:
    """Show notices, a line each."""
    for notice in notices:
        about = f"[bold]{plain(notice.kind)}[/]  {plain(notice.subject)}"
        console.print(f"{about}: {plain(as_typed(notice.message))}", soft_wrap=True)


def show_frame(frame: pd.DataFrame, title: str) -> None:
    """Show a table, numbers to four digits."""
    import pandas as pd
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        table.add_column(plain(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else plain(value)


def n_jobs(given: int | None) -> int:
    """Return how many processes to work with."""
    from joblib import cpu_count

    return given or cpu_count()


def notices_as_json(notices: Sequence[Notice]) -> list[dict[str, str]]:
    """Return notices as plain JSON values."""
    return [{**vars(notice), "message": as_typed(notice.message)} for notice in notices]
