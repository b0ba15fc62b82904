"""What was found as plain text, for a terminal or a log: the answers, or all there is in brief."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby, zip_longest

from hmmdyn.report import words
from hmmdyn.report.answers import answers, runs_analysed, slow_runs
from hmmdyn.report.lookup import state_name, title
from hmmdyn.report.report import Report
from hmmdyn.report.statements.statement import notices_told
from hmmdyn.results.findings import Findings

# Terminals show these marks of good typesetting as garbage, or reorder text in their own way.
_PLAIN = {0x00A0: " ", 0x2068: None, 0x2069: None}
_MARGIN = 16  # columns for the topics
_NARROW_MARGIN = 8  # for those of the answers
_GAP = 2
_WIDEST = 100  # longer lines are hard to read
_NARROWEST = _MARGIN + _GAP + 24
_MOST_LINES = 11  # of the answers, below the title

_Told = tuple[str, tuple[str, ...]]  # a topic, and what is said of it


def answer(report: Report, width: int = 80) -> str:
    """Return the answers to what is asked first, in at most twelve lines, and a table of slow runs.

    Of an answer that takes more room the less important sentences are left to :func:`summary`.
    Lines are as wide, and as plain, as its own.
    """
    width = min(max(width, _NARROWEST), _WIDEST)
    told = [
        ("Runs", (runs_analysed(report),)),
        *((answer.topic, answer.sentences) for answer in answers(report) if answer.sentences),
        *_left_out(report),
    ]
    lines = [title(report.findings), *_as_many_as_fit(told, width)]
    if isinstance(report.findings, Findings):
        lines += _table_of_slow_runs(report.findings)
    return "\n".join(lines).translate(_PLAIN) + "\n"


def _as_many_as_fit(told: list[_Told], width: int) -> list[str]:
    """Return the first sentence of each answer, and of the others as many as there is room for."""
    kept = [sentences[:1] for _, sentences in told]
    for n in range(1, max(len(sentences) for _, sentences in told)):
        for i, (_, sentences) in enumerate(told):
            further = [*kept[:i], (*kept[i], *sentences[n : n + 1]), *kept[i + 1 :]]
            if len(_paragraphs(told, further, width)) <= _MOST_LINES:
                kept = further
    return _paragraphs(told, kept, width)


def _paragraphs(told: list[_Told], kept: list[tuple[str, ...]], width: int) -> list[str]:
    return [
        line
        for (topic, _), sentences in zip(told, kept, strict=True)
        for line in _beside(topic, [" ".join(sentences)], width, _NARROW_MARGIN)
    ]


def _table_of_slow_runs(findings: Findings) -> Iterator[str]:
    """Return the slowest runs: when they converged, by how much later, and what held them."""
    slow = slow_runs(findings)
    if not slow:
        return
    wide = max(len("run"), *(len(run.name) for run in slow))
    yield ""
    yield f"{'Slowest run':<{wide + 8}}{'converged at':>14}{'× first':>9}  longer than others in"
    for run in slow:
        step = words.count(run.step) if run.converged else f"> {words.count(run.step)}"
        times = words.number(run.times, 2)
        state = state_name(findings, run.state) if run.is_founded else words.MISSING
        yield f"{run.name:<{wide + 8}}{step:>14}{times:>9}  {state}"


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
    yield from ((topic, list(sentences)) for topic, sentences in _left_out(report))


def _left_out(report: Report) -> Iterator[tuple[str, tuple[str, ...]]]:
    left_out = [notice for notice in notices_told(report.findings) if notice.kind == "left out"]
    if left_out:
        subjects = dict.fromkeys(words.name(n.subject) for n in left_out)
        yield "Left out", (f"{words.listing(subjects)}.",)


def _beside(
    topic: str, sentences: Iterable[str], width: int, margin: int = _MARGIN
) -> Iterator[str]:
    """Return lines with the topic at the left, in a margin so wide; it may be wrapped itself."""
    left = _wrapped(topic, margin)
    right = [line for s in sentences for line in _wrapped(s, width - margin - _GAP)]
    for beside, line in zip_longest(left, right, fillvalue=""):
        yield f"{beside:<{margin + _GAP}}{line}".rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
