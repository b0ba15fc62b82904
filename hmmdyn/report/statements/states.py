"""How many states there are, and what runs held out say to that."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import CRITERIA, state_name
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.boundaries import Evidence
from hmmdyn.results.findings import Findings
from hmmdyn.results.selection import Recommendation


def say(findings: Findings) -> Iterator[Statement]:
    """Say how many states there are, and what runs held out recommend."""
    selection = findings.selection
    n_states = findings.parameters.n_states
    summary = findings.state_summary
    shares = words.listing(
        (f"{words.percent(summary['share'].iloc[k])} in {state_name(findings, k)}"
         for k in range(n_states)),
        at_most=12,
    )  # fmt: skip
    found = f"Training went through {n_states} states" if n_states > 1 else "There is one state"
    tried = selection.curve["n_states"]
    by = CRITERIA.get(selection.criterion, "runs held out from the fit")
    how = f" (the best of {words.listing(_ranges(tried))} by {by})" if len(tried) > 1 else ""
    if selection.evidence is not None:
        found, how = _merged(selection.evidence, n_states, int(tried.max()), found)
    at_limit = selection.evidence is None and n_states > 1 and n_states == tried.max()
    caveat = (
        " That is the largest number tried: read it as a resolution, not as a count of phases."
        if at_limit and len(tried) > 1
        else ""
    )
    yield Statement(
        "States",
        f"{found}{how}.{caveat} Of the time of all runs, {shares}.",
        "A state is a phase in which the metrics of the weights behave alike, found by a hidden "
        "Markov model without looking at loss or accuracy. States are numbered by when they occur.",
        brief=f"{found}{how}.",
    )
    if selection.recommendation is not None:
        yield _recommendation(findings, selection.recommendation)


def _merged(evidence: Evidence, n_states: int, finest: int, found: str) -> tuple[str, str]:
    """Say how many states are left of the finest map, and what speaks for them."""
    if not evidence.is_supported:
        supported = words.plural(evidence.n_supported, "state")
        what = (
            "a finer level, which cuts drift"
            if n_states > evidence.n_supported
            else "a coarser level, which leaves out what has evidence"
        )
        return (
            f"The runs are told in {words.plural(n_states, 'state')}",
            f" ({what}: the supported map has {supported})",
        )
    if n_states > 1 and evidence.supported.empty:
        return (
            f"No phases are shown: {words.plural(n_states, 'state')} are left",
            f", merged from {finest}, and no boundary between them has evidence",
        )
    return found, f" (merged from {finest} by evidence)" if finest > n_states else " (none merged)"


def _recommendation(findings: Findings, advice: Recommendation) -> Statement:
    """Say what runs held out recommend, and where that map is if it is another."""
    other = next((m for m in findings.other_maps if m.what in ("recommended", "chosen")), None)
    brief = ""
    if findings.selection.criterion not in CRITERIA:
        brief = "This is the number that runs held out recommend."
        text = f"{brief} {advice.reason}"
        if other is not None:
            text += f" The map with {other.n_states} states is at {other.page}."
    elif advice.n_states is None:
        text = advice.reason
    elif advice.n_states == 1 < findings.parameters.n_states:
        text = f"Runs held out recommend {advice.reason}"
        brief = "Runs held out recommend 1 state: more do not predict them better."
    elif other is None:
        brief = "Runs held out recommend the same number."
        text = f"{brief} {advice.reason}"
    else:
        brief = f"Runs held out recommend {words.plural(other.n_states, 'state')}; see their map."
        text = (
            f"Runs held out recommend another number. {advice.reason} Its map "
            f"({advice.covariance_type} covariance) is at {other.page}."
        )
    return Statement(
        "States",
        text,
        "Every run is held out once from the fit and then scored along the path the map decodes; "
        "the smallest number within one standard error of the best score is recommended.",
        brief=brief or text,
    )


def _ranges(numbers: pd.Series) -> list[str]:
    """Return ``1 to 8`` for successive numbers, else each of them."""
    tried = [int(k) for k in numbers]
    if tried == list(range(tried[0], tried[-1] + 1)):
        return [f"{tried[0]} to {tried[-1]}"]
    return [str(k) for k in tried]
