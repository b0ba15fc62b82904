"""The tables that the report shows, for the page, CSV files and ``report.json`` alike.

What they are called and which columns they have is declared in :mod:`hmmdyn.results`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import pandas as pd

from hmmdyn.names import printable
from hmmdyn.report import words
from hmmdyn.report.statements.statement import notices_told, told
from hmmdyn.results.columns import Table, tables_in
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.groups import GROUP_REGRESSIONS, GROUPS
from hmmdyn.results.notice import NOTICES
from hmmdyn.results.outcomes import MATCHES
from hmmdyn.results.schema import REPORTED
from hmmdyn.results.states import STATE_MEANS
from hmmdyn.results.ways import WAYS

# What makes a formula at the start of a cell; a number with its sign does not, nor a sign alone.
_FORMULA = re.compile(r"\s*[=@]|\s*[+-](?!\d*\.?\d*(e[+-]?\d+)?$)", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """A table with its rows; one that does not apply to the findings has not even columns."""

    table: Table
    frame: pd.DataFrame


def sheets(findings: OutcomeFindings) -> dict[str, Sheet]:
    """Return every table of the report by name, in its order."""
    frames: dict[str, pd.DataFrame] = {}
    for table, frame in tables_in(findings):
        frames.setdefault(table.name, frame)  # the recommended selection's come after the chosen
    if isinstance(findings, Findings):
        frames[STATE_MEANS.name] = _state_means(findings)
    else:
        frames.pop(MATCHES.name, None)
    frames[NOTICES.name] = _notices(findings)
    for table in (WAYS, GROUPS):
        if table.name in frames:
            frames[table.name] = _with_paths_in_words(frames[table.name])
    if GROUP_REGRESSIONS.name in frames:
        frames[GROUP_REGRESSIONS.name] = _with_reasons_told(
            frames[GROUP_REGRESSIONS.name], findings
        )
    return {t.name: Sheet(t, frames.get(t.name, pd.DataFrame())) for t in REPORTED}


def to_csv(sheet: Sheet) -> bytes:
    """Return the table as CSV in UTF-8, numbers in full precision, missing values empty.

    A text that a spreadsheet would run as a formula has an apostrophe before it, as it would be
    typed there; control characters are written out, but for line breaks.
    """
    frame = sheet.frame.rename(columns=_inert)
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    frame = frame.assign(**{name: frame[name].map(_inert, na_action="ignore") for name in texts})
    return frame.to_csv(index=False, lineterminator="\n").encode("utf-8")


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = "\n".join(map(printable, value.split("\n")))
    return f"'{text}" if _FORMULA.match(text) else text


def _state_means(findings: Findings) -> pd.DataFrame:
    means = findings.parameters.means
    state, *features = (column.name for column in STATE_MEANS.expanded(findings.members))
    frame = pd.DataFrame(means, columns=features)
    frame.insert(0, state, range(len(means)))
    return frame


def _notices(findings: OutcomeFindings) -> pd.DataFrame:
    return NOTICES.frame(
        {key: words.encodable(text) for key, text in asdict(notice).items()}
        for notice in notices_told(findings)
    )


def _with_reasons_told(frame: pd.DataFrame, findings: OutcomeFindings) -> pd.DataFrame:
    return frame.assign(why_not=[told(findings, reason) for reason in frame["why_not"]])


def _with_paths_in_words(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(path=[" → ".join(map(str, path)) for path in frame["path"]])
