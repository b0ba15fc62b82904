"""The command line: arguments, progress, exit codes; no method inside."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pandas as pd
import typer
from joblib import cpu_count
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hmmdyn import __version__, pipeline
from hmmdyn.checkpoints.audit import audit as audit_checkpoints
from hmmdyn.checkpoints.discover import summarise
from hmmdyn.checkpoints.outcomes import find_outcomes
from hmmdyn.errors import HmmdynError, UsageError
from hmmdyn.files import require_writable
from hmmdyn.names import printable, some
from hmmdyn.options import PRESETS, TABLE, Options
from hmmdyn.report.tables import to_json
from hmmdyn.report.text import summary
from hmmdyn.results import (
    DEFAULT_FORMATS,
    FORMATS,
    THEMES,
    CheckpointIndex,
    Notice,
    Selection,
)
from hmmdyn.tables import write_table
from hmmdyn.tasks.catalogue import TASKS, train
from hmmdyn.tasks.runs import Keep
from hmmdyn.tasks.task import Task
from hmmdyn.trajectories import Trajectories

app = typer.Typer(
    name="hmmdyn",
    help="See the phases training went through, and compare seeds for convergence speed.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_silent = Console(quiet=True)

_STAGE_NAMES = {
    "audit": "Comparing checkpoints",
    "metrics": "Measuring checkpoints",
    "states": "Fitting hidden states",
    "training": "Training",
}
_CRITERIA = {
    "covariance_type": "covariance",
    "n_states": "K",
    "log_likelihood": "log L",
    "n_parameters": "params",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "held_out_bic": "held-out BIC",
    "path": "path score",
    "path_se": "± se",
}
_READING, _MODEL, _CONVERGENCE, _OUTPUT = "Reading", "Model", "Convergence", "Output"


def _option(flags: str, help_text: str, panel: str, **more: Any) -> Any:
    return typer.Option(*flags.split(), help=help_text, rich_help_panel=panel, **more)


# One definition per option; commands that share an option share its name, help and meaning.
# What is not given stays None (or empty) and takes the default of `options.Options`.
Runs = Annotated[
    Path, typer.Argument(help="Folder of checkpoints or recordings of one or several runs.")
]
Source = Annotated[
    Path,
    typer.Argument(
        help="Folder of checkpoints or recordings, or a metric table (.parquet, .csv, …)."
    ),
]
Layout = Annotated[
    str | None,
    _option("--layout", "How paths read, e.g. '{group}/seed{seed}/step_{step}.pt'.", _READING),
]
Outcomes = Annotated[
    Path | None,
    _option("--outcomes", "CSV, TSV or JSONL of losses or accuracies, joined on step.", _READING),
]
SkipBad = Annotated[
    bool, _option("--skip-bad", "Leave unreadable checkpoints out instead of stopping.", _READING)
]
Include = Annotated[
    list[str] | None,
    _option("--include", "Count tensors matching this regex as weights. Repeatable.", _READING),
]
Exclude = Annotated[
    list[str] | None,
    _option("--exclude", "Leave tensors matching this regex out. Repeatable.", _READING),
]
Split = Annotated[
    list[str] | None,
    _option(
        "--split",
        "Cut a fused tensor: 'REGEX=AXIS:PARTS', e.g. 'c_attn=1:3'. Repeatable.",
        _READING,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", help="Processes to work with (all cores by default).", min=1),
]
Protocol = Annotated[
    str | None,
    _option(
        "--protocol",
        "Choose states by 'bic' of all runs (default), or of one in five, held out: 'paper'.",
        _MODEL,
    ),
]
Preset = Annotated[
    str | None,
    _option("--preset", f"Options of a published protocol: {', '.join(PRESETS)}.", _MODEL),
]
Metric = Annotated[
    list[str] | None, _option("--metric", "Use only this metric. Repeatable.", _MODEL)
]
DropMetric = Annotated[
    list[str] | None, _option("--drop-metric", "Leave this metric out. Repeatable.", _MODEL)
]
ExcludeRun = Annotated[
    list[str] | None,
    _option("--exclude-run", "Leave this run (or group/run) out. Repeatable.", _MODEL),
]
OutcomeColumn = Annotated[
    list[str] | None,
    _option("--outcome-column", "This column of a table is an outcome. Repeatable.", _MODEL),
]
MaxStates = Annotated[
    int | None, _option("--max-states", "Try 1 to this many states (8).", _MODEL, min=1)
]
NStates = Annotated[int | None, _option("--states", "Fit this many states.", _MODEL, min=1)]
Covariance = Annotated[str | None, _option("--covariance", "'diag' (default) or 'full'.", _MODEL)]
Standardise = Annotated[
    str | None,
    _option("--standardise", "Scale each 'run' (default) by itself, or all 'pooled'.", _MODEL),
]
StandardiseFirst = Annotated[
    int | None,
    _option("--standardise-first", "Scale by the first N checkpoints of a run.", _MODEL, min=2),
]
Restarts = Annotated[
    int | None, _option("--restarts", "Starts per number of states (10).", _MODEL, min=1)
]
Stickiness = Annotated[
    float | None,
    _option(
        "--stickiness",
        "Favour staying: as if each state had been kept N more times (0).",
        _MODEL,
        min=0,
    ),
]
LeftRight = Annotated[
    bool, _option("--left-right", "Never go back to a state that comes earlier.", _MODEL)
]
MinimumDwell = Annotated[
    int | None,
    _option("--minimum-dwell", "Checkpoints for which a state is kept (1).", _MODEL, min=1),
]
Clock = Annotated[
    str | None,
    _option("--clock", "What transitions count: checkpoint, step or log-step.", _MODEL),
]
Autoregressive = Annotated[
    bool,
    _option(
        "--autoregressive", "Within a state, each checkpoint depends on the one before.", _MODEL
    ),
]
Quick = Annotated[
    bool,
    _option("--quick", "Do not weigh the number of states (held-out runs, repeats).", _MODEL),
]
MapPerGroup = Annotated[
    bool, _option("--map-per-group", "Fit each group a map of its own, too.", _MODEL)
]
Seed = Annotated[int | None, _option("--seed", "Seed of every random choice (0).", _MODEL, min=0)]
Outcome = Annotated[
    str | None, _option("--outcome", "The outcome that tells convergence.", _CONVERGENCE)
]
Threshold = Annotated[
    float | None, _option("--threshold", "Converged when the outcome crosses this.", _CONVERGENCE)
]
Direction = Annotated[
    str | None,
    _option("--direction", "'above' (accuracy) or 'below' (loss) the threshold.", _CONVERGENCE),
]
Sustained = Annotated[
    int | None,
    _option("--sustained", "… at so many checkpoints in a row (1).", _CONVERGENCE, min=1),
]
Formats = Annotated[
    str | None,
    _option(
        "--format",
        f"What to write, separated by commas: {', '.join(FORMATS)} "
        f"({','.join(DEFAULT_FORMATS)}). Pictures need hmmdyn\\[export].",
        _OUTPUT,
    ),
]
Theme = Annotated[
    str, _option("--theme", f"Of pictures: {' or '.join(map(repr, THEMES))}.", _OUTPUT)
]
Quiet = Annotated[
    bool,
    _option("--quiet -q", "Print the report's path only; warnings go to stderr.", _OUTPUT),
]
AsJson = Annotated[
    bool,
    _option("--json", "Print the result as JSON; everything else goes to stderr.", _OUTPUT),
]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    if version:
        out.print(f"hmmdyn {__version__}")
        raise typer.Exit


@app.command()
def scan(
    runs: Runs,
    layout: Layout = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Open the checkpoints too: find copies, odd architectures, weights that never "
            "change, unreadable files.",
        ),
    ] = False,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a folder: groups, runs, seeds, steps, formats, outcomes, oddities.

    Nothing is measured. Example:  [bold]hmmdyn scan runs/ --audit[/bold]
    """
    with _failing_clearly():
        index = pipeline.scan(runs, layout=layout)
        logged = find_outcomes(index)
        notices = index.notices + logged.notices
        findings = None
        if audit:
            with _progress() as progress:
                audited = audit_checkpoints(
                    index,
                    n_jobs=_jobs(jobs),
                    progress=lambda done, total: progress("audit", done, total),
                )
            findings, notices = audited.findings, notices + audited.notices
        if as_json:
            document = _index_as_json(index, logged.outcomes, notices)
            if findings is not None:
                document["findings"] = findings.to_dict("records")
            print(json.dumps(document, indent=1))
            return
        _show_index(index, logged.outcomes, out)
        _show_runs(index)
        _show_notices(notices, out)
        if findings is not None and findings.empty:
            out.print("Audit: nothing odd was found.")


@app.command()
def extract(
    runs: Runs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Metric table to write (.parquet).")
    ],
    layout: Layout = None,
    outcomes: Outcomes = None,
    skip_bad: SkipBad = False,
    include: Include = None,
    exclude: Exclude = None,
    split: Split = None,
    jobs: Jobs = None,
) -> None:
    """Measure every checkpoint once, or gather recorded runs; write the metric table.

    Stopped and started again, it goes on where it was. Example:
    [bold]hmmdyn extract runs/ -o metrics.parquet[/bold]
    """
    with _failing_clearly():
        if output.suffix != ".parquet":
            raise UsageError(f"The metric table is written as .parquet, got {output}.")
        require_writable(output.parent)
        options = _options(
            layout=layout,
            outcomes_file=outcomes,
            skip_bad=skip_bad,
            include=include,
            exclude=exclude,
            split=_splits(split),
        )
        if pipeline.is_table(runs):
            options.require_fit_for(TABLE, str(runs))
            trajectories = pipeline.read_metrics(runs, options)
            _show_table(trajectories, out)
        else:
            index = pipeline.scan(runs, layout=layout)
            _show_index(index, find_outcomes(index, outcomes).outcomes, out)
            with _progress() as progress:
                trajectories = pipeline.read_runs(
                    index, options, cache=_cache(output.parent), jobs=_jobs(jobs), progress=progress
                )
        write_table(trajectories, output)
        _show_notices(trajectories.notices, out)
        out.print(
            f"Wrote {len(trajectories.table):,} checkpoints × {len(trajectories.metrics)} metrics "
            f"and {len(trajectories.outcomes)} outcomes to {_plain(output)}"
        )


@app.command()
def fit(
    table: Annotated[Path, typer.Argument(help="Metric table (.parquet, .csv, .tsv, .jsonl).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Training map to write (.json).")],
    preset: Preset = None,
    protocol: Protocol = None,
    metric: Metric = None,
    drop_metric: DropMetric = None,
    exclude_run: ExcludeRun = None,
    outcome_column: OutcomeColumn = None,
    max_states: MaxStates = None,
    states: NStates = None,
    covariance: Covariance = None,
    standardise: Standardise = None,
    standardise_first: StandardiseFirst = None,
    restarts: Restarts = None,
    stickiness: Stickiness = None,
    left_right: LeftRight = False,
    minimum_dwell: MinimumDwell = None,
    clock: Clock = None,
    autoregressive: Autoregressive = False,
    quick: Quick = False,
    seed: Seed = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Fit hidden states to a metric table; write the training map as JSON.

    The map decodes further runs (hmmdyn.TrainingMap). Examples:

    [bold]hmmdyn fit metrics.parquet -o training_map.json[/bold]
    [bold]hmmdyn fit metrics.parquet -o training_map.json --json | jq .n_states[/bold]
    """
    with _failing_clearly():
        options = _options(
            preset,
            metrics=metric,
            drop_metrics=drop_metric,
            exclude_runs=exclude_run,
            outcome_columns=outcome_column,
            max_states=max_states,
            n_states=states,
            covariance=covariance,
            standardise=standardise,
            standardise_first=standardise_first,
            protocol=protocol,
            restarts=restarts,
            stickiness=stickiness,
            left_right=left_right,
            minimum_dwell=minimum_dwell,
            clock=clock,
            autoregressive=autoregressive,
            quick=quick,
            seed=seed,
        )
        if not pipeline.is_table(table):
            raise UsageError(
                f"'fit' takes a metric table, and {table} is none. Make one with "
                f"`hmmdyn extract {table} -o metrics.parquet`, or use `hmmdyn analyze`."
            )
        require_writable(output.parent)
        trajectories = pipeline.read_runs(table, options)
        with _progress() as progress:
            fitted = pipeline.fit(trajectories, options, jobs=_jobs(jobs), progress=progress)
        fitted.training_map.save(output)
        notices = (
            trajectories.notices + fitted.decoding.observations.notices + fitted.selection.notices
        )
        if as_json:
            print(json.dumps(_fit_as_json(fitted.selection, notices, output), indent=1))
            return
        criteria = fitted.selection.criteria.rename(columns=_CRITERIA)
        shown = [name for name in _CRITERIA.values() if name in criteria]
        _show_frame(criteria[shown].dropna(axis=1, how="all"), "Numbers of states tried")
        _show_notices(notices, out)
        if fitted.selection.recommendation is not None:
            out.print(f"Held-out runs: {fitted.selection.recommendation.reason}")
        out.print(
            f"Chose {fitted.selection.n_states} states by {fitted.selection.criterion}; wrote the "
            f"training map to {_plain(output)}"
        )


@app.command()
def analyze(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Report folder to write.")] = Path(
        "hmmdyn-report"
    ),
    layout: Layout = None,
    outcomes: Outcomes = None,
    skip_bad: SkipBad = False,
    include: Include = None,
    exclude: Exclude = None,
    split: Split = None,
    preset: Preset = None,
    protocol: Protocol = None,
    metric: Metric = None,
    drop_metric: DropMetric = None,
    exclude_run: ExcludeRun = None,
    outcome_column: OutcomeColumn = None,
    max_states: MaxStates = None,
    states: NStates = None,
    covariance: Covariance = None,
    standardise: Standardise = None,
    standardise_first: StandardiseFirst = None,
    restarts: Restarts = None,
    stickiness: Stickiness = None,
    left_right: LeftRight = False,
    minimum_dwell: MinimumDwell = None,
    clock: Clock = None,
    autoregressive: Autoregressive = False,
    quick: Quick = False,
    map_per_group: MapPerGroup = False,
    seed: Seed = None,
    outcome: Outcome = None,
    threshold: Threshold = None,
    direction: Direction = None,
    sustained: Sustained = None,
    formats: Formats = None,
    theme: Theme = THEMES[0],
    quiet: Quiet = False,
    as_json: AsJson = False,
    jobs: Jobs = None,
) -> None:
    """Do everything: find checkpoints, measure them, fit states, write the report.

    Run again, no checkpoint is measured twice. Examples:

    [bold]hmmdyn analyze runs/[/bold]
    [bold]hmmdyn analyze metrics.csv --outcome eval_loss --threshold 2.5[/bold]
    [bold]hmmdyn analyze runs/ --preset paper -o paper-report[/bold]
    [bold]hmmdyn analyze runs/ --format html,svg --theme dark[/bold]
    [bold]xdg-open $(hmmdyn analyze runs/ --quiet)[/bold]
    [bold]hmmdyn analyze runs/ --json | jq .tables.convergence[/bold]
    """
    with _failing_clearly():
        options = _options(
            preset,
            layout=layout,
            outcomes_file=outcomes,
            skip_bad=skip_bad,
            include=include,
            exclude=exclude,
            split=_splits(split),
            metrics=metric,
            drop_metrics=drop_metric,
            exclude_runs=exclude_run,
            outcome_columns=outcome_column,
            max_states=max_states,
            n_states=states,
            covariance=covariance,
            standardise=standardise,
            standardise_first=standardise_first,
            protocol=protocol,
            restarts=restarts,
            stickiness=stickiness,
            left_right=left_right,
            minimum_dwell=minimum_dwell,
            clock=clock,
            autoregressive=autoregressive,
            quick=quick,
            map_per_group=map_per_group,
            seed=seed,
            outcome=outcome,
            threshold=threshold,
            direction=direction,
            sustained=sustained,
        )
        from hmmdyn.report.export import require_formats

        written: tuple[str, ...] = DEFAULT_FORMATS
        if formats is not None:
            written = tuple(name.strip() for name in formats.split(","))
        require_formats(written, theme)
        require_writable(output)
        notes = _silent if quiet else err if as_json else out
        found: CheckpointIndex | Trajectories
        if pipeline.is_table(source):
            options.require_fit_for(TABLE, str(source))
            found = pipeline.read_metrics(source, options)
            _show_table(found, notes)
        else:
            found = pipeline.scan(source, layout=layout)
            _show_index(found, find_outcomes(found, outcomes).outcomes, notes)
        with _progress(quiet) as progress:
            analysis = pipeline.analyze(
                found,
                options,
                cache=_cache(output),
                jobs=_jobs(jobs),
                progress=progress,
                source_name=str(source),
            )
        page = analysis.write(output, written, theme)
        if as_json:
            print(to_json(analysis), end="")
        elif quiet:
            print(page)
        if quiet:
            _show_notices([n for n in analysis.notices if n.kind != "limit"], err)
        notes.print(f"\n{_plain(summary(analysis, notes.width)).rstrip()}", soft_wrap=True)
        notes.print(f"It is at [bold]{_plain(page)}[/bold]", soft_wrap=True)
        for other in analysis.other_maps if "html" in written else ():
            where = f"[bold]{_plain(output / other.page)}[/bold]"
            notes.print(f"Another map, {_plain(other.what)}, is at {where}", soft_wrap=True)


reproduce = typer.Typer(
    help="Train one of the paper's tasks, or one beside them, with several seeds (needs PyTorch).",
    no_args_is_help=True,
)
app.add_typer(reproduce, name="reproduce")


def _reproduce(
    task: Task,
    output: Path,
    seeds: int,
    first_seed: int,
    keep_checkpoints: str,
    device: str,
    seeds_at_once: int | None,
    jobs: int | None,
    **recipe: Any,
) -> None:
    """Train a task; what every task's command does."""
    with _failing_clearly():
        with _progress() as progress:
            train(
                task.name,
                output,
                range(first_seed, first_seed + seeds),
                recipe=replace(task.recipe, **recipe),
                keep=Keep.parse(keep_checkpoints),
                device=device,
                at_once=seeds_at_once,
                n_jobs=_jobs(jobs) if jobs or device == "cpu" else 1,
                progress=partial(progress, "training"),
            )
        out.print(
            f"{seeds} seeds are complete in {_plain(output)}. Look at them with\n"
            f"  hmmdyn analyze {_plain(output)}",
            soft_wrap=True,
        )


_TRAINING = {
    "output": Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs.")],
    "seeds": Annotated[int, typer.Option(help="How many seeds.", min=1)],
    "first_seed": Annotated[int, typer.Option(help="The first of them.", min=0)],
    "keep_checkpoints": Annotated[
        str,
        typer.Option(
            help="Checkpoints to write: all, none or every:N. Metrics are recorded while training "
            "goes on, unless all are written."
        ),
    ],
    "device": Annotated[str, typer.Option(help="Where to train, as PyTorch names it: cpu, cuda.")],
    "seeds_at_once": Annotated[
        int | None,
        typer.Option(
            help="Seeds trained as one stack of networks: by default 1 on a CPU, all elsewhere, "
            "if they can be stacked. Only rounding depends on it.",
            min=1,
        ),
    ],
    "jobs": Jobs,
}
_DEFAULTS = {"seeds": 40, "first_seed": 0, "keep_checkpoints": "none", "device": "cpu"}


def _add_task(task: Task) -> None:
    """Add the command of a task: what all have, and an option for every field of its recipe."""
    types = get_type_hints(type(task.recipe))
    own = {
        declared.name: Annotated[
            types[declared.name], _option("", declared.metadata["help"], "Recipe")
        ]
        for declared in fields(task.recipe)
    }
    defaults = {**dict.fromkeys(_TRAINING), **_DEFAULTS, **asdict(task.recipe)}
    del defaults["output"]
    command = partial(_reproduce, task)
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=defaults.get(name, Parameter.empty),
            )
            for name, annotation in {**_TRAINING, **own}.items()
        ]
    )
    command.__annotations__ = {**_TRAINING, **own}
    example = f"hmmdyn reproduce {task.name} --seeds 10 --out runs/{task.name}"
    reproduce.command(
        task.name,
        short_help=task.summary,
        help=f"{task.summary}\n\nExample:  [bold]{example}[/bold]",
    )(command)


for _task in TASKS.values():
    _add_task(_task)


def main() -> None:
    """Entry point of the ``hmmdyn`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show an arrow shows a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    app()


@contextmanager
def _failing_clearly() -> Iterator[None]:
    """Turn errors into a message and an exit code: 1 the work failed, 2 wrong usage."""
    try:
        yield
    except UsageError as error:
        err.print(f"[bold red]Wrong usage:[/] {_plain(error)}", soft_wrap=True)
        raise typer.Exit(2) from None
    except HmmdynError as error:
        err.print(f"[bold red]Error:[/] {_plain(error)}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print(
            "Stopped. What was measured or trained is kept: the same command goes on from there."
        )
        raise typer.Exit(130) from None


@contextmanager
def _progress(quiet: bool = False) -> Iterator[pipeline.Progress]:
    """Show one progress bar per stage, on the terminal's error stream."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGE_NAMES[stage], total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def _options(preset: str | None = None, **given: Any) -> Options:
    """Options as given on the command line, over those of the preset, over the defaults."""
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"There is no preset {preset!r}. There is: {', '.join(PRESETS)}.")
    chosen = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None and value is not False and value != []
    }
    return Options().changed(**{**(PRESETS[preset] if preset else {}), **chosen})


def _splits(rules: Sequence[str] | None) -> tuple[tuple[str, int, int], ...] | None:
    parsed = []
    for rule in rules or ():
        pattern, _, numbers = rule.rpartition("=")
        axis, _, parts = numbers.partition(":")
        if not (pattern and axis.isdecimal() and parts.isdecimal()):
            raise UsageError(
                f"'--split' takes REGEX=AXIS:PARTS, such as 'c_attn.weight=1:3', got {rule!r}."
            )
        parsed.append((pattern, int(axis), int(parts)))
    return tuple(parsed) or None


def _jobs(given: int | None) -> int:
    return given or cpu_count()


def _cache(folder: Path) -> Path:
    """Where metrics are kept between calls, beside the result."""
    return folder / ".metrics-cache.parquet"


def _plain(text: object) -> str:
    """Text safe to print with markup on; line breaks are kept."""
    return escape("\n".join(map(printable, str(text).split("\n"))))


def _show_index(index: CheckpointIndex, outcomes: Sequence[str], console: Console) -> None:
    """Show one row per group, and how one path was understood."""
    table = Table(title=f"Found in {_plain(index.root)}", title_justify="left")
    unit = index.step_unit
    for column in ("group", "runs", "seeds", "checkpoints", f"{unit}s", "format", "size"):
        table.add_column(column, overflow="fold")
    for group, runs in summarise(index).groupby("group", sort=False):
        seeds = sorted(runs["seed"].dropna().astype(int).unique())
        per_run = runs["n_checkpoints"]
        table.add_row(
            _plain(group),
            str(len(runs)),
            _plain(_number_ranges(seeds)) or "–",
            _range(per_run.min(), per_run.max()) + " per run",
            _range(runs["first_step"].min(), runs["last_step"].max()),
            _plain(", ".join(sorted(set(runs["format"])))),
            _megabytes(int(runs["size"].sum())),
        )
    console.print(table)
    example = index.checkpoints[-1]
    path = example.path.relative_to(index.root) if example.path != index.root else example.path
    console.print(
        f"Read as: {_plain(path)} → group {_plain(example.group)}, run {_plain(example.run)}, "
        f"{unit} {example.step:,}",
        soft_wrap=True,
    )
    console.print(f"Outcomes: {_plain(', '.join(outcomes)) or 'none found beside the checkpoints'}")


def _show_table(trajectories: Trajectories, console: Console) -> None:
    """Say how a table of metrics was understood."""
    runs = trajectories.runs
    console.print(
        f"Read {len(trajectories.table):,} checkpoints of {len(runs)} runs "
        f"({_plain(some(runs['run']))}).\n"
        f"Metrics: {_plain(some(trajectories.metrics, 20))}\n"
        f"Outcomes: {_plain(some(trajectories.outcomes, 20)) or 'none'}",
        soft_wrap=True,
    )


def _show_runs(index: CheckpointIndex) -> None:
    runs = summarise(index)
    shown = pd.DataFrame({"run": runs["run"], "seed": runs["seed"]})
    if runs["group"].nunique() > 1:
        shown.insert(0, "group", runs["group"])
    shown["saved"] = runs["n_checkpoints"]
    shown[f"{index.step_unit}s"] = [
        _range(low, high) for low, high in zip(runs["first_step"], runs["last_step"], strict=True)
    ]
    shown["size"] = runs["size"].map(_megabytes)
    _show_frame(shown, "Runs")


def _show_frame(frame: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        table.add_column(_plain(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else _plain(value)


def _show_notices(notices: Sequence[Notice], console: Console) -> None:
    for notice in notices:
        console.print(
            f"[bold]{_plain(notice.kind)}[/]  {_plain(notice.subject)}: {_plain(notice.message)}",
            soft_wrap=True,
        )


def _index_as_json(
    index: CheckpointIndex, outcomes: Sequence[str], notices: Sequence[Notice]
) -> dict[str, Any]:
    return {
        "root": str(index.root),
        "step_unit": index.step_unit,
        "outcomes": list(outcomes),
        "checkpoints": [{**vars(c), "path": str(c.path)} for c in index.checkpoints],
        "notices": [vars(n) for n in notices],
    }


def _fit_as_json(
    selection: Selection, notices: Sequence[Notice], training_map: Path
) -> dict[str, Any]:
    advice = selection.recommendation
    known = selection.criteria.astype(object).where(selection.criteria.notna(), None)
    return {
        "training_map": str(training_map),
        "n_states": selection.n_states,
        "covariance_type": selection.covariance_type,
        "criterion": selection.criterion,
        "criteria": known.to_dict("records"),
        "recommendation": vars(advice) if advice else None,
        "notices": [vars(n) for n in notices],
    }


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _number_ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 3, 7 -> "0–3, 7"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(_range(p[0], p[-1]) for p in parts)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
