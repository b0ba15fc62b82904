"""Is it found again, and whose time is it: the two questions, where the answers are known.

Every simulation goes the whole way: raw metrics, pooled standardisation, the finest map, the
supported map, maps of halves of the runs, and held-out runs predicted by states and by the course
that all runs share. One row per simulation is saved as soon as it is there; a study that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from supported_map import WIDTHS, mapped, markdown, share
from threadpoolctl import threadpool_limits

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.hmm.choose.boundaries import SupportedMap
from hmmdyn.hmm.choose.clock_or_seed import clock_or_seed
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.results.boundaries import CANNOT_TELL, OWN_TIME, SCHEDULE
from hmmdyn.results.observations import Observations
from hmmdyn.simulate.worlds import SimulatedRuns, World, simulate_world
from hmmdyn.tables.standardise import pooled_observations
from hmmdyn.tables.trajectories import Trajectories

FIRST_SEED = 9_000_000
RUNS = (10, 20, 40)
# The level of the zoom that attractors are guessed from, as in an analysis.
LEVEL = 4
# Whose time it is, by construction; a drift of each run's own course is in nobody's.
WORLDS = (
    ("phases, each run in its own time", World("path", own_time=True), OWN_TIME),
    ("phases by schedule", World("path", own_time=False), SCHEDULE),
    ("fork, in its own time", World("fork", own_time=True), OWN_TIME),
    ("spike, in its own time", World("spike", own_time=True), OWN_TIME),
    ("shared drift", World("shared drift"), SCHEDULE),
    ("warped drift", World("warped drift"), OWN_TIME),
    ("own drift", World("own drift"), ""),
    ("relaxation", World("relaxation"), ""),
    ("deceleration", World("deceleration"), ""),
)
PLANNED = 36 * len(WORLDS)
VERDICTS = (OWN_TIME, SCHEDULE, CANNOT_TELL)
# Paths that are asked about their boundaries alone, which is quicker: numbers from here on.
MORE, SEED_OF_MORE = 100_000, 29_000_000
OF_BOUNDARIES = ("own_time", "schedule", "no_answer")
COLUMNS = [
    "number",
    "world",
    "truth",
    "n_runs",
    "width",
    "noise",
    "autocorrelation",
    "refused",
    "verdict",
    "difference",
    "own_time",
    "schedule",
    "no_answer",
    "n_true",
    "true_again",
    "n_false",
    "false_again",
    "n_aside",
    "aside_again",
    "seconds",
]


def world_of(number: int, first_seed: int = FIRST_SEED) -> tuple[str, World, str]:
    """Every world in turn; the rest is drawn by the simulation's number."""
    name, world, truth = WORLDS[number % len(WORLDS)]
    rng = np.random.default_rng([first_seed, number])
    drawn = {
        "n_runs": int(rng.choice(RUNS)),
        "n_checkpoints": 100,
        "n_metrics": int(rng.choice((6, 14))),
        "noise": float(rng.choice((0.15, 0.3, 0.5))),
        "autocorrelation": float(rng.choice((0.0, 0.9))),
    }
    if world.design in ("path", "fork", "spike"):
        drawn |= {"n_phases": int(rng.choice((3, 4))), "width": float(rng.choice(WIDTHS[:4]))}
    return name, replace(world, **drawn), truth


def simulated(number: int) -> dict:
    """One row: the world, and what is said of it."""
    begin = time.process_time()
    name, world, truth = world_of(number)
    row = {"number": number, "world": name, "truth": truth, "refused": False}
    row |= {n: getattr(world, n) for n in ("n_runs", "width", "noise", "autocorrelation")}
    runs = simulate_world(world, FIRST_SEED + number)
    try:
        observed = pooled_observations(Trajectories(runs.table, runs.metrics, ("accuracy",)))
        found = mapped(runs, "diag")
    except NotEnoughDataError:
        return row | {"refused": True, "seconds": time.process_time() - begin}
    timing = clock_or_seed(observed, found.at(LEVEL).labels)
    row |= {"verdict": timing.verdict, "difference": timing.difference}
    row |= of_boundaries(found)
    row |= again(world, runs, observed, found)
    return row | {"seconds": time.process_time() - begin}


def of_boundaries(found: SupportedMap) -> dict[str, int]:
    """How many boundaries get each verdict."""
    said = found.boundaries["timing"]
    return {
        name: int((said == verdict).sum())
        for name, verdict in zip(OF_BOUNDARIES, VERDICTS, strict=True)
    }


def more_boundaries(numbers: range, path: Path) -> pd.DataFrame:
    """Ask more paths whose time their boundaries keep; saved as they come."""
    done = set(pd.read_csv(path)["number"]) if path.exists() else set()
    for number in numbers:
        name, world, _ = world_of(number, SEED_OF_MORE)
        if number in done or world.design != "path":
            continue
        row = {"number": number, "world": name, "n_runs": world.n_runs, "width": world.width}
        row |= {"noise": world.noise, "autocorrelation": world.autocorrelation}
        try:
            row |= of_boundaries(mapped(simulate_world(world, SEED_OF_MORE + number), "diag"))
        except NotEnoughDataError:
            row |= dict.fromkeys(OF_BOUNDARIES, 0)
        pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)
    return pd.read_csv(path)


def again(
    world: World, runs: SimulatedRuns, observed: Observations, found: SupportedMap
) -> dict[str, int]:
    """How many boundaries and states are found again, true ones and others."""
    answers = found_again(observed, found)
    phase_of = [
        int(np.bincount(runs.phases[found.labels == k]).argmax()) for k in range(found.n_states)
    ]
    truth = set(zip(runs.changes["from_phase"], runs.changes["to_phase"], strict=True))
    counts = dict.fromkeys(("n_true", "true_again", "n_false", "false_again"), 0)
    for row in answers.boundaries.itertuples():
        kind = "true" if (phase_of[row.from_state], phase_of[row.to_state]) in truth else "false"
        counts[f"n_{kind}"] += 1
        counts[f"{kind}_again"] += int(row.found == "yes")
    # Both sides of a fork, or the spike: what fewer than all runs visit.
    aside = {"fork": {1, 2}, "spike": {world.n_phases - 1}}.get(world.design, set())
    of_aside = answers.states[[phase_of[k] in aside for k in answers.states["state"]]]
    return counts | {
        "n_aside": len(of_aside),
        "aside_again": int((of_aside["found"] == "yes").sum()),
    }


def study(numbers: range, path: Path) -> pd.DataFrame:
    """Simulate what the file of rows does not hold yet."""
    done = set(pd.read_csv(path)["number"]) if path.exists() else set()
    for number in numbers:
        if number in done:
            continue
        table = pd.DataFrame([simulated(number)], columns=COLUMNS)
        table.to_csv(path, mode="a", header=not path.exists(), index=False)
        print(number, table["world"].iloc[0], file=sys.stderr, flush=True)
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def timing_table(rows: pd.DataFrame, by: list[str]) -> str:
    lines = []
    for key, part in rows.groupby(by, sort=False):
        truth = part["truth"].iloc[0]
        wrong = {OWN_TIME: SCHEDULE, SCHEDULE: OWN_TIME}.get(truth)
        said = part["verdict"]
        lines.append(
            [
                *map(str, key),
                truth if isinstance(truth, str) else "neither",
                *(share((said == verdict).astype(float)) for verdict in VERDICTS),
                share((said == wrong).astype(float)) if wrong else "–",
            ]
        )
    return markdown([*by, "truth", *VERDICTS, "wrong"], lines)


def boundary_table(rows: pd.DataFrame, by: list[str]) -> str:
    """Verdicts on single boundaries, counted over simulations."""
    lines = []
    for key, part in rows.groupby(by):
        counts = part[list(OF_BOUNDARIES)].sum()
        n = int(counts.sum())
        if n:
            lines.append([*map(str, key), *(f"{c / n:.0%} of {n}" for c in counts)])
    return markdown([*by, *VERDICTS], lines)


def again_table(rows: pd.DataFrame, by: list[str]) -> str:
    lines = []
    for key, part in rows.groupby(by, sort=False):
        cells = []
        for kind in ("true", "false", "aside"):
            n = int(part[f"n_{kind}"].sum())
            cells.append(f"{part[f'{kind}_again'].sum() / n:.0%} of {n}" if n else "–")
        lines.append([*map(str, key), *cells])
    header = [*by, "true boundaries", "false boundaries", "states of some of the runs"]
    return markdown(header, lines)


def report(rows: pd.DataFrame, more: pd.DataFrame, arguments: list[str]) -> str:
    names = ("numpy", "scipy", "numba", "scikit-learn", "pandas", "hmmdyn")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    refused = rows["refused"].astype(bool)
    told = rows[~refused]
    phases = told[told["n_true"] > 0]
    paths = pd.concat([told[told["world"].str.startswith("phases")], more])
    command = " ".join(["python benchmarks/again_and_clock.py", *arguments])
    cut = f" (cut short: {PLANNED} were planned)" if len(rows) < PLANNED else ""
    return f"""# Found again, and whose time: where the answers are known

`{command}` on {datetime.now(UTC):%Y-%m-%d}, \
Python {platform.python_version()}, {versions}. {len(rows)} simulations{cut}, \
{refused.sum()} of them without an answer because every metric told seeds apart. Raw metrics of \
10, 20 or 40 runs of 100 checkpoints, 6 or 14 metrics, white or autocorrelated (0.9) noise of \
0.15, 0.3 or 0.5 of the levels' scatter, three or four phases with changes of 0, 2, 5 or 10 % of \
a run. Both questions are asked as an analysis asks them. On 54 simulations of other seeds the \
clock's means, each of its own step, lost by being few runs' means; since then they are drawn to \
those of the steps around them. After that both rules were frozen, and none of what follows had \
been looked at.

## Whose time is it?

Share of the simulations that get each verdict. In a drift of each run's own course, a relaxation \
and a deceleration at speeds of their own, neither answer is right: there is a common course, and \
runs leave it.

{timing_table(told, ["world"])}

{timing_table(told[told["truth"].isin((OWN_TIME, SCHEDULE))], ["world", "n_runs"])}

### Boundary by boundary

Every supported boundary, asked by itself: the spread of the runs' dates against the change's \
duration and two checkpoints. Of the worlds without phases these are the false ones.

{boundary_table(told, ["world"])}

Of the paths by schedule and in each run's own time, with {len(more)} more of which nothing else \
was asked:

{boundary_table(paths, ["world"])}

By what makes it hard:

{boundary_table(paths, ["world", "width"])}

{boundary_table(paths, ["world", "n_runs"])}

{boundary_table(paths, ["world", "noise", "autocorrelation"])}

The rule was made on 60 simulations of other seeds. There the spread was at most half of duration \
and two checkpoints where a schedule set the time, twice to twenty times as much where it did \
not, so that nothing was tuned: the bound is the sum itself. (Qn, of Rousseeuw and Croux, in \
place of the middle half was tried on made-up dates: its interval is narrower with ten runs, but \
runs of two dates look as if they kept a schedule.)

## Is it found again?

Supported boundaries of which maps of both halves of the runs say *yes*. A true boundary lies \
between the two phases that most of its states' checkpoints have; every other one is false, all of \
those of worlds without phases included. States of some of the runs: both sides of a fork, and the \
spike.

{again_table(told, ["world"])}

{again_table(phases, ["n_runs"])}

{again_table(phases, ["width"])}

CPU: {rows["seconds"].mean():.1f} s per simulation.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=PLANNED)
    parser.add_argument("--rows", type=Path, default=Path("again_and_clock_rows.csv"))
    parser.add_argument("--more", type=int, default=900, help="numbers to look for more paths in")
    parser.add_argument("--more-rows", type=Path, default=Path("again_and_clock_more.csv"))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with threadpool_limits(1):
        rows = study(range(options.simulations), options.rows)
        more = more_boundaries(range(MORE, MORE + options.more), options.more_rows)
        text = report(rows, more, sys.argv[1:])
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
