"""The report's statements as plain text, for a terminal or a log."""

from __future__ import annotations

import textwrap
from itertools import groupby

from hmmdyn.report import words
from hmmdyn.report.statements import statements
from hmmdyn.report.statements.statement import all_notices
from hmmdyn.results import Findings

# Terminals show these marks of good typesetting as garbage, or reorder text in their own way.
_PLAIN = {0x00A0: " ", 0x2068: None, 0x2069: None}


def summary(findings: Findings, width: int = 80) -> str:
    """Return what was found, in the page's own sentences, wrapped to ``width`` columns.

    The text holds no markup and no colour; print it as it is (with rich: ``markup=False``).
    """
    lines = [f"Training map of {words.name(findings.source, 120)}"]
    for topic, said in groupby(statements(findings), key=lambda statement: statement.topic):
        lines += ["", topic]
        for statement in said:
            lines += _item(statement.text, width)
    left_out = [notice for notice in all_notices(findings) if notice.kind == "left out"]
    if left_out:
        lines += ["", "Left out"]
    for notice in left_out:
        lines += _item(f"{words.name(notice.subject)}: {words.name(notice.message, 600)}", width)
    return "\n".join(lines).translate(_PLAIN) + "\n"


def _item(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(
        sentence,
        width,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
