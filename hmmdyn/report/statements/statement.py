"""One sentence of the report, and the notices that several topics speak of."""

from __future__ import annotations

from dataclasses import dataclass

from hmmdyn.results.findings import Findings
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


def all_notices(findings: Findings) -> tuple[Notice, ...]:
    """Return every notice once, in the order of the stages."""
    notices = [*findings.notices, *findings.selection.notices]
    if findings.convergence is not None:
        notices += findings.convergence.notices
    return tuple(dict.fromkeys(notices))
