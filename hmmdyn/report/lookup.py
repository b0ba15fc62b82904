"""What figures and sentences look up in the findings: names of runs and states, rows, forks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.results.boundaries import Evidence
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import CONFIRMED

# What decides on the number of states, by its column in ``Selection.criteria``.
CRITERIA = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "held_out_bic": "BIC on held-out runs"}
# How well a map predicts runs held out from its fit; higher is better.
HELD_OUT_SCORES = {"path": "path score", "held_out": "log-likelihood"}
_N_MOVEMENTS = 3  # features named for a transition
_DRAWN = 200  # runs that can be told apart, or looked through, in a figure
_GROUPS_DRAWN = 12  # one below the other; of more, a browser draws for seconds and readers scroll
_SHORT = 24  # characters of a name that fit beside a figure


@dataclass(frozen=True)
class Fork:
    """The rows of ``Findings.ways.forks`` that are about one state.

    ``exits`` maps the next new state to the number of runs, most first. ``n_runs`` counts all runs
    that went on.
    """

    state: int
    exits: dict[int, int]
    n_runs: int


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Return the rows as named tuples, whose fields pandas' type stubs know too little about."""
    return frame.itertuples(index=False)


def title(findings: OutcomeFindings) -> str:
    """Return what the report is called."""
    what = "Training map" if isinstance(findings, Findings) else "Outcomes"
    return f"{what} of {words.name(findings.source, 120)}"


def told_boundaries(evidence: Evidence) -> pd.DataFrame:
    """Return the boundaries that are told in brief: supported, and not missed by other maps."""
    return evidence.supported[evidence.supported["found"] != "no"]


def founded_states(findings: Findings) -> frozenset[int]:
    """Return the states of which sentences may speak in brief: all where no evidence was asked for.

    Else those with a boundary that is told (:func:`told_boundaries`): another cut of a drift, or a
    map of other runs, would have other states.
    """
    evidence = findings.selection.evidence
    if evidence is None:
        return frozenset(range(findings.parameters.n_states))
    told = told_boundaries(evidence)
    return frozenset(int(k) for end in ("from_state", "to_state") for k in told[end])


def if_founded(findings: Findings, states: Iterable[int], brief: str) -> str:
    """Return what is said of states in brief, if all of them have a boundary that is told."""
    return brief if founded_states(findings).issuperset(map(int, states)) else ""


def confirmed_detours(findings: Findings) -> list[str]:
    """Name the confirmed detours: of all runs or, where there are none, of single groups."""
    detours = findings.detours
    of_all = [
        state_name(findings, k) for k in detours.loc[detours["verdict"] == CONFIRMED, "state"]
    ]
    compared = findings.group_comparison
    if of_all or compared is None:
        return of_all
    of_groups = compared.detours[compared.detours["verdict"] == CONFIRMED]
    return [
        f"{state_name(findings, row.state)} in {words.name(row.group, 30)}"
        for row in rows(of_groups)
    ]


def dwell(state: Any) -> str:
    """Return the median steps per visit, or their lower bound, of a row of the state summary."""
    known = not pd.isna(state.dwell_steps)
    return words.count(state.dwell_steps) if known else f"≥ {words.count(state.dwell_at_least)}"


def drawn_groups(findings: OutcomeFindings) -> list[str]:
    """Return the groups that have a place of their own in a figure: all, or the first twelve."""
    return [str(group) for group in findings.runs_of_table["group"].unique()[:_GROUPS_DRAWN]]


def runs_of_drawn_groups(findings: OutcomeFindings) -> pd.DataFrame:
    """Return the rows of ``Findings.runs`` whose groups have a place of their own in a figure."""
    runs = findings.runs
    return runs[runs["group"].isin(drawn_groups(findings))].reset_index(drop=True)


def drawn_runs(findings: OutcomeFindings) -> pd.DataFrame:
    """Return the rows of ``Findings.runs`` that figures draw one by one: all, or 200 of more.

    They are an even sample of the runs from the fastest to the slowest of each group that is drawn,
    with these two and with the outliers.
    """
    runs = runs_of_drawn_groups(findings)
    if len(runs) <= _DRAWN:
        return runs
    drawn = np.zeros(len(runs), dtype=bool)
    drawn[np.linspace(0, len(runs) - 1, _DRAWN).astype(int)] = True
    drawn |= ~runs.duplicated("group") | ~runs.duplicated("group", keep="last")
    if isinstance(findings, Findings):
        outliers = findings.outliers.loc[findings.outliers["outlier"], RUN_KEY]
        keys = pd.MultiIndex.from_frame(runs[RUN_KEY])
        drawn |= keys.isin(pd.MultiIndex.from_frame(outliers))
    return runs[drawn].reset_index(drop=True)


def run_names(findings: OutcomeFindings) -> dict[tuple[str, str], str]:
    """Return a short name for every run, by (group, run), without its group.

    It is the run's own name where that is short, else ``seed 3`` where this tells the runs of a
    group apart, else the name without its middle.
    """
    runs = findings.runs_of_table
    unique = runs["seed"].notna() & ~runs.duplicated(["group", "seed"], keep=False)
    return {
        (group, run): f"seed {seed}" if tells and len(run) > _SHORT else words.name(run, _SHORT)
        for group, run, seed, tells in zip(
            runs["group"], runs["run"], runs["seed"], unique, strict=True
        )
    }


def full_run_names(findings: OutcomeFindings) -> dict[tuple[str, str], str]:
    """Return the name of every run with its group before it where there are several groups."""
    short = run_names(findings)
    if findings.table["group"].nunique() == 1:
        return short
    return {key: f"{words.name(key[0], _SHORT)} / {name}" for key, name in short.items()}


def state_name(findings: Findings, state: int) -> str:
    """Return ``state 2`` or, where the outcomes name its phase, ``state 2 (memorisation)``."""
    phase = str(findings.state_summary["phase"].iloc[state])
    return f"state {state} ({words.name(phase)})" if phase else f"state {state}"


def forks(findings: Findings) -> tuple[Fork, ...]:
    """Return the forks of the map, in order of time."""
    return tuple(
        Fork(
            int(ways["state"].iloc[0]),
            dict(zip(ways["to_state"].tolist(), ways["n_runs"].tolist(), strict=True)),
            int(ways["n_total"].iloc[0]),
        )
        for _, ways in findings.ways.forks.groupby("state")
    )


def extreme_runs(findings: Findings, states: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``Findings.runs`` that a group's rows of the table of extremes set apart.

    The fastest first, then the slowest.
    """
    own = findings.runs[findings.runs["group"] == states["group"].iloc[0]].set_index("run")
    pair = [states["fastest_run"].iloc[0], states["slowest_run"].iloc[0]]
    in_order: pd.DataFrame = own.loc[pair].reset_index()
    return in_order[list(findings.runs)]


def own_levels(findings: Findings) -> dict[tuple[int, str], str]:
    """Return each state's level of each feature in its own unit; nothing where runs differ in it.

    ``12.3``, ``1.8 × the start`` or ``+0.2 since the start``.
    """
    return {
        (row.state, row.feature): _own_level(row.own, row.own_is)
        for row in rows(findings.state_metrics.dropna(subset="own"))
    }


def _own_level(own: float, own_is: str) -> str:
    if own_is == "times the start":
        return f"{words.number(own, 3)} × the start"
    if own_is == "since the start":
        return f"{'+' if own >= 0 else '−'}{words.number(abs(own), 3)} since the start"
    return words.number(own, 3)


def top_movements(findings: Findings, j: int, k: int) -> list[tuple[str, float]]:
    """Return the most influential features of the edge j→k with their movements (sd)."""
    table = findings.influences
    edge: pd.DataFrame = table[(table["from_state"] == j) & (table["to_state"] == k)]
    edge = edge.sort_values("rank").head(_N_MOVEMENTS)
    return list(zip(edge["feature"], edge["movement"].astype(float), strict=True))


def movement(deviations: float) -> str:
    """Return ``↑ 1.9 sd``: up or down, in standard deviations."""
    return f"{'↑' if deviations >= 0 else '↓'} {abs(deviations):.1f} sd"
