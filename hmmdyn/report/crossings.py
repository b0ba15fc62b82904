"""What the page needs to tell when runs converge by any threshold: how far each had come, and when.

A run has converged where its outcome holds at ``sustained`` evaluations in a row. So of each
evaluation what counts is the worst value of these evaluations from it on; and of these the ones
that are better than all before: the first that reaches a threshold is where the run crosses it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hmmdyn.report import words
from hmmdyn.report.figures.links import run_numbers
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

_POSITIONS = 100  # at least, of the slider


def crossings_of_page(findings: OutcomeFindings) -> dict[str, Any] | None:
    """Return how far every run had come at which step, as plain data; None without an outcome.

    Of each run, by its number: ``records``, the value, step and previous evaluated step (or None)
    of each evaluation better than all before; ``last``, the last evaluated step; ``previous``, the
    evaluation after which convergence must have begun, had it, None where there is none. None of a
    run whose outcome is unknown.
    """
    measure = findings.convergence
    if measure is None or measure.table.empty:
        return None
    numbers = run_numbers(findings)
    runs: list[dict[str, Any] | None] = [None] * len(numbers)
    known = findings.table[np.isfinite(findings.table[measure.outcome])]
    for key, own in known.groupby(RUN_KEY, sort=False):
        group, run = key
        steps = own["step"].tolist()
        n_before = len(steps) - measure.sustained
        runs[numbers[str(group), str(run)]] = {
            "records": _records(own[measure.outcome].to_numpy(float), steps, measure),
            "last": steps[-1],
            "previous": steps[n_before] if n_before >= 0 else None,
        }
    values = known[measure.outcome]
    low, high = float(values.min()), float(values.max())
    step = 10.0 ** math.floor(math.log10((high - low) / _POSITIONS)) if high > low else 1.0
    return {
        "outcome": measure.outcome,
        "label": words.name(measure.outcome, 30),
        "threshold": measure.threshold,
        "direction": measure.direction,
        "low": math.floor(low / step) * step,
        "high": math.ceil(high / step) * step,
        "step": step,
        "unit": findings.step_unit,
        "runs": runs,
    }


def _records(values: FloatArray, steps: list[int], measure: Any) -> list[Any]:
    if len(values) < measure.sustained:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(values, measure.sustained)
    above = measure.direction == "above"
    held = windows.min(axis=1) if above else windows.max(axis=1)
    flat: list[Any] = []
    best = -math.inf if above else math.inf
    for i, value in enumerate(held.tolist()):
        if value > best if above else value < best:
            best = value
            flat += [value, steps[i], steps[i - 1] if i else None]
    return flat
