"""What the intervals and tests of convergence speed are worth, where the truth is known.

    python benchmarks/speed.py [--simulations 100] [--rows DIR] [--parts alike …] [-o speed.md]

Groups of runs that need a log-normal number of steps, 523 in the median, seen as an accuracy that
is above its threshold or not, evaluated every so many steps. Runs go the way that those of an
analysis go, from their evaluations on; tests in `tests/dynamics/test_speed.py` go it from curves.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pandas as pd
from markdown_table import table
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics import evaluated
from hmmdyn.dynamics.convergence import first_streak, measure_convergence
from hmmdyn.dynamics.evaluated import Evaluated, Group, SpeedTest
from hmmdyn.dynamics.planning import smallest_difference, spread_of
from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.dynamics.survival import (
    Bracketed,
    difference_of_means,
    mean_step,
    median_step,
    waiting_curve,
)
from hmmdyn.results import verdicts

MEDIAN = 523  # not a step at which runs are evaluated, but for every single one
RUNS = (10, 20, 40)
SHOWN = (350, 500, 720)  # steps at which the curve's interval is held against the truth
N_PERMUTATIONS = 199  # 9,999 in an analysis; fewer make the study faster
MARGIN = 0.25
_KEY = ["world", "every", "runs per group"]


@dataclass(frozen=True)
class World:
    """Groups a, b, …: how they are evaluated, how long they last, how much slower b is.

    ``every`` and ``length`` have one number a group. ``spread`` is the standard deviation of the
    logarithm of the steps needed; ``lucky`` the share of the evaluations before convergence that
    lie above the threshold by chance.
    """

    name: str
    every: tuple[int, ...]
    spread: float = 0.6
    length: tuple[int, ...] = (3000, 3000)
    slower: float = 1.0
    lucky: float = 0.0


ALIKE = (
    World("one grid", (50, 50)),
    World("one grid", (100, 100)),
    World("one grid, narrow", (100, 100), spread=0.15),
    World("one grid, a third censored", (50, 50), length=(650, 650)),
    World("one grid, b ends early", (50, 50), length=(1000, 500)),
    World("two grids", (50, 100)),
    World("two grids, narrow", (50, 100), spread=0.15),
    World("two grids, narrow", (50, 70), spread=0.15),
    World("two grids, narrow", (10, 100), spread=0.15),
    World("two grids, a third censored", (50, 70), length=(650, 650)),
    World("two grids, lucky evaluations", (50, 100), lucky=0.03),
)
DIFFERENT = (
    World("twice as slow", (50, 50), slower=2),
    World("twice as slow", (50, 100), slower=2),
    World("twice as slow", (50, 70), slower=2),
    World("a quarter slower, narrow", (50, 50), spread=0.15, slower=1.25),
    World("a quarter slower, narrow", (50, 70), spread=0.15, slower=1.25),
    World("a quarter slower, narrow", (50, 100), spread=0.15, slower=1.25),
)
ONE_GROUP = tuple(
    World(name, (every, every), spread=spread, length=(length, length))
    for name, spread, length in (
        ("wide", 0.6, 3000),
        ("narrow", 0.15, 3000),
        ("wide, a third censored", 0.6, 650),
    )
    for every in (1, 50, 100)
)
PLANNED = (
    World("wide", (50, 50)),
    World("wide", (100, 100)),
    World("narrow", (50, 50), spread=0.15),
    World("wide, a third censored", (50, 50), length=(650, 650)),
)
WITHIN = (
    World("b slower by the margin", (50, 50), spread=0.15, slower=1 + MARGIN),
    World("b slower by the margin", (50, 70), spread=0.15, slower=1 + MARGIN),
    World("b slower by the margin", (100, 50), spread=0.15, slower=1 + MARGIN),
    World("alike", (50, 50), spread=0.15),
    World("alike", (50, 70), spread=0.15),
)


SEVERAL = tuple(
    World(name, every, spread, (length,) * len(every))
    for name, every, spread, length in (
        ("three groups, one grid", (50, 50, 50), 0.6, 3000),
        ("three groups, three grids", (50, 70, 100), 0.6, 3000),
        ("three groups, three grids, narrow", (50, 70, 100), 0.15, 3000),
        ("three groups, three grids, a third censored", (50, 70, 100), 0.6, 650),
        ("six groups, two grids", (50, 100) * 3, 0.6, 3000),
    )
)


def simulate(world: World, n_runs: int, rng: np.random.Generator) -> tuple[Group, ...]:
    slower = (1, world.slower, *(1 for _ in world.every[2:]))
    return tuple(
        [
            _run(factor * MEDIAN * np.exp(world.spread * rng.normal()), every, length, world, rng)
            for _ in range(n_runs)
        ]
        for every, length, factor in zip(world.every, world.length, slower, strict=True)
    )


def _run(
    needed: float, every: int, length: int, world: World, rng: np.random.Generator
) -> Evaluated:
    steps = np.arange(0.0, length + 1, every)
    holds = steps >= needed
    if world.lucky:
        holds |= (rng.random(len(steps)) < world.lucky) & (steps > 0)
    return Evaluated(steps, holds)


def bracketed(group: Group) -> Bracketed:
    """Between which evaluations each run converged, as `measure_convergence` has it."""
    first = [first_streak(run.holds, 1) for run in group]
    end = [run.steps[-1 if at is None else at] for run, at in zip(group, first, strict=True)]
    after = [run.steps[-1 if at is None else at - 1] for run, at in zip(group, first, strict=True)]
    converged = np.array([at is not None for at in first])
    return Bracketed(np.array(after, dtype=int), np.array(end, dtype=int), converged)


def horizon_of(world: World, groups: tuple[Group, Group]) -> float:
    """The last step up to which both curves are known, as `compare_speed` has it."""
    known = [
        length
        for own, length in zip(map(bracketed, groups), world.length, strict=True)
        if not own.converged.all()
    ]
    return float(min(known, default=max(world.length)))


def still_waiting(step: float, world: World, factor: float = 1) -> float:
    return float(norm.sf(np.log(step / (factor * MEDIAN)) / world.spread))


def true_mean(horizon: float, world: World, factor: float = 1) -> float:
    mean, at = np.log(factor * MEDIAN), np.log(horizon)
    converged = np.exp(mean + world.spread**2 / 2) * norm.cdf(
        (at - mean - world.spread**2) / world.spread
    )
    return float(converged + horizon * still_waiting(horizon, world, factor))


def compared(world: World, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    groups = simulate(world, n_runs, rng)
    horizon = horizon_of(world, groups)
    test = SpeedTest(1, 0).of_two(*groups, horizon)
    difference = difference_of_means(*map(bracketed, groups), horizon)
    truth = true_mean(horizon, world) - true_mean(horizon, world, world.slower)
    told = test.p < 0.05
    return {
        "told apart": told,
        "wrong way round": world.slower > 1 and told and test.ahead < 0,
        "difference": difference.low <= truth <= difference.high,
        "given": np.isfinite(difference.low),
        "width": difference.high - difference.low,
        "as seen": told_as_seen(groups, horizon) if len(set(world.every)) > 1 else np.nan,
    }


def told_as_seen(groups: tuple[Group, Group], horizon: float) -> bool:
    """Whether the test tells runs apart that count as converged when seen to, whatever the grid."""
    every = np.unique(np.concatenate([run.steps for group in groups for run in group]))
    seen = [
        [
            Evaluated(every, np.maximum.accumulate(np.isin(every, run.steps[run.holds])))
            for run in group
        ]
        for group in groups
    ]
    lengths = [group[0].steps[-1] for group in groups]
    cut = [
        [Evaluated(r.steps[r.steps <= n], r.holds[r.steps <= n]) for r in group]
        for group, n in zip(seen, lengths, strict=True)
    ]
    return bool(SpeedTest(1, 0).of_two(*cut, horizon).p < 0.05)


def several(world: World, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    """How often groups that are all alike are said to differ: together, and some two of them."""
    curves = pd.concat(
        pd.DataFrame({"group": f"g{i}", "run": f"{j}", "seed": j, "step": run.steps})
        .astype({"step": int})
        .assign(accuracy=run.holds.astype(float))
        for i, group in enumerate(simulate(world, n_runs, rng))
        for j, run in enumerate(group)
    )
    measured = measure_convergence(curves, ("accuracy",), threshold=0.5)
    together, *pairs = compare_speed(measured).tests["verdict"]
    return {
        "told to differ": together == verdicts.DIFFERENT,
        "some two told apart": bool({verdicts.FASTER, verdicts.SLOWER} & set(pairs)),
    }


def covered(world: World, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    runs = bracketed(simulate(world, n_runs, rng)[0])
    horizon = float(world.length[0])
    truth = true_mean(horizon, world)
    median, mean, curve = median_step(runs), mean_step(runs, horizon), waiting_curve(runs)
    as_seen = Bracketed(runs.end - runs.converged, runs.end, runs.converged)  # as before
    median_before, mean_before = median_step(as_seen), mean_step(as_seen, horizon)
    return {
        "median": median.low <= MEDIAN <= median.high,
        "median, as seen": median_before.low <= MEDIAN <= median_before.high,
        "median bounded": median.low > 0 and np.isfinite(median.high),
        "mean": mean.low <= truth <= mean.high,
        "mean, as seen": mean_before.low <= truth <= mean_before.high,
        **{f"at {step}": held(curve, step, world) for step in SHOWN},
    }


def held(curve: pd.DataFrame, step: int, world: World) -> bool:
    """Whether the truth lies within the limits: the next row's lower, the last one's upper."""
    later = curve.loc[curve["step"] >= step, "low"]
    low = later.iloc[0] if len(later) else 0.0
    high = curve.loc[curve["step"] <= step, "high"].iloc[-1]
    return bool(low <= still_waiting(step, world) <= high)


def planned(world: World, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    """How often the difference is told that is said to be told with power 0.8."""
    gap = world.every[0] / MEDIAN
    spread = np.sqrt(world.spread**2 + gap**2 / 12)
    converge = n_runs * (1 - still_waiting(world.length[0], world))
    slower = smallest_difference(spread, round(converge), round(converge))
    groups = simulate(World("", world.every, world.spread, world.length, 1 + slower), n_runs, rng)
    found = spread_of(bracketed(groups[0]))
    return {
        "slower by": slower,
        "told apart": SpeedTest(1, 0).of_two(*groups, horizon_of(world, groups)).p < 0.05,
        "spread": found.low <= spread <= found.high,
    }


def within(world: World, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    """How often b is called no slower by the margin: where it is slower by that, and not."""
    a, b = simulate(world, n_runs, rng)
    stretched = [run.stretched(1 + MARGIN) for run in a]
    return {"not slower": SpeedTest(1, 0).faster(b, stretched, np.inf).p < 0.05}


Judge = Callable[[World, int, np.random.Generator], dict[str, float]]


def study(
    worlds: tuple[World, ...], judge: Judge, n: int, first_seed: int
) -> Iterator[pd.DataFrame]:
    """The shares so far, after each world."""
    rows = []
    for world in worlds:
        for n_runs in RUNS:
            every = "/".join(map(str, dict.fromkeys(world.every)))
            case = dict(zip(_KEY, (world.name, every, n_runs), strict=True))
            rows += [
                {**case, **judge(world, n_runs, np.random.default_rng(seed))}
                for seed in range(first_seed, first_seed + n)
            ]
        print(judge.__name__, world, file=sys.stderr, flush=True)
        shares = pd.DataFrame(rows).groupby(_KEY, sort=False)
        yield shares.mean().astype(float).assign(n=shares.size())


PARTS: dict[str, tuple[tuple[World, ...], Judge]] = {
    "alike": (ALIKE, compared),
    "several": (SEVERAL, several),
    "one group": (ONE_GROUP, covered),
    "different": (DIFFERENT, compared),
    "within": (WITHIN, within),
    "planned": (PLANNED, planned),
}


def markdown(found: dict[str, pd.DataFrame], first_seed: int) -> str:
    packages = ("numpy", "scipy", "pandas", "statsmodels", "hmmdyn")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    lines = [
        "# What intervals and tests of convergence speed are worth, where the truth is known",
        "",
        f"`python benchmarks/speed.py` on {datetime.now(UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {versions}. *n* simulations each, seeds from {first_seed:,} "
        "on, made after the rules had been frozen; a share of 0.05 or 0.95 has a standard error of "
        "0.015 with 200 of them, of 0.022 with 100 and of 0.034 with 40. The "
        f"permutation test draws {N_PERMUTATIONS} permutations here, 9,999 in an analysis.",
        "",
        f"Runs need a log-normal number of steps, {MEDIAN} in the median; the standard deviation "
        "of its logarithm is 0.6 where nothing is said, 0.15 in narrow worlds. *Every*: steps "
        "between evaluations, of the two groups where they differ. *As seen* is what holds where a "
        "run counts as converged when it is first seen to have, as was done up to version 0.1.",
    ]
    for part, text in (
        ("one group", _one_group),
        ("alike", _alike),
        ("several", _several),
        ("different", _different),
        ("planned", _planned),
        ("within", _within),
    ):
        if part in found:
            lines += [
                "",
                *text(found[part]),
                "",
                table(found[part].set_index("n", append=True), ".3f"),
            ]
    lines += [
        "",
        "Simulations are few: a share of 0.05 that is read off dozens of cells of 100 simulations "
        "lies between 0.01 and 0.10 by chance in most of them.",
    ]
    missing = [
        f"{part} ({done} of {len(worlds)} worlds)"
        for part, (worlds, _) in PARTS.items()
        if (done := len(found[part]) // len(RUNS) if part in found else 0) < len(worlds)
    ]
    if missing:
        lines += ["", f"The study was cut short. Not whole: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def _one_group(shares: pd.DataFrame) -> list[str]:
    curve = shares[[f"at {step}" for step in SHOWN]].to_numpy().min()
    return [
        "## How often an interval of one group holds the truth (nominal 0.95)",
        "",
        f"Intervals of the median hold it in at least **{shares['median'].min():.3f}** (as seen: "
        f"{shares['median, as seen'].min():.3f}), those of the restricted mean in "
        f"**{shares['mean'].min():.3f}** (as seen: {shares['mean, as seen'].min():.3f}), those of "
        f"the curve at a step in **{curve:.3f}**. *Median bounded*: how often its interval is "
        "finite on both sides.",
    ]


def _alike(shares: pd.DataFrame) -> list[str]:
    return [
        "## How often groups that do not differ are told apart (nominal 0.05)",
        "",
        f"In **{shares['told apart'].mean():.3f}** over all worlds, at most "
        f"**{shares['told apart'].max():.3f}** in one; as seen, up to "
        f"{shares['as seen'].max():.3f} where the two are evaluated at different steps. *Lucky "
        "evaluations*: each before convergence is above the threshold with probability 0.03, so "
        "that whoever is evaluated more often crosses it sooner. *Difference*: how often the "
        "interval of the difference of means holds the truth; one that cannot be *given* is a "
        f"miss (least: **{shares['difference'].min():.3f}**). *Width* of that interval in steps.",
    ]


def _several(shares: pd.DataFrame) -> list[str]:
    return [
        "## How often several groups that do not differ are said to (nominal 0.05)",
        "",
        f"*Together*: in **{shares['told to differ'].mean():.3f}** over all worlds, at most "
        f"**{shares['told to differ'].max():.3f}** in one; of groups on several grids by the least "
        "p of the pairs, corrected (Simes). *Some two*: after correction over the pairs.",
    ]


def _different(shares: pd.DataFrame) -> list[str]:
    return [
        "## How often groups that differ are told apart",
        "",
        f"The wrong way round in at most {shares['wrong way round'].max():.3f}. What different "
        "grids cost is what the same world has on one grid.",
    ]


def _planned(shares: pd.DataFrame) -> list[str]:
    told = shares["told apart"]
    return [
        "## Whether the smallest difference is told as often as is said (0.8)",
        "",
        "*Slower by*: the share that planning gives for so many runs of the true spread; *told "
        f"apart*: how often it then is: {told.min():.2f} to {told.max():.2f}. *Spread*: how often "
        "its 95 % interval holds the truth.",
    ]


def _within(shares: pd.DataFrame) -> list[str]:
    worst = shares.xs("b slower by the margin")["not slower"].max()
    return [
        f"## How often a group is called not slower by {MARGIN:.0%} or more",
        "",
        f"Where it is slower by just that: in at most **{worst:.3f}** (nominal 0.05). Where the "
        "groups are alike it should be often.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rows", type=Path, help="folder in which shares are kept between calls")
    options = parser.parse_args()
    kept = options.rows or Path(mkdtemp())
    kept.mkdir(parents=True, exist_ok=True)
    found = {
        part: pd.read_csv(kept / f"{part}.csv").set_index(_KEY)
        for part in PARTS
        if (kept / f"{part}.csv").exists()
    }
    with threadpool_limits(1), patch.object(evaluated, "N_PERMUTATIONS", N_PERMUTATIONS):
        for part in options.parts:
            worlds, judge = PARTS[part]
            for shares in study(worlds, judge, options.simulations, options.first_seed):
                found[part] = shares
                shares.to_csv(kept / f"{part}.csv")
                options.output.write_text(markdown(found, options.first_seed))


if __name__ == "__main__":
    main()
