"""How often an outcome is called unlike the others', where none is and where one was broken.

    python benchmarks/outcome_outliers.py [--rounds 60] [-o outcome_outliers.md]

A row is saved as soon as it is there; a study that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from markdown_table import table

from hmmdyn.dynamics.outcomes.unlike import find_unlike_curves
from hmmdyn.dynamics.ways import share_interval

# The rule was chosen on seeds below 10,000: these are for judging it.
FIRST_SEED = 9_100_000
RUNS = (5, 10, 20)
EVALUATIONS = (40, 100, 300)
SPEEDS = (0.0, 0.25, 0.5)  # deviation of the logarithm of the runs' speeds


REAL = (
    "Of real runs, each group judged by itself: in 2 of 72 groups of ten returns of reinforcement "
    "learning (danijar/dreamerv3, scores) a run is named, and in 4 of 21 groups of forty U-Net3D "
    "trainings (mlcommons/training_results_v4.0), among them the one whose Dice score fell from "
    "0.89 to nothing. Nobody knows which of these runs are odd: each that is named lost a fifth "
    "or more of what the others range over, where the median of them lost 0 % to 14 %."
)


def autoregressive(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """Noise of variance 1 that remembers this much of itself from one evaluation to the next."""
    noise = rng.normal(size=n) * np.sqrt(1 - memory**2)
    noise[0] = rng.normal()
    for t in range(1, n):
        noise[t] += memory * noise[t - 1]
    return noise


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
WORLDS: dict[str, Draw] = {
    "sigmoid": lambda u, rng: sigmoid(15 * (u - 0.4)) + 0.03 * rng.normal(size=len(u)),
    "jump": lambda u, rng: (u > 0.4) + 0.01 * rng.normal(size=len(u)),
    "shares of ten episodes": lambda u, rng: rng.binomial(10, sigmoid(12 * (u - 0.4))) / 10,
    "stairs": lambda u, rng: np.floor(np.clip(4 * u, 0, 3)) / 3 + 0.03 * rng.normal(size=len(u)),
    "exponential": lambda u, rng: -4 * np.exp(-6 * u) + 0.05 * rng.normal(size=len(u)),
    "scatter in proportion": lambda u, rng: (
        -(0.5 + 4 * np.exp(-6 * u)) * np.exp(0.1 * autoregressive(rng, len(u), 0.8))
    ),
    "wandering": lambda u, rng: 1 - np.exp(-3 * u) + 0.08 * autoregressive(rng, len(u), 0.9),
    "unstable": lambda u, rng: (
        (1 - np.exp(-4 * u)) * np.clip(1 - 0.25 * np.abs(autoregressive(rng, len(u), 0.9)), 0, 1)
    ),
    "some never learn": lambda u, rng: (
        (sigmoid(12 * (u - 0.3)) if rng.random() < 0.7 else 0.05) + 0.03 * rng.normal(size=len(u))
    ),
    "levels of their own": lambda u, rng: (
        (1 - np.exp(-4 * u)) * rng.uniform(0.6, 1) + 0.03 * rng.normal(size=len(u))
    ),
    "heavy tails": lambda u, rng: 1 - np.exp(-4 * u) + 0.04 * rng.standard_t(2.5, size=len(u)),
}


def collapses(y: np.ndarray) -> None:
    """From 60 % of the run on it is where it began."""
    first = int(0.6 * len(y))
    y[first:] = y[: len(y) - first]


def dips(y: np.ndarray, share: float) -> None:
    """For a fifth of the run it loses a share of its range."""
    first, low_high = int(0.6 * len(y)), np.quantile(y, [0.02, 0.98])
    y[first : first + len(y) // 5] -= share * np.ptp(low_high)


BREAKS: dict[str, Callable[[np.ndarray], None]] = {
    "collapses": collapses,
    "loses half": lambda y: dips(y, 0.5),
    "loses a third": lambda y: dips(y, 0.33),
}


class Case(NamedTuple):
    world: str
    n_runs: int
    number: int
    broken: str = ""


def cases(n_rounds: int) -> Iterator[Case]:
    for number in range(n_rounds):
        for world in WORLDS:
            for n_runs in RUNS:
                yield Case(world, n_runs, number)
                if number % 3 == 0:  # the broken ones need fewer
                    for broken in BREAKS:
                        yield Case(world, n_runs, number, broken)


def simulated(case: Case) -> pd.DataFrame:
    number = case.number // 3 if case.broken else case.number
    rng = np.random.default_rng([FIRST_SEED + case.number, case.n_runs, len(case.world)])
    n = EVALUATIONS[number % 3]
    speeds = np.exp(SPEEDS[number // 3 % 3] * rng.normal(size=case.n_runs))
    pieces = []
    for seed, speed in enumerate(speeds):
        values = np.asarray(WORLDS[case.world](speed * np.linspace(0, 1, n), rng), dtype=float)
        if case.broken and seed == 0:
            BREAKS[case.broken](values)
        run = {"group": "all", "run": f"seed{seed}", "seed": seed, "step": 10 * np.arange(n)}
        pieces.append(pd.DataFrame({**run, "episode_return": values}))
    return pd.concat(pieces, ignore_index=True)


def study(n_rounds: int, kept: Path) -> pd.DataFrame:
    rows = pd.read_csv(kept, keep_default_na=False).to_dict("records") if kept.exists() else []
    for at, case in enumerate(list(cases(n_rounds))[len(rows) :]):
        outlier = find_unlike_curves(simulated(case), ["episode_return"])["outlier"].to_numpy()
        told = {"first": outlier[0], "another": outlier[1:].any(), "any": outlier.any()}
        rows.append({**case._asdict(), **told})
        if at % 50 == 0:
            pd.DataFrame(rows).to_csv(kept, index=False)
    pd.DataFrame(rows).to_csv(kept, index=False)
    return pd.DataFrame(rows)


def _wilson(told: pd.Series) -> str:
    n, of = int(told.astype(bool).sum()), len(told)
    low, high = share_interval(n, of)
    return f"{n / of:.3f} [{low:.3f}, {high:.3f}]"


def markdown(found: pd.DataFrame) -> str:
    sound, broken = found[found["broken"] == ""], found[found["broken"] != ""]
    alarms = sound.pivot_table(
        index="world", columns="n_runs", values="any", aggfunc=["sum"], sort=False
    )["sum"].astype(int)
    alarms.columns = [f"of {n} runs" for n in alarms.columns]
    alarms.insert(0, "simulations of each size", sound.groupby("world", sort=False).size() // 3)
    power = broken.pivot_table(
        index=["broken", "world"], columns="n_runs", values="first", aggfunc="mean", sort=False
    ).map("{:.2f}".format)
    power.columns = [f"of {n} runs" for n in power.columns]
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "hmmdyn"))
    return "\n".join(
        [
            "# How often an outcome is called unlike the others'",
            "",
            f"`python benchmarks/outcome_outliers.py` on {datetime.now(UTC):%Y-%m-%d}, {packages}. "
            f"{len(found):,} simulations, seeds from {FIRST_SEED:,} on, one outcome; by turns "
            f"{', '.join(map(str, EVALUATIONS))} evaluations a run, and runs at speeds whose "
            f"logarithm has a deviation of {', '.join(map(str, SPEEDS))}. The rule was frozen "
            "before, on other seeds. Before that, two things were tried and dropped: to call a run "
            "unlike that is worse than any other ever is, which named runs that began slowly; and "
            "a normal law in place of the logistic one, which was not studied far.",
            "",
            "Without a broken run, the share of analyses in which any run is called unlike is "
            f"**{_wilson(sound['any'])}** (meant: at most 0.05; 95 % interval by Wilson). In the "
            "world where it is most often: "
            f"{_wilson(max((own['any'] for _, own in sound.groupby('world')), key=np.mean))}.",
            "",
            table(alarms, ""),
            "",
            REAL,
            "",
            "## One run is broken: share of analyses in which it is named",
            "",
            "It *collapses* to where it began from 60 % of the run on, or *loses* a share of its "
            "range for a fifth of the run. Where runs lose so much by themselves (unstable, "
            "wandering), that is not unlike. Another run was named in "
            f"{_wilson(broken['another'])}.",
            "",
            table(power, ""),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("-o", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    found = study(given.rounds, given.o.with_suffix(".csv"))
    given.o.write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
