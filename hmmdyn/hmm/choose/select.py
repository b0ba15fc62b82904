"""Choosing the number of hidden states: a sweep over K with restarts, every attempt recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmmdyn.choices import COVARIANCE_TYPES, PROTOCOLS
from hmmdyn.errors import NotEnoughDataError, NoValidFitError, UsageError
from hmmdyn.hmm.choose.criteria import criteria_table
from hmmdyn.hmm.choose.evidence import N_STAGES, weigh
from hmmdyn.hmm.choose.folds import Split, about_metrics_left_out, split_runs
from hmmdyn.hmm.choose.supported import with_supported_states
from hmmdyn.hmm.fit.progress import Progress, Stages
from hmmdyn.hmm.fit.settings import SweepSettings
from hmmdyn.hmm.fit.sweep import Attempt, attempts_table
from hmmdyn.hmm.model.clock import LONGEST_GAP, capped
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.messages import Either, Message, Remedy
from hmmdyn.names import require_one_of, some
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Observations
from hmmdyn.results.selection import Selection
from hmmdyn.results.verdicts import LEFT_BEHIND

# The paper keeps one run in five for choosing K (Hu 2023, section 2.1).
HELD_OUT_SHARE = 0.2


def select_n_states(
    observations: Observations,
    candidates: Sequence[int] = range(1, 9),
    *,
    covariance_type: str = "diag",
    protocol: str = "bic",
    options: ModelOptions = PLAIN_MODEL,
    n_restarts: int = 10,
    random_state: int = 0,
    quick: bool = False,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> Selection:
    """Choose the number of hidden states by the lowest BIC, and weigh the choice.

    Each K is represented by the best valid model of a sweep (:func:`hmmdyn.hmm.fit.sweep.sweep`)
    over all runs jointly. Fits that exhaust the iteration budget, leave a state unvisited or turn
    non-finite stay in ``attempts`` but cannot win. With ``protocol="paper"`` one run in five is
    held out, the fits see the others only, BIC is computed on the runs held out, and the chosen K
    is then fitted to all runs. Beside the choice stands what weighs it:
    :func:`hmmdyn.hmm.choose.evidence.weigh`.

    Parameters
    ----------
    observations : Observations
        Standardised metrics, shape (n, D).
    candidates : sequence of int
        Values of K, each >= 1.
    covariance_type : str
        ``diag`` or ``full``.
    protocol : str
        ``bic``, ``paper``, or ``supported``: the states whose boundaries have evidence in these
        runs, merged from the finest map tried
        (:func:`hmmdyn.hmm.choose.boundaries.supported_map`). Nothing else is weighed then.
    options : ModelOptions
        What the model assumes beyond the plain hidden Markov model.
    n_restarts : int
        Starts per K; K = 1 has a closed form and needs a single one.
    random_state : int
        Seeds every start (and the choice of runs held out): same input, same result, whatever
        ``n_jobs`` is.
    quick : bool
        Only choose: leave out what weighs the choice, which takes most of the time.
    n_jobs : int
        Threads to work with.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Selection

    Raises
    ------
    NoValidFitError
        No candidate produced a valid fit; the message counts the reasons.
    NotEnoughDataError
        ``paper`` with fewer than two runs.
    UsageError
        An option is out of range.

    Notes
    -----
    BIC = -2 log L + p log n. On smooth, autocorrelated trajectories it keeps falling with K
    [1]_: read the whole curve.

    References
    ----------
    .. [1] Pohle et al. (2017), arXiv:1701.08673.
    """
    _check_options(candidates, covariance_type, protocol, n_restarts)
    held_out = _held_out_runs(observations, random_state) if protocol == "paper" else None
    split = Split.of_none(observations) if held_out is None else split_runs(observations, held_out)
    kept, notices = _fittable(candidates, split.fitted.values)
    # One number of states leaves nothing to merge.
    supported = protocol == "supported" and len(kept) > 1
    settings = SweepSettings(n_restarts, random_state, n_jobs, options)
    stages = Stages(progress, 1 if quick or supported else 1 + N_STAGES)
    swept = settings.sweep(split.fitted, kept, covariance_type, stages.of_next_stage())
    criteria = criteria_table(swept, kept, covariance_type, options, split)
    criterion = "held_out_bic" if protocol == "paper" else "bic"
    if criteria[criterion].isna().all():
        raise _no_valid_fit(swept.attempts)
    chosen = int(criteria["n_states"].iloc[int(np.nanargmin(criteria[criterion]))])
    models = {k: fit.in_time_order(split.fitted.lengths) for k, fit in swept.winners.items()}
    attempts = attempts_table(swept, covariance_type, split.fitted)
    if split.holds_out:
        last = settings.sweep(observations, [chosen], covariance_type)
        if chosen not in last.winners:
            raise _no_valid_fit(last.attempts)
        models[chosen] = last.winners[chosen].in_time_order(observations.lengths)
        again = attempts_table(last, covariance_type, observations)
        attempts = pd.concat([attempts, again], ignore_index=True)
    n_free = n_parameters(chosen, len(observations.features), covariance_type, options)
    notices += about_metrics_left_out(split.left_out, observations.features)
    notices += _about_long_gaps(observations, options.clock)
    notices += _about_runs_not_seen(swept.n_runs_seen, len(split.fitted.lengths))
    if not supported:
        notices += _notices(criteria, criterion, chosen, n_free, len(observations.values))
    selection = Selection(
        protocol=protocol,
        n_states=chosen,
        covariance_type=covariance_type,
        criterion=criterion,
        criteria=criteria,
        attempts=attempts,
        held_out=_run_names(observations, held_out),
        models=models,
        notices=tuple(notices),
    )
    if supported:
        return with_supported_states(selection, observations, swept, random_state, options)
    return selection if quick else weigh(selection, observations, kept, settings, stages, split)


def _check_options(
    candidates: Sequence[int], covariance_type: str, protocol: str, n_restarts: int
) -> None:
    if not candidates or min(candidates) < 1:
        raise UsageError(f"'candidates' must be numbers of states >= 1, got {list(candidates)}.")
    require_one_of(covariance_type, COVARIANCE_TYPES, "covariance")
    require_one_of(protocol, PROTOCOLS, "protocol")
    if n_restarts < 1:
        raise UsageError(f"'restarts' must be at least 1, got {n_restarts}.")


def _fittable(candidates: Sequence[int], values: FloatArray) -> tuple[list[int], list[Notice]]:
    """Leave out numbers of states that exceed the different checkpoints there are."""
    distinct = _count_distinct(values, max(candidates))
    kept = sorted({k for k in candidates if k <= distinct})
    if not kept:
        raise NotEnoughDataError(
            f"There are only {distinct} different checkpoints, fewer than the smallest number of "
            f"states asked for ({min(candidates)})."
        )
    if len(kept) == len(set(candidates)):
        return kept, []
    message = (
        f"There are only {distinct} different checkpoints, so at most {kept[-1]} states were tried."
    )
    return kept, [Notice("model", "limit", "number of states", message)]


def _count_distinct(values: FloatArray, enough: int) -> int:
    """Count the different rows; some of them tell, where these are enough."""
    for rows in (values[: 100 * enough], values):
        distinct = len(np.unique(np.nan_to_num(rows, nan=np.inf), axis=0))  # NaN equals no NaN
        if distinct >= enough:
            break
    return distinct


def _held_out_runs(observations: Observations, random_state: int) -> np.ndarray:
    """Mask of the runs held out, shape (R,): one in five, at least one, at least one left."""
    n_runs = len(observations.lengths)
    if n_runs < 2:
        raise NotEnoughDataError(
            "The paper's protocol chooses the number of states on runs held out, and there is "
            "only one run. Leave out ",
            Either(typed="--preset paper", called="protocol='paper'"),
            ", or add runs.",
        )
    n_held_out = min(max(1, round(HELD_OUT_SHARE * n_runs)), n_runs - 1)
    mask = np.zeros(n_runs, dtype=bool)
    mask[np.random.default_rng(random_state).choice(n_runs, n_held_out, replace=False)] = True
    return mask


def _run_names(observations: Observations, mask: np.ndarray | None) -> tuple[str, ...]:
    if mask is None:
        return ()
    return tuple(f"{r.group}/{r.run}" for r in observations.runs[mask].itertuples())


def _no_valid_fit(attempts: Sequence[Attempt]) -> NoValidFitError:
    # A start that was left behind could not have failed; only those judged tell.
    judged = [a for a in attempts if a.fit.reason != LEFT_BEHIND]
    counts = pd.Series([a.fit.reason for a in judged]).value_counts()
    reasons = "\n".join(f"  {n:,} × {reason}" for reason, n in counts.items())
    return NoValidFitError(
        f"None of {len(judged):,} fits is valid:\n{reasons}\nTry fewer states (",
        Remedy("max_states"),
        "), more restarts (",
        Remedy("restarts"),
        "), or fewer metrics (",
        Remedy("metrics"),
        ").",
    )


def _about_runs_not_seen(n_seen: int, n_runs: int) -> list[Notice]:
    """Say that a search had enough of some of the runs."""
    if n_seen == n_runs:
        return []
    message = (
        f"Maps were sought in {n_seen:,} of {n_runs:,} runs, drawn at random, and then fitted to "
        "all of them: a state that only a few of the others visit may not have one of its own."
    )
    return [Notice("model", "limit", "search", message)]


def _about_long_gaps(observations: Observations, clock: str) -> list[Notice]:
    """Count and name the gaps between checkpoints that count as shorter ones."""
    rows = capped(clock, observations.steps, observations.lengths)
    if not len(rows):
        return []
    run = observations.run_of_row
    names = observations.runs["run"].astype(str).to_numpy()
    places = [f"{names[run[r]]} before {observations.steps[r]:,}" for r in rows]
    message = (
        f"{len(rows):,} of them count as {LONGEST_GAP:g} times the median gap, because what "
        f"happened in a longer one is not seen ({some(places, 4)})."
    )
    return [Notice("model", "odd", "gaps between checkpoints", message)]


def _notices(
    criteria: pd.DataFrame,
    criterion: str,
    chosen: int,
    n_free: int,
    n: int,
) -> list[Notice]:
    """Say in words what the criteria cannot tell."""
    notices = []
    tried = criteria["n_states"]
    if chosen == tried.max() and len(tried) > 1:
        notices.append(
            Notice(
                "model",
                "limit",
                "number of states",
                Message(
                    f"{chosen} states is the largest number tried: the criterion may fall further, "
                    "and on smooth trajectories it keeps falling. Read it as a resolution, not as "
                    "a count of phases; try ",
                    Remedy("max_states"),
                    ".",
                ),
            )
        )
    without = criteria.loc[criteria[criterion].isna(), "n_states"].tolist()
    if without:
        notices.append(
            Notice(
                "model",
                "left out",
                "number of states",
                f"No restart was valid for {', '.join(map(str, without))} states; see the attempts "
                "for the reasons.",
            )
        )
    if n_free > n:
        notices.append(
            Notice(
                "model",
                "limit",
                "number of parameters",
                Message(
                    f"The model has {n_free:,} parameters for {n:,} checkpoints: its details are "
                    "not to be trusted. More checkpoints, fewer states (",
                    Remedy("max_states"),
                    ") or fewer metrics (",
                    Remedy("metrics"),
                    ") help.",
                ),
            )
        )
    return notices
