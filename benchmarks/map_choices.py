"""Three choices that a supported map leaves open: covariance, order of time, and the start.

    python benchmarks/map_choices.py [--worlds 48] [--rows map_choices] [-o map_choices.md]

*Covariance*: on the metric tables in ``data/``, whether maps with full covariance give seeds states
of their own, and which kind is found again by maps of other runs. *Order of time*: on simulated
worlds and on these tables, what a left-to-right chain does to forks, returns and paths if it is put
on the supported states. *The start*: worlds of two widths, on one scale and each run compared with
its own start. Rows are saved as they come, and a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.hmm.choose.passages import interpolated
from hmmdyn.hmm.fit.em import EM, Fit, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Observations
from hmmdyn.simulate.worlds import SimulatedRuns, World, simulate_world
from hmmdyn.tables.metric_table import read_table
from hmmdyn.tables.standardise import standardised
from hmmdyn.tables.trajectories import Trajectories

DATA = Path(__file__).parents[1] / "data"
TABLES = (
    "parity",
    "digits-destabilised",
    "induction",
    "digits",
    "digits-deep",
    "modular-addition-stabilised",
    "modular-addition",
)
COVARIANCE_TYPES = ("diag", "full")
FINEST = 8
LEFT_RIGHT = ModelOptions(left_right=True)
PATHS = {"free": PLAIN_MODEL, "ordered": LEFT_RIGHT}
ITERATIONS = 5
# Other simulations than those that the rule was chosen on, or judged by.
FIRST_SEED = 9_000_000
DESIGNS = ("path", "fork", "detour", "relaxing", "return", "spike")


def fitted(
    data: Observations, covariance_type: str, options: ModelOptions = PLAIN_MODEL
) -> Fit | None:
    winners = sweep(
        data,
        [FINEST - 1, FINEST],
        options=options,
        covariance_type=covariance_type,
        n_restarts=2,
        random_state=0,
    ).winners
    return winners.get(FINEST)


def observed_table(name: str) -> Observations:
    return standardised(read_table(DATA / name / "metrics.parquet"))


# --- covariance ---


def covariance_row(name: str, covariance_type: str) -> dict[str, object]:
    """How many states few seeds have, and what maps of other runs say, on one of our tables."""
    data = observed_table(name)
    finest = fitted(data, covariance_type)
    if finest is None or finest.states is None:
        raise AssertionError("no valid fit")
    found = supported_map(data, finest.states, covariance_type=covariance_type)
    again = found_again(data, found, covariance_type=covariance_type)
    n_free = n_parameters(FINEST, len(data.features), covariance_type, PLAIN_MODEL)
    few, single = of_few_runs(finest.states, data)
    return {
        "finest: states of few runs": few,
        "of one run": single,
        "BIC": n_free * np.log(len(data.values)) - 2 * finest.log_likelihood,
        "agreement of halves": agreement_of_halves(data, finest.states, covariance_type),
        "supported states": found.n_states,
        "boundaries": len(again.boundaries),
        "of them found again": int((again.boundaries["found"] == "yes").sum()),
        "weakest state": float(again.states["strength"].min()),
    }


def of_few_runs(states: np.ndarray, data: Observations) -> tuple[int, int]:
    """States that fewer than a tenth of the runs (or three) visit, and those that one run does."""
    runs = data.run_of_row
    visitors = np.array([len(set(runs[states == k])) for k in np.unique(states)])
    few = visitors < max(3, np.ceil(0.1 * len(data.lengths)))
    return int(few.sum()), int((visitors == 1).sum())


def agreement_of_halves(data: Observations, states: np.ndarray, covariance_type: str) -> float:
    """Adjusted Rand index of the map with maps of half of the runs, on the other half; mean."""
    rng = np.random.default_rng(0)
    indices = []
    for _ in range(2):
        first = np.isin(
            np.arange(len(data.lengths)),
            rng.permutation(len(data.lengths))[: len(data.lengths) // 2],
        )
        for half in (first, ~first):
            seen = replace(
                data,
                values=data.of(half).values,
                lengths=data.lengths[half],
                steps=data.of(half).steps,
                runs=data.runs[half].reset_index(drop=True),
            )
            other = fitted(seen, covariance_type)
            if other is not None and other.parameters is not None:
                mine = states[np.repeat(~half, data.lengths)]
                indices.append(adjusted_rand_score(mine, decode(other.parameters, data.of(~half))))
    return float(np.mean(indices))


# --- order of time ---


def mapped(data: Observations, options: ModelOptions, level: int | None = None) -> np.ndarray:
    """The supported states (or another level), as a model of these options decodes them."""
    finest = fitted(data, "diag", options)
    if finest is None or finest.states is None:
        raise AssertionError("no valid fit")
    found = supported_map(data, finest.states, options=options)
    labels = found.labels if level is None else found.at(level).labels
    n_states = int(labels.max()) + 1
    if n_states == 1:
        return labels
    known = replace(data, values=interpolated(data.values, data.lengths))
    model = Model(from_labels(known, labels, n_states, "diag", options=options))
    em = EM(data, "diag", options=options)
    em.advance([model], ITERATIONS)
    return em.decode(model)


def walks(states: np.ndarray, lengths: np.ndarray) -> list[tuple[int, ...]]:
    """The states that each run goes through."""
    return [
        tuple(int(k) for k in run[np.r_[True, run[1:] != run[:-1]]])
        for run in np.split(states, np.cumsum(lengths)[:-1])
    ]


def goes_back(walk: tuple[int, ...]) -> bool:
    return len(set(walk)) < len(walk)


def told(states: np.ndarray, lengths: np.ndarray) -> dict[str, object]:
    """How many runs come back to a state, and how many ways there are."""
    paths = walks(states, lengths)
    commonest = max(sorted(set(paths)), key=paths.count)
    return {
        "runs that come back": sum(map(goes_back, paths)),
        "ways": len(set(paths)),
        "on the commonest": paths.count(commonest),
    }


def order_on_table(name: str, what: str) -> dict[str, object]:
    data = observed_table(name)
    row: dict[str, object] = {}
    for path, options in PATHS.items():
        states = mapped(data, options, None if what == "supported" else 4)
        row[f"states, {path}"] = len(np.unique(states))
        for key, value in told(states, data.lengths).items():
            row[f"{key}, {path}"] = value
    return row


def world_of(number: int) -> World:
    rng = np.random.default_rng([FIRST_SEED, number])
    return World(
        DESIGNS[number % len(DESIGNS)],
        int(rng.choice((3, 4, 5))),
        float(rng.choice((0.0, 0.02, 0.05))),
        n_runs=int(rng.choice((10, 20, 40))),
        n_checkpoints=100,
        n_metrics=int(rng.choice((6, 14))),
        noise=float(rng.choice((0.15, 0.3))),
        autocorrelation=float(rng.choice((0.0, 0.9))),
        seed_metrics=0.0,
    )


def order_in_world(number: int) -> dict[str, object]:
    """The supported map of a world, its paths free and in order of time, beside the truth."""
    world = world_of(number)
    runs = simulate_world(world, FIRST_SEED + number)
    row: dict[str, object] = {"design": world.design}
    data = standardised(trajectories(runs))
    stages = stages_of(runs.phases, data.lengths)
    back = np.array([goes_back(path) for path in runs.paths])
    row |= {
        "runs": len(back),
        "truly back": int(back.sum()),
        "phases": len(np.unique(runs.phases)),
        "stages": len(np.unique(stages)),
    }
    for name, options in PATHS.items():
        states = mapped(data, options)
        seen = np.array([goes_back(walk) for walk in walks(states, data.lengths)])
        row |= {
            f"states, {name}": len(np.unique(states)),
            f"false returns, {name}": int((seen & ~back).sum()),
            f"true returns, {name}": int((seen & back).sum()),
            f"phases agree, {name}": adjusted_rand_score(runs.phases, states),
            f"stages agree, {name}": adjusted_rand_score(stages, states),
        }
        if world.design == "fork":
            row[f"both sides, {name}"] = float(both_sides(runs, states))
    return row


def stages_of(phases: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Phases told apart by how often their run had been in them before."""
    stages = []
    for run in np.split(phases, np.cumsum(lengths)[:-1]):
        entered = np.r_[True, run[1:] != run[:-1]]
        for k in np.unique(run):
            times = np.cumsum(entered & (run == k))
            run = np.where(run == k, -1 - (1000 * times + k), run)
        stages.append(-run)
    return np.concatenate(stages)


def both_sides(runs: SimulatedRuns, states: np.ndarray) -> bool:
    """Whether each side of a fork has a state of its own."""
    of_state = {int(np.bincount(runs.phases[states == k]).argmax()) for k in np.unique(states)}
    return {1, 2} <= of_state


def trajectories(runs: SimulatedRuns) -> Trajectories:
    return Trajectories(runs.table, runs.metrics, ("accuracy",))


# --- the start ---


def start_in_world(number: int, factor: float) -> dict[str, object]:
    """Two widths that walk the same phases, the wider at a multiple of every norm."""
    world = World("path", 3 + number % 2, width=0.02, n_runs=16, noise=0.15, seed_metrics=0.0)
    runs = simulate_world(world, FIRST_SEED + 500_000 + number)
    levels = runs.table[list(runs.metrics)]
    levels = np.exp(0.5 * (levels - levels.mean()) / levels.std())
    broad = np.arange(len(levels)) < len(levels) // 2
    levels = levels.mul(np.where(broad, factor, 1.0), axis=0)
    table = runs.table.assign(group=np.where(broad, "broad", "narrow"))
    table[list(runs.metrics)] = levels
    row: dict[str, object] = {"truth": world.n_phases}
    for kind in ("pooled", "log-start"):
        try:
            data = standardised(Trajectories(table, runs.metrics, ("accuracy",)), kind)
        except NotEnoughDataError:
            continue
        finest = fitted(data, "diag")
        if finest is None or finest.states is None:
            continue
        labels = supported_map(data, finest.states).labels
        shared = set(labels[broad]) & set(labels[~broad])
        row |= {
            f"states, {kind}": int(labels.max()) + 1,
            f"of both groups, {kind}": len(shared),
            f"agreement, {kind}": adjusted_rand_score(runs.phases, labels),
        }
    return row


# --- the study ---


def kept(path: Path, keys: list[str], jobs: Iterator[tuple[tuple, Callable[[], dict]]]):
    """Do what the file of rows does not hold yet, a row after the other, and return all rows."""
    rows = pd.read_json(path, lines=True) if path.exists() else pd.DataFrame(columns=keys)
    done = set(rows[keys].itertuples(index=False, name=None))
    for key, job in jobs:
        if key in done:
            continue
        row = pd.DataFrame([dict(zip(keys, key, strict=True)) | job()])
        row.to_json(path, orient="records", lines=True, mode="a")
        print(path.name, *key, file=sys.stderr, flush=True)
    return pd.read_json(path, lines=True)


def study(folder: Path, n_worlds: int, parts: list[str]) -> dict[str, pd.DataFrame]:
    """Do what is asked for, and return the rows of each part that has any."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {
        "start": ["number", "factor"],
        "order": ["number"],
        "tables": ["table", "what"],
        "covariance": ["table", "covariance"],
    }
    jobs: dict[str, Iterator[tuple[tuple, Callable[[], dict]]]] = {
        "start": (
            ((n, factor), partial(start_in_world, n, factor))
            for n in range(n_worlds // 4)
            for factor in (1.0, 4.0)
        ),
        "order": (((n,), partial(order_in_world, n)) for n in range(n_worlds)),
        "tables": (
            ((name, what), partial(order_on_table, name, what))
            for what in ("supported", "level 4")
            for name in TABLES
        ),
        "covariance": (
            ((name, kind), partial(covariance_row, name, kind))
            for name in TABLES
            for kind in COVARIANCE_TYPES
        ),
    }
    found = {}
    for part, own in keys.items():
        path = folder / f"{part}.jsonl"
        if part in parts or path.exists():
            found[part] = kept(path, own, jobs[part] if part in parts else iter(()))
    return found


# --- the page ---


def markdown(header: list[str], rows: list[list[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def start_told(rows: pd.DataFrame) -> str:
    lines = []
    for factor, own in rows.groupby("factor"):
        for kind in ("pooled", "log-start"):
            states = own[f"states, {kind}"]
            known = own[states.notna()]
            lines.append(
                [
                    "alike" if factor == 1 else f"{factor:g} times",
                    kind,
                    f"{(states == own['truth']).sum()} of {len(known)}",
                    f"{(own[f'of both groups, {kind}'] == states).sum()} of {len(known)}",
                    f"{own[f'agreement, {kind}'].mean():.2f}",
                ]
            )
    return markdown(
        ["norms of one group", "standardise", "K exact", "groups share all states", "agreement"],
        lines,
    )


def order_told(rows: pd.DataFrame) -> str:
    lines = []
    for design, own in rows.groupby("design"):
        n, back = int(own["runs"].sum()), int(own["truly back"].sum())
        for name in PATHS:
            false, true = (int(own[f"{which} returns, {name}"].sum()) for which in WHICH)
            exact = [(own[f"states, {name}"] == own[what]).sum() for what in ("phases", "stages")]
            lines.append(
                [
                    f"{design} ({len(own)})",
                    name,
                    *exact,
                    f"{own[f'phases agree, {name}'].mean():.2f}",
                    f"{own[f'stages agree, {name}'].mean():.2f}",
                    f"{false} of {n - back}",
                    f"{true} of {back}" if back else "–",
                ]
            )
    header = ["design (worlds)", "paths", "K = phases", "K = stages", "phases agree"]
    return markdown([*header, "stages agree", "false returns", "true returns seen"], lines)


def tables_told(rows: pd.DataFrame) -> str:
    names = ("states", "runs that come back", "ways", "on the commonest")
    return markdown(
        ["table", "level", *(f"{name}: free / ordered" for name in names)],
        [
            [
                row["table"],
                row["what"],
                *(f"{row[f'{name}, free']} / {row[f'{name}, ordered']}" for name in names),
            ]
            for row in rows.to_dict("records")
        ],
    )


def covariance_told(rows: pd.DataFrame) -> str:
    return markdown(
        [
            "table",
            "covariance",
            "BIC of 8 states",
            "of them of few runs",
            "halves agree",
            "supported states",
            "boundaries found again",
        ],
        [
            [
                row["table"],
                row["covariance"],
                f"{row['BIC']:,.0f}",
                row["finest: states of few runs"],
                f"{row['agreement of halves']:.2f}",
                row["supported states"],
                f"{row['of them found again']} of {row['boundaries']}",
            ]
            for row in rows.to_dict("records")
        ],
    )


def page(found: dict[str, pd.DataFrame]) -> str:
    packages = ("numpy", "scipy", "numba", "scikit-learn", "pandas", "hmmdyn")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    parts = [
        "# Three choices of the supported map\n",
        f"`python benchmarks/map_choices.py` on {datetime.now(UTC).date()}, Python "
        f"{platform.python_version()}, {versions}.\n",
    ]
    for part, rows in found.items():
        title, text = TEXTS[part]
        parts += [f"## {title}\n", f"{text}\n", TOLD[part](rows) + "\n"]
    return "\n".join(parts)


WHICH = ("false", "true")
TOLD = {
    "start": start_told,
    "order": order_told,
    "tables": tables_told,
    "covariance": covariance_told,
}
TEXTS = {
    "start": (
        "Each run compared with its own start",
        "Twelve worlds of one path of three or four phases, 16 runs in two groups, six metrics "
        "that are positive throughout; one group's norms are as the other's, or four times "
        "that. On one scale states tell the groups apart then, in every world; compared with "
        "their own start, both groups walk the same states, whatever the factor. It has a price "
        "where groups are alike: the noise of a run's first checkpoint becomes an offset of the "
        "whole run, and the number of states is right less often. So `pooled` stays the "
        "default, and a notice advises `log-start` where groups begin far apart.",
    ),
    "order": (
        "In order of time, where the truth is known",
        "Worlds of 10 to 40 runs and three to five phases, changes of up to 5 % of a run; the "
        "study was cut short after 28 worlds. *Ordered*: `left_right`, from the finest map on. "
        "*Stages*: phases, told apart by how often a run had been in them before. *Agree*: "
        "adjusted Rand index. A start that relaxes may have a state of its own. Where phases "
        "return, the states in order are the stages (their number in three of four); on paths, "
        "forks and detours nothing is lost, and a state too many is gone in three worlds. Where "
        "runs spike, the spike, which is a way back, is not seen. So it is offered and off, and "
        "a notice names runs that come back. On our runs it changes nothing where a boundary is "
        "supported: 39 of 40 parity runs and 18 of 18 of modular addition walk a line with and "
        "without it. These worlds were looked at while it was built.",
    ),
    "tables": (
        "Order of time as a constraint, on our runs",
        "The supported level, and the one of four states. On supported maps of parity and "
        "modular addition no run comes back, constrained or not.",
    ),
    "covariance": (
        "Full covariance or diagonal",
        "*Of few runs*: states of the finest map that fewer than a tenth of the runs (or three) "
        "visit. *Halves agree*: adjusted Rand index of the map of 8 states with maps of half of "
        "the runs, on the other half; mean over two splits. *Found again*: of the supported "
        "boundaries, those that maps of halves have, too. The study was cut short: tables that "
        "are missing were not looked at. BIC prefers full covariance by far. It is not what "
        "replicates: see the columns beside it, and the [simulations](supported_map.md), where "
        "`full` finds the number of phases less often. The default, `diag`, stays.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=48)
    parser.add_argument("--rows", type=Path, default=Path("map_choices"))
    parser.add_argument("--parts", nargs="*", default=["start", "order", "tables", "covariance"])
    parser.add_argument("-o", "--output", type=Path, default=Path("map_choices.md"))
    given = parser.parse_args()
    with threadpool_limits(1):
        given.output.write_text(page(study(given.rows, given.worlds, given.parts)), "utf-8")


if __name__ == "__main__":
    main()
