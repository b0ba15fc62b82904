"""The number of states that runs held out from the fit recommend."""

from __future__ import annotations

import pandas as pd

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.hmm.choose.folds import MIN_RUNS
from hmmdyn.hmm.choose.held_out import HeldOut
from hmmdyn.results.selection import Recommendation


def recommend(held_out: HeldOut) -> Recommendation:
    """Recommend a number of states by the one-standard-error rule on held-out runs.

    The rule takes the smallest K whose mean score lies within one standard error of the best. The
    standard error is that of the best mean, not of paired differences: these shrink without limit
    as runs are added, and a drift shared by all runs is then cut ever finer. Means leave out the
    highest and lowest fifth of the runs, so a state that only fewer runs visit does not count.

    By the path score the rule counts phases. One state is recommended only where neither score
    allows more than two. Otherwise these runs do not determine K: either states repeat from run to
    run (by the log-likelihood) but a drift without phases explains them as well, or the runs are
    too few or too different for the standard error to tell K from one.
    """
    scores = held_out.criteria
    tried = sorted(map(int, scores["n_states"].unique()))
    phases = _within_one_error(scores, "path")
    repeating = _within_one_error(scores, "held_out")
    why_not = ""
    if held_out.n_runs < MIN_RUNS:
        runs = "1 run" if held_out.n_runs == 1 else f"{held_out.n_runs} runs"
        why_not = f"with {runs} none can be held out to compare them on; that takes {MIN_RUNS}"
    elif len(tried) == 1:
        why_not = "there was only one to choose from"
    elif phases.empty:
        why_not = "none had a valid fit to every part of the runs"
    if why_not:
        reason = f"No number of states is recommended: {why_not}."
        covariance_type = str(scores["covariance_type"].iloc[0])
        return Recommendation(None, covariance_type, tried[0], tried[-1], reason)
    n_phases, covariance_type = _simplest(phases)
    high = int(phases["n_states"].max())
    if n_phases > 1:
        reason = (
            f"{n_phases} states: on runs held out from the fit, fewer predict worse by more than a "
            "standard error and more do not predict better, with smooth drift within the states "
            "allowed for."
        )
        if n_phases == tried[-1]:
            reason += " This is the largest number tried, and there may be more."
        return Recommendation(n_phases, covariance_type, n_phases, high, reason)
    n_repeating, covariance_type = _simplest(repeating)
    high = max(n_repeating, high)
    if high <= 2:
        reason = (
            "1 state: on runs held out from the fit, more states do not predict better by more "
            "than a standard error; these runs show no phases that repeat."
        )
        return Recommendation(1, covariance_type, 1, high, reason)
    if n_repeating > 2:
        why = (
            f"on runs held out from the fit, {n_repeating} states repeat, but a smooth drift "
            "without any phases predicts those runs as well"
        )
    else:
        why = (
            "the runs differ so much from each other that, held out from the fit, they are "
            "predicted about as well by any of these"
        )
    reason = (
        "These runs do not determine the number of states, which may be anything from 1 to "
        f"{high}: {why}. Read it as a resolution, not as a count of phases."
    )
    return Recommendation(None, covariance_type, 1, high, reason)


def _within_one_error(scores: pd.DataFrame, score: str) -> pd.DataFrame:
    """Rows whose mean is within one standard error of the best; empty where there is no score."""
    known = scores[scores[score].notna()]
    if known.empty:
        return known
    mean, error = known[score].to_numpy(), known[f"{score}_se"].to_numpy()
    best = mean.argmax()
    near: pd.DataFrame = known[mean >= mean[best] - error[best]]
    return near


def _simplest(rows: pd.DataFrame) -> tuple[int, str]:
    """Fewest states; of the covariance types with so many, the one with fewer parameters."""
    fewest = int(rows["n_states"].min())
    types = set(rows.loc[rows["n_states"] == fewest, "covariance_type"])
    return fewest, min(types, key=COVARIANCE_TYPES.index)
