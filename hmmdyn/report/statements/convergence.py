"""Which runs converged when, and where the slow ones spent their time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.facts import (
    checkpoints_before_convergence,
    full_run_names,
    rows,
    runs_by_convergence,
    state_name,
)
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.findings import Findings


def say(findings: Findings) -> Iterator[Statement]:
    """Say which runs converged when, and where the slow ones spent their time."""
    yield from when(findings)
    yield from _slow_runs(findings)


def when(findings: Findings) -> Iterator[Statement]:
    """Say which runs converged, and when."""
    topic = "Which runs converged when"
    measure = findings.convergence
    if measure is None or measure.table.empty:
        text = told(
            findings,
            Message(
                "No outcome (loss, accuracy) is known, so nothing can be said about convergence. "
                "Beside a folder of checkpoints ",
                Remedy("outcomes_file", "FILE"),
                " adds one; in a table it is a column.",
            ),
        )
        yield Statement(topic, text, brief=text)
        return
    unit = findings.step_unit
    runs = runs_by_convergence(findings)
    names = full_run_names(findings)
    known = runs[runs["status"] != "unknown"]
    converged = known[known["converged"]].sort_values("step", kind="stable")
    counted = f"{len(converged)} of {words.plural(len(known), 'run')} converged"
    if converged["step"].nunique() > 1:
        fastest, slowest = (
            f"({names[run.group, run.run]}) at {unit} {words.count(run.step)}"
            for run in rows(converged.iloc[[0, -1]])
        )
        at = f", the fastest {fastest}, the slowest {slowest}."
    elif len(converged):
        at = f", {'all ' if len(converged) > 1 else ''}at {unit} "
        at += f"{words.count(converged['step'].iloc[0])}."
    else:
        at = "."
    sign = "≥" if measure.direction == "above" else "≤"
    criterion = f"{words.name(measure.outcome, 30)} {sign} {words.number(measure.threshold)}"
    yield Statement(
        topic,
        f"{counted}{at} {words.name(told(findings, measure.how), 600)}",
        brief=f"{counted} ({criterion}){at}",
    )
    censored = known[known["status"] == "censored"]
    if len(censored):
        which = words.listing(
            f"{names[run.group, run.run]} (last {unit} {words.count(run.step)})"
            for run in rows(censored)
        )
        text = (
            f"{words.plural(len(censored), 'run')} had not converged when {_they(censored)} ended: "
            f"{which}."
        )
        yield Statement(
            topic,
            text,
            "Such a run is right-censored: its convergence step is only known to lie beyond its "
            "end. It is counted as that, neither dropped nor taken as converged.",
            brief=text,
        )
    if known["group"].nunique() > 1:
        tallies = (
            f"{words.name(group, 30)}: {int(own['converged'].sum())} of {len(own)}"
            for group, own in known.groupby("group", sort=False)
        )
        text = f"Converged by group: {words.listing(tallies, at_most=10)}."
        yield Statement(topic, text, brief=text)


def _slow_runs(findings: Findings) -> Iterator[Statement]:
    """Say in which states the slowest quarter spent the time that the others did not need."""
    topic = "Which runs converged when"
    if findings.convergence is None or findings.parameters.n_states == 1:
        return
    runs = runs_by_convergence(findings).query("status != 'unknown'")
    counts = checkpoints_before_convergence(findings).to_numpy()  # (R, K), in the order of runs
    # Censored runs are slower than all others; runs as slow as the last of the quarter join it.
    delay = np.where(runs["converged"], runs["step"], np.inf)
    slow = delay >= np.sort(delay)[-max(1, len(runs) // 4)]
    if (~slow).sum() < 2:
        return
    usual = counts[~slow].mean(axis=0)
    state = int((counts[slow].mean(axis=0) - usual).argmax())
    in_slow = counts[slow, state].mean()
    extra = counts[slow].sum(axis=1).mean() - usual.sum()
    if in_slow <= usual[state] or findings.table["group"].nunique() > 1:
        return  # slow recipes are not slow seeds
    text = (
        f"Before converging (or ending), the slowest {words.plural(int(slow.sum()), 'run')} stayed "
        f"longer above all in {state_name(findings, state)}: {words.number(in_slow, 3)} "
        f"checkpoints on average, against {words.number(usual[state], 3)} in the other "
        f"{(~slow).sum()} runs."
    )
    yield Statement(
        topic,
        f"{text} In all they took {words.number(extra, 3)} checkpoints longer.",
        brief=text,
    )
    full_names = full_run_names(findings)
    names = [full_names[run.group, run.run] for run in rows(runs)]
    slowest_first = np.flatnonzero(slow)[np.argsort(-delay[slow], kind="stable")]
    most = {i: int((counts[i] - usual).argmax()) for i in slowest_first}
    each = (f"{names[i]}: {counts[i, k]:,} in state {k}" for i, k in most.items())
    text = (
        "Of each slow run, the state it stayed in longest compared with the others (checkpoints): "
        f"{words.listing(each)}."
    )
    yield Statement(topic, text, brief=text)


def _they(runs: pd.DataFrame) -> str:
    return "it" if len(runs) == 1 else "they"
