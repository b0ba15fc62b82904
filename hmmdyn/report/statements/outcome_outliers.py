"""Which runs have an outcome whose curve is unlike those of the others."""

from __future__ import annotations

from collections.abc import Iterator

from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, rows
from hmmdyn.report.statements.outliers import reasons
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import OutcomeFindings

_TOPIC = "Outcomes unlike the others"
_EXPLANATION = (
    "An outcome is unlike that of the others of its group where it loses again what it had reached "
    "(by medians over three evaluations or more), by more than runs that scatter as these do "
    "would. To be slow or fast is not to be unlike, nor is it to end elsewhere. Where all runs are "
    "of one recipe, any of them is called so with a probability of about 0.05 at most."
)


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say which curves are unlike the others, and why."""
    table = findings.outcome_outliers
    if table.empty:
        return
    names = full_run_names(findings)
    n_runs = table.groupby(["group", "run"]).ngroups
    apart = table[table["outlier"]].sort_values("p_corrected", kind="stable")
    compared = f"Of {words.plural(n_runs, 'run')} whose outcomes can be compared with their group"
    if apart.empty:
        text = f"{compared}, none has a curve clearly unlike the others'."
        yield Statement(_TOPIC, text, _EXPLANATION)
        return
    which = dict.fromkeys(names[run.group, run.run] for run in rows(apart))
    verb = "has a curve" if len(which) == 1 else "have curves"
    text = f"{compared}, {len(which)} {verb} clearly unlike the others': {words.listing(which)}."
    yield Statement(_TOPIC, text, _EXPLANATION, brief=text)
    yield from reasons(_TOPIC, names, apart)
