"""How sure all this is."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.lookup import CRITERIA, rows
from hmmdyn.report.statements.statement import Statement, notices_told
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.selection import Selection, Stability

_TOPIC = "How sure this is"
# Searches agree well enough from here on (adjusted Rand index, 1 = the same states).
_GOOD_AGREEMENT = 0.9


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say what is certain and what is not."""
    if isinstance(findings, Findings):
        yield from _of_states(findings)
    for notice in notices_told(findings):
        if notice.kind == "limit":
            text = f"{words.capital(words.name(notice.subject))}: {words.name(notice.message, 600)}"
            # What limits the data put on other statements stands beside those.
            brief = text.split(". ")[0].rstrip(".") + "." if notice.stage == "model" else ""
            yield Statement(_TOPIC, text, brief=brief)


def _of_states(findings: Findings) -> Iterator[Statement]:
    """Say how sure the states are, and the shares of runs that take ways between them."""
    selection = findings.selection
    if len(selection.curve) > 1:
        text = _choice_in_words(selection)
        yield Statement(
            _TOPIC,
            text,
            "BIC, AIC and ICL weigh how well a model fits against its number of parameters; lower "
            "is better. On smooth trajectories all tend to ask for too many states: read the "
            "number as a resolution, and the whole curve below.",
            brief=text,
        )
    if selection.stability is not None:
        yield _stability(selection.stability)
    yield Statement(
        _TOPIC,
        f"{words.percent(findings.sure_share)} of the checkpoints belong to their state with a "
        "probability of at least 0.9, given the model.",
    )
    ways = findings.ways.forks
    if len(ways) and findings.table["group"].nunique() == 1:
        # Ways out of a fork are listed by their number of runs.
        rarest = next(rows(ways[ways["state"] == ways["state"].iloc[0]].tail(1)))
        yield Statement(
            _TOPIC,
            f"Shares of few runs are rough: the {rarest.n_runs} of {rarest.n_total} that take the "
            f"rarer way after state {rarest.state} are compatible with "
            f"{words.percent(rarest.share_low)} to {words.percent(rarest.share_high)} of all seeds "
            "(95 % interval).",
        )


def _stability(stability: Stability) -> Statement:
    index = f"(mean adjusted Rand index {stability.agreement:.2f}; 1 is perfect)"
    repeats = f"{words.plural(stability.n_repeats, 'search', 'searches')} with other seeds"
    found = ", ".join(f"state {row.state} in {row.n_found}" for row in rows(stability.states))
    text = (
        f"{repeats} find nearly the same map {index}."
        if stability.agreement >= _GOOD_AGREEMENT
        else f"{repeats} do not find the same map {index}: do not rely on where exactly one state "
        "ends and the next begins."
    )
    return Statement(
        _TOPIC,
        text,
        f"Of {stability.n_repeats} searches, found again: {found}. A state is found again where "
        "it holds nearly the same checkpoints (Jaccard index of at least 0.75).",
        brief=text,
    )


def _choice_in_words(selection: Selection) -> str:
    """Say which criteria agree on the number of states, for this covariance type."""
    text = f"The number of states, {selection.n_states}, "
    decided = CRITERIA.get(selection.criterion)
    if selection.evidence is not None:
        text += (
            "is what the evidence for boundaries supports"
            if selection.evidence.is_supported
            else f"was asked for; the evidence supports {selection.evidence.n_supported}"
        )
    else:
        text += f"has the lowest {decided}" if decided else "is what runs held out recommend"
    for name, title in CRITERIA.items():
        values = selection.curve[name]
        if name == selection.criterion or values.isna().all():
            continue
        best = int(selection.curve["n_states"].iloc[values.argmin()])
        text += f"; {title} " + ("agrees" if best == selection.n_states else f"would choose {best}")
    return f"{text} ({selection.covariance_type} covariance)."
