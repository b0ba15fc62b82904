"""What was analysed."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

_STANDARDISED = Message(
    "Every metric was standardised within its run, as in the paper: states say where in its own "
    "course a run is. Runs at different levels can share a state, and runs that start alike but "
    "end apart can be given different ones. Hold what follows against ",
    Remedy("standardise", "pooled"),
    ", which puts all runs on one scale.",
)


def say(findings: Findings) -> Iterator[Statement]:
    """Say what was analysed."""
    table = findings.table
    per_run = table.groupby(RUN_KEY, sort=False).size()
    n_groups = table["group"].nunique()
    named = words.listing(words.name(group, 30) for group in table["group"].unique())
    groups = f" in {n_groups} groups ({named})" if n_groups > 1 else ""
    low, high = int(per_run.min()), int(per_run.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    steps = f"{words.count(table['step'].min())} to {words.count(table['step'].max())}"
    left_out = len(findings.metrics) - len(findings.features)
    text = (
        f"{words.plural(len(per_run), 'run')}{groups}, {each} checkpoints"
        + (f" each ({len(table):,} in all)" if len(per_run) > 1 else "")
        + f", {findings.step_unit}s {steps}. "
        f"{words.plural(len(findings.features), 'metric')} entered the model"
    )
    yield Statement(
        "What was analysed",
        text + (f"; {left_out} did not (see below)." if left_out else "."),
        "A run is one training trajectory; runs of a group differ only in their seed. A metric is "
        "a number computed from the weights of a checkpoint.",
        brief=text + (f"; {left_out} did not." if left_out else "."),
    )
    if findings.standardisation == "run" and len(per_run) > 1:
        yield Statement(
            "What was analysed",
            told(findings, _STANDARDISED),
        )
