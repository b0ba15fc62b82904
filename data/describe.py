"""Write the README.md of metric tables: recipe, versions, seeds, how to make them again.

    python data/describe.py digits digits-deep --hardware "2 cores of …, no GPU"

Each ``data/TASK`` holds ``metrics.parquet`` and ``recipe.json``, as `hmmdyn reproduce TASK` and
`hmmdyn extract` made them with the packages installed here.
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

import pandas as pd

from hmmdyn.tasks.catalogue import TASKS
from hmmdyn.tasks.recipe import Recipe

DATA = Path(__file__).parent
PACKAGES = {"hmmdyn": "hmmdyn", "PyTorch": "torch", "NumPy": "numpy", "pandas": "pandas"}
# Accuracies, of training and of evaluation, whose first steps the README tells.
REACHED = {
    "parity": 0.9,
    "modular-addition": 0.9,
    "modular-addition-stabilised": 0.9,
    "induction": 0.9,
}
REACHED_ELSEWHERE = 0.97


def described(task: str, hardware: str, day: str, note: str) -> str:
    """The README of a task's metric table."""
    folder = DATA / task
    table = pd.read_parquet(folder / "metrics.parquet")
    recipe = json.loads((folder / "recipe.json").read_text())
    versions = ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())
    seeds = sorted(table["seed"].unique())
    made = (
        f"on {day} with {versions} and Python {platform.python_version()}, on {hardware}. Seeds "
        f"{numbers(seeds)}: all that were trained to the end, none chosen. The same machine and "
        "versions give the same numbers; others round differently, and training amplifies that. "
        f"{note}"
    )
    return f"""# {task}: metrics of {len(seeds)} seeds

{TASKS[task].summary}

`metrics.parquet` has one row per checkpoint: the fourteen metrics of its weights, recorded while
the runs were trained, and losses and accuracies of the same step.

    hmmdyn analyze data/{task}/metrics.parquet

## Made by

    pip install 'hmmdyn[torch]'
    hmmdyn reproduce {task} --seeds {max(seeds) + 1} --out runs/{task}
    hmmdyn extract runs/{task} -o data/{task}/metrics.parquet

{fill(made, 100)}

## Recipe

| option | value | meaning |
|---|---|---|
{recipe_rows(TASKS[task].recipe, recipe)}

## What happened

{len(table):,} checkpoints, {checkpoints(table)}. The first
checkpoint at which an accuracy is reached:

{reached(table, REACHED.get(task, REACHED_ELSEWHERE))}
"""


def recipe_rows(defaults: Recipe, recipe: dict[str, object]) -> str:
    """A line for each option of a recipe."""
    meanings = {name: f.metadata["help"] for name, f in defaults.__dataclass_fields__.items()}
    return "\n".join(
        f"| {name} | {value} | {meanings[name]} |"
        for name, value in recipe.items()
        if name in meanings
    )


def checkpoints(table: pd.DataFrame) -> str:
    """How many checkpoints the runs have, and over which steps."""
    counts = table.groupby("run").size()
    least, most = f"{counts.min():,}", f"{counts.max():,}"
    per_run = least if least == most else f"{least} to {most}"
    return f"{per_run} of each run, steps {table['step'].min():,} to {table['step'].max():,}"


def reached(table: pd.DataFrame, accuracy: float) -> str:
    """Quantiles over runs of the first step at which accuracies are reached."""
    head = "| accuracy | reached by | a quarter of these by step | half of them | the last one |"
    lines = [head, "|---|---|---|---|---|"]
    n_runs = table["run"].nunique()
    for split in ("train", "eval"):
        there = table[table[f"{split}_accuracy"] >= accuracy]
        first = there.groupby("run")["step"].min()
        within = [
            f"{quantile:,.0f}" if len(first) else "–"
            for quantile in first.quantile([0.25, 0.5, 1], interpolation="higher")
        ]
        cells = [f"{split} ≥ {accuracy}", f"{len(first)} of {n_runs}", *within]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def numbers(seeds: list[int]) -> str:
    """Whole numbers in words: a range where there is no gap."""
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--hardware", required=True, help="What the runs were trained on.")
    parser.add_argument("--note", default="", help="What else to say of how they were made.")
    parser.add_argument("--date", default=str(date.today()), help="When (today by default).")
    arguments = parser.parse_args()
    for name in arguments.tasks:
        text = described(name, arguments.hardware, arguments.date, arguments.note)
        (DATA / name / "README.md").write_text(text, encoding="utf-8")
