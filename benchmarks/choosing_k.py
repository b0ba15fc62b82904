"""How far each choice of a number of states is from the truth, from raw metrics of known worlds.

    python benchmarks/choosing_k.py [--rounds 2] [--rows rows.csv] [-o choosing_k.md]

Every simulation (``hmmdyn.simulate.worlds``) begins with raw metrics, with offsets and factors
between seeds and unequal speeds, and goes through pooled standardisation, which leaves out what
tells seeds apart. Then the supported map, BIC, the paper's procedure and runs held out, with the
path score, choose among the same K = 1 … 8. Results go to a CSV as they come; started again with
the same one, the study goes on where it was.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.held_out import HeldOut, hold_out
from hmmdyn.hmm.choose.recommend import recommend
from hmmdyn.hmm.fit.sweep import Sweep, sweep
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.standardise import standardised

# Design, phases, width of the changes in lengths of a run.
CELLS = (
    ("path", 3, 0.02),
    ("shared drift", 1, 0.0),
    ("path", 4, 0.05),
    ("own drift", 1, 0.0),
    ("path", 3, 0.10),
    ("fork", 4, 0.02),
    ("path", 2, 0.0),
    ("warped drift", 1, 0.0),
    ("detour", 4, 0.02),
    ("path", 6, 0.02),
    ("path", 1, 0.0),
    ("path", 4, 0.10),
)
N_RUNS, N_CHECKPOINTS = 10, 60
CANDIDATES = range(1, 9)
# What is to be judged was chosen on other simulations.
FIRST_SEED = 12_000_000
SUPPORTED, ADVICE = "supported map", "recommendation by held-out runs (path score)"


def world_of(number: int) -> World:
    """The world of one simulation."""
    design, n_phases, width = CELLS[number % len(CELLS)]
    rng = np.random.default_rng([FIRST_SEED, number])
    return World(
        design,
        n_phases,
        width=width,
        n_runs=N_RUNS,
        n_checkpoints=N_CHECKPOINTS,
        noise=float(rng.choice((0.15, 0.3))),
        autocorrelation=float(rng.choice((0.0, 0.9))),
        seed_metrics=float(rng.choice((0.0, 0.3))),
    )


def swept(data: Sequences, covariance_type: str) -> Sweep:
    return sweep(data, CANDIDATES, covariance_type=covariance_type, n_restarts=4, random_state=0)


def by_bic(data: Sequences, found: Sweep, covariance_type: str) -> int:
    n, d = data.values.shape
    bic = {
        k: -2 * f.log_likelihood + np.log(n) * n_parameters(k, d, covariance_type)
        for k, f in found.winners.items()
    }
    return min(bic, key=bic.get)


def paper(s: Sequences, covariance_type: str) -> int:
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


def one_error(h: HeldOut, score: str, covariance_type: str) -> int:
    """Smallest K within one standard error of the best mean."""
    of_type = h.runs[h.runs["covariance_type"] == covariance_type]
    table = of_type.pivot(index="run", columns="n_states", values=score).dropna(axis=1)
    means = table.mean()
    spread = table[means.idxmax()].std()
    return int(means.index[means >= means.max() - spread / np.sqrt(len(table))].min())


def choices(data: Observations) -> dict[str, float]:
    """The number of states by each criterion; NaN where none is recommended."""
    seen = Sequences(data.values, data.lengths)
    diag = swept(seen, "diag")
    held = hold_out(seen, CANDIDATES)
    advice = recommend(held).n_states
    finest = diag.winners[max(diag.winners)].states
    return {
        SUPPORTED: supported_map(data, finest, covariance_type="diag").n_phases,
        "BIC, diag": by_bic(seen, diag, "diag"),
        "BIC, full": by_bic(seen, swept(seen, "full"), "full"),
        "paper's held-out BIC, diag": paper(seen, "diag"),
        "held-out likelihood, 1-SE, diag": one_error(held, "held_out", "diag"),
        "path score, 1-SE, diag": one_error(held, "path", "diag"),
        ADVICE: np.nan if advice is None else advice,
    }


def study(numbers: range, path: Path) -> pd.DataFrame:
    done = set(pd.read_csv(path)["number"]) if path.exists() else set()
    for number in numbers:
        if number in done:
            continue
        begin = time.process_time()
        world = world_of(number)
        runs = simulate_world(world, FIRST_SEED + number)
        try:
            chosen = choices(standardised(from_frame(runs.table), "pooled"))
        except NotEnoughDataError:  # every metric tells seeds apart
            chosen = {"refused": np.nan}
        rows = pd.DataFrame(
            {
                "number": number,
                "design": world.design,
                "truth": world.n_phases,
                "width": world.width,
                "autocorrelation": world.autocorrelation,
                "criterion": criterion,
                "n_states": k,
            }
            for criterion, k in chosen.items()
        )
        rows.to_csv(path, mode="a", header=not path.exists(), index=False)
        took = time.process_time() - begin
        print(f"{number} {world.design}: {took:.1f} s", file=sys.stderr, flush=True)
    return pd.read_csv(path)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(part: pd.DataFrame) -> str:
    """What was chosen, each time."""
    return ", ".join("–" if np.isnan(k) else f"{k:.0f}" for k in part["n_states"])


def within_one(part: pd.DataFrame) -> str:
    """How many are within one of the truth; none recommended is not."""
    near = (part["n_states"] - part["truth"]).abs() <= 1
    return f"{near.sum()} of {len(part)}"


def modest(part: pd.DataFrame) -> str:
    """How many show no phases: one state, or none recommended."""
    none = part["n_states"].isna() | (part["n_states"] <= 1)
    return f"{none.sum()} of {len(part)}"


def beside_the_map(kept: pd.DataFrame) -> str:
    """What held-out runs say beside the supported map, and how often the map then is right."""
    chosen = kept.pivot(index="number", columns="criterion", values="n_states")
    of_world = kept.drop_duplicates("number").set_index("number")[["truth", "width"]]
    mapped, advice, truth = chosen[SUPPORTED], chosen[ADVICE], of_world["truth"]
    said = {
        "none": advice.isna(),
        "the map's number": advice == mapped,
        "another number": advice.notna() & (advice != mapped),
    }
    worlds = {
        "phases, changes up to 5 % of a run": (truth > 1) & (of_world["width"] <= 0.05),
        "phases, changes of 10 %": (truth > 1) & (of_world["width"] > 0.05),
        "no phases": truth == 1,
    }
    return markdown(
        ["worlds", "held-out runs recommend", "worlds", "map right", "held-out runs right"],
        [
            [
                world,
                what,
                str(n),
                f"{(mapped == truth)[chosen_ones].sum()} of {n}",
                f"{(advice == truth)[chosen_ones].sum()} of {n}",
            ]
            for world, of_kind in worlds.items()
            for what, of_advice in said.items()
            for chosen_ones in [of_kind & of_advice]
            for n in [int(chosen_ones.sum())]
            if n
        ],
    )


def report(rows: pd.DataFrame, arguments: list[str]) -> str:
    names = ("numpy", "scipy", "numba", "scikit-learn", "pandas", "hmmdyn")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    refused = rows["criterion"] == "refused"
    kept = rows[~refused]
    phases, free = kept[kept["truth"] > 1], kept[kept["truth"] == 1]
    table = [
        [
            str(criterion),
            within_one(phases[phases["criterion"] == criterion]),
            modest(free[free["criterion"] == criterion]),
        ]
        for criterion in dict.fromkeys(kept["criterion"])
    ]
    worlds = list(dict.fromkeys(zip(kept["design"], kept["truth"], kept["width"], strict=True)))
    criteria = list(dict.fromkeys(kept["criterion"]))
    by_world = [
        [
            f"{design}, {width:.0%} wide" if truth > 1 else design,
            str(truth),
            *(
                cell(
                    kept[
                        (kept["design"] == design)
                        & (kept["truth"] == truth)
                        & (kept["width"] == width)
                        & (kept["criterion"] == criterion)
                    ]
                )
                for criterion in criteria
            ),
        ]
        for design, truth, width in worlds
    ]
    return f"""# Choosing the number of states, where the truth is known

`{" ".join(["python benchmarks/choosing_k.py", *arguments])}` on {datetime.now(UTC):%Y-%m-%d}, \
Python {platform.python_version()}, {versions}. {kept["number"].nunique()} simulations from raw \
metrics (refused beside them: {refused.sum()}, in which every metric told seeds apart), {N_RUNS} \
runs of \
{N_CHECKPOINTS} checkpoints, 6 metrics, noise of 0.15 or 0.3 of the levels' scatter, white or \
autocorrelated (0.9), in half of them three in ten metrics with an offset per seed; pooled \
standardisation; K = 1 … 8.

{markdown(["choice", "phases: within one of the truth", "no phases: 1, or none said"], table)}

## What the path score adds

Exactly right, by what runs held out say beside the supported map. This comparison was chosen
after most of them had been seen: it says what was found, and was not tried on fresh ones.

{beside_the_map(kept)}

## What was chosen

A number for each simulation; – where held-out runs recommend none.

{markdown(["world", "truth", *criteria], by_world)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help=f"of {len(CELLS)} simulations each")
    parser.add_argument("--rows", type=Path, default=Path("choosing_k_rows.csv"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with threadpool_limits(1):
        rows = study(range(options.rounds * len(CELLS)), options.rows)
        text = report(rows, sys.argv[1:])
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
