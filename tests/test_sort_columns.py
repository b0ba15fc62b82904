"""Columns that only tell the time, found for all columns at once, against one at a time."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn.tables.sort_columns import Kept, without_time


def on_a_rising_line(step, values):
    """By a least-squares line of numpy's."""
    known = ~np.isnan(values)
    step, values = step[known], values[known]
    slope, start = np.polyfit(step, values / np.abs(values).max(), 1)
    values = values / np.abs(values).max()
    span = np.ptp(values)
    near = np.abs(start + slope * step - values).max() <= 1e-6 * span
    return slope > 0 and span > 0 and near and abs(start) < 1e-6 * span


def table_of(columns, n_steps=8, runs=("a", "b")):
    keys = [("all", run, 10 * step) for run in runs for step in range(1, n_steps + 1)]
    return pd.DataFrame(keys, columns=["group", "run", "step"]).assign(**columns)


def left_out(table):
    names = tuple(table.columns[3:])
    return dict(without_time(Kept(names, ()), table, ()).left_out)


def test_lines_are_those_that_least_squares_finds():
    rng = np.random.default_rng(0)
    table = table_of({})
    step = table["step"].to_numpy(float)
    slope = np.where(table["run"] == "a", 2.0, 3.0)  # not alike in all runs
    columns = {}
    for i, noise in enumerate([0.0, 1e-12, 1e-9, 1e-5, 1e-3, 1.0]):
        for offset in (0.0, 1.5):
            values = slope * 0.37 * step * (1 + noise * rng.normal(size=len(step))) + offset
            columns[f"noise{i} offset{offset}"] = values
            columns[f"holes{i} offset{offset}"] = np.where(
                rng.random(len(step)) < 0.2, np.nan, values
            )
            columns[f"falls{i} offset{offset}"] = -values
    table = table.assign(**columns)
    found = set(left_out(table))
    expected = {
        name
        for name in columns
        if all(
            on_a_rising_line(run["step"].to_numpy(float), run[name].to_numpy(float))
            for _, run in table.groupby("run")
        )
    }
    assert {"noise0 offset0.0", "holes1 offset0.0"} <= expected
    assert found == expected


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (lambda step: 3 + 2 * step, "proportion"),  # whole numbers: a count, whatever its start
        (lambda step: 1e300 * step, "proportion"),
        (lambda step: 3.5 + 2 * step, None),  # may be a metric on a line
        (lambda step: np.full(len(step), 0.5), None),
        (lambda step: np.where(step > 40, np.inf, step), None),
        (lambda step: np.where(step > 30, np.nan, step), None),  # too few to tell
    ],
)
def test_what_counts_grows_from_nothing_or_in_whole_numbers(values, why):
    table = table_of({})
    first = (table["run"] == "a").to_numpy()
    column = values(table["step"].to_numpy(float) * np.where(first, 1, 7))
    found = left_out(table.assign(column=column))
    assert (why in str(found["column"])) if why else not found


def test_what_runs_share_is_no_metric():
    table = table_of({})
    step = table["step"].to_numpy(float)
    own = np.where(table["run"] == "a", 0.0, 1e-6)
    found = left_out(
        table.assign(
            shared=np.sin(step),
            holes=np.where(step == 30, np.nan, np.sin(step)),
            nearly=np.sin(step) + own,
            fixed=0.5,
            few=np.where(step > 30, np.nan, np.sin(step)),
        )
    )
    assert set(found) == {"shared", "holes"}
    assert "same at equal steps" in str(found["shared"])
