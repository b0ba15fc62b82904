"""What the intervals and tests of convergence speed are worth, where the truth is known.

    python benchmarks/speed.py [--simulations 500] [-o speed.md]

Two groups of runs; each run needs a log-normal number of steps, 40 in the median, and is evaluated
every so many steps. The usual log-log band is measured beside the intervals that hmmdyn gives.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_table import table
from scipy.stats import CensoredData, ecdf, norm
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.results.convergence import Convergence

MEDIAN, SPREAD = 40, 0.6
RUNS = (5, 10, 20)
SHOWN = (20, 40, 60)  # steps at which the curve's interval is held against the truth
FOREVER = 2000


@dataclass(frozen=True)
class World:
    """Two groups: how often runs are evaluated, how long they last, how much slower b is."""

    name: str
    every: int = 1
    lengths_a: tuple[int, ...] = (FOREVER,)
    lengths_b: tuple[int, ...] = (FOREVER,)
    slower: float = 1


WORLDS = (
    World("all converge"),
    World("all converge", every=10),
    World("a quarter censored", 1, (60,), (60,)),
    World("a quarter censored", 10, (60,), (60,)),
    World("lengths differ between runs", 1, (40, 70, 100), (40, 70, 100)),
    World("group b ends early", 1, (100,), (40,)),
    World("group b twice as slow", 1, (100,), (100,), slower=2),
    World("group b twice as slow", 10, (100,), (100,), slower=2),
)


def simulate(world: World, n_runs: int, rng: np.random.Generator) -> Convergence:
    parts = []
    for group, lengths, factor in (("a", world.lengths_a, 1), ("b", world.lengths_b, world.slower)):
        needed = factor * MEDIAN * np.exp(SPREAD * rng.normal(size=n_runs))
        seen = (np.ceil(needed / world.every) * world.every).astype(int)
        length = rng.choice(lengths, size=n_runs)
        converged = seen <= length
        parts.append(
            pd.DataFrame(
                {
                    "group": group,
                    "run": [f"seed{i}" for i in range(n_runs)],
                    "seed": np.arange(n_runs),
                    "converged": converged,
                    "previous_step": np.where(converged, seen - world.every, length),
                    "step": np.minimum(seen, length),
                    "last_step": length,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True).astype({"previous_step": "Int64"})
    return Convergence("accuracy", 0.9, "above", 1, "", table)


def still_waiting(step: np.ndarray | float, factor: float = 1) -> np.ndarray:
    """Share of all runs that need more steps, which evaluations on the grid tell exactly."""
    return norm.sf(np.log(np.asarray(step, dtype=float) / (factor * MEDIAN)) / SPREAD)


def true_mean(horizon: float, every: int, factor: float = 1) -> float:
    grid = np.arange(every, horizon, every)
    return float(np.sum(np.diff([0.0, *grid, horizon]) * [1.0, *still_waiting(grid, factor)]))


def judged(world: World, convergence: Convergence) -> dict[str, float]:
    found = compare_speed(convergence)
    group, test = found.groups.iloc[0], found.tests.iloc[0]
    curve = found.curves[found.curves["group"] == "a"]
    own = convergence.table[convergence.table["group"] == "a"]
    usual = log_log(own)
    median = np.ceil(MEDIAN / world.every) * world.every
    mean = true_mean(group["horizon"], world.every)
    difference = true_mean(test["horizon"], world.every) - true_mean(
        test["horizon"], world.every, world.slower
    )
    result = {
        "p": test["p"] < 0.05,
        "log-rank p": test["logrank_p"] < 0.05,
        "median": group["median_low"] <= median <= group["median_high"],
        "median, log-log": first(usual, usual["low"] <= 0.5)
        <= median
        <= first(usual, usual["high"] <= 0.5),
        "median bounded": group["median_low"] > 0 and np.isfinite(group["median_high"]),
        "mean": group["restricted_mean_low"] <= mean <= group["restricted_mean_high"],
        "difference": test["difference_low"] <= difference <= test["difference_high"],
    }
    for step in SHOWN:
        result[f"at {step}"] = covered(curve, step)
    for step in SHOWN:
        result[f"at {step}, log-log"] = covered(usual, step)
    return result


def log_log(runs: pd.DataFrame) -> pd.DataFrame:
    """The usual band; it is not defined where all runs, or none, are still to converge."""
    converged = runs["converged"].to_numpy()
    data = CensoredData(uncensored=runs["step"][converged], right=runs["step"][~converged])
    curve = ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(method="log-log")
    columns = {"low": band.low.probabilities, "high": band.high.probabilities}
    return pd.DataFrame({"step": curve.quantiles, **columns})


def first(curve: pd.DataFrame, holds: pd.Series) -> float:
    return curve.loc[holds, "step"].min() if holds.any() else np.inf


def covered(curve: pd.DataFrame, step: int) -> bool:
    row = curve[curve["step"] <= step].tail(1)
    return bool(((row["low"] <= still_waiting(step)) & (still_waiting(step) <= row["high"])).any())


def study(n_simulations: int, first_seed: int) -> pd.DataFrame:
    rows = []
    for world in WORLDS:
        for n_runs in RUNS:
            case = {"world": world.name, "every": world.every, "runs per group": n_runs}
            for seed in range(first_seed, first_seed + n_simulations):
                convergence = simulate(world, n_runs, np.random.default_rng(seed))
                rows.append({**case, **judged(world, convergence)})
        print(f"{world.name}, every {world.every}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def markdown(found: pd.DataFrame, n_simulations: int, first_seed: int) -> str:
    packages = ("numpy", "scipy", "pandas", "statsmodels", "hmmdyn")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    shares = found.groupby(["world", "every", "runs per group"], sort=False).mean()
    slow = shares.index.get_level_values("world").str.contains("slow")
    alike, slower = shares[~slow], shares[slow]
    power = slower.groupby("runs per group")["p"].min()
    curve = [f"at {step}" for step in SHOWN]
    usual = [f"at {step}, log-log" for step in SHOWN]
    return "\n".join(
        [
            "# What intervals and tests of convergence speed are worth, where the truth is known",
            "",
            f"`python benchmarks/speed.py --simulations {n_simulations}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}. "
            f"{n_simulations} simulations each, seeds from {first_seed:,} on, so that a share of "
            f"0.05 or 0.95 has a standard error of {np.sqrt(0.05 * 0.95 / n_simulations):.3f}.",
            "",
            f"Two groups of runs that need a log-normal number of steps, {MEDIAN} in the median "
            f"(standard deviation of its logarithm {SPREAD}). *Every*: steps between evaluations, "
            "so that with 10 many runs converge at the same one.",
            "",
            "## How often two groups are called different",
            "",
            f"Of groups that do not differ, the permutation test calls at most "
            f"**{alike['p'].max():.3f}** different (nominal 0.05), the usual log-rank test "
            f"{alike['log-rank p'].max():.3f}. Where one group takes twice as long, the test sees "
            f"it in {', '.join(f'**{p:.2f}** with {n} runs' for n, p in power.items())} each.",
            "",
            table(shares[["p", "log-rank p"]], ".3f"),
            "",
            "## How often an interval holds the truth (nominal 0.95)",
            "",
            f"Intervals of the median hold it in at least **{shares['median'].min():.3f}**, those "
            f"of the restricted mean in {shares['mean'].min():.3f} and of the difference of two in "
            f"{shares['difference'].min():.3f}. An interval that cannot be given, as where none of "
            "five runs converges in time, counts as a miss. *Median bounded*: how often its "
            "interval is finite on both sides. *Log-log*: the usual interval of Brookmeyer and "
            "Crowley.",
            "",
            table(
                shares[["median", "median, log-log", "median bounded", "mean", "difference"]], ".3f"
            ),
            "",
            "## How often the interval of the curve holds the truth at a step (nominal 0.95)",
            "",
            f"At least **{shares[curve].to_numpy().min():.3f}**, against "
            f"{shares[usual].to_numpy().min():.3f} of the usual log-log band, which says nothing "
            "where no run has converged yet or none is left.",
            "",
            table(shares[curve + usual], ".3f"),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    with threadpool_limits(1):
        found = study(options.simulations, options.first_seed)
    options.output.write_text(markdown(found, options.simulations, options.first_seed))


if __name__ == "__main__":
    main()
