"""Which runs converged when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, rows
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.convergence import CROSSINGS
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.notice import Notice

TOPIC = "Which runs converged when"


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say which runs converged, and when."""
    measure = findings.convergence
    if measure is None and (why_not := _said_of("convergence", findings.notices)):
        yield from (
            Statement(TOPIC, told(findings, text), brief=told(findings, text)) for text in why_not
        )
        return
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
        yield Statement(TOPIC, text, brief=text)
        return
    unit = findings.step_unit
    names = full_run_names(findings)
    known = findings.runs[findings.runs["status"] != "unknown"]
    converged = known[known["converged"]].sort_values("step", kind="stable")
    counted = words.capital(f"{words.of_runs(len(converged), len(known))} converged")
    if converged["step"].nunique() > 1:
        first, last = (
            f"at {unit} {words.count(step)} "
            f"({words.listing(_names(names, converged[converged['step'] == step]), at_most=4)})"
            for step in converged["step"].iloc[[0, -1]]
        )
        at = f": the first was seen {first}, the last {last}."
    elif len(converged):
        at = f"; {'all were' if len(converged) > 1 else 'it was'} seen to have at {unit} "
        at += f"{words.count(converged['step'].iloc[0])}."
    else:
        at = "."
    sign = "≥" if measure.direction == "above" else "≤"
    criterion = f"{words.name(measure.outcome, 30)} {sign} {words.number(measure.threshold)}"
    yield Statement(
        TOPIC,
        f"{counted}{at} {words.name(told(findings, measure.how), 600)}",
        brief=f"{counted} ({criterion}){at}",
    )
    for text in _said_of(CROSSINGS, measure.notices):
        yield Statement(TOPIC, told(findings, text), brief=told(findings, text))
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
            TOPIC,
            text,
            "Such a run is right-censored: its convergence step is only known to lie beyond its "
            "end. It is counted as that, neither dropped nor taken as converged.",
            brief=text,
        )
    if known["group"].nunique() > 1:
        tallies = (
            f"{words.name(group, 30)}: {int(own['converged'].sum())} of {len(own)}"
            f" ({int((~own['converged']).sum())} censored)"
            for group, own in known.groupby("group", sort=False)
        )
        text = f"Converged by group: {words.listing(tallies, at_most=10)}."
        yield Statement(TOPIC, text, brief=text)


def _said_of(subject: str, notices: Iterable[Notice]) -> list[str]:
    return [notice.message for notice in notices if notice.subject == subject]


def _names(names: Mapping[tuple[str, str], str], runs: pd.DataFrame) -> Iterator[str]:
    return (names[run.group, run.run] for run in rows(runs))


def _they(runs: pd.DataFrame) -> str:
    return "it" if len(runs) == 1 else "they"
