"""Simulated trajectories whose number of phases is known.

Part of the package because three things stand on it that must not part ways: the study of how K
is chosen, the tests that hold its claims, and anyone who wants to see what a method makes of runs
whose truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmmdyn.errors import UsageError
from hmmdyn.names import require_one_of
from hmmdyn.results.arrays import FloatArray, IntArray

KINDS = ("phases", "sharp", "gradual", "fork", "drift", "shared drift")
# Units: the levels of the phases scatter by 1 around their mean, metric by metric.
_CLOSEST_LEVELS = 0.7  # root mean square over metrics; nearer ones would be one phase to any eye
_DRIFT = 0.25  # within phases, alike in all runs
_DRIFT_OF_RUN = 0.2  # within phases, each run's own
_LEVEL_OF_RUN = 0.15  # each run's own offset of each phase
_SHORTEST_PHASE = 0.5  # of what it would be if all were equally long
_DURATION_SHAPE = 10.0  # durations differ between runs by a gamma law of this shape
_TRANSITION = 0.05  # of a run, that a gradual transition takes
_AUTOCORRELATION = 0.9  # of the noise, from one checkpoint to the next


@dataclass(frozen=True)
class Simulation:
    """Runs standardised each by its own mean and deviation, and what they were made of.

    ``values`` (n, D), ``lengths`` (R,), ``phases`` (n,) true labels; ``n_phases`` is how many
    there are, 1 where the trajectory only drifts.
    """

    values: FloatArray
    lengths: IntArray
    phases: IntArray
    n_phases: int


def simulate(
    kind: str,
    n_phases: int = 1,
    *,
    n_runs: int = 10,
    n_checkpoints: int = 100,
    n_metrics: int = 6,
    noise: float = 0.3,
    random_state: int = 0,
) -> Simulation:
    """Simulate runs of one recipe.

    Parameters
    ----------
    kind : str
        ``phases``: levels that follow each other, each run in its own time, with smooth drift
        within them (partly alike in all runs, partly each run's own), offsets of each run and
        autocorrelated noise. ``sharp``: levels and white noise, nothing else: a hidden Markov
        model holds. ``fork``: as ``phases``, but half of the runs take the second phase and the
        others the third one in its stead (4 phases or more). ``drift``: no phases; smooth curves,
        as much each run's own as alike in all, and autocorrelated noise. ``shared drift``: the
        same with curves almost alike in all runs.
    n_phases : int
        1 for the kinds without phases.
    n_runs, n_checkpoints, n_metrics : int
        Runs, checkpoints of each, and metrics of each checkpoint.
    noise : float
        Standard deviation of the noise, in units of the scatter of the levels.
    random_state : int
        Seeds all that is drawn.

    Raises
    ------
    UsageError
        ``kind`` is not known, or has not that many phases.
    """
    require_one_of(kind, KINDS, "kind")
    if n_phases < 1 or (kind == "fork" and n_phases < 4) or ("drift" in kind and n_phases != 1):
        raise UsageError(f"Trajectories of kind {kind!r} do not have {n_phases} phases.")
    rng = np.random.default_rng(random_state)
    t = (np.arange(n_checkpoints) + 0.5) / n_checkpoints
    levels = _levels(n_phases, n_metrics, rng)
    shares = _SHORTEST_PHASE / n_phases + (1 - _SHORTEST_PHASE) * rng.dirichlet(np.ones(n_phases))
    mixing = rng.normal(size=(n_metrics, n_metrics))
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    common = _curves(t, n_metrics, rng)
    values, phases = [], []
    for run in range(n_runs):
        durations = shares * rng.gamma(_DURATION_SHAPE, size=n_phases)
        if kind == "fork":
            durations[1 + run % 2] = 0
        changes = np.cumsum(durations / durations.sum())[:-1]
        own = _curves(t, n_metrics, rng)
        offsets = levels + _LEVEL_OF_RUN * rng.normal(size=levels.shape)
        white = rng.normal(size=(n_checkpoints, n_metrics)) @ mixing.T
        if kind == "sharp":
            z = _staircase(levels, changes, t, 0.0) + noise * white
        elif kind in ("drift", "shared drift"):
            z = common + (own if kind == "drift" else 0.1 * own) + noise * _autocorrelated(white)
        else:
            z = _staircase(offsets, changes, t, _TRANSITION if kind == "gradual" else 0.0)
            z += _DRIFT * common + _DRIFT_OF_RUN * own + noise * _autocorrelated(white)
        values.append((z - z.mean(axis=0)) / z.std(axis=0))
        phases.append(np.searchsorted(changes, t, side="right"))
    return Simulation(
        np.concatenate(values), np.full(n_runs, n_checkpoints), np.concatenate(phases), n_phases
    )


def _levels(n_phases: int, n_metrics: int, rng: np.random.Generator) -> FloatArray:
    """Draw levels with deviation 1 over phases, no two of them too near, shape (K, D)."""
    if n_phases == 1:
        return np.zeros((1, n_metrics))
    while True:
        drawn = rng.normal(size=(n_phases, n_metrics))
        levels: FloatArray = (drawn - drawn.mean(axis=0)) / drawn.std(axis=0)
        apart = np.sqrt(((levels[:, None] - levels) ** 2).mean(axis=2))
        if apart[np.triu_indices(n_phases, 1)].min() >= _CLOSEST_LEVELS:
            return levels


def _staircase(
    levels: FloatArray, changes: FloatArray, t: FloatArray, transition: float
) -> FloatArray:
    """Levels one after the other, shape (n, D); each change a ramp that takes ``transition``."""
    if transition:
        done = np.clip((t[:, None] - changes) / transition + 0.5, 0, 1)
    else:
        done = (t[:, None] >= changes).astype(np.float64)
    stairs: FloatArray = levels[0] + done @ np.diff(levels, axis=0)
    return stairs


def _curves(t: FloatArray, n_metrics: int, rng: np.random.Generator) -> FloatArray:
    """Draw sums of slow waves, the slowest half a period long, of deviation about 1; (n, D)."""
    order = np.arange(1, 4)[:, None]
    amplitudes = rng.normal(size=(3, n_metrics)) / order * np.sqrt(2 / (1 / order**2).sum())
    shifts = rng.uniform(0, 2 * np.pi, size=(3, n_metrics))
    waves = amplitudes * np.cos(np.pi * t[:, None, None] * order + shifts)
    curves: FloatArray = waves.sum(axis=1)
    return curves


def _autocorrelated(white: FloatArray) -> FloatArray:
    """Turn white noise of deviation 1 into a stationary autoregression of deviation 1."""
    noise = np.empty_like(white)
    noise[0] = white[0]
    fresh = np.sqrt(1 - _AUTOCORRELATION**2)
    for i in range(1, len(white)):
        noise[i] = _AUTOCORRELATION * noise[i - 1] + fresh * white[i]
    return noise
