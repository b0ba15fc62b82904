"""How far each criterion's number of states is from the truth, on simulated trajectories.

    python benchmarks/choosing_k.py [--simulations 2] [--rows rows.csv] [-o choosing_k.md]

Every simulation has trajectories of one kind (``hmmdyn.simulate.trajectories``), 6 metrics,
K = 1 … 8.
Results go to a CSV as they come; started again with the same one, the study goes on where it was.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.choose.criteria import icl
from hmmdyn.hmm.choose.held_out import HeldOut, hold_out
from hmmdyn.hmm.choose.recommend import recommend
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import Simulation, simulate

WORLDS = [
    ("phases", 1),
    ("phases", 2),
    ("phases", 3),
    ("phases", 4),
    ("phases", 6),
    ("sharp", 4),
    ("fork", 4),
    ("gradual", 4),
    ("drift", 1),
    ("shared drift", 1),
]
# What hmmdyn claims to count: phases that are there, and entered in less than about 1/40 of a run.
CLAIMED = ["phases 1", "phases 2", "phases 3", "phases 4", "phases 6", "sharp 4", "fork 4"]
PHASE_FREE = ["phases 1", "drift 1", "shared drift 1"]
RUNS = (5, 10, 20, 40)
CHECKPOINTS = (50, 200)
NOISE = (0.15, 0.5)
CANDIDATES = range(1, 9)
COVARIANCE_TYPES = ("diag", "full")
# The rule was chosen on other simulations: these are for judging it.
FIRST_SEED = 2_000_000


def in_sample(s: Simulation, covariance_type: str) -> dict[str, int]:
    """Choices of the criteria on fits to all runs."""
    winners = sweep(
        Sequences(s.values, s.lengths),
        CANDIDATES,
        covariance_type=covariance_type,
        n_restarts=4,
        random_state=0,
    ).winners
    n, d = s.values.shape
    size = {k: n_parameters(k, d, covariance_type) for k in winners}
    aic = {k: -2 * f.log_likelihood + 2 * size[k] for k, f in winners.items()}
    bic = {k: -2 * f.log_likelihood + np.log(n) * size[k] for k, f in winners.items()}
    completed = {k: icl(f.parameters, Sequences(s.values, s.lengths)) for k, f in winners.items()}
    return {
        name: min(values, key=values.get)
        for name, values in {"BIC": bic, "AIC": aic, "ICL": completed}.items()
    }


def paper(s: Simulation, covariance_type: str) -> int:
    """BIC on one run in five, held out (Hu 2023, section 2.1)."""
    n_runs = len(s.lengths)
    held = np.zeros(n_runs, dtype=bool)
    held[np.random.default_rng(0).choice(n_runs, max(1, round(0.2 * n_runs)), replace=False)] = True
    rows = np.repeat(held, s.lengths)
    winners = sweep(
        Sequences(s.values[~rows], s.lengths[~held]),
        CANDIDATES,
        covariance_type=covariance_type,
        n_restarts=4,
        random_state=0,
    ).winners
    bic = {}
    for k, fitted in winners.items():
        seen = beliefs(fitted.parameters, Sequences(s.values[rows], s.lengths[held]))
        free = n_parameters(k, s.values.shape[1], covariance_type)
        bic[k] = -2 * seen.log_likelihood.sum() + free * np.log(rows.sum())
    return min(bic, key=bic.get)


def one_error(h: HeldOut, score: str, covariance_type: str, paired: bool) -> int:
    """Smallest K within one standard error of the best: of its mean, or of the differences."""
    of_type = h.runs[h.runs["covariance_type"] == covariance_type]
    table = of_type.pivot(index="run", columns="n_states", values=score).dropna(axis=1)
    means = table.mean()
    best = table[means.idxmax()]
    spread = table.rsub(best, axis=0).std() if paired else best.std()
    return int(means.index[means >= means.max() - spread / np.sqrt(len(table))].min())


def choices(s: Simulation) -> dict[str, tuple[float, int, int]]:
    """(K or NaN, low, high) by criterion."""
    chosen: dict[str, float] = {}
    h = hold_out(Sequences(s.values, s.lengths), CANDIDATES)
    for c in COVARIANCE_TYPES:
        chosen |= {f"{name}, {c}": k for name, k in in_sample(s, c).items()}
        chosen[f"paper's held-out BIC, {c}"] = paper(s, c)
    for score, name in (("held_out", "held-out likelihood"), ("path", "path score")):
        for c, paired in product(COVARIANCE_TYPES, (False, True)):
            rule = "paired 1-SE" if paired else "1-SE"
            chosen[f"{name}, {rule}, {c}"] = one_error(h, score, c, paired)
    out = {name: (k, int(k), int(k)) for name, k in chosen.items()}
    r = recommend(h)
    out["recommendation"] = (np.nan if r.n_states is None else r.n_states, r.low, r.high)
    return out


def study(n_simulations: int, path: Path) -> pd.DataFrame:
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["seed"])
    # Quick cells first; every round is balanced.
    cells = product(range(n_simulations), CHECKPOINTS, RUNS, NOISE, WORLDS)
    for i, (_, n_checkpoints, n_runs, noise, (kind, n_phases)) in enumerate(cells):
        seed = FIRST_SEED + i
        if (done["seed"] == seed).any():
            continue
        begin = time.perf_counter()
        s = simulate(
            kind,
            n_phases,
            n_runs=n_runs,
            n_checkpoints=n_checkpoints,
            noise=noise,
            random_state=seed,
        )
        rows = pd.DataFrame(
            {
                "seed": seed,
                "world": f"{kind} {n_phases}",
                "truth": n_phases,
                "runs": n_runs,
                "checkpoints": n_checkpoints,
                "noise": noise,
                "criterion": criterion,
                "n_states": k,
                "low": low,
                "high": high,
            }
            for criterion, (k, low, high) in choices(s).items()
        )
        rows.to_csv(path, mode="a", header=not path.exists(), index=False)
        took = time.perf_counter() - begin
        print(f"{kind} {n_phases}, {n_runs} runs: {took:.1f} s", file=sys.stderr, flush=True)
    return pd.read_csv(path)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def within_one(rows: pd.DataFrame) -> pd.Series:
    """Whether each choice is within one of the truth; none recommended is not."""
    return (rows["n_states"] - rows["truth"]).abs() <= 1


def by_world(rows: pd.DataFrame) -> str:
    worlds = list(dict.fromkeys(rows["world"]))
    table = []
    for criterion, mine in rows.groupby("criterion", sort=False):
        cells = []
        for world in [*worlds, None]:
            part = mine[mine["world"] == world] if world else mine[mine["world"].isin(CLAIMED)]
            error = (part["n_states"] - part["truth"]).abs().mean()
            cells.append(f"{error:.1f} · {within_one(part).mean():.0%}")
        table.append([str(criterion), *cells])
    return markdown(["criterion", *worlds, "all that is claimed"], table)


def by_runs(rows: pd.DataFrame) -> str:
    claimed = rows[rows["world"].isin(CLAIMED)]
    table = []
    for criterion, mine in claimed.groupby("criterion", sort=False):
        shares = within_one(mine).groupby(mine["runs"]).mean()
        table.append([str(criterion), *(f"{share:.0%}" for share in shares)])
    return markdown(["criterion", *(f"{n} runs" for n in RUNS)], table)


def recommended(rows: pd.DataFrame) -> str:
    mine = rows[rows["criterion"] == "recommendation"]
    table = []
    for world, part in mine.groupby("world", sort=False):
        given = part["n_states"].notna()
        modest = (part["n_states"].isna() | (part["n_states"] <= 2)).mean()
        allowed = (part["low"] <= part["truth"]) & (part["truth"] <= part["high"])
        hit = within_one(part[given]).mean() if given.any() else np.nan
        table.append(
            [
                str(world),
                str(len(part)),
                f"{given.mean():.0%}",
                f"{hit:.0%}" if given.any() else "–",
                f"{allowed.mean():.0%}",
                f"{modest:.0%}" if world in PHASE_FREE else "",
            ]
        )
    return markdown(
        [
            "world",
            "simulations",
            "K recommended",
            "of these within one",
            "range holds the truth",
            "K <= 2, or none recommended",
        ],
        table,
    )


def report(rows: pd.DataFrame, arguments: list[str]) -> str:
    many = rows[rows["runs"] >= 10]
    mine = many[many["criterion"] == "recommendation"]
    all_claimed = mine[mine["world"].isin(CLAIMED)]
    several = all_claimed[all_claimed["truth"] > 1]
    free = mine[mine["world"].isin(PHASE_FREE)]
    modest = free["n_states"].isna() | (free["n_states"] <= 2)
    names = ("numpy", "scipy", "numba", "scikit-learn", "pandas", "hmmdyn")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"""# Choosing the number of states, where the truth is known

`{" ".join(["python benchmarks/choosing_k.py", *arguments])}` on {datetime.now(UTC):%Y-%m-%d}, \
Python {platform.python_version()}, {versions}. {rows["seed"].nunique()} simulations: \
{_listed(rows["runs"])} runs; {_listed(rows["checkpoints"])} checkpoints; noise \
{_listed(rows["noise"])}; 6 metrics; K = 1 … 8. None was used for choosing the rule.

With 10 runs or more the recommendation is within one of the truth in \
**{within_one(several).mean():.0%}** of {len(several)} simulations with two phases or more, in \
**{within_one(all_claimed).mean():.0%}** of {len(all_claimed)} with one or more; recommending \
none counts as wrong. Without phases, or with a single one, it is K <= 2, or that these runs do \
not determine K, in **{modest.mean():.0%}** of {len(free)}.

## Mean error and share within one of the truth, 10 runs or more

{by_world(many)}

The number in a world's name is the true K. "All that is claimed" leaves out phase-free drift and \
gradual transitions, each of which takes 5 % of a run, longer than the path score takes for a jump.

## Share within one of the truth, by number of runs

{by_runs(rows)}

## The recommendation, 10 runs or more

{recommended(many)}
"""


def _listed(column: pd.Series) -> str:
    return ", ".join(map(str, sorted(column.unique())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2, help="of each cell of the design")
    parser.add_argument("--rows", type=Path, default=Path("choosing_k_rows.csv"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with threadpool_limits(1):
        text = report(study(options.simulations, options.rows), sys.argv[1:])
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
