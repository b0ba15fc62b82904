"""What was found, as the command line shows it before any heavy work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from hmmdyn.cli.console import plain, show_frame
from hmmdyn.names import some

if TYPE_CHECKING:
    import pandas as pd

    from hmmdyn.options import Options
    from hmmdyn.results.checkpoints import CheckpointIndex
    from hmmdyn.tables.trajectories import Trajectories


def find(source: str, options: Options, notes: Console) -> CheckpointIndex | Trajectories:
    """Find what a path holds, and show it."""
    from hmmdyn import sources
    from hmmdyn.results.checkpoints import CheckpointIndex

    found = sources.find(source, options)
    if isinstance(found, CheckpointIndex):
        show_index(found, found.logged.outcomes if found.logged else (), notes)
        show_traffic(found, options, notes)
    else:
        show_table(found, notes)
    return found


def show_index(index: CheckpointIndex, outcomes: Sequence[str], console: Console) -> None:
    """Show one row per group, and how one path was understood."""
    from rich.table import Table

    from hmmdyn.checkpoints.find.discover import summarise

    table = Table(title=f"Found in {plain(index.root)}", title_justify="left")
    unit = index.step_unit
    for column in ("group", "runs", "seeds", "checkpoints", f"{unit}s", "format", "size"):
        table.add_column(column, overflow="fold")
    for group, runs in summarise(index).groupby("group", sort=False):
        seeds = sorted(runs["seed"].dropna().astype(int).unique())
        per_run = runs["n_checkpoints"]
        table.add_row(
            plain(group),
            str(len(runs)),
            plain(number_ranges(seeds)) or "–",
            _range(per_run.min(), per_run.max()) + " per run",
            _range(runs["first_step"].min(), runs["last_step"].max()),
            plain(", ".join(sorted(set(runs["format"])))),
            _megabytes(int(runs["size"].sum())),
        )
    console.print(table)
    example = index.checkpoints[-1]
    path = example.path.relative_to(index.root) if example.path != index.root else example.path
    console.print(
        f"Read as: {plain(path)} → group {plain(example.group)}, run {plain(example.run)}, "
        f"{unit} {example.step:,}",
        soft_wrap=True,
    )
    console.print(f"Outcomes: {plain(', '.join(outcomes)) or 'none found beside the checkpoints'}")


def show_traffic(index: CheckpointIndex, options: Options, console: Console) -> None:
    """Say how much is to be read from a store, before anything is."""
    from hmmdyn import sources

    traffic = sources.expected_traffic(index, options)
    if traffic is not None:
        console.print(
            f"To measure them, about {_megabytes(traffic.n_bytes)} are read from "
            f"{plain(index.root)} ({_megabytes(traffic.size)} in "
            f"{traffic.n_checkpoints:,} checkpoints); what was measured before is not read again.",
            soft_wrap=True,
        )


def show_table(trajectories: Trajectories, console: Console) -> None:
    """Say how a table of metrics, or of outcomes alone, was understood."""
    runs = trajectories.runs
    metrics = some(trajectories.metrics, 20) or "none, so nothing is said of states"
    console.print(
        f"Read {len(trajectories.table):,} checkpoints of {len(runs):,} "
        f"{'run' if len(runs) == 1 else 'runs'} "
        f"({plain(some(runs['run']))}).\n"
        f"Metrics: {plain(metrics)}\n"
        f"Outcomes: {plain(some(trajectories.outcomes, 20)) or 'none'}",
        soft_wrap=True,
    )


def show_runs(index: CheckpointIndex) -> None:
    """Show one row per run."""
    import pandas as pd

    from hmmdyn.checkpoints.find.discover import summarise

    runs = summarise(index)
    shown = pd.DataFrame({"run": runs["run"], "seed": runs["seed"]})
    if runs["group"].nunique() > 1:
        shown.insert(0, "group", runs["group"])
    shown["saved"] = runs["n_checkpoints"]
    shown[f"{index.step_unit}s"] = [
        _range(low, high) for low, high in zip(runs["first_step"], runs["last_step"], strict=True)
    ]
    shown["size"] = runs["size"].map(_megabytes)
    show_frame(shown, "Runs")


def show_tensors(tensors: pd.DataFrame, with_roles: bool = False) -> None:
    """Show by which rules tensors count, or do not; groups that are alike are shown once."""
    import pandas as pd

    alike: dict[tuple[object, ...], list[str]] = {}
    for group, of_group in tensors.groupby("group", sort=False):
        decided = of_group.drop(columns="group").itertuples(index=False, name=None)
        alike.setdefault(tuple(decided), []).append(str(group))
    for groups in alike.values():
        of_group = tensors[tensors["group"] == groups[0]]
        rows = [
            (counts_as, rule, len(found), int(found["matrices"].sum()), some(found["tensor"], 3))
            for (counts_as, rule), found in of_group.groupby(["counts_as", "rule"], sort=False)
        ]
        shown = pd.DataFrame(rows, columns=["counts as", "rule", "tensors", "matrices", "which"])
        order = shown["counts as"].map({"weight": 0, "bias": 1, "left out": 2})
        of = f" (group {some(groups, 3)})" if len(alike) > 1 else ""
        in_order = shown.loc[order.sort_values(kind="stable").index]
        show_frame(in_order, f"What counts as a weight{of}")
        if with_roles:
            weights = of_group[of_group["counts_as"] == "weight"]
            roles = [
                (role, len(found), some(found["tensor"], 3))
                for role, found in weights.groupby("role", sort=False)
            ]
            show_frame(
                pd.DataFrame(roles, columns=["role", "weights", "which"]), f"What weights do{of}"
            )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def number_ranges(numbers: Sequence[int]) -> str:
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
