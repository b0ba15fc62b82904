"""Which runs converged when, and where the slow ones spent their time."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.facts import (
    full_run_names,
    rows,
    state_name,
)
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.findings import Findings


def say(findings: Findings) -> Iterator[Statement]:
    """Say which runs converged when, and where the slow ones spent their time."""
    yield from when(findings)
    yield from _slow_runs(findings)


def when(findings: Findings) -> Iterator[Statement]:
    """Say which runs converged, and when."""
    topic = "Which runs converged when"
    measure = findings.convergence
    if measure is None or measure.table.empty:
        text = told(
            findings,
            Message(
                "No outcome (loss, accuracy) is known, so nothing can be said about convergence. "
                "Beside a folder of checkpoints ",
                Remedy("outcomes_file", "FILE"),
                " adds one; in a table it is a column.",
            ),
        )
        yield Statement(topic, text, brief=text)
        return
    unit = findings.step_unit
    names = full_run_names(findings)
    known = findings.runs[findings.runs["status"] != "unknown"]
    converged = known[known["converged"]].sort_values("step", kind="stable")
    counted = f"{len(converged)} of {words.plural(len(known), 'run')} converged"
    if converged["step"].nunique() > 1:
        fastest, slowest = (
            f"({names[run.group, run.run]}) at {unit} {words.count(run.step)}"
            for run in rows(converged.iloc[[0, -1]])
        )
        at = f", the fastest {fastest}, the slowest {slowest}."
    elif len(converged):
        at = f", {'all ' if len(converged) > 1 else ''}at {unit} "
        at += f"{words.count(converged['step'].iloc[0])}."
    else:
        at = "."
    sign = "≥" if measure.direction == "above" else "≤"
    criterion = f"{words.name(measure.outcome, 30)} {sign} {words.number(measure.threshold)}"
    yield Statement(
        topic,
        f"{counted}{at} {words.name(told(findings, measure.how), 600)}",
        brief=f"{counted} ({criterion}){at}",
    )
    censored = known[known["status"] == "censored"]
    if len(censored):
        which = words.listing(
            f"{names[run.group, run.run]} (last {unit} {words.count(run.step)})"
            for run in rows(censored)
        )
        text = (
            f"{words.plural(len(censored), 'run')} had not converged when {_they(censored)} ended: "
            f"{which}."
        )
        yield Statement(
            topic,
            text,
            "Such a run is right-censored: its convergence step is only known to lie beyond its "
            "end. It is counted as that, neither dropped nor taken as converged.",
            brief=text,
        )
    if known["group"].nunique() > 1:
        tallies = (
            f"{words.name(group, 30)}: {int(own['converged'].sum())} of {len(own)}"
            for group, own in known.groupby("group", sort=False)
        )
        text = f"Converged by group: {words.listing(tallies, at_most=10)}."
        yield Statement(topic, text, brief=text)


def _slow_runs(findings: Findings) -> Iterator[Statement]:
    """Say in which states the slowest quarter spent the time that the others did not need."""
    topic = "Which runs converged when"
    if findings.slowness is None or findings.parameters.n_states == 1:
        return
    quarter = findings.slowness.slowest_quarter
    if quarter is None:
        return
    most = next(rows(quarter.states.sort_values("longer", ascending=False, kind="stable")))
    if most.longer <= 0:
        return
    text = (
        f"Before converging (or ending), the slowest {words.plural(len(quarter.runs), 'run')} "
        f"stayed longer above all in {state_name(findings, most.state)}: "
        f"{words.number(most.slowest, 3)} checkpoints on average, against "
        f"{words.number(most.others, 3)} in the other {quarter.n_others} runs."
    )
    yield Statement(
        topic,
        f"{text} In all they took {words.number(quarter.longer, 3)} checkpoints longer.",
        brief=text,
    )
    names = full_run_names(findings)
    each = (
        f"{names[run.group, run.run]}: {run.n_checkpoints:,} in state {run.state}"
        for run in rows(quarter.runs)
    )
    text = (
        "Of each slow run, the state it stayed in longest compared with the others (checkpoints): "
        f"{words.listing(each)}."
    )
    yield Statement(topic, text, brief=text)


def _they(runs: pd.DataFrame) -> str:
    return "it" if len(runs) == 1 else "they"
