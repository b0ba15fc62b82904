"""Which ways the runs take, and where they fork."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.facts import (
    Fork,
    exits_of_group,
    forks,
    paths,
    state_name,
)
from hmmdyn.report.statements.statement import Statement
from hmmdyn.report.statements.transitions import by_name
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

_FORKS_NAMED = 4  # with their numbers; of more only the state is said


def say(findings: Findings) -> Iterator[Statement]:
    """Say in which orders runs enter the states, and where they fork."""
    n_runs = len(findings.occupancy)
    if findings.parameters.n_states == 1:
        return
    taken = paths(findings)
    common, n_common = next(iter(taken.items()))
    walk = " → ".join(map(str, common))
    if n_runs == 1:
        text = f"The run goes {walk}. One run cannot show forks."
        yield Statement("Where runs fork", text, brief=text)
        return
    if len(taken) == 1:
        text = f"All {n_runs} runs enter the states in the same order, {walk}."
    else:
        n_tied = sum(n == n_common for n in taken.values())
        text = (
            f"Runs enter the states in {len(taken)} different orders; "
            + (f"{n_tied} of them are equally common, one being" if n_tied > 1 else "most often in")
            + f" {walk} ({n_common} of {n_runs} runs)."
        )
    yield Statement("Where runs fork", text, brief=text)
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
            brief=f"Runs fork after {state_name(findings, fork.state)}: {ways}."
            f"{_by_group(findings, fork)}",
        )
    further = forks(findings)[_FORKS_NAMED:]
    if further:
        states = words.listing((str(fork.state) for fork in further), at_most=12)
        noun = "state" if len(further) == 1 else "states"
        text = f"They fork again after {noun} {states}."
        yield Statement("Where runs fork", text, brief=text)
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
    groups = findings.table["group"].unique()
    if len(groups) == 1:
        return ""
    parts = []
    for group in groups:
        taken = {k: n for k, n in exits_of_group(findings, fork.state, group).items() if n}
        ways = words.listing(f"{n} to state {k}" for k, n in taken.items())
        parts.append(f"{words.name(group, 30)}: {ways or 'none goes on'}")
    return f" By group: {'; '.join(parts)}."


def _why_no_line(findings: Findings) -> str:
    path = findings.states.drop_duplicates([*RUN_KEY, "state"])
    starts = path.drop_duplicates(RUN_KEY)["state"].nunique()
    edges = findings.transitions
    reasons = []
    if starts > 1:
        reasons.append(f"runs start in {starts} different states")
    if (edges["to_state"] < edges["from_state"]).any():
        reasons.append("some transitions lead back to an earlier state")
    return " and ".join(reasons) or "a few runs take a way of their own"
