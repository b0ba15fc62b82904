"""Runs without phases that differ in nothing but their speed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hmmdyn.names import require_one_of
from hmmdyn.results.arrays import FloatArray

COURSES = ("line", "saturation", "logarithm", "waves")
_AUTOCORRELATION = 0.9
_STEPS_PER_CHECKPOINT = 10


def simulate_paces(
    course: str,
    *,
    speeds: float = 0.5,
    n_runs: int = 10,
    n_checkpoints: int = 100,
    n_metrics: int = 6,
    noise: float = 0.1,
    random_state: int = 0,
) -> pd.DataFrame:
    """Simulate runs that take one course, each at a speed of its own.

    Parameters
    ----------
    course : str
        Of the metrics over time: a ``line``, a ``saturation`` (exponential), a ``logarithm``, or
        slow ``waves``.
    speeds : float
        Standard deviation of the logarithm of the runs' speeds. A run of twice the usual speed gets
        twice as far.
    n_runs, n_checkpoints, n_metrics : int
        Runs, checkpoints of each, and metrics of each checkpoint.
    noise : float
        Standard deviation of the autocorrelated noise; the course moves metrics by about 3.
    random_state : int
        Seeds all that is drawn.

    Returns
    -------
    DataFrame
        ``group, run, seed, step, metric_0 …``.

    Raises
    ------
    UsageError
        The course is not known.
    """
    require_one_of(course, COURSES, "course")
    rng = np.random.default_rng(random_state)
    t = (np.arange(n_checkpoints) + 0.5) / n_checkpoints
    direction = rng.choice([-1.0, 1.0], n_metrics) * rng.uniform(0.5, 1.5, n_metrics)
    bend = rng.uniform(0.5, 2, n_metrics)
    shift = rng.uniform(0, 2 * np.pi, n_metrics)

    def course_at(time: FloatArray) -> FloatArray:
        if course == "line":
            return np.asarray(3 * direction * time)
        if course == "saturation":
            return np.asarray(3 * direction * (1 - np.exp(-4 * bend * time)))
        if course == "logarithm":
            return np.asarray(direction * np.log1p(30 * bend * time))
        return np.asarray(2 * direction * np.cos(np.pi * bend * time + shift))

    parts = []
    for run in range(n_runs):
        speed = np.exp(speeds * rng.normal())
        fresh = rng.normal(size=(n_checkpoints, n_metrics))
        scatter = fresh.copy()
        for i in range(1, n_checkpoints):
            scatter[i] = _AUTOCORRELATION * scatter[i - 1]
            scatter[i] += np.sqrt(1 - _AUTOCORRELATION**2) * fresh[i]
        values = course_at(speed * t[:, None]) + noise * scatter
        keys = pd.DataFrame(
            {
                "group": "simulated",
                "run": f"seed{run}",
                "seed": run,
                "step": np.arange(n_checkpoints) * _STEPS_PER_CHECKPOINT,
            }
        )
        metrics = [f"metric_{i}" for i in range(n_metrics)]
        parts.append(keys.join(pd.DataFrame(10 + values, columns=metrics)))
    return pd.concat(parts, ignore_index=True)
