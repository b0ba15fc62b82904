"""What the metrics of a model have in common: copies, constants, effective dimensions, ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.model_metrics import MODEL_METRICS, ModelMetrics
from hmmdyn.results.observations import Observations
from hmmdyn.tables.trajectories import Trajectories, varying

ALIKE = 0.999  # correlation in every run from which on two metrics are one
_FEWEST = 10  # checkpoints of a run, below which any two metrics may seem to be


def describe_metrics(trajectories: Trajectories, observations: Observations) -> ModelMetrics:
    """Say which metrics entered the model, which are alike, and how many dimensions they have.

    Parameters
    ----------
    trajectories : Trajectories
        Raw metrics that were chosen for the model.
    observations : Observations
        What became of them: standardised, shape (n, D), without those that were left out.
    """
    alike = _alike(observations)
    moving = set(varying(trajectories.table, trajectories.metrics))
    features = observations.features
    orders = orders_of_magnitude(trajectories)
    rows = [
        {
            "metric": metric,
            "used": metric in features,
            "constant": metric not in moving,
            "alike": ", ".join(
                other
                for other, is_one in zip(features, alike[features.index(metric)], strict=True)
                if is_one
            )
            if metric in features
            else "",
            "orders": orders[metric],
        }
        for metric in trajectories.metrics
    ]
    return ModelMetrics(MODEL_METRICS.frame(rows), effective_dimensions(observations.values))


def orders_of_magnitude(trajectories: Trajectories) -> dict[str, float]:
    """Return the powers of ten that each metric spans in a run, NaN where it is not positive."""
    metrics = list(trajectories.metrics)
    runs = trajectories.table.groupby(RUN_KEY, sort=False)[metrics]
    least, greatest = runs.min(), runs.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        spans = np.log10(greatest / least).max().where(least.min() > 0)
    return {str(metric): float(span) for metric, span in spans.items()}


def effective_dimensions(values: FloatArray) -> float:
    """Return the participation ratio of the correlations between columns, over known values.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Each column with some variation; NaN: not known.
    """
    # tr(R)²/tr(R²) = (Σλ)²/Σλ², without the eigenvalues themselves.
    correlations = _correlations(values)
    n = len(correlations)
    return float(n**2 / (correlations**2).sum())


def _alike(observations: Observations) -> NDArray[np.bool_]:
    """Which features follow which others in every run in which both move, shape (D, D)."""
    least = np.full((observations.n_features,) * 2, np.inf)
    for run in observations.split(observations.values):
        if len(run) < _FEWEST:
            continue
        moves = np.fmax.reduce(run) - np.fmin.reduce(run) > 0  # not where nothing is known
        known = ~np.isnan(run[:, moves])
        n_together = known.T.astype(np.float64) @ known
        among = np.where(n_together < _FEWEST, np.inf, np.abs(_correlations(run[:, moves])))
        at = np.ix_(moves, moves)
        least[at] = np.minimum(least[at], among)
    # Of two that never move in the same run, or are hardly known together, nothing is known.
    alike: NDArray[np.bool_] = (least > ALIKE) & np.isfinite(least)
    np.fill_diagonal(alike, val=False)
    return alike


def _correlations(values: FloatArray) -> FloatArray:
    """Return correlations between columns over the checkpoints at which both are known."""
    known = ~np.isnan(values)
    centre = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values - centre, 0.0)  # so that squares do not cancel
    n = np.maximum(known.T.astype(np.float64) @ known, 1)
    mean = filled.T @ known / n  # of column i where j is known, too
    products = filled.T @ filled / n - mean * mean.T
    squares = (filled**2).T @ known / n - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = products / np.sqrt(squares * squares.T)
    return np.asarray(np.clip(np.nan_to_num(found), -1, 1))
