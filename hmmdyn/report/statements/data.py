"""What was analysed."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

_TOPIC = "What was analysed"
_RUN = "A run is one training trajectory; runs of a group differ only in their seed."
_STANDARDISED = Message(
    "Every metric was standardised within its run, as in the paper: states say where in its own "
    "course a run is. Runs at different levels can share a state, and runs that start alike but "
    "end apart can be given different ones. Hold what follows against ",
    Remedy("standardise", "pooled"),
    ", which puts all runs on one scale.",
)


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say what was analysed."""
    table = findings.table
    per_run = table.groupby(RUN_KEY, sort=False).size()
    n_groups = table["group"].nunique()
    named = words.listing(words.name(group, 30) for group in table["group"].unique())
    groups = f" in {n_groups} groups ({named})" if n_groups > 1 else ""
    low, high = int(per_run.min()), int(per_run.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    steps = f"{words.count(table['step'].min())} to {words.count(table['step'].max())}"
    what = "checkpoints" if isinstance(findings, Findings) else "evaluations"
    text = (
        f"{words.plural(len(per_run), 'run')}{groups}, {each} {what}"
        + (f" each ({len(table):,} in all)" if len(per_run) > 1 else "")
        + f", {findings.step_unit}s {steps}. "
    )
    if not isinstance(findings, Findings):
        named = words.listing(words.name(outcome, 30) for outcome in findings.outcomes)
        text += (
            f"They have outcomes ({named}) and no metrics of their weights, so that nothing is "
            "said of states."
        )
        yield Statement(_TOPIC, text, _RUN, brief=text)
        return
    left_out = len(findings.metrics) - len(findings.features)
    text += f"{words.plural(len(findings.features), 'metric')} entered the model"
    yield Statement(
        _TOPIC,
        text + (f"; {left_out} did not (see below)." if left_out else "."),
        f"{_RUN} A metric is a number computed from the weights of a checkpoint.",
        brief=text + (f"; {left_out} did not." if left_out else "."),
    )
    yield from _about_metrics(findings)
    if findings.standardisation == "run" and len(per_run) > 1:
        yield Statement(
            _TOPIC,
            told(findings, _STANDARDISED),
        )


def _about_metrics(findings: Findings) -> Iterator[Statement]:
    """Say how many different things the metrics tell, and which of them are the same."""
    found = findings.model_metrics
    n = words.number(found.effective_dimensions, 2)
    text = (
        f"The {words.plural(len(findings.features), 'metric')} vary as {n} independent ones would"
    )
    if len(findings.features) > 1:
        yield Statement(
            _TOPIC,
            f"{text}.",
            "Counted as the participation ratio of the eigenvalues of their correlations over all "
            "checkpoints: 1 if all say the same, their number if each says something of its own.",
        )
    alike = found.table[found.table["alike"] != ""]
    if len(alike):
        named = words.listing(words.name(metric) for metric in alike["metric"])
        yield Statement(
            _TOPIC,
            f"Of these, {named} follow others in every run (correlation above 0.999): what they "
            "say counts several times. The table has which are alike; one of each can be left out.",
        )
    constant = found.table.loc[found.table["constant"], "metric"]
    if len(constant):
        named = words.listing(words.name(metric) for metric in constant)
        does = "does" if len(constant) == 1 else "do"
        yield Statement(
            _TOPIC, f"{named} {does} not change in any run, and did not enter the model."
        )
