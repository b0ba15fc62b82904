"""Which ways the runs take, and where they fork."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.lookup import Fork, forks, if_founded, rows, state_name
from hmmdyn.report.statements.statement import Statement
from hmmdyn.report.statements.transitions import by_name
from hmmdyn.results.findings import Findings

_FORKS_NAMED = 4  # with their numbers; of more only the state is said


def say(findings: Findings) -> Iterator[Statement]:
    """Say in which orders runs enter the states, and where they fork."""
    n_runs = len(findings.occupancy)
    if findings.parameters.n_states == 1:
        return
    taken = findings.ways.paths
    common = next(rows(taken))
    walk = " → ".join(map(str, common.path))
    if n_runs == 1:
        text = f"The run goes {walk}. One run cannot show forks."
        brief = if_founded(findings, common.path, text)
        yield Statement("Where runs fork", text, brief=brief)
        return
    n_on_it = common.n_runs + common.n_part
    part = f", {common.n_part} of them part of the way" if common.n_part else ""
    if len(taken) == 1:
        same = f"All {n_runs} runs enter the states in the same order"
        text = f"{same}, {walk}{part}."
        brief = if_founded(findings, common.path, text) or f"{same}{part}."
    else:
        n_tied = int((taken["n_runs"] + taken["n_part"] == n_on_it).sum())
        text = (
            f"Runs enter the states in {len(taken)} different orders; "
            + (f"{n_tied} of them are equally common, one being" if n_tied > 1 else "most often in")
            + f" {walk} ({n_on_it} of {n_runs} runs{part})."
        )
        brief = if_founded(findings, common.path, text)
    yield Statement("Where runs fork", text, brief=brief)
    for fork in forks(findings)[:_FORKS_NAMED]:
        elsewhere = fork.n_runs - sum(fork.exits.values())
        ways = words.listing(
            [f"{n} to state {k}" for k, n in fork.exits.items()]
            + ([f"{elsewhere} elsewhere"] if elsewhere else [])
        )
        yield Statement(
            "Where runs fork",
            f"Runs fork after {state_name(findings, fork.state)}: of the {fork.n_runs} runs that "
            f"go on from there to a state new to them, {ways}.{_by_group(findings, fork)}"
            f"{by_name(findings, fork)}",
            brief=if_founded(
                findings,
                (fork.state, *fork.exits),
                f"Runs fork after {state_name(findings, fork.state)}: {ways}."
                f"{_by_group(findings, fork)}",
            ),
        )
    further = forks(findings)[_FORKS_NAMED:]
    if further:
        states = words.listing((str(fork.state) for fork in further), at_most=12)
        noun = "state" if len(further) == 1 else "states"
        text = f"They fork again after {noun} {states}."
        brief = if_founded(findings, (fork.state for fork in further), text)
        yield Statement("Where runs fork", text, brief=brief)
    if not findings.forking:
        text = "The map is a line: nothing forks and nothing returns."
        yield Statement("Where runs fork", text, brief=text)
    elif not forks(findings):
        yield Statement(
            "Where runs fork",
            f"The map is not a line, though no state is a fork: {_why_no_line(findings)}.",
        )


def _by_group(findings: Findings, fork: Fork) -> str:
    """Say who takes which way, where a fork may be one between recipes rather than seeds."""
    compared = findings.group_comparison
    if compared is None:
        return ""
    here = compared.forks[compared.forks["from_state"] == fork.state]
    parts = []
    for group in findings.table["group"].unique():
        taken = here[(here["group"] == group) & (here["n_runs"] > 0)]
        taken = taken.sort_values(["n_runs", "to_state"], ascending=[False, True])
        ways = words.listing(f"{way.n_runs} to state {way.to_state}" for way in rows(taken))
        parts.append(f"{words.name(group, 30)}: {ways or 'none goes on'}")
    return f" By group: {'; '.join(parts)}."


def _why_no_line(findings: Findings) -> str:
    starts = {path[0] for path in findings.ways.paths["path"]}
    edges = findings.transitions
    reasons = []
    if len(starts) > 1:
        reasons.append(f"runs start in {len(starts)} different states")
    if (edges["to_state"] < edges["from_state"]).any():
        reasons.append("some transitions lead back to an earlier state")
    return " and ".join(reasons) or "a few runs take a way of their own"
