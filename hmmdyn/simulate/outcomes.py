"""Simulated curves of losses and accuracies in which it is known whether they have a transition.

Part of the package because two things stand on it that must not part ways: the study of what is
found in them, and the tests that hold its claims.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hmmdyn.names import require_one_of
from hmmdyn.results.arrays import FloatArray

# Curves without a transition.
PHASE_FREE = (
    "flat", "flat, heavy tails", "autocorrelated", "linear", "power law 0.1", "power law 0.3",
    "power law 1", "exponential", "random walk", "random walk, heavy tails",
)  # fmt: skip
# How state changes relate to the outcome's transition.
SCHEDULES = ("follows", "independent", "common schedule")

_AUTOREGRESSION = 0.9
_RELAXATION = 0.25  # of the run: time constant of the exponential
_SPIKES_PER = 30  # evaluations


def phase_free_curve(
    kind: str, n: int, *, noise: float = 0.05, random_state: int = 0
) -> FloatArray:
    """Simulate an outcome without a transition at n evenly spaced checkpoints.

    Declines go from one to zero, with normal ``noise``; flat, autocorrelated (lag-1 correlation
    0.9) and wandering curves are nothing but noise, whose scale does not matter. Heavy tails are
    those of Student's t with 3 degrees of freedom.

    Parameters
    ----------
    kind : str
        One of ``PHASE_FREE``.
    n : int
        Checkpoints.
    noise : float
        Standard deviation, in units of the decline.
    random_state : int
        Seeds the noise.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    require_one_of(kind, PHASE_FREE, "kind")
    rng = np.random.default_rng(random_state)
    heavy = kind.endswith("heavy tails")
    drawn = rng.standard_t(3, size=n) if heavy else rng.normal(size=n)
    if kind.startswith("flat"):
        return np.asarray(drawn)
    if kind.startswith("random walk"):
        return np.cumsum(drawn)
    i = np.arange(n, dtype=np.float64)
    if kind == "autocorrelated":
        weights = _AUTOREGRESSION**i
        return np.convolve(drawn, weights)[:n]
    decline: FloatArray
    if kind == "linear":
        decline = 1.0 - i / (n - 1)
    elif kind == "exponential":
        decline = np.exp(-i / (_RELAXATION * n))
    else:
        decline = (1.0 + i) ** -float(kind.removeprefix("power law "))
    from_one_to_zero = (decline - decline[-1]) / (decline[0] - decline[-1])
    return np.asarray(from_one_to_zero + noise * drawn)


def transition_curve(
    n: int, *, width: float, noise: float, spikes: bool = False, random_state: int = 0
) -> tuple[FloatArray, float]:
    """Simulate an accuracy that rises from zero to one, and return it with the time of the rise.

    A logistic, which rises from 10 % to 90 % within 4.4 times its scale, between a quarter and
    three quarters of the run. With ``spikes``, one checkpoint in thirty is off by 0.5 to 3 either
    way.

    Parameters
    ----------
    n : int
        Checkpoints.
    width : float
        Scale of the logistic, as a share of the run; 0 is a jump.
    noise : float
        Standard deviation, in units of the rise.
    spikes : bool
        Whether to throw single checkpoints off.
    random_state : int
        Seeds the noise.

    Returns
    -------
    curve : ndarray, shape (n,)
    centre : float
        Of the rise, in checkpoints from 0 on: where it is steepest, or half way between the two
        checkpoints around a jump.
    """
    rng = np.random.default_rng(random_state)
    i = np.arange(n)
    centre = rng.uniform(0.25, 0.75) * (n - 1)
    if width > 0:
        curve = 1 / (1 + np.exp(-(i - centre) / (width * (n - 1))))
    else:
        curve = (i >= centre).astype(float)
        centre = np.ceil(centre) - 0.5
    curve = curve + noise * rng.normal(size=n)
    if spikes:
        at = rng.choice(n, max(1, n // _SPIKES_PER), replace=False)
        curve[at] += rng.choice([-1, 1], len(at)) * rng.uniform(0.5, 3.0, len(at))
    return curve, float(centre)


def transitions_and_changes(
    schedule: str, n_runs: int, *, random_state: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate when runs pass an outcome's transition, and when they change from state 0 to 1.

    Runs last 10,000 steps, with a checkpoint every 100. ``follows``: the transition comes 300 ± 150
    steps after the change of state, whenever that is. ``independent``: both come whenever they
    will. ``common schedule``: both come at nearly the same time in every run, ± 300 steps each.

    Returns
    -------
    tuple of DataFrame
        Events and change points as
        :func:`hmmdyn.dynamics.outcomes.matching.match_transitions` takes them.

    Raises
    ------
    UsageError
        There is no such schedule.
    """
    require_one_of(schedule, SCHEDULES, "schedule")
    rng = np.random.default_rng(random_state)
    change = rng.uniform(3000, 8000, n_runs)
    event = rng.uniform(3000, 8000, n_runs)
    if schedule == "follows":
        event = change + 300 + 150 * rng.normal(size=n_runs)
    elif schedule == "common schedule":
        change = 5300 + 300 * rng.normal(size=n_runs)
        event = 5500 + 300 * rng.normal(size=n_runs)
    seen = 100 * np.ceil(change / 100).astype(int)
    runs = pd.DataFrame({"group": "all", "run": [f"seed{i}" for i in range(n_runs)]})
    events = runs.assign(
        outcome="eval_accuracy", role="generalisation", step=event, first_step=0, last_step=10000
    )
    changes = runs.assign(previous_step=seen - 100, step=seen, from_state=0, to_state=1)
    return events, changes
