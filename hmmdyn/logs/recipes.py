"""Which recipe a row is of, where nothing is called a group but rows contradict each other."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from hmmdyn.logs.columns import Columns
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.roles import is_recipe

RECIPE = "Runs of one name differ by it: it is their group."
_MOST_RECIPES = 200  # values of one column: with more it names something else


def with_recipe(columns: Columns) -> Columns:
    """Take for the group what tells rows of the same run and time apart, if a column does.

    In ``optimizer, seed, step, loss`` the rows of one seed and step contradict each other unless
    the optimisers are groups. Columns are added as long as that resolves contradictions, and
    joined (``Hopper/ppo``). Without such rows nothing changes.
    """
    if columns.group is not None:
        return columns
    frame = columns.frame
    whose = [name for name in (columns.run, columns.seed) if name is not None]
    times = [*columns.steps, *columns.epochs, *columns.amounts][:1]
    named = [
        name
        for name in columns.values
        if is_recipe(name) and 1 < frame[name].nunique() <= _MOST_RECIPES
    ]
    named = [name for name in named if frame[name].notna().all()]
    if not named or not times:
        return columns
    values = {n: as_numbers(frame[n]).values for n in columns.values if n not in named}
    numbers = pd.DataFrame(values, index=frame.index)
    left = _contradictions(numbers, frame, [*whose, *times])
    taken: list[str] = []
    for name in named:
        with_it = _contradictions(numbers, frame, [*whose, *times, *taken, name])
        if with_it < left:
            taken, left = [*taken, name], with_it
    if not taken:
        return columns
    group = frame[taken[0]].astype(str)
    for name in taken[1:]:
        group = group + "/" + frame[name].astype(str)
    return replace(
        columns,
        frame=frame.assign(group=group),
        group="group",
        values=tuple(name for name in columns.values if name not in taken),
        passed_over={**columns.passed_over, **dict.fromkeys(taken, RECIPE)},
    )


def _contradictions(numbers: pd.DataFrame, frame: pd.DataFrame, keys: list[str]) -> int:
    """How many values of one key differ from the first of it."""
    by = [frame[name] for name in keys]
    distinct = numbers.groupby(by, dropna=False).nunique()
    return int((distinct - 1).clip(lower=0).to_numpy().sum())
