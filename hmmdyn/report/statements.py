"""The findings as sentences: one source for the page, its figures' captions and the terminal.

A sentence says what was found with its numbers, never more than the numbers bear. What cannot be
said with certainty has its own topic, ``How sure this is``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from hmmdyn.report import words
from hmmdyn.report.facts import (
    CRITERIA,
    Fork,
    checkpoints_before_convergence,
    exits_of_group,
    forks,
    full_run_names,
    median_convergence,
    movement,
    paths,
    rows,
    runs_by_convergence,
    state_name,
    top_movements,
)
from hmmdyn.results import (
    CANNOT_TELL,
    CONFIRMED,
    FLAG_ONLY,
    HELPS,
    NO_EVIDENCE,
    RUN_KEY,
    SLOWS,
    Findings,
    Notice,
    Recommendation,
    Regression,
    Selection,
    Stability,
)

# Searches agree well enough from here on (adjusted Rand index, 1 = the same states).
_GOOD_AGREEMENT = 0.9
_DETOUR = (
    "A detour delays convergence and can be avoided. The paper (Hu et al. 2023) flags a state "
    "where some runs converge without visiting it and its coefficient, in a significant regression "
    "of convergence time on the time spent in each state, is positive; slow runs have longer to "
    "enter any state, so this flags harmless states, too. A flag is confirmed where, at the same "
    "point in training, runs that have entered the state are less likely to converge next than "
    "runs that have not (hazard ratio below 1, p < 0.05 corrected over states). Neither shows a "
    "cause, and states, decoded from whole runs, know a little of each run's future. The table of "
    "detour states has the reason for every verdict."
)
_FORKS_NAMED = 4  # with their numbers; of more only the state is said


@dataclass(frozen=True)
class Statement:
    """One thing the report says. ``explanation`` defines the terms that occur in it first."""

    topic: str
    text: str
    explanation: str = ""


def statements(findings: Findings) -> tuple[Statement, ...]:
    """Return what the report says, in reading order; statements of a topic stand together."""
    parts = (_data, _states, _ways, _convergence, _slow_runs, _detours, _certainty)
    return tuple(statement for part in parts for statement in part(findings))


def all_notices(findings: Findings) -> tuple[Notice, ...]:
    """Return every notice once, in the order of the stages."""
    notices = [*findings.notices, *findings.selection.notices]
    if findings.convergence is not None:
        notices += findings.convergence.notices
    return tuple(dict.fromkeys(notices))


def _data(findings: Findings) -> Iterator[Statement]:
    table = findings.table
    per_run = table.groupby(RUN_KEY, sort=False).size()
    n_groups = table["group"].nunique()
    named = words.listing(words.name(group, 30) for group in table["group"].unique())
    groups = f" in {n_groups} groups ({named})" if n_groups > 1 else ""
    low, high = int(per_run.min()), int(per_run.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    steps = f"{words.count(table['step'].min())} to {words.count(table['step'].max())}"
    left_out = len(findings.metrics) - len(findings.features)
    yield Statement(
        "What was analysed",
        f"{words.plural(len(per_run), 'run')}{groups}, {each} checkpoints"
        + (f" each ({len(table):,} in all)" if len(per_run) > 1 else "")
        + f", {findings.step_unit}s {steps}. "
        f"{words.plural(len(findings.features), 'metric')} entered the model"
        + (f"; {left_out} did not (see below)." if left_out else "."),
        "A run is one training trajectory; runs of a group differ only in their seed. A metric is "
        "a number computed from the weights of a checkpoint.",
    )
    if findings.standardisation == "run" and len(per_run) > 1:
        yield Statement(
            "What was analysed",
            "Every metric was standardised within its run, as in the paper: states say where in "
            "its own course a run is. Runs at different levels can share a state, and runs that "
            "start alike but end apart can be given different ones. Hold what follows against "
            "--standardise pooled, which puts all runs on one scale.",
        )


def _states(findings: Findings) -> Iterator[Statement]:
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
    at_limit = n_states > 1 and n_states == tried.max()
    caveat = (
        " That is the largest number tried: read it as a resolution, not as a count of phases."
        if at_limit and len(tried) > 1
        else ""
    )
    yield Statement(
        "States",
        f"{found}{how}.{caveat} Of all checkpoints, {shares}.",
        "A state is a phase in which the metrics of the weights behave alike, found by a hidden "
        "Markov model without looking at loss or accuracy. States are numbered by when they occur.",
    )
    if selection.recommendation is not None:
        yield _recommendation(findings, selection.recommendation)


def _recommendation(findings: Findings, advice: Recommendation) -> Statement:
    """Say what runs held out recommend, and where that map is if it is another."""
    other = findings.other_map
    if findings.selection.criterion not in CRITERIA:
        text = f"This is the number that runs held out recommend. {advice.reason}"
        if other is not None:
            text += f" The map with {other.n_states} states is at {other.page}."
    elif advice.n_states is None:
        text = advice.reason
    elif advice.n_states == 1 < findings.parameters.n_states:
        text = f"Runs held out recommend {advice.reason}"
    elif other is None:
        text = f"Runs held out recommend the same number. {advice.reason}"
    else:
        text = (
            f"Runs held out recommend another number. {advice.reason} Its map "
            f"({advice.covariance_type} covariance) is at {other.page}."
        )
    return Statement(
        "States",
        text,
        "Every run is held out once from the fit and then scored along the path the map decodes; "
        "the smallest number within one standard error of the best score is recommended.",
    )


def _ways(findings: Findings) -> Iterator[Statement]:
    n_runs = len(findings.occupancy)
    if findings.parameters.n_states == 1:
        return
    taken = paths(findings)
    common, n_common = next(iter(taken.items()))
    walk = " → ".join(map(str, common))
    if n_runs == 1:
        yield Statement("Where runs fork", f"The run goes {walk}. One run cannot show forks.")
        return
    if len(taken) == 1:
        text = f"All {n_runs} runs enter the states in the same order, {walk}."
    else:
        n_tied = sum(n == n_common for n in taken.values())
        text = (
            f"Runs enter the states in {len(taken)} different orders; "
            + (f"{n_tied} of them are equally common, one being" if n_tied > 1 else "most often in")
            + f" {walk} ({n_common} of {n_runs} runs)."
        )
    yield Statement("Where runs fork", text)
    for fork in forks(findings)[:_FORKS_NAMED]:
        ways = words.listing(f"{n} to state {k}" for k, n in fork.exits.items())
        yield Statement(
            "Where runs fork",
            f"Runs fork after {state_name(findings, fork.state)}: of the {fork.n_runs} runs that "
            f"go on from there to a state new to them, {ways}.{_by_group(findings, fork)}",
        )
    further = forks(findings)[_FORKS_NAMED:]
    if further:
        states = words.listing((str(fork.state) for fork in further), at_most=12)
        noun = "state" if len(further) == 1 else "states"
        yield Statement("Where runs fork", f"They fork again after {noun} {states}.")
    if not findings.forking:
        yield Statement("Where runs fork", "The map is a line: nothing forks and nothing returns.")
    elif not forks(findings):
        yield Statement(
            "Where runs fork",
            f"The map is not a line, though no state is a fork: {_why_no_line(findings)}.",
        )


def _by_group(findings: Findings, fork: Fork) -> str:
    """Say who takes which way, where a fork may be one between recipes rather than seeds."""
    groups = findings.table["group"].unique()
    if len(groups) == 1:
        return ""
    parts = []
    for group in groups:
        taken = {k: n for k, n in exits_of_group(findings, fork.state, group).items() if n}
        ways = words.listing(f"{n} to state {k}" for k, n in taken.items())
        parts.append(f"{words.name(group, 30)}: {ways or 'none goes on'}")
    return f" By group: {'; '.join(parts)}."


def _why_no_line(findings: Findings) -> str:
    path = findings.states.drop_duplicates([*RUN_KEY, "state"])
    starts = path.drop_duplicates(RUN_KEY)["state"].nunique()
    edges = findings.transitions
    reasons = []
    if starts > 1:
        reasons.append(f"runs start in {starts} different states")
    if (edges["to_state"] < edges["from_state"]).any():
        reasons.append("some transitions lead back to an earlier state")
    return " and ".join(reasons) or "a few runs take a way of their own"


def _convergence(findings: Findings) -> Iterator[Statement]:
    topic = "Which runs converged when"
    measure = findings.convergence
    if measure is None or measure.table.empty:
        yield Statement(
            topic,
            "No outcome (loss, accuracy) is known, so nothing can be said about convergence. "
            "Beside a folder of checkpoints --outcomes FILE adds one; in a table it is a column.",
        )
        return
    unit = findings.step_unit
    runs = runs_by_convergence(findings)
    names = full_run_names(findings)
    known = runs[runs["status"] != "unknown"]
    converged = known[known["converged"]].sort_values("step", kind="stable")
    text = f"{len(converged)} of {words.plural(len(known), 'run')} converged"
    if len(converged) > 1:
        fastest, slowest = (
            f"({names[run.group, run.run]}) at {unit} {words.count(run.step)}"
            for run in rows(converged.iloc[[0, -1]])
        )
        text += f", the fastest {fastest}, the slowest {slowest}"
    elif len(converged):
        text += f", at {unit} {words.count(converged['step'].iloc[0])}"
    median = median_convergence(findings)
    if len(known) > 2 and not np.isnan(median):
        text += f"; by {unit} {words.count(median)} half of all runs had"
    yield Statement(topic, f"{text}. {words.name(measure.how, 600)}")
    censored = known[known["status"] == "censored"]
    if len(censored):
        which = words.listing(
            f"{names[run.group, run.run]} (last {unit} {words.count(run.step)})"
            for run in rows(censored)
        )
        yield Statement(
            topic,
            f"{words.plural(len(censored), 'run')} had not converged when {_they(censored)} ended: "
            f"{which}.",
            "Such a run is right-censored: its convergence step is only known to lie beyond its "
            "end. It is counted as that, neither dropped nor taken as converged.",
        )
    if known["group"].nunique() > 1:
        tallies = (
            f"{words.name(group, 30)}: {int(own['converged'].sum())} of {len(own)}"
            for group, own in known.groupby("group", sort=False)
        )
        yield Statement(topic, f"Converged by group: {words.listing(tallies, at_most=10)}.")


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
    yield Statement(
        topic,
        f"Before converging (or ending), the slowest {words.plural(int(slow.sum()), 'run')} stayed "
        f"longer above all in {state_name(findings, state)}: {words.number(in_slow, 3)} "
        f"checkpoints on average, against {words.number(usual[state], 3)} in the other "
        f"{(~slow).sum()} runs. In all they took {words.number(extra, 3)} checkpoints longer.",
    )
    full_names = full_run_names(findings)
    names = [full_names[run.group, run.run] for run in rows(runs)]
    slowest_first = np.flatnonzero(slow)[np.argsort(-delay[slow], kind="stable")]
    most = {i: int((counts[i] - usual).argmax()) for i in slowest_first}
    each = (f"{names[i]}: {counts[i, k]:,} in state {k}" for i, k in most.items())
    yield Statement(
        topic,
        "Of each slow run, the state it stayed in longest compared with the others (checkpoints): "
        f"{words.listing(each)}.",
    )


def _detours(findings: Findings) -> Iterator[Statement]:
    topic = "Detour states"
    said = {
        CONFIRMED: "is a confirmed detour",
        FLAG_ONLY: "meets the paper's definition of a detour, which is not confirmed",
        SLOWS: "goes with slower convergence, but is no detour by the paper's definition",
        HELPS: "meets the paper's definition of a detour, but rather helps",
    }
    apart = findings.detours["flag"] | (findings.detours["verdict"] == SLOWS)
    texts = [
        f"{_capital(state_name(findings, state.state))} {said[state.verdict]}. "
        f"{words.name(state.reason, 800)}"
        for state in rows(findings.detours[apart])
    ] or ["No state is shown to be a detour."]
    listed = {
        HELPS: "Runs converged sooner once they had entered {}: that helps, or lies on the way.",
        NO_EVIDENCE: "There is no evidence that entering {} makes runs slower or faster.",
        CANNOT_TELL: "These runs cannot tell whether entering {} delays convergence.",
    }
    others = findings.detours[~apart]
    for verdict, sentence in listed.items():
        states = others.loc[others["verdict"] == verdict, "state"]
        if len(states):
            noun = "state" if len(states) == 1 else "any of states"
            texts.append(sentence.format(f"{noun} {words.listing(states, at_most=12)}"))
    for i, text in enumerate(texts):
        yield Statement(topic, text, _DETOUR if i == 0 else "")
    regression = findings.regression
    if regression is None:
        return
    yield Statement(
        topic,
        f"The paper's regression on {regression.n_runs} runs: "
        f"R² = {words.fraction(regression.r_squared)}, {words.p_value(regression.p)}; "
        f"{_predicted(regression)}. {words.name(regression.warning, 1000)}",
    )


def _predicted(regression: Regression) -> str:
    """Say how well the regression predicts a run from the others."""
    r_squared = regression.r_squared_loo
    if np.isnan(r_squared):
        return "runs cannot be predicted from the others, because one visits a state alone"
    if r_squared <= 0:
        return "it predicts a run left out no better than the mean of the others does"
    return f"R² = {words.fraction(r_squared)} where every run is predicted from the others"


def _stability(stability: Stability) -> Statement:
    index = f"(mean adjusted Rand index {stability.agreement:.2f}; 1 is perfect)"
    repeats = f"{words.plural(stability.n_repeats, 'search', 'searches')} with other seeds"
    found = ", ".join(f"state {row.state} in {row.n_found}" for row in rows(stability.states))
    return Statement(
        "How sure this is",
        f"{repeats} find nearly the same map {index}."
        if stability.agreement >= _GOOD_AGREEMENT
        else f"{repeats} do not find the same map {index}: do not rely on where exactly one state "
        "ends and the next begins.",
        f"Of {stability.n_repeats} searches, found again: {found}. A state is found again where "
        "it holds nearly the same checkpoints (Jaccard index of at least 0.75).",
    )


def _certainty(findings: Findings) -> Iterator[Statement]:
    topic = "How sure this is"
    selection = findings.selection
    if len(selection.curve) > 1:
        yield Statement(
            topic,
            _choice_in_words(selection),
            "BIC, AIC and ICL weigh how well a model fits against its number of parameters; lower "
            "is better. On smooth trajectories all tend to ask for too many states: read the "
            "number as a resolution, and the whole curve below.",
        )
    if selection.stability is not None:
        yield _stability(selection.stability)
    probability = findings.states["probability"]
    unsure = float((probability < 0.9).mean())
    yield Statement(
        topic,
        f"{words.percent(1 - unsure)} of the checkpoints belong to their state with a "
        "probability of at least 0.9, given the model.",
    )
    for fork in forks(findings)[: 1 if findings.table["group"].nunique() == 1 else 0]:
        n_fewest = min(fork.exits.values())
        low, high = binomtest(n_fewest, fork.n_runs).proportion_ci(method="wilson")
        yield Statement(
            topic,
            f"Shares of few runs are rough: the {n_fewest} of {fork.n_runs} that take the rarer "
            f"way after state {fork.state} are compatible with {words.percent(low)} to "
            f"{words.percent(high)} of all seeds (95 % interval).",
        )
    for notice in all_notices(findings):
        if notice.kind == "limit":
            subject, message = words.name(notice.subject), words.name(notice.message, 600)
            yield Statement(topic, f"{_capital(subject)}: {message}")


def _choice_in_words(selection: Selection) -> str:
    """Say which criteria agree on the number of states, for this covariance type."""
    text = f"The number of states, {selection.n_states}, "
    decided = CRITERIA.get(selection.criterion)
    text += f"has the lowest {decided}" if decided else "is what runs held out recommend"
    for name, title in CRITERIA.items():
        values = selection.curve[name]
        if name == selection.criterion or values.isna().all():
            continue
        best = int(selection.curve["n_states"].iloc[values.argmin()])
        text += f"; {title} " + ("agrees" if best == selection.n_states else f"would choose {best}")
    return f"{text} ({selection.covariance_type} covariance)."


def figure_summaries(findings: Findings) -> dict[str, str]:
    """Return, by figure, what it shows in words, for readers who cannot see it."""
    return {
        "training_map": _map_in_words(findings),
        "convergence": " ".join(s.text for s in _convergence(findings)),
        "timeline": " ".join(s.text for s in _ways(findings)) or "There is one state.",
        "state_means": _means_in_words(findings),
    }


def _map_in_words(findings: Findings) -> str:
    edges = []
    for edge in rows(findings.transitions):
        moves = words.listing(
            f"{words.name(f, 30)} {movement(m)}"
            for f, m in top_movements(findings, edge.from_state, edge.to_state)
        )
        edges.append(
            f"{edge.from_state} → {edge.to_state}: {edge.n_runs} of {edge.n_total} runs ({moves})"
        )
    if not edges:
        return "One state and no transitions."
    return f"Transitions and what moves most in them: {'; '.join(edges)}."


def _means_in_words(findings: Findings) -> str:
    means = findings.parameters.means
    lines = []
    for state, row in enumerate(means):
        strongest = np.argsort(-np.abs(row), kind="stable")[:3]
        parts = words.listing(
            f"{words.name(findings.features[i], 30)} {row[i]:+.1f}" for i in strongest
        )
        lines.append(f"state {state}: {parts}")
    return f"Furthest from the average, in standard deviations: {'; '.join(lines)}."


def _ranges(numbers: pd.Series) -> list[str]:
    """Return ``1 to 8`` for successive numbers, else each of them."""
    tried = [int(k) for k in numbers]
    if tried == list(range(tried[0], tried[-1] + 1)):
        return [f"{tried[0]} to {tried[-1]}"]
    return [str(k) for k in tried]


def _they(runs: pd.DataFrame) -> str:
    return "it" if len(runs) == 1 else "they"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
