"""What was found on one screen of plain text, for a terminal or a log."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby, zip_longest

from hmmdyn.report import words
from hmmdyn.report.lookup import title
from hmmdyn.report.report import Report
from hmmdyn.report.statements.statement import notices_told

# Terminals show these marks of good typesetting as garbage, or reorder text in their own way.
_PLAIN = {0x00A0: " ", 0x2068: None, 0x2069: None}
_MARGIN = 16  # columns for the topics
_GAP = 2
_WIDEST = 100  # longer lines are hard to read
_NARROWEST = _MARGIN + _GAP + 24


def summary(report: Report, width: int = 80) -> str:
    """Return what was found in brief: topics at the left, their sentences beside them.

    Lines are up to ``width`` columns long, within reason. The text holds no markup and no colour;
    print it as it is (with rich: ``markup=False``).
    """
    lines = [title(report.findings), ""]
    for topic, briefs in headlines(report):
        lines += _beside(topic, briefs, min(max(width, _NARROWEST), _WIDEST))
    further = sum(statement.text != statement.brief for statement in report.statements)
    lines += [
        "",
        f"The report says more on {words.plural(further, 'point')}, with figures and tables.",
    ]
    return "\n".join(lines).translate(_PLAIN) + "\n"


def headlines(report: Report) -> Iterator[tuple[str, list[str]]]:
    """Return the topics in reading order, each with its sentences in brief.

    The page says more of each; what was left out of the analysis comes last, by name.
    """
    said = [statement for statement in report.statements if statement.brief]
    for topic, group in groupby(said, key=lambda statement: statement.topic):
        yield topic, [statement.brief for statement in group]
    left_out = [notice for notice in notices_told(report.findings) if notice.kind == "left out"]
    if left_out:
        yield "Left out", [f"{words.listing(words.name(n.subject) for n in left_out)}."]


def _beside(topic: str, sentences: Iterable[str], width: int) -> Iterator[str]:
    """Return lines with the topic at the left; it may be wrapped itself."""
    left = _wrapped(topic, _MARGIN)
    right = [line for s in sentences for line in _wrapped(s, width - _MARGIN - _GAP)]
    for margin, line in zip_longest(left, right, fillvalue=""):
        yield f"{margin:<{_MARGIN + _GAP}}{line}".rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
