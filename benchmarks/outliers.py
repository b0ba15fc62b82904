"""How often a run is called an outlier, where none is and where one was broken on purpose.

    python benchmarks/outliers.py [--simulations 50] [--jobs 1] [-o outliers.md]

Runs are simulated by ``hmmdyn.simulate.trajectories``; each set is fitted with its true number of
states (two for runs that only drift) and with eight (six), which is what BIC tends to. One run is
broken by changing its trajectory before it is standardised again.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from markdown_table import table
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.outliers import find_outliers
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import decode
from hmmdyn.results.observations import Observations, Sequences, Standardisation
from hmmdyn.simulate.trajectories import simulate

RUNS = (5, 10, 20, 40)
# Kind of trajectory, its phases, and the numbers of states it is fitted with.
WORLDS = {
    "phases": (4, (4, 8)),
    "gradual": (4, (4, 8)),
    "fork": (5, (5, 8)),
    "drift": (1, (2, 6)),
    "shared drift": (1, (2, 6)),
}
BROKEN_WORLDS = ("phases", "gradual")


def goes_back(z: np.ndarray, share: float) -> None:
    """Around 70 % of the run, live its beginning again for a share of the run."""
    n = len(z)
    length, start = int(share * n), int(0.05 * n)
    first = int(0.7 * n) - length // 2
    z[first : first + length] = z[start : start + length]


def spikes(z: np.ndarray, size: float, rng: np.random.Generator) -> None:
    """For a twentieth of the run all metrics are off, by so many deviations of theirs."""
    n = len(z)
    first = int(n * rng.uniform(0.3, 0.8))
    z[first : first + n // 20] += size * rng.choice([-1.0, 1.0], size=z.shape[1])


def is_stuck(z: np.ndarray, share: float) -> None:
    """From then on, the run stays where it was: it sees its last tenth again and again."""
    n = len(z)
    first = int((1 - share) * n)
    seen = z[first - n // 10 : first]
    z[first:] = np.resize(np.concatenate([seen[::-1], seen]), z[first:].shape)


BREAKS = {
    "goes back for 20 %": lambda z, rng: goes_back(z, 0.2),
    "goes back for 40 %": lambda z, rng: goes_back(z, 0.4),
    "spike of 3 deviations": lambda z, rng: spikes(z, 3.0, rng),
    "spike of 10 deviations": lambda z, rng: spikes(z, 10.0, rng),
    "stuck from 30 % on": lambda z, rng: is_stuck(z, 0.7),
}


def outliers(
    kind: str, n_phases: int, n_states: int, covariance: str, n_runs: int, broken: str, seed: int
) -> pd.DataFrame | None:
    """What is said of one simulated set of runs, of which run 0 is broken; None without a map."""
    made = simulate(kind, n_phases, n_runs=n_runs, random_state=seed)
    values = made.values.copy()
    if broken:
        z = values[: made.lengths[0]]
        BREAKS[broken](z, np.random.default_rng(seed))
        z[:] = (z - z.mean(axis=0)) / z.std(axis=0)
    winners = sweep(
        Sequences(values, made.lengths),
        [n_states],
        covariance_type=covariance,
        n_restarts=2,
        random_state=0,
    ).winners
    if n_states not in winners:
        return None
    parameters = winners[n_states].in_time_order(made.lengths)
    runs = pd.DataFrame({"group": "all", "run": [f"seed{i}" for i in range(n_runs)]})
    observed = Observations(
        values=values,
        lengths=made.lengths,
        runs=runs.assign(seed=pd.array(range(n_runs), dtype="Int64")),
        steps=np.tile(np.arange(made.lengths[0]), n_runs),
        features=tuple(f"m{i}" for i in range(values.shape[1])),
        standardisation=Standardisation("run"),
    )
    states = pd.DataFrame({"state": decode(parameters, Sequences(values, made.lengths))})
    return find_outliers(observed, parameters, states)


def cases() -> list[tuple[str, int, int, str, str]]:
    """Kind, phases, states, covariance, and what is broken; one after the other."""
    sound = [
        (kind, phases, k, covariance, "")
        for kind, (phases, tried) in WORLDS.items()
        for k in tried
        for covariance in ("diag", "full")
    ]
    broken = [
        (kind, WORLDS[kind][0], k, "diag", broken)
        for broken in BREAKS
        for kind in BROKEN_WORLDS
        for k in WORLDS[kind][1]
    ]
    return sound + broken


def of_seed(seed: int) -> list[dict[str, object]]:
    """Every case once."""
    rows = []
    with threadpool_limits(1):
        for (kind, phases, k, covariance, broken), n_runs in product(cases(), RUNS):
            found = outliers(kind, phases, k, covariance, n_runs, broken, seed)
            if found is None:
                continue
            rows.append(
                {
                    "world": kind,
                    "states": k,
                    "covariance": covariance,
                    "broken": broken,
                    "runs": n_runs,
                    "any": found["outlier"].any(),
                    "the broken one": found["outlier"].iloc[0],
                    "another": found["outlier"].iloc[1:].any(),
                    "each": found["outlier"].mean(),
                }
            )
    print(f"seed {seed:,}", file=sys.stderr, flush=True)
    return rows


def study(n_simulations: int, first_seed: int, jobs: int) -> pd.DataFrame:
    seeds = range(first_seed, first_seed + n_simulations)
    found = Parallel(n_jobs=jobs)(delayed(of_seed)(seed) for seed in seeds)
    return pd.DataFrame([row for rows in found for row in rows])


def markdown(found: pd.DataFrame, n_simulations: int, first_seed: int) -> str:
    packages = ("numpy", "scipy", "pandas", "hmmdyn")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    sound, broken = found[found["broken"] == ""], found[found["broken"] != ""]
    by_runs = sound.groupby("runs")[["any", "each"]].mean()
    alarms = sound.pivot_table(
        index=["world", "states", "covariance"], columns="runs", values="any", sort=False
    )
    power = broken.pivot_table(
        index=["broken", "runs"], values=["the broken one", "another"], sort=False
    )[["the broken one", "another"]]
    return "\n".join(
        [
            "# How often a run is called an outlier",
            "",
            f"`python benchmarks/outliers.py --simulations {n_simulations}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}. "
            f"{n_simulations} simulations in each cell, seeds from {first_seed:,} on: 100 "
            "checkpoints, 6 metrics.",
            "",
            "Without a broken run, the share of analyses in which any run is called an outlier is "
            + ", ".join(f"**{rate:.3f}** of {n} runs" for n, rate in by_runs["any"].items())
            + " (meant: at most 0.05), and the share of runs "
            + ", ".join(f"{rate:.4f}" for rate in by_runs["each"])
            + ".",
            "",
            "## No run is broken: share of analyses with an outlier, by the number of runs",
            "",
            "In *phases* runs walk from level to level in their own time, in *gradual* by ramps, "
            "in *fork* by two ways in equal numbers; in *drift* there are no phases, and half of "
            "every curve is the run's own; in *shared drift* a tenth.",
            "",
            table(alarms, ".2f"),
            "",
            "## One run is broken: share of analyses in which it, and another one, is an outlier",
            "",
            "*Phases* and *gradual*, with 4 and 8 states, diagonal covariance. A spike moves all "
            "metrics for a twentieth of the run, by deviations of theirs over the run.",
            "",
            table(power, ".2f"),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    found = study(options.simulations, options.first_seed, options.jobs)
    options.output.write_text(markdown(found, options.simulations, options.first_seed))


if __name__ == "__main__":
    main()
