"""One sentence of the report."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hmmdyn.options import as_typed
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.notice import Notice


@dataclass(frozen=True)
class Statement:
    """One thing the report says. ``explanation`` defines the terms that occur in it first.

    ``brief`` is what a reader with one screen to spare is told of it; empty where that is nothing.
    """

    topic: str
    text: str
    explanation: str = ""
    brief: str = ""


def told(findings: OutcomeFindings, text: str) -> str:
    """Return a text as a report tells it: with flags where it has a command, else with keywords."""
    return as_typed(text) if findings.command else str(text)


def notices_told(findings: OutcomeFindings) -> tuple[Notice, ...]:
    """Return the notices as a report tells them."""
    return tuple(replace(n, message=told(findings, n.message)) for n in findings.notices)
