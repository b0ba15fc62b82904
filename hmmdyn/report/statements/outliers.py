"""Which runs walk the map unlike the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, rows
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

_TOPIC = "Runs unlike the others"
_EXPLANATION = (
    "A run is unlike the others of its group where its metrics go where those of no other run do, "
    "or where it goes back to states that the others leave for good, by more than runs that "
    "scatter as these do would. To be slow or fast is not to be unlike. Where all runs are of one "
    "recipe, any of them is called so with a probability of about 0.05 at most."
)
_NAMED = 6  # with what sets them apart
# From this share of a run on, a way back is worth a word though it may be chance.
_NOTABLE = 0.1


def say(findings: Findings) -> Iterator[Statement]:
    """Say which runs are outliers and why, and what cannot be told."""
    table = findings.outliers
    if len(table) < 2:
        return
    names = full_run_names(findings)
    tested = table[table["p"].notna()]
    if tested.empty:
        text = (
            "These runs cannot tell whether one of them is unlike the others: there are too few of "
            "each group to see what is usual."
        )
        yield Statement(_TOPIC, text, _EXPLANATION, brief=text)
        return
    apart = tested[tested["outlier"]].sort_values("p_corrected", kind="stable")
    compared = f"Of {words.plural(len(tested), 'run')} that can be compared with their group"
    if apart.empty:
        text = f"{compared}, none is clearly unlike the others."
    else:
        which = words.listing(names[run.group, run.run] for run in rows(apart))
        verb = "is" if len(apart) == 1 else "are"
        text = f"{compared}, {len(apart)} {verb} clearly unlike the others: {which}."
    yield Statement(_TOPIC, text, _EXPLANATION, brief=text)
    yield from reasons(_TOPIC, names, apart)
    returning = tested[~tested["outlier"] & (tested["returned"] >= _NOTABLE)]
    if len(returning) and 4 * len(returning) <= len(tested):
        which = words.listing(
            f"{names[run.group, run.run]} ({words.percent(run.returned)} of its time)"
            for run in rows(returning.sort_values("returned", ascending=False, kind="stable"))
        )
        yield Statement(
            _TOPIC,
            "Back in states that most others leave for good, though not for longer than may be "
            f"chance: {which}.",
        )
    untold = len(table) - len(tested)
    if untold:
        yield Statement(
            _TOPIC,
            f"Of {words.plural(untold, 'run')} in groups too small to see what is usual, nothing "
            "can be said.",
        )


def reasons(
    topic: str, names: Mapping[tuple[str, str], str], apart: pd.DataFrame
) -> Iterator[Statement]:
    """Say of the first of some runs that are unlike the others what sets each apart."""
    for run in rows(apart.head(_NAMED)):
        yield Statement(
            topic,
            f"{words.capital(names[run.group, run.run])} (corrected over runs, "
            f"{words.p_value(run.p_corrected)}): {words.name(run.reason, 600)}",
        )
