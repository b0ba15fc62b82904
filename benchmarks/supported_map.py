"""The supported map on worlds of raw metrics whose phases are known.

Every simulation goes the whole way: raw metrics, pooled standardisation without what tells seeds
apart, the finest map, the supported map. One row per simulation and covariance is saved as soon as
it is there; a study that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.hmm.choose.boundaries import SupportedMap, supported_map
from hmmdyn.hmm.choose.passages import GRADUAL, SHARP
from hmmdyn.hmm.sweep import sweep
from hmmdyn.simulate.worlds import WITH_PHASES, WITHOUT_PHASES, SimulatedRuns, World, simulate_world
from hmmdyn.standardise import pooled_observations
from hmmdyn.trajectories import Trajectories

COVARIANCE_TYPES = ("diag", "full")
FINEST = 8
# The rule was chosen on other simulations: these are for judging it.
FIRST_SEED = 6_000_000
WIDTHS = (0.0, 0.02, 0.05, 0.10, 0.20)
RUNS = (5, 10, 20, 40)
METRICS = (6, 14)
CHECKPOINTS = (100, 200)
NOISES = (0.15, 0.3, 0.5)
AUTOCORRELATIONS = (0.0, 0.9)
PHASES = (2, 3, 4, 5, 6)
# Every round has each number of phases with each width once, and so many without phases.
PHASE_FREE = (*WITHOUT_PHASES, "path")
PHASE_FREE_PER_ROUND = 12
PER_ROUND = len(PHASES) * len(WIDTHS) + PHASE_FREE_PER_ROUND
COLUMNS = [
    "number",
    "covariance",
    "refused",
    "design",
    "truth",
    "width",
    "shape",
    "n_runs",
    "n_checkpoints",
    "n_metrics",
    "noise",
    "autocorrelation",
    "speeds",
    "seed_metrics",
    "n_states",
    "n_phases",
    "n_sharp",
    "n_gradual",
    "line",
    "aside_found",
    "n_true",
    "date_in",
    "duration_in",
    "duration_ratio",
    "seconds",
]
# What is claimed leaves out the designs of which the method says that it cannot see them.
SEEN = ("path", "fork", "detour", "return", "relaxing", "spike")


def world_of(number: int) -> World:
    """The world of one simulation; what is not balanced within a round is drawn by its number."""
    place = number % PER_ROUND
    rng = np.random.default_rng([FIRST_SEED, number])
    drawn = {
        "n_runs": int(rng.choice(RUNS)),
        "n_metrics": int(rng.choice(METRICS)),
        "n_checkpoints": int(rng.choice(CHECKPOINTS)),
        "noise": float(rng.choice(NOISES)),
        "autocorrelation": float(rng.choice(AUTOCORRELATIONS)),
        "seed_metrics": float(rng.choice((0.0, 0.3))),
    }
    if place < PHASE_FREE_PER_ROUND:
        return World(PHASE_FREE[place % len(PHASE_FREE)], 1, **drawn)
    n_phases, width = divmod(place - PHASE_FREE_PER_ROUND, len(WIDTHS))
    possible = [d for d, least in WITH_PHASES.items() if least <= PHASES[n_phases]]
    # A path twice as often: most recipes have one.
    design = str(rng.choice([*possible, "path"]))
    shape = str(rng.choice(("logistic", "ramp")))
    return World(design, PHASES[n_phases], WIDTHS[width], shape, **drawn)


def mapped(runs: SimulatedRuns, covariance_type: str) -> SupportedMap:
    """From raw metrics to the supported map."""
    observed = pooled_observations(Trajectories(runs.table, runs.metrics, ("accuracy",)))
    swept = sweep(
        observed.values,
        observed.lengths,
        [FINEST - 1, FINEST],
        covariance_type=covariance_type,
        n_restarts=4,
        random_state=0,
    )
    return supported_map(
        observed.values,
        observed.lengths,
        swept.winners[max(swept.winners)].states,
        steps=observed.steps,
        covariance_type=covariance_type,
    )


def judged(world: World, number: int, runs: SimulatedRuns, found: SupportedMap) -> dict:
    """What the map says beside what is true."""
    b = found.boundaries
    pairs = {(int(j), int(k)) for j, k in zip(b["from_state"], b["to_state"], strict=True)}
    phase_of = [
        int(np.bincount(runs.phases[found.labels == k]).argmax()) for k in range(found.n_states)
    ]
    return {
        "n_states": found.n_states,
        "n_phases": found.n_phases,
        "n_sharp": int((b["kind"] == SHARP).sum()),
        "n_gradual": int((b["kind"] == GRADUAL).sum()),
        "line": pairs == set(pairwise(range(found.n_states))),
        "aside_found": aside_found(world, phase_of, pairs),
    } | coverage(world, number, b, phase_of)


def aside_found(world: World, phase_of: list[int], pairs: set[tuple[int, int]]) -> float:
    """Whether what leaves the path is in the map; NaN where nothing does."""
    k = world.n_phases
    if world.design == "fork":
        return float({1, 2} <= set(phase_of))
    if world.design in ("detour", "spike"):
        return float((k - 2 if world.design == "detour" else k - 1) in phase_of)
    if world.design == "return":
        return float(any((b, a) in pairs for a, b in pairs))
    return np.nan


def coverage(world: World, number: int, b: pd.DataFrame, phase_of: list[int]) -> dict[str, float]:
    """How many boundaries are true ones, and how many intervals hold date and duration."""
    counts = dict.fromkeys(("n_true", "date_in", "duration_in"), 0) | {"duration_ratio": np.nan}
    if world.n_phases < 2:
        return counts
    # The recipe's own medians, from many more of its runs.
    many = simulate_world(replace(world, n_runs=1000, n_checkpoints=2), FIRST_SEED + number)
    middle = (many.changes["step"] + 5) / 20 * world.n_checkpoints * 10 - 5
    kinds = [many.changes["from_phase"], many.changes["to_phase"]]
    dates = middle.groupby(kinds).median()
    # In steps of the world itself, which has so many checkpoints instead of two.
    widths = many.changes["width"].groupby(kinds).median() / 20 * world.n_checkpoints * 10
    ratios = []
    for row in b[b["kind"].isin((SHARP, GRADUAL))].itertuples():
        change = phase_of[row.from_state], phase_of[row.to_state]
        if change not in dates.index:
            continue
        width = widths[change]
        counts["n_true"] += 1
        counts["date_in"] += int(row.date_low <= dates[change] <= row.date_high)
        counts["duration_in"] += int(row.duration_low <= width <= row.duration_high)
        ratios.append(row.duration / width if width else np.nan)
    return counts | {"duration_ratio": float(np.median(ratios)) if ratios else np.nan}


def study(numbers: range, path: Path, covariance_types: tuple[str, ...]) -> pd.DataFrame:
    """Simulate and judge what the file of rows does not hold yet."""
    done = set()
    if path.exists():
        rows = pd.read_csv(path)
        done = set(zip(rows["number"], rows["covariance"], strict=True))
    for covariance_type in covariance_types:
        for number in numbers:
            if (number, covariance_type) in done:
                continue
            row = simulated(number, covariance_type)
            table = pd.DataFrame([row], columns=COLUMNS)
            table.to_csv(path, mode="a", header=not path.exists(), index=False)
            print(f"{covariance_type} {number} {row['design']}", file=sys.stderr, flush=True)
    return pd.read_csv(path)


def simulated(number: int, covariance_type: str) -> dict:
    """One row: the world, and what is found in it."""
    begin = time.process_time()
    world = world_of(number)
    runs = simulate_world(world, FIRST_SEED + number)
    row = {"number": number, "covariance": covariance_type, "refused": False}
    row |= {name: getattr(world, name) for name in world.__dataclass_fields__}
    row["truth"] = row.pop("n_phases")
    try:
        row |= judged(world, number, runs, mapped(runs, covariance_type))
    except NotEnoughDataError:
        row["refused"] = True
    return row | {"seconds": time.process_time() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help=f"of {PER_ROUND} simulations each")
    parser.add_argument("--rows", type=Path, default=Path("supported_map_rows.csv"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with threadpool_limits(1):
        rows = study(range(options.rounds * PER_ROUND), options.rows, COVARIANCE_TYPES)


if __name__ == "__main__":
    main()
