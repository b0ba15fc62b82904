"""Where the slow runs spent their time."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.lookup import founded_states, full_run_names, rows, state_name
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
    several = len(quarter.runs) > 1
    slowest = f"{len(quarter.runs)} runs" if several else "run"
    text = (
        f"Before converging (or ending), the slowest {slowest} stayed longer above all in "
        f"{state_name(findings, most.state)}: {words.number(most.slowest, 3)} checkpoints"
        f"{' on average' * several}, against {words.number(most.others, 3)} in the other "
        f"{quarter.n_others} runs."
    )
    founded = founded_states(findings)
    yield Statement(
        TOPIC,
        f"{text} In all {'they' if several else 'it'} took "
        f"{words.number(quarter.longer, 3)} checkpoints longer.",
        brief=text if most.state in founded else "",
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
    told = set(quarter.runs["state"]) <= founded
    yield Statement(TOPIC, text, brief=text if told else "")
