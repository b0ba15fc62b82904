"""How often the intervals of change points hold the true change, where it is known.

    python benchmarks/change_points.py [--simulations 10] [-o change_points.md]

Every simulation (``hmmdyn.simulate.trajectories``) has 10 runs of four phases, and a map of four
states is fitted to it. A state is the phase that most of its checkpoints are in. A true change from
one phase to another is held against the decoded change between the same two phases in the same run;
where there are several, against the nearest.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.change_points import Places, change_places, evidence_weight
from hmmdyn.hmm import Decoding, TrainingMap
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import log_emission
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Observations, Sequences, Standardisation
from hmmdyn.simulate.trajectories import Simulation, simulate

N_PHASES = 4
KINDS = ("phases", "fork", "gradual", "sharp")
# Noise and number of metrics: from changes nobody can miss to those that are hardly there.
DIFFICULTIES = ((0.3, 6), (0.5, 2), (1.0, 6), (1.0, 2), (2.0, 6), (2.0, 2))
CHECKPOINTS = (50, 100, 200)
COVARIANCE_TYPES = ("diag", "full")
# A map has found the phases where this share of the checkpoints is in the state of its phase.
FOUND = 0.8
CHOSEN = "all residuals"


def fitted(s: Simulation, covariance_type: str) -> HMMParameters | None:
    """The map of as many states as there are phases."""
    best = sweep(
        Sequences(s.values, s.lengths), [N_PHASES], covariance_type=covariance_type, n_restarts=4,
        random_state=0,
    ).winners.get(N_PHASES)  # fmt: skip
    return best and best.in_time_order(s.lengths)


def from_phases(s: Simulation, covariance_type: str) -> HMMParameters:
    """The map that knows the phases: their moments, and how often one follows another."""
    first = np.cumsum(s.lengths) - s.lengths
    inside = np.setdiff1d(np.arange(len(s.phases)), first)
    transmat = np.full((N_PHASES, N_PHASES), 1e-10)
    np.add.at(transmat, (s.phases[inside - 1], s.phases[inside]), 1)
    startprob = np.bincount(s.phases[first], minlength=N_PHASES) + 1e-10
    groups = [s.values[s.phases == k] for k in range(N_PHASES)]
    covariances = np.stack([np.atleast_2d(np.cov(z.T, ddof=0)) for z in groups])
    covariances += 1e-3 * np.eye(s.values.shape[1])
    if covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    return HMMParameters(
        startprob / startprob.sum(),
        transmat / transmat.sum(axis=1, keepdims=True),
        np.stack([z.mean(axis=0) for z in groups]),
        covariances,
        covariance_type,
    )


def decoded(s: Simulation, parameters: HMMParameters) -> Decoding:
    n_runs, n_metrics = len(s.lengths), s.values.shape[1]
    runs = pd.DataFrame({"group": "all", "run": range(n_runs), "seed": range(n_runs)})
    steps = np.concatenate([np.arange(n) for n in s.lengths])
    features = tuple(f"m{i}" for i in range(n_metrics))
    data = Observations(s.values, s.lengths, steps, runs, features, Standardisation("run"))
    return TrainingMap(parameters, features, Standardisation("run")).decode(data)


# What intervals could be made from: each gives the place of every change.


def untempered(decoding: Decoding, parameters: HMMParameters, rows: IntArray) -> list[Places]:
    return list(change_places(decoding, parameters, rows, weight=1.0))


def tempered(decoding: Decoding, parameters: HMMParameters, rows: IntArray) -> list[Places]:
    return list(change_places(decoding, parameters, rows, evidence_weight(decoding, parameters)))


def tempered_by_ratio(
    decoding: Decoding, parameters: HMMParameters, rows: IntArray
) -> list[Places]:
    """Tempered by the autocorrelation of the log-density ratio of the two states alone."""
    path = decoding.states["state"].to_numpy()
    pairs = list(zip(path[rows - 1], path[rows], strict=True))
    by_pair = {
        pair: list(change_places(decoding, parameters, rows, ratio_weight(decoding, *pair)))
        for pair in set(pairs)
    }
    return [by_pair[pair][i] for i, pair in enumerate(pairs)]


def ratio_weight(decoding: Decoding, j: int, k: int) -> float:
    path, run = decoding.states["state"].to_numpy(), decoding.states["run"].to_numpy()
    log_b = decoding.beliefs.log_emission
    ratio = log_b[:, j] - log_b[:, k]
    products = squares = 0.0
    for state in (j, k):
        residual = ratio - ratio[path == state].mean()
        both = (path[1:] == state) & (path[:-1] == state) & (run[1:] == run[:-1])
        products += (residual[1:] * residual[:-1])[both].sum()
        squares += (residual[1:] ** 2 + residual[:-1] ** 2)[both].sum() / 2
    rho = max(products / squares, 0.0) if squares else 0.0
    return (1 - rho) / (1 + rho)


def autoregressive(decoding: Decoding, parameters: HMMParameters, rows: IntArray) -> list[Places]:
    """The density of a checkpoint given the one before, in place of tempering."""
    w = evidence_weight(decoding, parameters)
    rho = (1 - w) / (1 + w)
    remembers = replace(
        parameters,
        covariances=parameters.covariances * (1 - rho**2),
        autoregression=np.full_like(parameters.means, rho),
    )
    data = decoding.observations
    density = log_emission(remembers, data)
    seen = replace(decoding.beliefs, log_emission=density)
    return list(change_places(replace(decoding, beliefs=seen), parameters, rows, weight=1.0))


CANDIDATES: dict[str, Callable[[Decoding, HMMParameters, IntArray], list[Places]]] = {
    "untempered": untempered,
    CHOSEN: tempered,
    "ratio of the two": tempered_by_ratio,
    "autoregressive": autoregressive,
}


def judged(s: Simulation, parameters: HMMParameters) -> Iterator[dict[str, object]]:
    """One row per true change that is decoded: how far off, and which intervals hold it."""
    decoding = decoded(s, parameters)
    path, run = decoding.states["state"].to_numpy(), decoding.states["run"].to_numpy()
    inside = np.flatnonzero(run[1:] == run[:-1]) + 1
    phase_of = np.array(
        [np.bincount(s.phases[path == k], minlength=N_PHASES).argmax() for k in range(N_PHASES)]
    )
    agreement = float((phase_of[path] == s.phases).mean())
    rows = inside[path[inside] != path[inside - 1]]
    named = list(zip(run[rows], phase_of[path[rows - 1]], phase_of[path[rows]], strict=True))
    places = {name: find(decoding, parameters, rows) for name, find in CANDIDATES.items()}
    for t in inside[s.phases[inside] != s.phases[inside - 1]]:
        same = [i for i, key in enumerate(named) if key == (run[t], s.phases[t - 1], s.phases[t])]
        row: dict[str, object] = {"agreement": agreement, "decoded": bool(same)}
        if same:
            i = min(same, key=lambda i: abs(rows[i] - t))
            row["exact"] = rows[i] == t
            for name in CANDIDATES:
                low, high = places[name][i].interval()
                low, high = min(low, rows[i]), max(high, rows[i])
                row[f"{name}: holds"] = low <= t <= high
                row[f"{name}: width"] = high - low + 1
        yield row


def study(n_simulations: int, first_seed: int) -> pd.DataFrame:
    found = []
    for kind, (noise, n_metrics), n in product(KINDS, DIFFICULTIES, CHECKPOINTS):
        for seed in range(first_seed, first_seed + n_simulations):
            s = simulate(
                kind, N_PHASES, n_runs=10, n_checkpoints=n, n_metrics=n_metrics, noise=noise,
                random_state=seed,
            )  # fmt: skip
            for covariance_type in COVARIANCE_TYPES:
                maps = {
                    "fitted": fitted(s, covariance_type),
                    "known": from_phases(s, covariance_type),
                }
                for which, parameters in maps.items():
                    if parameters is None:
                        continue
                    key = {
                        "map": which, "world": kind, "noise": noise, "metrics": n_metrics,
                        "checkpoints": n, "covariance": covariance_type,
                    }  # fmt: skip
                    found += [key | row for row in judged(s, parameters)]
        print(f"{kind}, noise {noise}, {n_metrics} metrics, {n}", file=sys.stderr, flush=True)
    return pd.DataFrame(found)


def summary(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = found.groupby(by, sort=False, observed=True)
    columns = {
        "changes": groups.size(),
        "decoded": groups["decoded"].mean(),
        "exact": groups["exact"].apply(lambda exact: exact.astype(float).mean()),
    }
    for name in CANDIDATES:
        holds = groups[f"{name}: holds"].apply(lambda x: x.astype(float).mean())
        width = groups[f"{name}: width"].mean()
        columns[name] = holds.map("{:.2f}".format) + width.map(" ({:.1f})".format)
    return pd.DataFrame(columns)


def table(frame: pd.DataFrame) -> str:
    shown = frame.copy()
    for column in ("decoded", "exact"):
        shown[column] = shown[column].map("{:.2f}".format)
    shown = shown.reset_index().astype(str)
    lines = [list(shown.columns), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(found: pd.DataFrame, n_simulations: int, first_seed: int) -> str:
    names = ("numpy", "scipy", "numba", "pandas", "hmmdyn")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    bins = [0.0, 0.7, FOUND, 0.9, 0.95, 1.0]
    found = found.assign(found=pd.cut(found["agreement"], bins))
    mine, known = found[found["map"] == "fitted"], found[found["map"] == "known"]
    good = mine[mine["agreement"] > FOUND]
    jumps = good[good["world"].isin(("phases", "fork"))]
    hard = known[known["world"].isin(("phases", "fork"))]
    hard = hard[(hard["noise"] >= 1) & (hard["metrics"] == 2)]
    cases = good[good["decoded"]].groupby(["world", "noise", "metrics"])[f"{CHOSEN}: holds"]
    worst = cases.apply(lambda holds: holds.mean())[cases.size() >= 100].min()

    def held(rows: pd.DataFrame, name: str = CHOSEN) -> str:
        return f"{rows[f'{name}: holds'].astype(float).mean():.2f}"

    def exact(rows: pd.DataFrame) -> str:
        return f"{rows['exact'].astype(float).mean():.2f}"

    def each(rows: pd.DataFrame, name: str = CHOSEN) -> str:
        return ", ".join(f"{kind} {held(rows[rows['world'] == kind], name)}" for kind in KINDS)

    difficulty = ["world", "noise", "metrics"]
    return f"""# How often the 90 % intervals of change points hold the change

`python benchmarks/change_points.py --simulations {n_simulations}` on \
{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}. {n_simulations} \
simulations of each case, seeds from {first_seed:,} on: 10 runs, four phases, \
{", ".join(map(str, CHECKPOINTS))} checkpoints, maps of four states, diagonal and full covariance.

Worlds (`hmmdyn.simulate.trajectories`): *phases* and *fork* jump between levels, with smooth \
drift in them and noise of autocorrelation 0.9; in *gradual* a change takes 5 % of a run (its \
middle is the true one); *sharp* has white noise and nothing else. Counted are true changes that \
the map decodes (*decoded*: their share of all).

**Where the map has found the phases** (more than {FOUND:.0%} of the checkpoints in the state of \
their phase), the intervals hold the true change in: {each(good)}; at worst {worst:.2f} in any row \
of the first table with 100 decoded changes or more. Untempered, as the model itself says: \
{each(good, "untempered")}. With **a map that knows the phases**: {each(known)}; untempered \
{each(known, "untempered")}.

Above 0.95 is the grid for the most part: an interval is at least the gap between two checkpoints, \
and where the decoded change is the true one (*exact*) its narrowest holds the truth. In *phases* \
and *fork* that alone is so in {exact(jumps)} of these changes, so that no interval can hold \
less. Where changes are hard to place (two metrics, noise of 1 or more; exact in {exact(hard)}) \
and the map knows the phases, the coverage in these two worlds is **{held(hard)}** (untempered \
{held(hard, "untempered")}). What remains is caution: noise with a memory can hide a jump less \
well than white noise that tells as little, and the intervals do not count on jumps.

**Where the map has not found the phases, its intervals cannot know.** Over all fitted maps, good \
or bad, they hold: {each(mine)}. An interval takes the map, and the changes before and after it, \
as given.

## Candidates

Each cell is the share of intervals that hold the true change, and their mean width in checkpoints.

*untempered*: the posterior of the model itself. *{CHOSEN}* (chosen): densities to the power of \
(1 − ρ)/(1 + ρ), ρ the lag-1 autocorrelation of the residuals of all metrics within states. *ratio \
of the two*: the same, ρ that of the log-density ratio of the two states: covers as well, is \
mostly wider, and estimates a number for every pair of states from its own checkpoints. \
*autoregressive*: densities given the checkpoint before: hardly narrower, and wrong where a change \
takes several checkpoints, which nobody can rule out in training.

### Fitted maps that have found the phases, by difficulty

{table(summary(good, difficulty))}

### Maps that know the phases, by difficulty

{table(summary(known, difficulty))}

### Fitted maps, by the share of checkpoints in the state of their phase

{table(summary(mine.sort_values(["world", "found"]), ["world", "found"]))}

### Fitted maps that have found the phases, by covariance and checkpoints

{table(summary(good, ["world", "covariance", "checkpoints"]))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=3_000_000)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    with threadpool_limits(1):
        found = study(options.simulations, options.first_seed)
    text = markdown(found, options.simulations, options.first_seed)
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
