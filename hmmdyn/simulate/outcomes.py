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
SCHEDULES = ("follows", "independent", "common schedule", "relative schedule")

# Losses that leave their level at no time, or only as the schedule makes them.
CALM_LOSSES = (
    "two decimals", "one decimal", "near zero, factors", "near zero, batches", "ripples",
)  # fmt: skip
_CYCLES = 4  # of a schedule with warm restarts

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


def calm_loss(kind: str, n: int, *, random_state: int = 0) -> FloatArray:
    """Simulate a training loss in which nobody would see a spike.

    ``two decimals`` and ``one decimal``: a power law that scatters by less than the last digit it
    is logged with. ``near zero, factors``: down to a thousandth, there with factors of lognormal
    noise; ``near zero, batches``: down to means over 32 examples of which one in a hundred has a
    loss that is not next to nothing. ``ripples``: from 4.8 within a hundredth of the run to 0.02,
    then up and down by 0.005.

    Parameters
    ----------
    kind : str
        One of ``CALM_LOSSES``.
    n : int
        Evaluations.
    random_state : int
        Seeds the noise.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    require_one_of(kind, CALM_LOSSES, "kind")
    rng = np.random.default_rng(random_state)
    i = np.arange(n, dtype=np.float64)
    if kind.endswith("decimals") or kind.endswith("decimal"):
        decimals = 1 if kind.startswith("one") else 2
        scatter = rng.uniform(0.1, 0.5) * 10.0**-decimals
        power_law = 2.5 + 8 * (1 + i) ** -0.5
        return np.round(power_law + scatter * rng.normal(size=n), decimals)
    if kind == "ripples":
        ripples = 0.005 * (np.sin(2 * np.pi * 6 * i / n) > 0)
        return np.asarray(
            4.78 * np.exp(-i / (0.01 * n)) + 0.02 + ripples + 2e-4 * rng.normal(size=n)
        )
    decline = 2.3 * np.exp(-i / (0.08 * n))
    if kind == "near zero, factors":
        return np.asarray((decline + 1e-3) * np.exp(rng.normal(size=n)))
    examples = np.where(rng.random((n, 32)) < 0.01, rng.exponential(size=(n, 32)), 1e-3)
    return np.asarray(decline + examples.mean(axis=1))


def loss_with_restarts(n: int, *, random_state: int = 0) -> FloatArray:
    """Simulate a loss under a learning rate with warm restarts: it rises at each, and comes back.

    Parameters
    ----------
    n : int
        Evaluations; there are four cycles.
    random_state : int
        Seeds the noise.
    """
    rng = np.random.default_rng(random_state)
    i = np.arange(n)
    rate = (1 + np.cos(np.pi * (i * _CYCLES / n % 1))) / 2
    return np.asarray(2.0 + 2 * np.exp(-i / (0.05 * n)) + 0.5 * rate + 0.01 * rng.normal(size=n))


def transitions_and_changes(
    schedule: str, n_runs: int, *, random_state: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate when runs pass an outcome's transition, and when they change from state 0 to 1.

    Runs last 10,000 steps, with a checkpoint every 100. ``follows``: the transition comes 300 ± 150
    steps after the change of state, whenever that is. ``independent``: both come whenever they
    will. ``common schedule``: both come at nearly the same time in every run, ± 300 steps each.
    ``relative schedule``: runs last 5,000 to 20,000 steps, and both come at nearly the same share
    of each, ± 3 %. The transition is known to within 10 steps, the change to within its
    checkpoints.

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
    last = np.full(n_runs, 10_000)
    if schedule == "relative schedule":
        last = 100 * rng.integers(50, 201, n_runs)
        change, event = (last * (at + 0.03 * rng.normal(size=n_runs)) for at in (0.53, 0.55))
    seen = 100 * np.ceil(change / 100).astype(int)
    runs = pd.DataFrame({"group": "all", "run": [f"seed{i}" for i in range(n_runs)]})
    events = runs.assign(
        outcome="eval_accuracy",
        role="generalisation",
        step=event,
        step_low=event - 10,
        step_high=event + 10,
        first_step=0,
        last_step=last,
    )
    changes = runs.assign(
        previous_step=seen - 100,
        step=seen,
        step_low=seen - 100,
        step_high=seen,
        from_state=0,
        to_state=1,
    )
    return events, changes
