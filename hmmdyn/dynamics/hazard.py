"""Whether having entered a state lowers a run's chance of converging next.

A hazard model with time-varying covariates: whenever a run converges, the runs of its group that
could have converged then (its risk set) are compared with each other, by what was known of them at
their last evaluation before. Slow runs have longer to enter any state, but within a risk set all
runs have trained equally long, so a harmless state looks harmless. See docs/method/statements.md,
What states mean for convergence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import hypergeom

from hmmdyn.dynamics.significance import SIGNIFICANT, SIGNIFICANT_ONE_SIDED, corrected
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.detours import HAZARDS, SINCE_BEFORE, STEP
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import AFTER, CANNOT_TELL, NO_EVIDENCE, ON_THE_WAY, SLOWER

BoolArray = NDArray[np.bool_]

# A state is entered at this checkpoint of a stay: shorter ones have no evidence in a map, either.
_ENTERED_AT = 3
# When runs are in a state, seen from convergence.
_BEFORE, _UNSEEN, _ONLY_AFTER, _NEVER = "before", "between evaluations", "after", "never"


@dataclass(frozen=True)
class Origin:
    """From where on, and by which clock, runs are compared about a state.

    Attributes
    ----------
    state_before : int or None
        The state out of which most runs enter it; None where most begin in it.
    clock : str
        ``step``, or ``since the state before``: the steps since a run entered that one.
    since : Series
        The step from which on each run is compared, by group and run; runs that are never in
        ``state_before``, or only once they have been in the state, are not among them.
    """

    state_before: int | None
    clock: str
    since: pd.Series


@dataclass(frozen=True)
class RiskSets:
    """For every time at which a run converges, the runs of its group that had not done so before.

    One row per risk set and run in it, m in all. ``label`` (m,) numbers the risk sets;
    ``converges`` (m,) is whether the run converges at that time; ``inside`` and ``entered`` (m,)
    are whether it was in the state, and had entered it, at its last evaluation before. A run that
    was in it, but never for three checkpoints on end so far, is in no risk set.
    """

    label: IntArray
    converges: BoolArray
    inside: BoolArray
    entered: BoolArray


@dataclass(frozen=True)
class Comparison:
    """How readily runs of one kind converge, against those of another at equal time.

    ``ratio`` of the odds of converging next (the discrete hazard ratio) with its 95 % interval
    ``low`` … ``high``; 0 or infinite where runs of one kind only converge. ``p`` is one-sided, for
    a ratio below 1, ``least_p`` the least that any outcome could have given.
    """

    ratio: float
    low: float
    high: float
    p: float
    least_p: float


def entry_hazards(
    states: pd.DataFrame, evaluated: BoolArray, convergence: Convergence, n_states: int
) -> pd.DataFrame:
    """Test, state by state, whether having entered it lowers the chance of converging next.

    A run has entered a state once it has been in it for three checkpoints on end. Until then, and
    if it leaves before, it is not compared: a change to another state may touch it in passing. Only
    runs that have come as far are compared: those that have been in the state before it, out of
    which most runs enter it. Runs further behind would make every state on the way look quick.
    They are compared at equal time since they entered that one; or at the same step, if runs enter
    the state closer to the same step than to the same time since then, as a schedule has it.

    Parameters
    ----------
    states : DataFrame
        Decoded state of every checkpoint: ``group, run, step, state``.
    evaluated : ndarray of bool, shape (n,)
        Whether the outcome is known at the checkpoint. Between two evaluations a run may have
        converged unseen, so what it did there says nothing about what came first.
    convergence : Convergence
        When each run converged.
    n_states : int
        K, the number of states of the map.

    Returns
    -------
    DataFrame
        See :data:`.results.detours.HAZARDS`. p is one-sided, for slower, and corrected
        (Benjamini–Hochberg) over the states in which some outcome would have been significant
        [3]_. A state that all converged runs of its groups enter is not tested: it lies on
        everyone's way, and nothing shows what it costs. Numbers are NaN where these runs cannot
        tell: there is nothing to compare, or not even the slowest course would have been
        significant.

    Notes
    -----
    The test is that of Mantel and Byar [1]_, stratified by group, with Cox's discrete model [2]_
    for ties, exact in each risk set given who is in it: right for few runs and for complete
    separation, where a fit has no number to give. ``benchmarks/detours.md`` has its error rates.

    It is an association over time, not an experiment. It asks whether entering the state was worse
    than not having entered it so far, so a delay is masked that is shorter than what runs in the
    state before mostly have left; and a delay by which runs can only be told from such whose state
    changed at a random time, costing nothing, is not held against the state. States decoded from a
    whole run know a little of its future, which this test takes as known.

    References
    ----------
    .. [1] Mantel and Byar (1974), Evaluation of response-time data involving transient states.
       Journal of the American Statistical Association 69, 81-86.
    .. [2] Cox (1972), Regression models and life-tables. Journal of the Royal Statistical Society
       B 34, 187-220.
    .. [3] Gilbert (2005), A modified false discovery rate multiple-comparisons procedure for
       discrete data. Journal of the Royal Statistical Society C 54, 143-158.
    """
    stayed = states[_settled(states)]
    when = _when(stayed, states.assign(evaluated=evaluated), convergence, n_states)
    any_converged = convergence.table["converged"].any()
    avoided = _avoided(states, convergence)
    rows: list[dict[str, object]] = []
    tests = {}
    for k in range(n_states):
        if when[k] != _BEFORE or (any_converged and k not in avoided):
            rows.append({"state": k, "clock": ""} | _not_tested(when[k]))
            continue
        origin = origin_of(states, k)
        sets = risk_sets(states, evaluated, convergence, k, origin)
        found = _compare(sets, sets.entered, ~sets.entered)
        rows.append(
            {
                "state": k,
                "state_before": pd.NA if origin.state_before is None else origin.state_before,
                "clock": origin.clock,
            }
        )
        tests[k] = sets, found
    p = [found.p if found and _can_tell(found) else np.nan for _, found in tests.values()]
    for (k, (sets, found)), p_corrected in zip(
        tests.items(), corrected(np.array(p, dtype=np.float64)), strict=True
    ):
        rows[k] |= _judged(sets, found, float(p_corrected)) if found else _nothing_to_compare(sets)
    return HAZARDS.frame(rows)


def _settled(states: pd.DataFrame) -> BoolArray:
    """Whether each checkpoint's state has been entered by then, in this stay, shape (n,)."""
    same = states["state"].eq(states.groupby(RUN_KEY, sort=False)["state"].shift())
    visit = (~same).cumsum()
    return (visit.groupby(visit).cumcount() >= _ENTERED_AT - 1).to_numpy()


def _avoided(states: pd.DataFrame, convergence: Convergence) -> set[int]:
    """States that some converged run of a group that visits them never visits."""
    entered = states[[*RUN_KEY, "state"]].drop_duplicates()
    converged = convergence.table.loc[convergence.table["converged"], RUN_KEY]
    could = entered[["group", "state"]].drop_duplicates().merge(converged, on="group")
    did = could.merge(entered, on=[*RUN_KEY, "state"], how="left", indicator=True)
    return set(did.loc[did["_merge"] == "left_only", "state"])


def origin_of(states: pd.DataFrame, state: int) -> Origin:
    """Find from where on, and by which clock, runs are compared about a state.

    Parameters
    ----------
    states : DataFrame
        Decoded state of every checkpoint: ``group, run, step, state``, runs contiguous.
    state : int
        The state; some run must have entered it.
    """
    previous = states.groupby(RUN_KEY, sort=False)["state"].shift()
    before_visit = previous.where(previous != states["state"])
    begins_visit = states["state"] != previous
    came_from = before_visit.groupby(begins_visit.cumsum()).transform("first")
    inside = states.assign(before=came_from)[_settled(states) & (states["state"] == state)]
    entries = inside.drop_duplicates(RUN_KEY).set_index(RUN_KEY)
    begins = states.drop_duplicates(RUN_KEY).set_index(RUN_KEY)["step"]
    n_from = entries["before"].value_counts()
    if n_from.empty or n_from.iloc[0] < entries["before"].isna().sum():
        return Origin(None, STEP, begins)
    before = int(n_from.index[0])
    since = states[states["state"] == before].drop_duplicates(RUN_KEY).set_index(RUN_KEY)["step"]
    entered = entries["step"].reindex(since.index)
    since = since[~(entered < since)]
    by_step = entered.reindex(since.index).dropna()
    by_own = by_step - since.reindex(by_step.index)
    own = _spread(by_own) < _spread(by_step)
    return Origin(before, SINCE_BEFORE if own else STEP, since)


def _spread(times: pd.Series) -> float:
    """Sum of squares around the means of the groups."""
    return float(((times - times.groupby("group").transform("mean")) ** 2).sum())


def risk_sets(
    states: pd.DataFrame,
    evaluated: BoolArray,
    convergence: Convergence,
    state: int,
    origin: Origin,
) -> RiskSets:
    """Collect who could have converged, whenever a run did; groups are never mixed.

    A run is at risk until it converges, or until it was last seen not to where it never does.
    Before its first evaluation nothing is known of it, so it is not at risk, nor before it came
    as far as the others.

    Parameters
    ----------
    states : DataFrame
        Decoded state of every checkpoint: ``group, run, step, state``, n rows.
    evaluated : ndarray of bool, shape (n,)
        Whether the outcome is known at the checkpoint.
    convergence : Convergence
        When each run converged.
    state : int
        The state whose entry is asked about.
    origin : Origin
        From where on, and by which clock.
    """
    here = (states["state"] == state).to_numpy()
    inside = here & _settled(states)
    keys = [states[key].to_numpy() for key in RUN_KEY]
    touched, entered = (
        pd.Series(part).groupby(keys, sort=False).cummax().to_numpy() for part in (here, inside)
    )
    unclear = touched & ~entered
    steps = states["step"].to_numpy()
    of_run = states.groupby(RUN_KEY, sort=False).indices
    table = convergence.table.join(origin.since.rename("since"), on=RUN_KEY, how="inner")
    # Where runs are told apart by steps, all have the same zero.
    table["zero"] = table["since"] if origin.clock == SINCE_BEFORE else 0
    table["end"] = table["step"].where(table["converged"], table["previous_step"].fillna(-1))
    labels, converges, known = [], [], []
    n_sets = 0
    for _, runs in table.groupby("group", sort=False):
        converged = runs[runs["converged"] & (runs["end"] > runs["since"])]
        events = np.unique((converged["end"] - converged["zero"]).to_numpy(dtype=np.int64))
        for row, zero in zip(runs.itertuples(index=False), runs["zero"].tolist(), strict=True):
            seen = np.asarray(of_run[row.group, row.run])
            seen = seen[evaluated[seen]]
            at = events + zero
            last = np.searchsorted(steps[seen], at) - 1  # the last evaluation before
            at_risk = (last >= 0) & (at <= row.end)
            before = seen[last[at_risk]]
            at_risk[at_risk] = (steps[before] >= row.since) & ~unclear[before]
            labels.append(n_sets + np.flatnonzero(at_risk))
            converges.append(row.converged & (at[at_risk] == row.end))
            known.append(seen[last[at_risk]])
        n_sets += len(events)
    rows = np.concatenate([np.empty(0, dtype=int), *known])
    return RiskSets(
        np.concatenate([np.empty(0, dtype=int), *labels]),
        np.concatenate([np.empty(0, dtype=bool), *converges]),
        inside[rows],
        entered[rows],
    )


def _when(
    stayed: pd.DataFrame, states: pd.DataFrame, convergence: Convergence, n_states: int
) -> list[str]:
    """When runs with a known outcome have been in each state, by what is earliest of the four."""
    ends = convergence.table.set_index(RUN_KEY)[["step", "converged"]]
    joined = states.join(ends.rename(columns={"step": "end"}), on=RUN_KEY, how="inner")
    not_yet = (joined["step"] < joined["end"]) | ~joined["converged"]
    known = joined["step"].where(not_yet & joined["evaluated"])
    last_known = known.groupby([joined[key] for key in RUN_KEY]).transform("max")
    before = joined["step"] <= last_known
    # After the last evaluation at which it had not, a run may have converged, unseen so far.
    unseen = ~before & not_yet
    when = np.full(n_states, _NEVER, dtype=object)
    for kind, here in ((_ONLY_AFTER, ~not_yet), (_UNSEEN, unseen), (_BEFORE, before)):
        places = joined.index[here].intersection(stayed.index)
        when[states.loc[places, "state"].unique()] = kind
    return when.tolist()


def _compare(sets: RiskSets, exposed: BoolArray, others: BoolArray) -> Comparison | None:
    """Compare exposed runs with others within each risk set; None where none holds both.

    If exposure makes no difference, who of a risk set converges is a draw without replacement, so
    the number of exposed among them is hypergeometric, and the number in all a sum of these; a
    hazard ratio e^β tilts its distribution by e^(βx). That is the conditional likelihood of the
    discrete proportional-odds hazard model; with one covariate it is the exact Mantel–Haenszel
    test. It needs no large samples. Intervals take both tails, p the lower one.
    """
    part = exposed | others
    tally = (
        pd.DataFrame(
            {
                "n": 1,
                "exposed": exposed,
                "converge": sets.converges,
                "both": exposed & sets.converges,
            }
        )[part]
        .groupby(sets.label[part])
        .sum()
    )
    tally = tally.query("0 < exposed < n and 0 < converge < n")
    if tally.empty:
        return None
    log_null, fewest = np.zeros(1), 0
    for n, n_exposed, n_converge, _ in tally.to_numpy(dtype=int):
        low, high = max(0, n_converge - (n - n_exposed)), min(n_exposed, n_converge)
        of_set = hypergeom.logpmf(np.arange(low, high + 1), n, n_exposed, n_converge)
        log_null, fewest = _convolve(log_null, of_set), fewest + low
    return _exact(log_null, int(tally["both"].sum()) - fewest)


def _convolve(log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """Return the distribution of a sum of two counts; in logarithms, as many runs underflow."""
    total = np.full(len(log_p) + len(log_q) - 1, -np.inf)
    for i, q in enumerate(log_q):
        part = total[i : i + len(log_p)]
        np.logaddexp(part, log_p + q, out=part)
    return total


def _exact(log_null: FloatArray, observed: int) -> Comparison:
    """Ratio, interval and p from the null distribution of a count, at the count observed."""
    counts = np.arange(len(log_null))

    def at(beta: float) -> FloatArray:
        return np.asarray(softmax(log_null + beta * counts))

    def at_most(p: FloatArray) -> float:
        return float(p[: observed + 1].sum())

    def at_least(p: FloatArray) -> float:
        return float(p[observed:].sum())

    tail = SIGNIFICANT / 2
    first, last = observed == 0, observed == len(counts) - 1
    null = at(0)
    ratio = 0.0 if first else np.inf if last else _root(lambda b: float(at(b) @ counts) - observed)
    return Comparison(
        ratio=ratio,
        low=0.0 if first else _root(lambda b: at_least(at(b)) - tail),
        high=np.inf if last else _root(lambda b: tail - at_most(at(b))),
        p=min(1.0, at_most(null)),
        least_p=float(null[0]),
    )


def _root(rising: Callable[[float], float]) -> float:
    """Return e^β where a rising function of β crosses zero."""
    reach = 1.0
    while rising(-reach) > 0 or rising(reach) < 0:
        reach *= 2
    return float(np.exp(brentq(rising, -reach, reach)))


def _can_tell(found: Comparison) -> bool:
    """Whether some outcome would have been significant; else it is no test.

    It depends on the risk sets only, not on which of their runs converged.
    """
    return found.least_p < SIGNIFICANT_ONE_SIDED


def _judged(sets: RiskSets, found: Comparison, p_corrected: float) -> dict[str, object]:
    """Return what :func:`entry_hazards` says of a state that could be compared."""
    if not _can_tell(found):
        account = (
            "Even if the runs that entered it had converged last of all, p would be "
            f"{found.least_p:.2g}: these runs cannot tell what it does."
        )
        return {"least_p": found.least_p, "effect": CANNOT_TELL, "account": account}
    effect = SLOWER if p_corrected < SIGNIFICANT_ONE_SIDED else NO_EVIDENCE
    inside, entered = sets.inside, sets.entered
    parts = (_compare(sets, part, ~entered) for part in (inside, entered & ~inside))
    while_in, after = (part.ratio if part else np.nan for part in parts)
    return {
        "hazard_ratio": found.ratio,
        "ratio_low": found.low,
        "ratio_high": found.high,
        "p": found.p,
        "least_p": found.least_p,
        "p_corrected": p_corrected,
        "ratio_inside": while_in,
        "ratio_left": after,
        "effect": effect,
        "account": _account(effect, found, p_corrected, while_in, after),
    }


def _not_tested(when: str) -> dict[str, object]:
    """Return what is said of a state that is not tested, by when runs are in it."""
    if when == _NEVER:
        return _said(CANNOT_TELL, "No run enters it, so these runs cannot tell.")
    if when == _UNSEEN:
        return _said(
            CANNOT_TELL,
            "Runs enter it only where it was not evaluated whether they had converged before: "
            "these runs cannot tell what it does.",
        )
    if when == _ONLY_AFTER:
        return _said(
            AFTER, "Runs enter it only once they have converged, so it cannot delay convergence."
        )
    return _said(
        ON_THE_WAY,
        "It lies on the way of every run that converged, so nothing shows what it costs.",
    )


def _nothing_to_compare(sets: RiskSets) -> dict[str, object]:
    """Return what is said of a state that could not be compared, with the reason."""
    if not sets.converges.any():
        account = "No run is seen to converge, so these runs cannot tell."
    elif sets.entered.all():
        account = "All runs enter it before any converges: these runs cannot tell what it does."
    elif not sets.entered.any():
        account = "No run has entered it while others converge, so these runs cannot tell."
    else:
        account = (
            "Whenever runs converged, all runs still in training had entered it, none had, or all "
            "of them converged at once: these runs cannot tell what it does."
        )
    return _said(CANNOT_TELL, account)


def _said(effect: str, account: str) -> dict[str, object]:
    return {"effect": effect, "account": account}


def _account(
    effect: str, found: Comparison, p_corrected: float, while_in: float, after: float
) -> str:
    numbers = (
        f"{_ratio_in_words(found)}; one-sided p = {found.p:.2g}, corrected over the states tested "
        f"{p_corrected:.2g}"
    )
    if effect == NO_EVIDENCE:
        return (
            "At the same point in training, runs that had entered it did not converge clearly "
            f"later than those that had not ({numbers})."
        )
    text = (
        "At the same point in training, runs that had entered it were less likely to converge "
        f"next than those that had not ({numbers})"
    )
    if np.isfinite([while_in, after]).all():
        parts = f"{_number(while_in)} while in it and {_number(after)} after leaving it"
        text += f": the ratio is {parts}"
    return f"{text}."


def _ratio_in_words(found: Comparison) -> str:
    if np.isinf(found.ratio):
        return f"hazard ratio above {_number(found.low)} with 95 % confidence"
    if found.ratio == 0:
        return f"hazard ratio below {_number(found.high)} with 95 % confidence"
    interval = f"{_number(found.low)} to {_number(found.high)}"
    return f"hazard ratio {_number(found.ratio)}, 95 % interval {interval}"


def _number(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:,.0f}"
