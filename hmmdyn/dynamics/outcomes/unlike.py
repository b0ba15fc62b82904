"""Which runs have an outcome whose curve is unlike those of the others of their group.

A run that is slow passes the same values later, and that is not unlike. What sets a run apart is
what no clock explains: it loses again what it had reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.dynamics.lying_out import (
    FALSE_ALARMS,
    MIN_RUNS,
    Way,
    logistic,
    tail_probabilities,
)
from hmmdyn.dynamics.outcomes.curves import Curve, curves_of
from hmmdyn.names import printable
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.outliers import OUTCOME_OUTLIERS
from hmmdyn.roles import better_side, is_plain_loss

_LEAST = 6  # evaluations, with fewer of which a run is not judged
_EVALUATIONS = 3  # of the run that is evaluated most rarely, whose median is one level
_LEAST_LEVELS, _MOST_LEVELS = 4, 30  # of a group
_FARTHEST = 10.0  # ranges of a group: what is lost to infinity counts as so much
# A share of the group's range, compared by its logarithm: a twentieth is alike.
_LOST = Way("lost", logistic, resolution=0.3, alike=0.05)


@dataclass(frozen=True, eq=False)
class _Course:
    """Levels of a curve, medians within equal stretches of time; larger is better.

    ``levels`` and the ``steps`` at which their stretches end have shape (B,).
    """

    curve: Curve
    steps: FloatArray
    levels: FloatArray


def find_unlike_curves(
    table: pd.DataFrame, outcomes: Sequence[str], *, step_unit: str = "step", random_state: int = 0
) -> pd.DataFrame:
    """Find the runs with an outcome that goes otherwise than in the other runs of their group.

    Where all runs are drawn from one recipe, the chance that any of them is called unlike in any
    outcome is meant to be at most 0.05. A run that is only slow or fast is not unlike, nor is one
    evaluation that stands alone.

    Parameters
    ----------
    table : DataFrame
        ``group, run, seed, step`` and the outcomes.
    outcomes : sequence of str
        Those judged are accuracies, returns and the like, and plain losses: others may be meant to
        go either way.
    step_unit : str
        How steps are called in the reasons.
    random_state : int
        Seeds the draws behind p.

    Returns
    -------
    DataFrame
        See :data:`.results.outliers.OUTCOME_OUTLIERS`; a row per run and outcome judged.

    Notes
    -----
    Runs are judged up to where half of their group have ended, by medians within equal
    stretches of that time, at most thirty, each as long as three evaluations of the run that is
    evaluated most rarely, so that evaluating more often changes nothing. ``lost`` is how far the
    level falls at most below the best of it so far, over the range of all levels of the other runs.
    p is that of :func:`hmmdyn.dynamics.lying_out.tail_probabilities`, of the logarithms, for a
    logistic law, and is corrected for the outcomes and the groups (Bonferroni).
    ``benchmarks/outcome_outliers.md`` has the error rates.
    """
    judged = [o for o in outcomes if better_side(o) == "above" or is_plain_loss(o)]
    groups = {key: courses for key, courses in _groups(table, judged) if len(courses) >= MIN_RUNS}
    rows = [_judged(courses, len(groups), step_unit, random_state) for courses in groups.values()]
    return OUTCOME_OUTLIERS.frame(pd.concat(rows, ignore_index=True) if rows else [])


def _groups(
    table: pd.DataFrame, outcomes: Sequence[str]
) -> Iterator[tuple[tuple[str, str], list[_Course]]]:
    """Go through groups and outcomes: the courses of the runs that have one."""
    curves: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves_of(table, outcomes):
        if len(curve.steps) >= _LEAST:
            curves.setdefault((curve.group, curve.outcome), []).append(curve)
    for key, own in curves.items():
        yield key, _courses(own)


def _courses(curves: Sequence[Curve]) -> list[_Course]:
    """Levels of all curves in the same stretches of time, up to where half of the runs ended."""
    begin = max(curve.steps[0] for curve in curves)
    end = np.quantile([curve.steps[-1] for curve in curves], 0.5, method="lower")
    widest = max(np.median(np.diff(curve.steps)) for curve in curves)
    n = int((end - begin) // (_EVALUATIONS * widest))
    if n < _LEAST_LEVELS:
        return []
    edges = np.linspace(begin, end, min(n, _MOST_LEVELS) + 1)
    return [_Course(curve, edges[1:], _levels(curve, edges)) for curve in curves]


def _levels(curve: Curve, edges: FloatArray) -> FloatArray:
    """Medians within stretches of time; in one without an evaluation the level before goes on."""
    within = (edges[0] <= curve.steps) & (curve.steps <= edges[-1])
    place = np.searchsorted(edges[1:-1], curve.steps[within], side="right")
    good = pd.Series(curve.improving * curve.values[within])
    levels = good.groupby(place).median().reindex(range(len(edges) - 1)).ffill()
    return levels.to_numpy(dtype=np.float64)


def _judged(
    courses: Sequence[_Course], n_tested: int, step_unit: str, random_state: int
) -> pd.DataFrame:
    levels = np.stack([course.levels for course in courses])
    fallen = np.fmax.accumulate(levels, axis=1) - levels
    found = pd.DataFrame([course.curve.labels for course in courses])
    found["lost"] = [
        min(np.nanmax(fallen[i]) / _range(np.delete(levels, i, axis=0)), _FARTHEST)
        for i in range(len(levels))
    ]
    each, any_run = tail_probabilities(found, (_LOST,), random_state)
    corrected = np.minimum(any_run[:, 0] * n_tested, 1.0)
    is_outlier = corrected < FALSE_ALARMS
    return found.assign(
        p=each[:, 0],
        p_corrected=corrected,
        outlier=is_outlier,
        reason=[
            _reason(course, found["lost"], i, step_unit) if is_outlier[i] else ""
            for i, course in enumerate(courses)
        ],
    )


def _range(levels: FloatArray) -> float:
    known = levels[np.isfinite(levels)]
    return float(np.ptp(known)) or 1.0 if len(known) else 1.0


def _reason(course: _Course, lost: pd.Series, i: int, step_unit: str) -> str:
    curve, levels = course.curve, course.levels
    at = int(np.nanargmax(np.fmax.accumulate(levels) - levels))
    best = int(np.nanargmax(levels[: at + 1]))
    first, then = (min(course.steps[place], curve.steps[-1]) for place in (best, at))
    return (
        f"Its {printable(curve.outcome)} goes back from {curve.improving * levels[best]:.3g} "
        f"({step_unit} {first:,.0f}) to {curve.improving * levels[at]:.3g} "
        f"({step_unit} {then:,.0f}): by {lost[i]:.0%} of the range of the other runs, "
        f"which lose {lost.drop(i).median():.0%} (median)."
    )
