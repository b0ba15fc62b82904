"""When states change, how exactly that is known, and how long states last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import Fork, dwell, founded_states, full_run_names, rows, state_name
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings

_TOPIC = "State transitions"
_EDGES_SAID = 5
_EDGES_IN_BRIEF = 2
_INTERVAL = (
    "A change is known to so many steps: the median width, over runs, of the 90 % interval in "
    "which it lies if the map and the changes before and after it are right. The interval allows "
    "for successive checkpoints being alike, and is never less than the gap between two. The table "
    "of change points has that of every change."
)
_DWELL = (
    "Steps per visit: half of the visits last longer (the median of Kaplan and Meier, for which a "
    "visit that the end of a run cuts off is known to last at least so long)."
)


def say(findings: Findings) -> Iterator[Statement]:
    """Say when states change, which rankings rest on few runs, and how long states last."""
    if findings.parameters.n_states == 1:
        return
    if findings.change_points.empty:
        yield Statement(_TOPIC, "No run changes its state.")
        return
    common = findings.transitions.sort_values("n_runs", ascending=False, kind="stable")
    said = common.head(_EDGES_SAID).sort_values(["from_state", "to_state"])
    ends = common[["from_state", "to_state"]].isin(founded_states(findings)).all(axis=1)
    yield Statement(
        _TOPIC,
        " ".join(_when(findings, edge) for edge in rows(said)),
        _INTERVAL,
        brief=_brief(findings, common[ends]),
    )
    rarer = common.iloc[_EDGES_SAID:]
    if len(rarer):
        yield Statement(
            _TOPIC,
            f"The table has {words.plural(len(rarer), 'further transition')}, taken by at most "
            f"{words.plural(int(rarer['n_runs'].max()), 'run')}.",
        )
    doubtful = [text for edge in rows(said) for text in _unlike_its_runs(findings, edge)]
    if doubtful:
        yield Statement(
            _TOPIC,
            "What moves in a transition on average is not what moves in most runs: "
            f"{'; '.join(doubtful)}.",
        )
    yield Statement(_TOPIC, _dwell(findings), _DWELL)


def _brief(findings: Findings, common: pd.DataFrame) -> str:
    """Say the most common transitions in brief, and how many more there are."""
    said = [_when(findings, edge) for edge in rows(common.head(_EDGES_IN_BRIEF))]
    more = len(common) - len(said)
    return " ".join([*said, f"{more} more in the report."] if said and more else said)


def by_name(findings: Findings, fork: Fork) -> str:
    """Name the runs that do not take a fork's most common way, as a sentence to go on with."""
    names = full_run_names(findings)
    choices = findings.fork_choices[findings.fork_choices["state"] == fork.state]
    ways = [
        f"to state {k}: "
        + words.listing(
            names[run.group, run.run] for run in rows(choices[choices["to_state"] == k])
        )
        for k in list(fork.exits)[1:]
    ]
    return f" {words.capital('; '.join(ways))}."


def _when(findings: Findings, edge: Any) -> str:
    """Say when runs first take a transition, and how exactly that is known within a run."""
    times = findings.transition_times
    here = (times["from_state"] == edge.from_state) & (times["to_state"] == edge.to_state)
    when = next(rows(times[here]))
    unit = findings.step_unit
    j, k = (state_name(findings, state) for state in (edge.from_state, edge.to_state))
    what = f"{words.capital(j)} → {k}: {words.of_runs(edge.n_runs, edge.n_total)}"
    if when.n_runs == 1:
        low, high = words.count(when.step_low), words.count(when.step_high)
        return f"{what}, between {unit} {low} and {high}."
    first, last = words.count(when.first_step), words.count(when.last_step)
    at = first if first == last else f"{first} to {last} (median {words.count(when.date)})"
    if math.isfinite(when.date_low):
        date, low, high = (
            words.count(words.rounded(d)) for d in (when.date, when.date_low, when.date_high)
        )
        at = f"{date} ({low} to {high}; the first run {first}, the last {last})"
    width = words.in_steps(words.count(when.width), unit)
    return f"{what}, at {unit} {at}, each known to about {width}."


def _unlike_its_runs(findings: Findings, edge: Any) -> Iterator[str]:
    """Say where the leading metric of a transition is among the top three of few of its runs."""
    table = findings.influences
    leading = table[
        (table["from_state"] == edge.from_state)
        & (table["to_state"] == edge.to_state)
        & (table["rank"] == 1)
    ]
    for lead in rows(leading):
        if 2 * lead.n_top <= lead.n_runs:
            yield (
                f"{words.name(lead.feature, 30)} leads at {edge.from_state} → {edge.to_state}, but "
                f"is among the first three in {lead.n_top} of {words.plural(lead.n_runs, 'run')}"
            )


def _dwell(findings: Findings) -> str:
    summary = findings.state_summary
    visited = summary[summary["n_checkpoints"] > 0]
    is_left = visited["state"].isin(findings.transitions["from_state"])
    lasting = words.listing(
        (
            f"{dwell(state).replace('≥', 'at least')} {findings.step_unit}s in state {state.state}"
            for state in rows(visited[is_left])
        ),
        at_most=12,
    )
    never = [f"state {k}" for k in visited.loc[~is_left, "state"]]
    kept = f" Never left: {words.listing(never, at_most=12)}." if never else ""
    return f"A visit lasts {lasting} (median).{kept}"
