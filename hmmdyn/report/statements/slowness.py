"""Where the slow runs spent their time."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, if_founded, rows, state_name
from hmmdyn.report.statements.convergence import TOPIC
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings


def say(findings: Findings) -> Iterator[Statement]:
    """Say in which states the slowest quarter spent the time that the others did not need."""
    if findings.slowness is None or findings.parameters.n_states == 1:
        return
    quarter = findings.slowness.slowest_quarter
    if quarter is None:
        return
    most = next(rows(quarter.states.sort_values("longer", ascending=False, kind="stable")))
    if most.longer <= 0:
        return
    unit = findings.step_unit
    alone = len(quarter.runs) == 1
    who = "run" if alone else f"{len(quarter.runs):,} runs"
    mean = "" if alone else " on average"
    text = (
        f"Before converging (or ending), the slowest {who} stayed longer above all in "
        f"{state_name(findings, most.state)}: "
        f"{words.in_steps(words.number(most.slowest, 3), unit)}{mean}, "
        f"against {words.number(most.others, 3)} on average in {quarter.n_others} others."
    )
    stopped = (
        f" {words.capital(words.plural(quarter.n_stopped, 'run'))} ended too early, and not "
        "converged, to be known as slow or not."
        if quarter.n_stopped
        else ""
    )
    yield Statement(
        TOPIC,
        f"{text} In all {'it' if alone else 'they'} took "
        f"{words.in_steps(words.number(quarter.longer, 3), unit)} longer.{stopped}",
        brief=if_founded(findings, [most.state], text),
    )
    names = full_run_names(findings)
    each = (
        f"{names[run.group, run.run]}: {words.number(run.time, 3)} in state {run.state}"
        for run in rows(quarter.runs)
    )
    text = (
        f"Of each slow run, the state it stayed in longest compared with the others ({unit}s): "
        f"{words.listing(each)}."
    )
    yield Statement(TOPIC, text, brief=if_founded(findings, quarter.runs["state"], text))
