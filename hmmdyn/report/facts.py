"""What figures and sentences both need to know about the findings, worked out once here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

# A state is a fork when at least this share of the runs that leave it goes another way. Less is
# a stray run; in the paper's modular addition the smaller path holds 4 runs of 40.
FORK_SHARE = 0.1
# What decides on the number of states, by its column in ``Selection.criteria``.
CRITERIA = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "held_out_bic": "BIC on held-out runs"}
# How well a map predicts runs held out from its fit; higher is better.
HELD_OUT_SCORES = {"path": "path score", "held_out": "log-likelihood"}
_N_MOVEMENTS = 3  # features named for a transition
_SHORT = 24  # characters of a name that fit beside a figure


@dataclass(frozen=True)
class Fork:
    """A state after which runs enter different states, counting only states new to the run.

    ``exits`` maps the next new state to the number of runs, most first, and names only those that
    at least ``FORK_SHARE`` of the runs enter. ``n_runs`` counts all runs that went on.
    """

    state: int
    exits: dict[int, int]
    n_runs: int


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Return the rows as named tuples, whose fields pandas' type stubs know too little about."""
    return frame.itertuples(index=False)


def runs_by_convergence(findings: Findings) -> pd.DataFrame:
    """Return one row per run: groups in their order, within a group the fastest run first.

    Columns ``group, run, seed, converged, step, last_step, status``. ``status`` is ``converged``,
    ``censored`` (not converged when it ended; these come last) or ``unknown`` (its outcome was
    never seen). Without an outcome the runs keep their natural order.
    """
    runs = findings.table.groupby(RUN_KEY, sort=False).agg(
        seed=("seed", "first"), last_step=("step", "last")
    )
    runs = runs.reset_index()
    runs["order"] = np.arange(len(runs))
    runs["group_order"] = runs.groupby("group", sort=False).ngroup()
    if findings.convergence is None:
        return runs.assign(converged=False, step=np.nan, status="unknown")[_RUN_COLUMNS]
    known = findings.convergence.table[[*RUN_KEY, "converged", "step"]]
    runs = runs.merge(known, on=RUN_KEY, how="left")
    runs["status"] = runs["converged"].map({True: "converged", False: "censored"}).fillna("unknown")
    runs["converged"] = runs["status"] == "converged"
    runs["rank"] = runs["status"].map({"converged": 0, "censored": 1, "unknown": 2})
    runs = runs.sort_values(["group_order", "rank", "step", "order"], ignore_index=True)
    return runs[_RUN_COLUMNS]


_RUN_COLUMNS = [*RUN_KEY, "seed", "converged", "step", "last_step", "status"]


def run_names(findings: Findings) -> dict[tuple[str, str], str]:
    """Return a short name for every run, by (group, run), without its group.

    It is the run's own name where that is short, else ``seed 3`` where this tells the runs of a
    group apart, else the name without its middle.
    """
    runs = findings.table[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY)
    unique = runs["seed"].notna() & ~runs.duplicated(["group", "seed"], keep=False)
    return {
        (group, run): f"seed {seed}" if tells and len(run) > _SHORT else words.name(run, _SHORT)
        for group, run, seed, tells in zip(
            runs["group"], runs["run"], runs["seed"], unique, strict=True
        )
    }


def full_run_names(findings: Findings) -> dict[tuple[str, str], str]:
    """Return the name of every run with its group before it where there are several groups."""
    short = run_names(findings)
    if findings.table["group"].nunique() == 1:
        return short
    return {key: f"{words.name(key[0], _SHORT)} / {name}" for key, name in short.items()}


def state_name(findings: Findings, state: int) -> str:
    """Return ``state 2`` or, where the outcomes name its phase, ``state 2 (memorisation)``."""
    phase = str(findings.state_summary["phase"].iloc[state])
    return f"state {state} ({words.name(phase)})" if phase else f"state {state}"


def stays(findings: Findings) -> pd.DataFrame:
    """Return the unbroken stays of runs in states, in order of run and time.

    Columns ``group, run, state, first_step, last_step, start, end, n_checkpoints, probability``
    (mean). ``start`` and ``end`` lie halfway to the neighbouring checkpoints, because that is all
    that checkpoints tell of when a state changed; the ends of a run stay as they are.
    """
    states = findings.states
    by_run = states.groupby(RUN_KEY, sort=False)["step"]
    step = states["step"].astype(float)
    before = ((by_run.shift(1) + step) / 2).fillna(step)
    after = ((by_run.shift(-1) + step) / 2).fillna(step)
    key = states[[*RUN_KEY, "state"]]
    stay = (key != key.shift()).any(axis=1).cumsum()
    return (
        states.assign(before=before, after=after)
        .groupby(stay.to_numpy())
        .agg(
            group=("group", "first"),
            run=("run", "first"),
            state=("state", "first"),
            first_step=("step", "first"),
            last_step=("step", "last"),
            start=("before", "first"),
            end=("after", "last"),
            n_checkpoints=("step", "size"),
            probability=("probability", "mean"),
        )
        .reset_index(drop=True)
    )


def paths(findings: Findings) -> dict[tuple[int, ...], int]:
    """Return the ways runs walk through the map and how many take each, most common first.

    A path is the states of a run in the order it first enters them: falling back to a state
    already seen does not make another path.
    """
    firsts = findings.states.drop_duplicates([*RUN_KEY, "state"])
    counts = Counter(
        tuple(int(k) for k in states) for _, states in firsts.groupby(RUN_KEY, sort=False)["state"]
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def forks(findings: Findings) -> tuple[Fork, ...]:
    """Return the forks of the map, in order of time."""
    result = []
    choices = findings.fork_choices
    for state in range(findings.parameters.n_states):
        taken = choices[choices["state"] == state]
        kept = {k: n for k, n in _exits(taken).items() if n >= FORK_SHARE * len(taken)}
        if len(kept) > 1:
            result.append(Fork(state, kept, len(taken)))
    return tuple(result)


def dead_ends(findings: Findings) -> frozenset[int]:
    """Return the states that runs enter and never leave, though it is not where training leads.

    Where most runs end is no dead end, nor is a state in which some run has converged.
    """
    last = findings.states.drop_duplicates(RUN_KEY, keep="last")
    goals = set(last["state"].mode())
    runs = runs_by_convergence(findings)
    goals |= set(last.merge(runs.loc[runs["converged"], RUN_KEY], on=RUN_KEY)["state"])
    never_left = set(last["state"]) - set(findings.transitions["from_state"])
    return frozenset(int(state) for state in never_left - goals)


def exits_of_group(findings: Findings, state: int, group: str) -> dict[int, int]:
    """Return how many runs of a group go from a state to which state new to them, most first."""
    choices = findings.fork_choices
    return _exits(choices[(choices["state"] == state) & (choices["group"] == group)])


def _exits(choices: pd.DataFrame) -> dict[int, int]:
    counts = Counter(choices["to_state"].tolist())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def checkpoints_before_convergence(findings: Findings) -> pd.DataFrame:
    """Return how many checkpoints each run spent in each state before it converged, shape (R, K).

    Index ``group, run``, columns 0 … K-1. A censored run counts whole. Runs whose convergence is
    unknown are not in it.

    Unlike occupancy of the whole run, this does not depend on how long a run went on afterwards.
    """
    runs = runs_by_convergence(findings).query("status != 'unknown'")
    joined = findings.states[[*RUN_KEY, "step", "state"]].merge(
        runs[[*RUN_KEY, "converged", "step"]].rename(columns={"step": "end"}), on=RUN_KEY
    )
    before = joined[~joined["converged"] | (joined["step"] < joined["end"])]
    counts = pd.crosstab([before["group"], before["run"]], before["state"])
    index = pd.MultiIndex.from_frame(runs[RUN_KEY])
    n_states = findings.parameters.n_states
    return counts.reindex(index=index, columns=range(n_states), fill_value=0)


def top_movements(findings: Findings, j: int, k: int) -> list[tuple[str, float]]:
    """Return the most influential features of the edge j→k with their movements (sd)."""
    table = findings.influences
    edge: pd.DataFrame = table[(table["from_state"] == j) & (table["to_state"] == k)]
    edge = edge.sort_values("rank").head(_N_MOVEMENTS)
    return list(zip(edge["feature"], edge["movement"].astype(float), strict=True))


def movement(deviations: float) -> str:
    """Return ``↑ 1.9 sd``: up or down, in standard deviations."""
    return f"{'↑' if deviations >= 0 else '↓'} {abs(deviations):.1f} sd"
