"""Whether having entered a state changes a run's chance of converging next.

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

from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.detours import HAZARDS
from hmmdyn.results.keys import RUN_KEY

BoolArray = NDArray[np.bool_]

# When runs are in a state, seen from convergence.
_BEFORE, _UNSEEN, _AFTER, _NEVER = "before", "between evaluations", "after", "never"


@dataclass(frozen=True)
class RiskSets:
    """For every step at which a run converges, the runs of its group that had not done so before.

    One row per risk set and run in it, m in all. ``label`` (m,) numbers the risk sets;
    ``converges`` (m,) is whether the run converges at that step; ``inside`` and ``entered``
    (m, K) are whether it was in a state, and had ever been, at its last evaluation before.
    """

    label: IntArray
    converges: BoolArray
    inside: BoolArray
    entered: BoolArray


@dataclass(frozen=True)
class Comparison:
    """How readily runs of one kind converge, against those of another at equal time.

    ``ratio`` of the odds of converging next (the discrete hazard ratio) with its 95 % interval
    ``low`` … ``high``; 0 or infinite where runs of one kind only converge. ``p`` is two-sided,
    ``least_p_slower`` and ``least_p_faster`` the least that any outcome could have given.
    """

    ratio: float
    low: float
    high: float
    p: float
    least_p_slower: float
    least_p_faster: float


def entry_hazards(
    states: pd.DataFrame, evaluated: BoolArray, convergence: Convergence, n_states: int
) -> pd.DataFrame:
    """Test, state by state, whether having entered it changes the chance of converging next.

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
        See :data:`.results.detours.HAZARDS`. p is corrected (Benjamini–Hochberg) over the states in
        which some outcome would have been significant [3]_. Numbers are NaN where these runs cannot
        tell: there is nothing to compare, or not even the slowest course would have been
        significant. Where the fastest would have been, the test counts all the same: its p is
        given.

    Notes
    -----
    The test is that of Mantel and Byar [1]_, with Cox's discrete model [2]_ for ties, exact in each
    risk set given who is in it: right for few runs and for complete separation, where a fit has no
    number to give. ``benchmarks/detours.md`` has its error rates.

    It is an association over time, not an experiment: a state that all runs pass on their way
    makes them "faster" once entered, and a delay can be masked where runs that have not entered
    the state are mostly further behind. States decoded from a whole run, and metrics standardised
    over it, know a little of its future, which this test takes as known.

    References
    ----------
    .. [1] Mantel and Byar (1974), Evaluation of response-time data involving transient states.
       Journal of the American Statistical Association 69, 81-86.
    .. [2] Cox (1972), Regression models and life-tables. Journal of the Royal Statistical Society
       B 34, 187-220.
    .. [3] Gilbert (2005), A modified false discovery rate multiple-comparisons procedure for
       discrete data. Journal of the Royal Statistical Society C 54, 143-158.
    """
    sets = risk_sets(states, evaluated, convergence, n_states)
    visits = _visits(states, evaluated, convergence, n_states)
    compared = [
        _compare(sets, sets.entered[:, k], ~sets.entered[:, k]) if when == _BEFORE else None
        for k, when in enumerate(visits)
    ]
    p_corrected = corrected(np.array([_tested_p(found) for found in compared]))
    rows = [
        _nothing_to_compare(sets, k, visits[k])
        if found is None
        else _judged(sets, k, found, float(p_corrected[k]))
        for k, found in enumerate(compared)
    ]
    return HAZARDS.frame(rows)


def risk_sets(
    states: pd.DataFrame, evaluated: BoolArray, convergence: Convergence, n_states: int
) -> RiskSets:
    """Collect who could have converged, whenever a run did; groups are never mixed.

    A run is at risk until it converges, or until it was last seen not to where it never does.
    Before its first evaluation nothing is known of it, so it is not at risk.

    Parameters
    ----------
    states : DataFrame
        Decoded state of every checkpoint: ``group, run, step, state``, n rows.
    evaluated : ndarray of bool, shape (n,)
        Whether the outcome is known at the checkpoint.
    convergence : Convergence
        When each run converged.
    n_states : int
        K, the number of states of the map.
    """
    inside, entered = _covariates(states, n_states)
    steps = states["step"].to_numpy()
    of_run = states.groupby(RUN_KEY, sort=False).indices
    labels, converges, known = [], [], []
    n_sets = 0
    for group, runs in convergence.table.groupby("group", sort=False):
        events = np.unique(runs.loc[runs["converged"], "step"])
        ends = runs["step"].where(runs["converged"], runs["previous_step"].fillna(-1))
        for run, converged, end in zip(runs["run"], runs["converged"], ends, strict=True):
            seen = np.asarray(of_run[group, run])
            seen = seen[evaluated[seen]]
            last = np.searchsorted(steps[seen], events) - 1  # the last evaluation before
            at_risk = (last >= 0) & (events <= end)
            labels.append(n_sets + np.flatnonzero(at_risk))
            converges.append(converged & (events[at_risk] == end))
            known.append(seen[last[at_risk]])
        n_sets += len(events)
    rows = np.concatenate([np.empty(0, dtype=int), *known])
    return RiskSets(
        np.concatenate([np.empty(0, dtype=int), *labels]),
        np.concatenate([np.empty(0, dtype=bool), *converges]),
        inside[rows],
        entered[rows],
    )


def _covariates(states: pd.DataFrame, n_states: int) -> tuple[BoolArray, BoolArray]:
    """Return, per checkpoint and state, whether the run is in it and has been so far, (n, K)."""
    inside = np.eye(n_states, dtype=bool)[states["state"]]
    keys = [states[key].to_numpy() for key in RUN_KEY]
    entered = pd.DataFrame(inside.astype(np.int8)).groupby(keys, sort=False).cummax()
    return inside, entered.to_numpy() > 0


def _visits(
    states: pd.DataFrame, evaluated: BoolArray, convergence: Convergence, n_states: int
) -> list[str]:
    """When runs with a known outcome are in each state, by what is earliest of the four."""
    ends = convergence.table.rename(columns={"step": "end"})
    joined = states[[*RUN_KEY, "step", "state"]].assign(evaluated=evaluated)
    joined = joined.merge(ends[[*RUN_KEY, "end", "converged"]], on=RUN_KEY)
    not_yet = (joined["step"] < joined["end"]) | ~joined["converged"]
    known = joined["step"].where(not_yet & joined["evaluated"])
    last_known = known.groupby([joined[key] for key in RUN_KEY]).transform("max")
    before = joined["step"] <= last_known
    # After the last evaluation at which it had not, a run may have converged, unseen so far.
    unseen = ~before & not_yet
    when = np.full(n_states, _NEVER, dtype=object)
    for kind, here in ((_AFTER, ~not_yet), (_UNSEEN, unseen), (_BEFORE, before)):
        when[joined.loc[here, "state"].unique()] = kind
    return when.tolist()


def _compare(sets: RiskSets, exposed: BoolArray, others: BoolArray) -> Comparison | None:
    """Compare exposed runs with others within each risk set; None where none holds both.

    If exposure makes no difference, who of a risk set converges is a draw without replacement, so
    the number of exposed among them is hypergeometric, and the number in all a sum of these; a
    hazard ratio e^β tilts its distribution by e^(βx). That is the conditional likelihood of the
    discrete proportional-odds hazard model; with one covariate it is the exact Mantel–Haenszel
    test. It needs no large samples. Tests and intervals take both tails.
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
        p=min(1.0, 2 * min(at_most(null), at_least(null))),
        least_p_slower=min(1.0, 2 * float(null[0])),
        least_p_faster=min(1.0, 2 * float(null[-1])),
    )


def _root(rising: Callable[[float], float]) -> float:
    """Return e^β where a rising function of β crosses zero."""
    reach = 1.0
    while rising(-reach) > 0 or rising(reach) < 0:
        reach *= 2
    return float(np.exp(brentq(rising, -reach, reach)))


def _tested_p(found: Comparison | None) -> float:
    """Return p where some outcome would have been significant, else NaN: then it is no test.

    Whether one would depends on the risk sets only, not on which of their runs converged.
    """
    if found and min(found.least_p_slower, found.least_p_faster) < SIGNIFICANT:
        return found.p
    return float("nan")


def _judged(sets: RiskSets, state: int, found: Comparison, p_corrected: float) -> dict[str, object]:
    """Return a row of :func:`entry_hazards` for a state that could be compared."""
    if p_corrected < SIGNIFICANT:
        effect = "slower" if found.ratio < 1 else "faster"
    elif found.least_p_slower < SIGNIFICANT:
        effect = "none"
    else:
        account = (
            "Even if the runs that entered it had converged last of all, p would be "
            f"{found.least_p_slower:.2g}: these runs cannot tell what it does."
        )
        return {
            "state": state,
            "p": _tested_p(found),
            "least_p_slower": found.least_p_slower,
            "p_corrected": p_corrected,
            "effect": "cannot tell",
            "account": account,
        }
    inside, entered = sets.inside[:, state], sets.entered[:, state]
    parts = (_compare(sets, part, ~entered) for part in (inside, entered & ~inside))
    while_in, after = (part.ratio if part else np.nan for part in parts)
    return {
        "state": state,
        "hazard_ratio": found.ratio,
        "ratio_low": found.low,
        "ratio_high": found.high,
        "p": found.p,
        "least_p_slower": found.least_p_slower,
        "p_corrected": p_corrected,
        "ratio_inside": while_in,
        "ratio_left": after,
        "effect": effect,
        "account": _account(effect, found, p_corrected, while_in, after),
    }


def _nothing_to_compare(sets: RiskSets, state: int, when: str) -> dict[str, object]:
    """Return a row of :func:`entry_hazards` for a state that could not be, with the reason."""
    effect = "cannot tell"
    entered = sets.entered[:, state]
    if when == _NEVER:
        account = "No run enters it, so these runs cannot tell."
    elif when == _UNSEEN:
        account = (
            "Runs enter it only where it was not evaluated whether they had converged before: "
            "these runs cannot tell what it does."
        )
    elif when == _AFTER:
        effect = "none"
        account = "Runs enter it only once they have converged, so it cannot delay convergence."
    elif not sets.converges.any():
        account = "No run is seen to converge, so these runs cannot tell."
    elif entered.all():
        account = "All runs enter it before any converges: these runs cannot tell what it does."
    elif not entered.any():
        account = "No run has entered it while others converge, so these runs cannot tell."
    else:
        account = (
            "Whenever runs converged, all runs still in training had entered it, none had, or all "
            "of them converged at once: these runs cannot tell what it does."
        )
    return {"state": state, "effect": effect, "account": account}


def _account(
    effect: str, found: Comparison, p_corrected: float, while_in: float, after: float
) -> str:
    numbers = (
        f"{_ratio_in_words(found)}; p = {found.p:.2g}, corrected over states {p_corrected:.2g}"
    )
    if effect == "none":
        return (
            "At the same point in training, runs that had entered it converged neither clearly "
            f"later nor clearly sooner than those that had not ({numbers})."
        )
    likely = "less" if effect == "slower" else "more"
    text = (
        f"At the same point in training, runs that had entered it were {likely} likely to converge "
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
