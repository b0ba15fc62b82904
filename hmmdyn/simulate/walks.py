"""Simulated runs in which it is known what a state does to convergence.

Part of the package because two things stand on it that must not part ways: the study of what the
verdicts on states are worth, and the tests that hold its claims.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hmmdyn.names import require_one_of

WORLDS = ("harmless", "detour", "alternative")
OPTIONAL_STATE = 1  # the state that only some runs visit before converging

_NEEDED = 40.0  # checkpoints to converge without any delay, median over runs
_SPREAD = 0.6  # of its logarithm: some runs are several times slower than others
_ENTRY = 40.0  # checkpoints until the optional state is entered, unless the run converges first
_STAY = 8.0  # checkpoints in it
_HALF_WAY = 0.6  # of the checkpoints needed, from which on runs are in state 2
_LAG = 3  # checkpoints at most from convergence to state 3


def simulate_walks(
    world: str, n_runs: int, *, n_checkpoints: int = 250, every: int = 1, random_state: int = 0
) -> pd.DataFrame:
    """Simulate the states and the accuracy of runs of one recipe.

    Runs begin in state 0, are in state 2 from half way on and in state 3 once they have converged
    (accuracy 1). Runs differ much in how long they need.

    Parameters
    ----------
    world : str
        ``harmless``: runs drop into state 1 at a random time, for a while, and lose nothing by it;
        slow runs have longer to do so. ``detour``: the same, but a run that does so needs twice as
        long to converge in all. ``alternative``: half of the runs, drawn by lot, go through state
        1 where the others go through state 2, and lose nothing by it.
    n_runs : int
        How many runs to simulate.
    n_checkpoints : int
        Of each run; one that needs longer is censored.
    every : int
        Keep only every so many checkpoints: with few, several runs converge at the same one.
    random_state : int
        Seeds all that is drawn.

    Returns
    -------
    DataFrame
        ``group, run, seed, step, state, accuracy``, one row per checkpoint.

    Raises
    ------
    UsageError
        There is no such world.
    """
    require_one_of(world, WORLDS, "world")
    rng = np.random.default_rng(random_state)
    runs = [_run(rng, world, i, n_checkpoints) for i in range(n_runs)]
    table = pd.concat(runs, ignore_index=True).astype({"seed": "Int64"})
    return table[table["step"] % every == 0].reset_index(drop=True)


def _run(rng: np.random.Generator, world: str, i: int, n_checkpoints: int) -> pd.DataFrame:
    needed = 2 + int(_NEEDED * np.exp(_SPREAD * rng.normal()))
    entry = int(rng.geometric(1 / _ENTRY))
    stay = int(rng.geometric(1 / _STAY))
    delay = needed if world == "detour" and entry < needed else 0
    steps = np.arange(n_checkpoints)
    lost = np.clip(steps - entry, 0, delay)  # checkpoints that brought the run no nearer
    state = np.where(steps - lost >= _HALF_WAY * needed, 2, 0)
    if world == "alternative":
        if rng.random() < 0.5:
            state[state == 2] = OPTIONAL_STATE
    else:
        state[entry : entry + max(stay, delay)] = OPTIONAL_STATE
    converged = steps - lost >= needed
    state[needed + delay + int(rng.integers(_LAG)) :] = 3
    return pd.DataFrame(
        {
            "group": "all",
            "run": f"seed{i}",
            "seed": i,
            "step": steps,
            "state": state,
            "accuracy": converged.astype(float),
        }
    )
