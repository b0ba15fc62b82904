"""The commands of ``hmmdyn reproduce``, one for each task."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hmmdyn.cli.arguments import Given, Jobs, takes
from hmmdyn.cli.console import n_jobs, out, plain, progress
from hmmdyn.declare import Option, options_of
from hmmdyn.tasks.catalogue import TASKS
from hmmdyn.tasks.task import Task

tasks = typer.Typer()


def _add_task(task: Task) -> None:
    """Add the command of a task: what all have, and an option for every field of its recipe."""

    @takes(_options(task))
    def command(
        output: Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs.")],
        given: Given,
        seeds: Annotated[int, typer.Option(help="How many seeds.", min=1)] = 40,
        first_seed: Annotated[int, typer.Option(help="The first of them.", min=0)] = 0,
        keep_checkpoints: Annotated[
            str,
            typer.Option(
                help="Checkpoints to write: all, none or every:N. Metrics are recorded while "
                "training goes on, unless all are written."
            ),
        ] = "none",
        device: Annotated[
            str, typer.Option(help="Where to train, as PyTorch names it: cpu, cuda.")
        ] = "cpu",
        seeds_at_once: Annotated[
            int | None,
            typer.Option(
                help="Seeds trained as one stack of networks: by default 1 on a CPU, all "
                "elsewhere, if they can be stacked. Only rounding depends on it.",
                min=1,
            ),
        ] = None,
        jobs: Jobs = None,
    ) -> None:
        from hmmdyn.tasks import catalogue
        from hmmdyn.tasks.runs import Keep

        with progress() as told:
            catalogue.train(
                task.name,
                output,
                range(first_seed, first_seed + seeds),
                recipe=replace(task.recipe, **given),
                keep=Keep.parse(keep_checkpoints),
                device=device,
                at_once=seeds_at_once,
                n_jobs=n_jobs(jobs) if jobs or device == "cpu" else 1,
                progress=partial(told, "training"),
            )
        out.print(
            f"{seeds} seeds are complete in {plain(output)}. Look at them with\n"
            f"  hmmdyn analyze {plain(output)}",
            soft_wrap=True,
        )

    example = f"hmmdyn reproduce {task.name} --seeds 10 --out runs/{task.name}"
    tasks.command(
        task.name,
        short_help=task.summary,
        help=f"{task.summary}\n\nExample:  [bold]{example}[/bold]",
    )(command)


def _options(task: Task) -> list[Option]:
    """The options of a task's recipe, with the defaults of the task."""
    recipe = task.recipe
    return [replace(one, default=getattr(recipe, one.name)) for one in options_of(type(recipe))]


for _task in TASKS.values():
    _add_task(_task)
