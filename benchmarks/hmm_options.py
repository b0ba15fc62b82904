"""When the options of the model help: stickiness, left to right, clocks, autoregressive emissions.

    python benchmarks/hmm_options.py [--repeats 5] [--runs 8] [--table METRICS.tsv]

Simulated runs with four true states, in worlds where an option should help and in worlds where it
should not. A model of four states is fitted to half of the runs and applied to the other half.
Prints a Markdown table: adjusted Rand index of the decoded states against the true ones, visits of
a single checkpoint per run, and log-likelihood per checkpoint, all on the runs held out. With
``--table``, also the log-likelihood of real runs, each held out in turn.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import beliefs, decode
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import simulate
from hmmdyn.tables.metric_table import read_table

K = 4
METRICS = 6
CHECKPOINTS = 100
PYTHIA_STEPS = np.r_[0, 2 ** np.arange(10), np.arange(1000, 143001, 1000)]
OPTIONS = {
    "plain": ModelOptions(),
    "minimum dwell of 3": ModelOptions(minimum_dwell=3),
    "sticky, 100": ModelOptions(stickiness=100.0),
    "sticky, 1,000": ModelOptions(stickiness=1000.0),
    "left to right": ModelOptions(left_right=True),
    "clock: step": ModelOptions(clock="step"),
    "clock: log-step": ModelOptions(clock="log-step"),
    "autoregressive": ModelOptions(autoregressive=True),
}


@dataclass(frozen=True)
class World:
    """Runs of one length: ``values`` (R, T, D), ``states`` (R, T), ``steps`` (T,)."""

    values: FloatArray
    states: IntArray
    steps: IntArray

    def runs(self, chosen: slice) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
        """Values, lengths, steps and states of some runs, pooled."""
        values, states = self.values[chosen], self.states[chosen]
        n_runs, length = states.shape
        lengths, steps = np.full(n_runs, length), np.tile(self.steps, n_runs)
        return values.reshape(-1, values.shape[2]), lengths, steps, states.ravel()


def simulated(kind: str) -> Callable[[int, int], World]:
    """Runs of ``hmmdyn.simulate.trajectories``, saved at even steps."""

    def world(n_runs: int, seed: int) -> World:
        made = simulate(
            kind,
            K,
            n_runs=n_runs,
            n_checkpoints=CHECKPOINTS,
            n_metrics=METRICS,
            random_state=seed,
        )
        values = made.values.reshape(n_runs, CHECKPOINTS, METRICS)
        states = made.phases.reshape(n_runs, CHECKPOINTS)
        return World(values, states, 100 * np.arange(CHECKPOINTS))

    return world


def flicker(n_runs: int, seed: int) -> World:
    """Phases in white noise; one checkpoint in thirty looks like another phase."""
    calm = simulated("sharp")(n_runs, seed)
    rng = np.random.default_rng([seed, 1])
    values = calm.values.copy()
    levels = np.stack([calm.values[calm.states == k].mean(axis=0) for k in range(K)])
    odd = rng.random(calm.states.shape) < 1 / 30
    other = (calm.states + rng.integers(1, K, calm.states.shape)) % K
    shown = levels[other] - levels[calm.states]
    values[odd] += shown[odd]
    return World(values, calm.states, calm.steps)


def emitted(states: IntArray, noise: float, rng: np.random.Generator) -> FloatArray:
    levels = rng.normal(size=(K, METRICS))
    return levels[states] + noise * rng.normal(size=(*states.shape, METRICS))


def returns(n_runs: int, seed: int) -> World:
    """Half of the runs fall back from the third phase to the second, and climb again."""
    rng = np.random.default_rng([seed, 2])
    states = np.empty((n_runs, CHECKPOINTS), dtype=np.int64)
    for run in range(n_runs):
        walk = [0, 1, 2, 1, 2, 3] if run % 2 else [0, 1, 2, 3]
        shares = rng.dirichlet(np.full(len(walk), 5.0))
        borders = np.cumsum(shares)[:-1] * CHECKPOINTS
        states[run] = np.array(walk)[np.searchsorted(borders, np.arange(CHECKPOINTS))]
    return World(emitted(states, 0.5, rng), states, 100 * np.arange(CHECKPOINTS))


def blurred(n_runs: int, seed: int) -> World:
    """Phases in order, in so much noise that single checkpoints do not tell them apart."""
    rng = np.random.default_rng([seed, 3])
    shares = rng.dirichlet(np.full(K, 5.0), size=n_runs)
    borders = shares.cumsum(axis=1)[:, :-1, None] * CHECKPOINTS
    states = (borders <= np.arange(CHECKPOINTS)).sum(axis=1)
    return World(emitted(states, 1.6, rng), states, 100 * np.arange(CHECKPOINTS))


def log_time(n_runs: int, seed: int) -> World:
    """A chain in the logarithm of steps, saved as Pythia is: 0, 1, 2, 4, …, 512, 1000, 2000, …."""
    rng = np.random.default_rng([seed, 4])
    last = np.log1p(PYTHIA_STEPS[-1])
    states = np.empty((n_runs, len(PYTHIA_STEPS)), dtype=np.int64)
    for run in range(n_runs):
        # Moves at a rate of one in two units of log time, forward mostly.
        moves = np.cumsum(rng.exponential(2.0, size=100))
        walk, here = [0], 0
        for _ in moves[moves < last]:
            here = max(here - 1, 0) if rng.random() < 0.2 else min(here + 1, K - 1)
            walk.append(here)
        at = np.searchsorted(moves[moves < last], np.log1p(PYTHIA_STEPS))
        states[run] = np.array(walk)[at]
    return World(emitted(states, 1.2, rng), states, PYTHIA_STEPS)


def relaxing(n_runs: int, seed: int) -> World:
    """Within a phase, metrics relax to its level by a fifth per checkpoint, and noise stays on."""
    rng = np.random.default_rng([seed, 5])
    shares = rng.dirichlet(np.full(K, 5.0), size=n_runs)
    borders = shares.cumsum(axis=1)[:, :-1, None] * CHECKPOINTS
    states = (borders <= np.arange(CHECKPOINTS)).sum(axis=1)
    levels = 1.5 * rng.normal(size=(K, METRICS))
    values = np.empty((n_runs, CHECKPOINTS, METRICS))
    values[:, 0] = levels[0] + 0.3 * rng.normal(size=(n_runs, METRICS))
    for t in range(1, CHECKPOINTS):
        level = levels[states[:, t]]
        noise = 0.2 * rng.normal(size=(n_runs, METRICS))
        values[:, t] = level + 0.8 * (values[:, t - 1] - level) + noise
    return World(values, states, 100 * np.arange(CHECKPOINTS))


WORLDS: dict[str, Callable[[int, int], World]] = {
    "phases in white noise": simulated("sharp"),
    "the same, with flicker": flicker,
    "phases in much noise": blurred,
    "drift, autocorrelated noise": simulated("phases"),
    "gradual, drift, autocorrelated": simulated("gradual"),
    "relaxing to levels": relaxing,
    "falling back": returns,
    "log time, saved as Pythia": log_time,
}


def measure(world: World, options: ModelOptions) -> dict[str, float]:
    """Fit to the first half of the runs, and measure on the other half."""
    half = len(world.states) // 2
    values, lengths, steps, _ = world.runs(slice(half))
    swept = sweep(
        Sequences(values, lengths, steps),
        [K],
        covariance_type="diag",
        n_restarts=4,
        random_state=0,
        options=options,
    )
    if K not in swept.winners:
        return {"ari": np.nan, "flicker": np.nan, "log-likelihood": np.nan}
    parameters = swept.winners[K].parameters
    assert parameters is not None
    values, lengths, steps, states = world.runs(slice(half, None))
    path = decode(parameters, Sequences(values, lengths, steps))
    likelihood = beliefs(parameters, Sequences(values, lengths, steps)).log_likelihood.sum()
    return {
        "ari": float(adjusted_rand_score(states, path)),
        "flicker": single_visits(path.reshape(len(lengths), -1)),
        "log-likelihood": float(likelihood / len(values)),
    }


def single_visits(paths: IntArray) -> float:
    """Visits of one checkpoint, in the middle of a run, per run."""
    middle = (paths[:, 1:-1] != paths[:, :-2]) & (paths[:, 1:-1] != paths[:, 2:])
    return float(middle.sum() / len(paths))


def real(path: str, n_states: int, options: ModelOptions) -> tuple[float, float]:
    """Log-likelihood per checkpoint and single visits of real runs, each held out in turn."""
    observations = read_table(Path(path)).observations("run")
    likelihoods, visits = [], []
    for run, length in enumerate(observations.lengths):
        mine = np.arange(len(observations.lengths)) == run
        swept = sweep(
            observations.of(~mine),
            [n_states],
            covariance_type="diag",
            n_restarts=4,
            random_state=0,
            options=options,
        )
        if n_states not in swept.winners:
            return np.nan, np.nan
        parameters = swept.winners[n_states].parameters
        assert parameters is not None
        held = observations.of(mine)
        likelihoods.append(beliefs(parameters, held).log_likelihood[0] / length)
        visits.append(single_visits(decode(parameters, held)[None]))
    return float(np.mean(likelihoods)), float(np.mean(visits))


def main() -> None:
    """Print the study."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=8, help="half of them are held out")
    parser.add_argument("--table", help="metrics of real runs")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("hmmdyn", "numpy", "scipy"))
    print(f"`python {' '.join(sys.argv)}`, {datetime.date.today()},", end=" ")
    print(f"Python {platform.python_version()}, {packages}\n")
    print("| world | model | ARI | single visits per run | log-likelihood per checkpoint |")
    print("|---|---|---|---|---|")
    for name, make in WORLDS.items():
        worlds = [make(arguments.runs, seed) for seed in range(arguments.repeats)]
        for model, options in OPTIONS.items():
            measured = pd.DataFrame(measure(world, options) for world in worlds)
            mean, failed = measured.mean(), int(measured["ari"].isna().sum())
            note = f" ({failed} without a valid fit)" if failed else ""
            print(
                f"| {name} | {model}{note} | {mean['ari']:.2f} | {mean['flicker']:.1f} "
                f"| {mean['log-likelihood']:.2f} |",
                flush=True,
            )
    if arguments.table:
        print("\n| real runs, states | model | single visits per run | log-likelihood |")
        print("|---|---|---|---|")
        for n_states in (4, 8):
            for model, options in OPTIONS.items():
                likelihood, visits = real(arguments.table, n_states, options)
                print(f"| {n_states} | {model} | {visits:.1f} | {likelihood:.2f} |", flush=True)


if __name__ == "__main__":
    main()
