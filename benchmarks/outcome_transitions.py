"""What is found in curves of which it is known whether they have a transition, and where.

    python benchmarks/outcome_transitions.py [--simulations 400] [-o outcome_transitions.md]

Curves and runs come from ``hmmdyn.simulate.outcomes``.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from hmmdyn.dynamics.outcomes.inflections import inflections
from hmmdyn.dynamics.outcomes.matching import match_transitions
from hmmdyn.dynamics.outcomes.spikes import excursions
from hmmdyn.simulate.outcomes import (
    PHASE_FREE,
    SCHEDULES,
    phase_free_curve,
    transition_curve,
    transitions_and_changes,
)

CHECKPOINTS = (20, 40, 150, 600)
WIDTHS = (0.0, 0.01, 0.03, 0.05)
NOISES = (0.02, 0.1)
RUNS = (3, 4, 5, 10, 40)
STEP = 10  # between checkpoints
NEAR = 0.1  # of the run: a transition found further away from the true one is another


def false_alarms(seeds: Iterable[int]) -> pd.DataFrame:
    """How often a curve without a transition is said to have one."""
    return pd.DataFrame(
        {
            "curve": kind,
            "checkpoints": n,
            "found": bool(found(phase_free_curve(kind, n, random_state=s))),
        }
        for kind, n, s in product(PHASE_FREE, CHECKPOINTS, seeds)
    ).pivot_table(index="curve", columns="checkpoints", values="found", sort=False)


def found(values: np.ndarray) -> list:
    return inflections(STEP * np.arange(len(values), dtype=float), values, False)


def detection(seeds: Iterable[int]) -> pd.DataFrame:
    """How often the transition of a curve is found, and how well it is dated."""
    rows = []
    for width, noise, spikes, n, seed in product(WIDTHS, NOISES, (False, True), CHECKPOINTS, seeds):
        values, centre = transition_curve(
            n, width=width, noise=noise, spikes=spikes, random_state=seed
        )
        near = [
            one
            for one in found(values)
            if one.change > 0 and abs(one.step / STEP - centre) < NEAR * n
        ]
        rows.append(
            {
                "width": width,
                "noise": noise,
                "spikes": "yes" if spikes else "no",
                "checkpoints": n,
                "found": bool(near),
                "covered": near[0].step_low <= STEP * centre <= near[0].step_high
                if near
                else np.nan,
            }
        )
    return pd.DataFrame(rows).groupby(["width", "noise", "spikes", "checkpoints"]).mean().unstack()


def widening(seeds: Iterable[int]) -> pd.DataFrame:
    """What is found where checkpoints lie at 0, 1, 2, 4, … 512, 1000, 2000, … 143,000."""
    steps = np.r_[0, 2.0 ** np.arange(10), np.arange(1000, 143_001, 1000)]
    curves: dict[str, tuple[np.ndarray, float]] = {
        "flat": (np.zeros(len(steps)), np.nan),
        "linear in steps": (1 - steps / steps[-1], np.nan),
        **{f"power law {a:g}": ((1 + steps) ** -a, np.nan) for a in (0.1, 0.3, 1)},
        **{f"rises at {c:,}, ×2": (_logistic(np.log2((1 + steps) / c)), c) for c in (100, 5_000)},
        **{
            f"rises at {c:,} ± 2,000": (_logistic((steps - c) / 2000), c) for c in (40_000, 100_000)
        },
    }
    rows = []
    for (name, (curve, centre)), seed in product(curves.items(), seeds):
        noise = 0.05 * np.random.default_rng(seed).normal(size=len(steps))
        said = inflections(steps, curve + noise, True)
        covered = any(one.step_low <= centre <= one.step_high for one in said)
        rows.append(
            {"curve": name, "found": bool(said), "covered": covered if centre > 0 else np.nan}
        )
    for seed in seeds:
        walk = np.cumsum(np.random.default_rng(seed).normal(size=len(steps)))
        rows.append({"curve": "random walk", "found": bool(inflections(steps, walk, True))})
    return pd.DataFrame(rows).groupby("curve", sort=False).mean()


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))))


def losses(kind: str, n: int, noise: str, rng: np.random.Generator) -> np.ndarray:
    level = {"flat": 2.5 + np.zeros(n), "power law": 2.5 + 8 * (1.0 + np.arange(n)) ** -0.5}[kind]
    drawn = rng.normal(size=n) if noise in ("normal", "autocorrelated") else rng.standard_t(
        int(noise.removeprefix("t")), size=n
    )  # fmt: skip
    if noise == "autocorrelated":
        drawn = np.convolve(drawn, 0.9 ** np.arange(n))[:n]
    return np.asarray(level + 0.02 * drawn)


def spikes_in_noise(seeds: Iterable[int]) -> pd.DataFrame:
    """Spikes and divergences found in 1,000 evaluations that hold none."""
    rows = [
        {
            "loss": kind,
            "noise": noise,
            "checkpoints": n,
            "per thousand": 1000
            / n
            * len(excursions(losses(kind, n, noise, np.random.default_rng(s)))),
        }
        for kind, noise, n, s in product(
            ("flat", "power law"), ("normal", "autocorrelated", "t5", "t3"), (40, 150, 1000), seeds
        )
    ]
    return pd.DataFrame(rows).pivot_table(
        index=["loss", "noise"], columns="checkpoints", values="per thousand", sort=False
    )


def true_spikes(seeds: Iterable[int]) -> pd.DataFrame:
    """How often a rise of a noisy loss is found, when it comes back and when it does not."""
    rows = []
    for height, n, seed in product((0.1, 0.3, 1.0), (40, 150, 1000), seeds):
        rng = np.random.default_rng(seed)
        values = losses("power law", n, "normal", rng)
        first = int(rng.integers(n // 4, n - 5))
        spiked, diverged = values.copy(), values.copy()
        spiked[first : first + max(1, n // 60)] += height
        diverged[first:] += height
        rows.append(
            {
                "deviations": height / 0.02,
                "checkpoints": n,
                "spike": any(e.kind == "spike" and e.first == first for e in excursions(spiked)),
                "divergence": any(
                    e.kind == "divergence" and e.first == first for e in excursions(diverged)
                ),
            }
        )
    return pd.DataFrame(rows).groupby(["deviations", "checkpoints"]).mean()


def matched(seeds: Iterable[int]) -> pd.DataFrame:
    """How often a match is called closer than a common schedule, and whether the lead is right."""
    rows = []
    for schedule, n_runs, seed in product(SCHEDULES, RUNS, seeds):
        events, changes = transitions_and_changes(schedule, n_runs, random_state=seed)
        match = match_transitions(events, changes, logarithmic=False)
        known = len(match) and np.isfinite(match["lead_low"].iloc[0])
        rows.append(
            {
                "schedule": schedule,
                "runs": n_runs,
                "p < 0.05": bool((match["p"] < 0.05).any()),
                "lead covered": match["lead_low"].iloc[0] <= 300 <= match["lead_high"].iloc[0]
                if known and schedule == "follows"
                else np.nan,
            }
        )
    return pd.DataFrame(rows).groupby(["schedule", "runs"], sort=False).mean()


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    flat = frame.copy()
    flat.columns = [
        " ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in frame.columns
    ]
    flat = flat.reset_index()
    lines = [" | ".join(flat.columns), " | ".join(["---"] * flat.shape[1])]
    for row in flat.itertuples(index=False):
        cells = (
            ("–" if np.isnan(x) else f"{x:.{digits}f}") if j >= frame.index.nlevels else str(x)
            for j, x in enumerate(row)
        )
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def markdown(n_simulations: int, first_seed: int) -> str:
    seeds = range(first_seed, first_seed + n_simulations)
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "hmmdyn"))
    alarms = false_alarms(seeds)
    walks = alarms.index.str.startswith("random walk")
    ordinary, wandering = alarms[~walks].max().max(), alarms[walks].max().max()
    return "\n".join(
        [
            "# What is found in outcome curves, where the truth is known",
            "",
            f"`python benchmarks/outcome_transitions.py --simulations {n_simulations}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {packages}. "
            f"{n_simulations} simulations each, seeds from {first_seed:,} on.",
            "",
            "## Curves without a transition that are said to have one",
            "",
            f"At most **{ordinary:.3f}** of curves that decline, level off or scatter about a "
            f"level, and **{wandering:.3f}** of random walks, which have sustained moves by "
            "nature. Declines have normal noise of 5 % of their way; columns are numbers of "
            "checkpoints.",
            "",
            table(alarms),
            "",
            "## Transitions found, and how well they are dated",
            "",
            "A logistic rise of scale *width* (share of the run; 0: a jump), *noise* as a share of "
            "the rise, with and without outliers of up to three times the rise at every thirtieth "
            "checkpoint. *Found*: within 10 % of the run from the truth. *Covered*: the 95 % "
            "interval of the steepest step holds it, where it was found.",
            "",
            table(detection(seeds), 2),
            "",
            "## Where checkpoints lie further and further apart",
            "",
            "154 checkpoints at 0, 1, 2, 4, … 512, 1000, 2000, … 143,000; time is counted in "
            "log(1 + step) and then in steps. Noise 5 %. *×2*: a logistic in log step, of scale "
            "one doubling; the others, in steps. *Covered*: the 95 % interval of some transition "
            "found holds the truth.",
            "",
            table(widening(seeds)),
            "",
            "## Spikes and divergences in losses that have none, per 1,000 evaluations",
            "",
            "Noise of 0.02 about 2.5, or about a power law that falls to it from 10.5. Tails of "
            "Student's t with 5 and with 3 degrees of freedom hold values that anyone would call "
            "spikes.",
            "",
            table(spikes_in_noise(seeds), 2),
            "",
            "## Spikes and divergences found where there is one",
            "",
            "On the power law with normal noise; heights in standard deviations of it. Where the "
            "loss still falls steeply it is back at its level soon.",
            "",
            table(true_spikes(seeds), 2),
            "",
            "## Changes of state that go with a transition",
            "",
            "*p < 0.05*: they are said to be closer, run by run, than a common schedule gives (one "
            "pair, so no correction). *Lead covered*: the 95 % interval of the median lead holds "
            "the true 300 steps, where there is an interval.",
            "",
            table(matched(seeds)),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    options.output.write_text(markdown(options.simulations, options.first_seed))


if __name__ == "__main__":
    main()
