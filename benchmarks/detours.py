"""What the verdicts on states are worth, in simulated runs in which the truth is known.

    python benchmarks/detours.py [--simulations 400] [-o detours.md]

Every simulation has runs of one world (``hmmdyn.simulate.walks``); with ``every`` 10, only
each tenth checkpoint is kept, so that several runs converge at the same one. On noise the states
and the time of convergence of 4-state runs have nothing to do with each other.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_table import table
from scipy.stats import mannwhitneyu
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.results.verdicts import CANNOT_TELL, CONFIRMED, FLAG_ONLY, HELPS, NO_EVIDENCE, SLOWS
from hmmdyn.simulate.walks import OPTIONAL_STATE, simulate_walks

N_STATES = 4
RUNS = (5, 10, 40)
CASES = [("harmless", 1), ("harmless", 10), ("alternative", 1), ("detour", 1), ("detour", 10)]
PAPER = "paper's flag"
VERDICTS = (CONFIRMED, FLAG_ONLY, SLOWS, HELPS, NO_EVIDENCE, CANNOT_TELL)


def judged(data: pd.DataFrame) -> dict[str, object]:
    """What is said of one simulated set of runs."""
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    bags = bag_of_states(data, N_STATES)
    try:
        regression = regress_convergence(bags, convergence, data)
    except NotEnoughDataError:
        regression = None
    detours = detour_verdicts(bags, convergence, regression, data, data)
    state = detours.loc[OPTIONAL_STATE]
    ends = convergence.table.set_index("run").query("converged")["step"]
    visits = bags.set_index("run").loc[ends.index, f"state_{OPTIONAL_STATE}"] > 0
    both = 0 < visits.sum() < len(visits)
    return {
        "visited or not": both and mannwhitneyu(ends[visits], ends[~visits]).pvalue < 0.05,
        PAPER: state["flag"],
        "hazards": state["p"] < 0.05,
        "any confirmed": (detours["verdict"] == CONFIRMED).any(),
        **{verdict: state["verdict"] == verdict for verdict in VERDICTS},
        "r2": regression.r_squared if regression else np.nan,
        "r2_loo": regression.r_squared_loo if regression else np.nan,
    }


def noise(n_runs: int, seed: int) -> pd.DataFrame:
    """Runs whose states and convergence are drawn independently of each other."""
    rng = np.random.default_rng(seed)
    n = 60
    parts = [
        pd.DataFrame(
            {
                "group": "all",
                "run": f"seed{i}",
                "seed": i,
                "step": np.arange(n),
                "state": rng.choice(N_STATES, size=n, p=rng.dirichlet(np.ones(N_STATES))),
                "accuracy": (np.arange(n) >= rng.integers(5, 55)).astype(float),
            }
        )
        for i in range(n_runs)
    ]
    return pd.concat(parts, ignore_index=True)


def study(n_simulations: int, first_seed: int) -> pd.DataFrame:
    rows = []
    for (world, every), n_runs in [(c, n) for c in [*CASES, ("noise", 1)] for n in RUNS]:
        for seed in range(first_seed, first_seed + n_simulations):
            data = (
                noise(n_runs, seed)
                if world == "noise"
                else simulate_walks(world, n_runs, every=every, random_state=seed)
            )
            rows.append({"world": world, "every": every, "runs": n_runs, **judged(data)})
        print(f"{world}, every {every}, {n_runs} runs", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _low_to_high(shares: pd.Series) -> str:
    low, high = f"{shares.min():.3f}", f"{shares.max():.3f}"
    return low if low == high else f"{low} to {high}"


def markdown(found: pd.DataFrame, n_simulations: int, first_seed: int) -> str:
    packages = ("numpy", "scipy", "pandas", "statsmodels", "hmmdyn")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    key = ["world", "every", "runs"]
    cases = found.groupby(key, sort=False)
    shares = cases[["visited or not", PAPER, "hazards", "any confirmed", *VERDICTS]].mean()
    r2 = cases[["r2", "r2_loo"]].median()
    harmless = shares.loc["harmless"].max()
    power = shares.loc["detour", CONFIRMED].groupby("runs").apply(_low_to_high)
    return "\n".join(
        [
            "# What the verdicts on states are worth, where the truth is known",
            "",
            f"`python benchmarks/detours.py --simulations {n_simulations}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}. "
            f"{n_simulations} simulations each, seeds from {first_seed:,} on.",
            "",
            "Worlds: in *harmless* a state that some runs visit before converging costs them "
            "nothing; in *detour* it doubles the time to converge; in *alternative* half of the "
            "runs, by lot, go through it where the others go through another state, and lose "
            "nothing; *noise* has no order at all. Runs differ several times in how long they "
            "need. *Every*: only every so many checkpoints are kept.",
            "",
            f"Of a harmless state, at most **{harmless['any confirmed']:.3f}** of the maps call "
            f"any state a confirmed detour and **{harmless['hazards']:.3f}** of the hazard tests "
            "are significant, where comparing the runs that visited it with the others is wrong in "
            f"up to {harmless['visited or not']:.3f} and the paper's flag in up to "
            f"{harmless[PAPER]:.3f}. A state that doubles the time to converge is confirmed in "
            f"{', '.join(f'**{power[n]}** with {n} runs' for n in RUNS)} (two numbers: where only "
            "every tenth checkpoint is kept, and where all are).",
            "",
            "A state on one of two equal ways *helps*: runs that have entered it are compared with "
            "runs further behind, too. The verdict says that it may only lie on the way.",
            "",
            "## How often each test calls the state slow or fast (nominal 0.05)",
            "",
            "Visited or not: Mann–Whitney test of convergence steps. Paper's flag: optional, with "
            "a positive coefficient in a significant regression. Hazards: p < 0.05 before "
            "correction. Any confirmed: some state of the map is called a confirmed detour.",
            "",
            table(shares[["visited or not", PAPER, "hazards", "any confirmed"]], ".3f"),
            "",
            "## Verdicts on the state",
            "",
            table(shares[list(VERDICTS)], ".3f"),
            "",
            "## The paper's regression, medians",
            "",
            table(r2.rename(columns={"r2": "R²", "r2_loo": "R², each run left out"}), ".2f"),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    with threadpool_limits(1):
        found = study(options.simulations, options.first_seed)
    options.output.write_text(markdown(found, options.simulations, options.first_seed))


if __name__ == "__main__":
    main()
