"""What the verdicts on states are worth, from raw metrics of worlds in which the truth is known.

    python benchmarks/detours.py [--rounds 8] [--rows rows.csv] [-o detours.md]

Every simulation goes the whole way that a user's runs go: raw metrics, pooled standardisation
without what tells seeds apart, the finest map, the supported map, its model's states, what maps of
other runs say of them, the verdicts. (Maps of other runs are made only where some state is found to
slow: nothing else can be confirmed.) Beside it, the same verdicts from the true phases (the oracle) say what the map costs. One
row per simulation is saved as soon as it is there; a study that was interrupted goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_table import table
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.hmm.choose.boundaries import SupportedMap, supported_map
from hmmdyn.hmm.choose.found_again import FOUND, found_again
from hmmdyn.hmm.choose.passages import SUPPORTED
from hmmdyn.hmm.choose.supported import _model_of
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import decode
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.verdicts import CONFIRMED
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.standardise import standardised

# The rule was chosen on other simulations: these are for judging it.
FIRST_SEED = 11_000_000
RUNS = (10, 20, 40)
CHECKPOINTS = 60
FINEST = 8
WIDTHS = (0.02, 0.05)
NOISES = (0.15, 0.3)
AUTOCORRELATIONS = (0.0, 0.9)
SEED_METRICS = (0.0, 0.3)


@dataclass(frozen=True)
class Kind:
    """A kind of world: its name in the tables, what it is made of, and its optional phase."""

    name: str
    design: str
    n_phases: int
    delay: float | None
    optional: int | None
    speeds: float = 0.25

    @property
    def costs(self) -> str:
        """What its optional phase costs: time that matters, a little, or nothing."""
        if self.delay is None:
            return "nothing"
        return "matters" if self.delay >= 1 else "little"


KINDS = (
    Kind("late detour, 2.5 times as long in all", "detour", 3, 1.5, 1),
    Kind("late detour, twice as long", "detour", 4, 1.0, 2),
    Kind("early detour, twice as long", "early detour", 4, 1.0, 1),
    Kind("early detour of five phases, twice as long", "early detour", 5, 1.0, 1),
    Kind("late detour, half as long again", "detour", 4, 0.5, 2),
    Kind("harmless excursion", "excursion", 4, None, 3, 0.4),
    Kind("harmless late stage", "late stage", 4, None, 2, 0.4),
    Kind("two ways as long", "equal fork", 4, None, 1, 0.4),
    Kind("one path, unequal speeds", "path", 4, None, None, 0.4),
)
PER_ROUND = len(KINDS) * len(RUNS)


@dataclass(frozen=True)
class Decoded:
    """What the analysis of one simulated set of runs sees, and the truth.

    ``states`` and ``table`` have the same rows; ``phases`` (n,) are true.
    """

    states: pd.DataFrame
    table: pd.DataFrame
    observations: Observations
    found: SupportedMap
    phases: np.ndarray

    @property
    def supported(self) -> set[int]:
        """States with a supported boundary."""
        b = self.found.boundaries
        b = b[b["kind"].isin(SUPPORTED)]
        return {*b["from_state"], *b["to_state"]}

    def overlaps(self) -> pd.Series:
        """How well maps of other runs have each state."""
        return found_again(self.observations, self.found).states["overlap"]


def world_of(number: int) -> tuple[Kind, World]:
    """The world of one simulation; what is not balanced within a round is drawn by its number."""
    place = number % PER_ROUND
    kind, n_runs = KINDS[place // len(RUNS)], RUNS[place % len(RUNS)]
    rng = np.random.default_rng([FIRST_SEED, number])
    return kind, World(
        kind.design,
        kind.n_phases,
        width=float(rng.choice(WIDTHS)),
        n_runs=n_runs,
        n_checkpoints=CHECKPOINTS,
        noise=float(rng.choice(NOISES)),
        autocorrelation=float(rng.choice(AUTOCORRELATIONS)),
        speeds=kind.speeds,
        seed_metrics=float(rng.choice(SEED_METRICS)),
        delay=kind.delay,
    )


def decoded(number: int) -> Decoded:
    """From raw metrics to the map.

    Raises
    ------
    NotEnoughDataError
        Every metric tells seeds apart before training has begun.
    """
    _, world = world_of(number)
    runs = simulate_world(world, FIRST_SEED + number)
    seen = standardised(from_frame(runs.table), "pooled")
    data = Sequences(seen.values, seen.lengths)
    swept = sweep(data, [FINEST - 1, FINEST], covariance_type="diag", n_restarts=4, random_state=0)
    finest = swept.winners[max(swept.winners)].states
    found = supported_map(seen, finest, covariance_type="diag", random_state=0)
    states = decode(_model_of(seen, found.labels, "diag"), seen)
    table = runs.table[["group", "run", "seed", "step", "accuracy"]]
    keys = table.drop(columns="accuracy")
    return Decoded(keys.assign(state=states), table, seen, found, runs.phases)


def verdicts(
    states: pd.DataFrame, outcomes: pd.DataFrame, founded: list[int] | None = None
) -> pd.DataFrame:
    """The verdicts on states, as an analysis makes them."""
    convergence = measure_convergence(outcomes, ("accuracy",))
    bags = bag_of_states(states, int(states["state"].max()) + 1)
    try:
        regression = regress_convergence(bags, convergence, states)
    except NotEnoughDataError:
        regression = None
    return detour_verdicts(bags, convergence, regression, states, outcomes, founded)


def judged(kind: Kind, seen: Decoded) -> dict[str, object]:
    """What is said of one simulated set of runs, and where it was lost."""
    said = verdicts(seen.states, seen.table)
    slow = (said["verdict"] == CONFIRMED).any()
    overlaps = seen.overlaps() if slow else pd.Series(np.nan, index=said.index)
    again = set(overlaps.index[overlaps >= FOUND])
    said = verdicts(seen.states, seen.table, sorted(seen.supported & again))
    confirmed = set(said.loc[said["verdict"] == CONFIRMED, "state"])
    row: dict[str, object] = {"any_confirmed": bool(confirmed)}
    if kind.optional is None:
        return row | {"false": bool(confirmed)}
    state, overlap = state_of(seen, kind.optional)
    mine = said.loc[state]
    truth = verdicts(seen.states.assign(state=seen.phases), seen.table)
    by_oracle = truth.loc[truth["state"] == kind.optional]
    return row | {
        "in_map": overlap >= 0.5,
        "supported": state in seen.supported,
        "again": state in again if slow else np.nan,
        "flag": mine["flag"],
        "tested": np.isfinite(mine["p"]),
        "slower": mine["p_corrected"] < 0.025,
        "p": mine["p"],
        "verdict": mine["verdict"],
        "clock": mine["clock"],
        "confirmed": state in confirmed and overlap >= 0.5,
        # A state that costs time may be confirmed, whatever state of the map it is.
        "false": bool(confirmed - ({state} if kind.costs != "nothing" else set())),
        "oracle": bool((by_oracle["verdict"] == CONFIRMED).any()),
        "oracle_p": float(by_oracle["p"].iloc[0]) if len(by_oracle) else np.nan,
    }


def state_of(seen: Decoded, phase: int) -> tuple[int, float]:
    """The map's state that shares most with a phase, and the share in both of what is in either."""
    labels, there = seen.states["state"].to_numpy(), seen.phases == phase
    shares = [
        ((labels == k) & there).sum() / max(((labels == k) | there).sum(), 1)
        for k in range(labels.max() + 1)
    ]
    return int(np.argmax(shares)), max(shares)
