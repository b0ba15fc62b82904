"""The answers to what is asked first: which phases, which runs are slow, is it more than chance.

Chosen from the sentences of the report, so that the answers say nothing that it does not. Of states
that have no evidence, or that other runs' maps do not have, they do not speak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hmmdyn.report import words
from hmmdyn.report.lookup import CRITERIA, full_run_names, rows, state_name
from hmmdyn.report.report import Report
from hmmdyn.report.statements.boundaries import UNSEEN, WHOSE_TIME
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings
from hmmdyn.results.verdicts import CONFIRMED

_BOUNDARIES_NAMED = 3
_SLOW_NAMED = 5


@dataclass(frozen=True)
class Answer:
    """An answer: what it is about, and its sentences, the more important first."""

    topic: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class SlowRun:
    """A run of the slowest quarter.

    Attributes
    ----------
    name : str
    step : int
        At which it was first seen to have converged; the last one known where it had not.
    converged : bool
    times : float
        ``step`` over that of the first run seen to converge; NaN where that is 0.
    state : int
        In which it stayed longest compared with the others.
    """

    name: str
    step: int
    converged: bool
    times: float
    state: int


def answers(report: Report) -> tuple[Answer, ...]:
    """Return the answers that these findings allow, in the order in which they are asked."""
    findings, said = report.findings, report.said
    asked = [("Runs", tuple(_briefs(said["data"][:1])))]
    if isinstance(findings, Findings):
        asked.append(("Phases", tuple(_phases(findings))))
    asked.append(("Slow", tuple(_slow(report))))
    if isinstance(findings, Findings):
        asked.append(("Chance", tuple(_chance(findings, report))))
    else:
        asked.append(("Outcomes", tuple(_briefs(said["outcome_transitions"][:2]))))
    return tuple(Answer(topic, sentences) for topic, sentences in asked if sentences)


def slow_runs(findings: Findings) -> tuple[SlowRun, ...]:
    """Return the slowest runs, the slowest first; none where seeds cannot be told from recipes."""
    slowness, convergence = findings.slowness, findings.convergence
    if slowness is None or convergence is None or slowness.slowest_quarter is None:
        return ()
    converged = findings.runs[findings.runs["status"] == "converged"]
    fastest = float(converged["step"].min()) if len(converged) else 0.0
    names = full_run_names(findings)
    return tuple(
        SlowRun(
            names[run.group, run.run],
            int(run.step),
            bool(run.converged),
            run.step / fastest if fastest > 0 else float("nan"),
            int(run.state),
        )
        for run in rows(slowness.slowest_quarter.runs.head(_SLOW_NAMED))
    )


def _briefs(statements: tuple[Statement, ...]) -> Iterator[str]:
    return (statement.brief for statement in statements if statement.brief)


def _phases(findings: Findings) -> Iterator[str]:
    """Say which changes have evidence, when they are, and that nothing else has."""
    evidence, n_states = findings.selection.evidence, findings.parameters.n_states
    if evidence is None:
        by = CRITERIA.get(findings.selection.criterion, "runs held out")
        yield (
            f"{words.plural(n_states, 'state')} by {by}; whether there are boundaries between "
            "them was not asked."
        )
        return
    if not evidence.is_supported:
        yield (
            f"{words.plural(n_states, 'state')}: another level than the supported one, which has "
            f"{evidence.n_supported}."
        )
        return
    told = evidence.supported[evidence.supported["found"] != "no"]
    if told.empty:
        yield UNSEEN
        return
    for boundary in rows(told.head(_BOUNDARIES_NAMED)):
        low, date, high, lasts = (
            words.count(float(f"{value:.3g}"))
            for value in (
                boundary.date_low,
                boundary.date,
                boundary.date_high,
                boundary.duration,
            )
        )
        yield (
            f"{words.capital(boundary.kind)} change from "
            f"{state_name(findings, boundary.from_state)} to "
            f"{state_name(findings, boundary.to_state)}, {findings.step_unit} {date} ({low} to "
            f"{high}), within about {lasts}; {boundary.n_runs} of {len(findings.occupancy)} runs."
        )
    if len(told) > _BOUNDARIES_NAMED:
        yield f"{words.plural(len(told) - _BOUNDARIES_NAMED, 'further change')} after it."


def _slow(report: Report) -> Iterator[str]:
    """Say when runs converged, and what sets the slow ones, or groups, apart."""
    yield from _briefs(report.said["convergence"][:1])
    findings = report.findings
    if findings.runs["group"].nunique() > 1 and findings.speed is not None:
        yield from _briefs(report.said["speed"][1:])
    elif isinstance(findings, Findings):
        yield from _briefs(report.said["slowness"][:1])


def _chance(findings: Findings, report: Report) -> Iterator[str]:
    """Say what is more than chance: who sets the time, which state delays, which run is unlike."""
    evidence = findings.selection.evidence
    if evidence is not None and evidence.is_supported and len(evidence.supported):
        yield WHOSE_TIME[evidence.whose_time]
    confirmed = findings.detours.loc[findings.detours["verdict"] == CONFIRMED, "state"]
    if len(confirmed):
        named = words.listing(state_name(findings, k) for k in confirmed)
        yield f"Confirmed {'detour' if len(confirmed) == 1 else 'detours'}: {named}."
    elif findings.convergence is not None:
        yield "No state is shown to delay runs."
    yield from _briefs(report.said["outliers"][:1])
