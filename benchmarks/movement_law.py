"""How often the interval of the exponent by which weights move away from their start holds it.

python benchmarks/movement_law.py [--rounds 400] [-o movement_law.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_table import table

from hmmdyn.dynamics.movement_law import movement_laws

FIRST_SEED = 9_300_000
RUNS = (3, 5, 20)
CHECKPOINTS = 60
EXPONENTS = (0.0, 0.25, 0.5)
NOISE = (0.01, 0.1)  # of the deviation of a run's distances
MEMORY = (0.0, 0.95)  # of the noise, from one checkpoint to the next
EVEN = 100.0 * np.arange(CHECKPOINTS + 1)
LOGARITHMIC = np.array([0, *np.unique(np.geomspace(1, 1e5, CHECKPOINTS).astype(int))], float)
Draw = Callable[[np.random.Generator], np.ndarray]


def by_law(exponent: float, time: np.ndarray, noise: float, memory: float) -> Draw:
    """a + b (tᵞ − 1)/γ with a and b of each run's own, and noise that remembers."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        log_t = np.log(time[1:])
        shape = np.expm1(exponent * log_t) / exponent if exponent else log_t
        shape = (shape - shape.mean()) / shape.std()
        kept = np.empty(len(shape))
        kept[0] = rng.normal()
        for i, fresh in enumerate(rng.normal(size=len(shape) - 1), start=1):
            kept[i] = memory * kept[i - 1] + np.sqrt(1 - memory**2) * fresh
        scale, start = rng.lognormal(sigma=0.2), rng.normal(3, 0.2)
        return np.array([0.0, *(scale * (start + shape + noise * kept))])

    return draw


def random_walk(time: np.ndarray, width: int = 1000) -> Draw:
    """Distances of weights that move by independent normal steps: the exponent is ½."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        steps = rng.normal(size=(len(time) - 1, width)) * np.sqrt(np.diff(time))[:, None]
        return np.array([0.0, *np.linalg.norm(np.cumsum(steps, axis=0), axis=1)])

    return draw


def runs_of(draw: Draw, time: np.ndarray, n_runs: int, rng: np.random.Generator) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"group": "g", "run": f"r{r}", "step": time, "distance_l2": draw(rng)})
        for r in range(n_runs)
    ]
    return pd.concat(frames, ignore_index=True)


def study(rounds: int) -> pd.DataFrame:
    spacings = (("even", EVEN), ("logarithmic", LOGARITHMIC))
    worlds = [
        (
            (f"{exponent:g}", name, noise, memory),
            exponent,
            time,
            by_law(exponent, time, noise, memory),
        )
        for exponent, (name, time), noise, memory in product(EXPONENTS, spacings, NOISE, MEMORY)
    ]
    worlds += [
        (("random walk", name, "", ""), 0.5, time, random_walk(time)) for name, time in spacings
    ]
    rows = {}
    for name, truth, time, draw in worlds:
        for n_runs in RUNS:
            found = pd.concat(
                movement_laws(runs_of(draw, time, n_runs, np.random.default_rng(FIRST_SEED + i)))
                for i in range(rounds)
            )
            holds = (found["exponent_low"] <= truth) & (truth <= found["exponent_high"])
            wrong = {"power", "saturating"} if truth == 0 else {"logarithm", "saturating"}
            rows[(*name, n_runs)] = {
                "in the interval": holds.mean(),
                "bias": found["exponent"].mean() - truth,
                "half its width": (found["exponent_high"] - found["exponent_low"]).median() / 2,
                "wrong law": found["law"].isin(wrong).mean(),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.names = ["exponent", "checkpoints", "noise", "memory", "runs"]
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    found = study(given.rounds)
    text = f"""# The law by which weights move

    python benchmarks/movement_law.py --rounds {given.rounds} -o benchmarks/movement_law.md

{datetime.now(UTC):%Y-%m-%d}, hmmdyn {version("hmmdyn")}, {given.rounds} simulations a row, \
{CHECKPOINTS} checkpoints a run.

How often the 95 % interval of the exponent holds the one that the runs were made with, by how much
the estimate is off on average, half the interval's width (median), and how often the wrong law is
told: a power where it is a logarithm, or the other way about. Noise is a share of the deviation of
a run's distances, and remembers so much of itself from one checkpoint to the next. In the last rows
a thousand weights walk at random, which is a power of ½. A round has the same random numbers in all
rows of as many runs, so that these are alike by construction.

{table(found, ".3f")}

Over all rows the interval holds the truth in {found["in the interval"].mean():.1%} \
(least {found["in the interval"].min():.1%}); the wrong law is told in \
{found["wrong law"].mean():.1%} (most {found["wrong law"].max():.1%}).

The runs here follow one law throughout. A training that follows one for a while, and another later,
is told by the misfit at best.
"""
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
