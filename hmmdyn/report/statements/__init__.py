"""The findings as sentences: one source for the page, its figures' captions and the terminal.

A sentence says what was found with its numbers, never more than the numbers bear. What cannot be
said with certainty has its own topic, ``How sure this is``. One module per topic, or part of one.
"""

from __future__ import annotations

from hmmdyn.report.statements import (
    boundaries,
    certainty,
    convergence,
    data,
    detours,
    groups,
    movement,
    outcome_outliers,
    outcome_transitions,
    outliers,
    slowness,
    speed,
    states,
    told_first,
    transitions,
    ways,
    where,
)
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings, OutcomeFindings

# In reading order; statements of a topic stand together.
_TOPICS = (
    data,
    states,
    boundaries,
    where,
    movement,
    ways,
    transitions,
    convergence,
    slowness,
    speed,
    groups,
    outliers,
    outcome_outliers,
    outcome_transitions,
    told_first,
    detours,
    certainty,
)
_WITHOUT_STATES = (data, convergence, speed, outcome_outliers, outcome_transitions, certainty)


def said(findings: OutcomeFindings) -> dict[str, tuple[Statement, ...]]:
    """Return what the report says, in reading order, by the name of the module that says it."""
    topics = _TOPICS if isinstance(findings, Findings) else _WITHOUT_STATES
    return {topic.__name__.rpartition(".")[2]: tuple(topic.say(findings)) for topic in topics}
