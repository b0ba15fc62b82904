"""What is said of which metrics change before an outcome, where it is known.

python benchmarks/told_first.py [--rounds 40] [-o told_first.md]

Runs come from ``hmmdyn.simulate.leads``, and go from raw metrics through every step that bears on
what is said: the reading of the table, the transitions of the outcome, the dates.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_table import table

import hmmdyn
from hmmdyn.dynamics.outcomes.told_first import told_first
from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from hmmdyn.results.told_first import AFTER, BEFORE
from hmmdyn.simulate.leads import DRIFTING, MOVING, SPACINGS, UNRELATED, simulate_leads

FIRST_SEED = 9_800_000
RUNS = (10, 40)
CHECKPOINTS = (40, 150)
# What else differs from the plain world: a smaller lead, runs that change nearly together.
WORLDS = {"plain": {}, "lead of 2 %": {"lead": 0.02}, "runs change together": {"spread": 0.02}}


def judged(seed: int, n_runs: int, n_checkpoints: int, **world) -> pd.DataFrame:
    """Say of one simulation what was right, a row per metric."""
    simulated, truth = simulate_leads(n_runs, n_checkpoints, random_state=seed, **world)
    runs = hmmdyn.read_runs(
        simulated, hmmdyn.Options(keep_metrics=(*MOVING, *DRIFTING, *UNRELATED))
    )
    transitions = find_outcome_transitions(runs.table, runs.outcomes, None).transitions
    told = told_first(runs.table, runs.metrics, transitions, random_state=seed)
    kind = told["metric"].map(lambda m: "unrelated" if m in UNRELATED else m.partition("_")[0])
    right = kind.map({"before": BEFORE, "after": AFTER})
    true = told["metric"].map(truth)
    is_said = told["when"].isin([BEFORE, AFTER])
    bounded = told["lead_low"].notna() & true.notna()
    begun = (kind == "with") & ~told["metric"].isin(DRIFTING) & told["done_low"].notna()
    return pd.DataFrame(
        {
            "kind": kind,
            "metric": told["metric"],
            "said": is_said,
            "wrong": is_said & (told["when"] != right),
            "interval alone": (told["lead_low"] > 0) | (told["lead_high"] < 0),
            "lead covered": ((told["lead_low"] <= true) & (true <= told["lead_high"])).where(
                bounded
            ),
            # The share by which all that moves with the outcome is done when that has begun.
            "done covered": ((told["done_low"] <= 0.2) & (told["done_high"] >= 0.2)).where(begun),
        }
    ).assign(seed=seed, runs=n_runs, checkpoints=n_checkpoints)


def summary(found: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return rates over simulations."""
    rows = {}
    for key, own in found.groupby(keys, sort=False):
        of_kind = dict(list(own.groupby("kind")))
        moving = pd.concat([of_kind["before"], of_kind["after"]])
        rows[key] = {
            "with: wrong": of_kind["with"]["wrong"].mean(),
            "unrelated: wrong": of_kind["unrelated"]["wrong"].mean(),
            "by the interval alone": of_kind["unrelated"]["interval alone"].mean(),
            "simulations with a wrong one": own.groupby("seed")["wrong"].any().mean(),
            "before or after: said": moving["said"].mean(),
            "wrong way": moving["wrong"].mean(),
            "lead covered": own["lead covered"].astype(float).mean(),
            "done covered": own["done covered"].astype(float).mean(),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(rows, names=keys)
    return frame


def head(rounds: int, n: int) -> str:
    return f"""# Which metrics are said to change before an outcome, where it is known

    python benchmarks/told_first.py --rounds {rounds} -o benchmarks/told_first.md

{datetime.now(UTC):%Y-%m-%d}, hmmdyn {version("hmmdyn")}, {rounds} simulations a row of the first
two tables, {n:,} in all. The rules were frozen before these seeds ({FIRST_SEED:,} on) were drawn.

Runs of one recipe differ in length (0.8 to 1.2), in when their accuracy rises, in levels, sizes
and noise; noise remembers (lag-1 autocorrelation 0.7). Of fourteen metrics, five change *with* the
outcome: three pass from one level to another, with little, middling and much noise, one drifts
until then and one from then on; two change *before* it and one *after* it, by 6 % of a run and a
third of that more or less from run to run; six are *unrelated*: noise that remembers (0.95),
a random walk, a decay, its mirror image, a change at each run's own time, and one that comes at one
time in all runs. All are asked about at once.

- *wrong*: share of these metrics that are said to change before the outcome, or after it, and do
  not; *by the interval alone*: the same of unrelated ones by their interval, whether they go
  with the outcome run by run or not.
- *simulations with a wrong one*: among all fourteen.
- *said*: share of the metrics before or after that are said to be so; *wrong way*: said to be the
  other.
- *lead covered*: the interval of the lead, which holds for fourteen together, has the true one in
  it.
- *done covered*: of metrics that change with the outcome, the interval of the share of their way
  that is done when the outcome has begun has 0.2 in it.

Fewer than ten runs cannot bound a median for fourteen metrics together: nothing is said of them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + options.rounds)
    parts = [
        judged(seed, n_runs, n_checkpoints, spacing=spacing, **given).assign(
            spacing=spacing, world=world
        )
        for (world, given), spacing, n_runs, n_checkpoints, seed in product(
            WORLDS.items(), SPACINGS, RUNS, CHECKPOINTS, seeds
        )
        # The other worlds in one setting each: what differs is seen there.
        if world == "plain" or (n_runs, n_checkpoints) == (10, 150)
    ]
    found = pd.concat(parts, ignore_index=True)
    plain = found[found["world"] == "plain"]
    still = plain[plain["kind"].isin(["with", "unrelated"])]
    by_metric = still.groupby(["metric", "runs"], sort=False)[["wrong", "interval alone"]]
    text = [
        head(options.rounds, len(parts)),
        table(summary(plain, ["spacing", "runs", "checkpoints"]), ".3f"),
        "\n## Other worlds\n\nTen runs of 150 checkpoints. *Runs change together*: within 2 % of "
        "the middle of the run, so that a common schedule looks the same.\n",
        table(summary(found[found["world"] != "plain"], ["world", "spacing"]), ".3f"),
        "\n## Metrics that do not change before or after, one by one\n\nOver all spacings and "
        "checkpoints.\n",
        table(by_metric.mean().astype(np.float64), ".3f"),
    ]
    options.output.write_text("\n".join(text) + "\n", "utf-8")


if __name__ == "__main__":
    main()
