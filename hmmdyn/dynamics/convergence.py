"""When each run converged: the first step at which an outcome crosses a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.choices import DIRECTIONS
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import require_known, require_one_of, some
from hmmdyn.results.convergence import CONVERGENCE, CROSSINGS, EVALUATIONS, Convergence
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.roles import better_side, data_split, is_accuracy

# The automatic threshold lies this far along the way from the first value to the best one.
SHARE_OF_THE_WAY = 0.9
# It is not chosen where the median run comes less far than this, of the way that the best one does:
# then it would be a level that the better runs pass on their way.
_AGREED = 0.75
# A crossing did not last where more than this share of the later evaluations lie back again.
_DID_NOT_LAST = 0.25
_IN_A_ROW = 3  # evaluations advised where crossings do not last


def choose_outcome(table: pd.DataFrame, outcomes: Sequence[str]) -> str:
    """Pick the outcome that best stands for convergence.

    One that is known in more runs comes first, then held-out data before training data, accuracy
    before others, then the columns' order.
    """
    known = table[list(outcomes)].apply(np.isfinite)
    n_runs = known.groupby([table[k] for k in RUN_KEY]).any().sum()

    def rank(name: str) -> tuple[int, bool, bool, int]:
        return (
            -int(n_runs[name]),
            data_split(name) != "eval",
            not is_accuracy(name),
            outcomes.index(name),
        )

    return min(outcomes, key=rank)


def run_name(group: str, run: str, *, several_groups: bool) -> str:
    """Name a run in a notice: with its group where there are several, which may share names."""
    return f"{group}/{run}" if several_groups else run


def first_and_best(table: pd.DataFrame, outcome: str, direction: str) -> tuple[float, float]:
    """Return the medians over the runs of the first and of the best finite value."""
    finite = table[np.isfinite(table[outcome])]
    firsts = finite.groupby(RUN_KEY, sort=False)[outcome].first()
    return float(firsts.median()), float(_best_values(table, outcome, direction).median())


def _best_values(table: pd.DataFrame, outcome: str, direction: str) -> pd.Series:
    finite = table[np.isfinite(table[outcome])]
    values = finite.groupby(RUN_KEY, sort=False)[outcome]
    best: pd.Series = values.max() if direction == "above" else values.min()
    return best


def automatic_threshold(table: pd.DataFrame, outcome: str, direction: str) -> float:
    """Return a threshold slightly short of the best value seen, rounded to 1 % of the way or less.

    It lies nine tenths of the way from the median first value to the median best value of the
    runs: for an accuracy that starts at chance (0.5) and reaches 1, at 0.95.

    Raises
    ------
    NotEnoughDataError
        The runs' best values are no common level: most of the runs come much less far than the best
        of them, so the threshold would call failure convergence.
    """
    first, best = first_and_best(table, outcome, direction)
    bests = _best_values(table, outcome, direction)
    top, worst = (bests.max(), bests.min()) if direction == "above" else (bests.min(), bests.max())
    if abs(best - first) < _AGREED * abs(top - first):
        raise NotEnoughDataError(
            f"No threshold of {outcome} is chosen: the best values of the {len(bests)} runs lie "
            f"between {worst:.3g} and {top:.3g}, half of them no better than {best:.3g}, so there "
            "is no one level at which runs have converged. Set one with ",
            Remedy("threshold"),
            ".",
        )
    if first == best:
        return best
    decimals = 2 - math.floor(math.log10(abs(best - first)))
    return round(first + SHARE_OF_THE_WAY * (best - first), decimals)


def require_possible(
    table: pd.DataFrame, outcomes: Sequence[str], outcome: str | None, threshold: float | None
) -> None:
    """Refuse a threshold that no value of the outcome can be: 95 for an accuracy from 0 to 1.

    Parameters
    ----------
    table : DataFrame
        One row per evaluation, with the outcomes as columns.
    outcomes : sequence of str
        Those that are known somewhere.
    outcome : str or None
        The one asked for; None for the one that would be chosen.
    threshold : float or None
        The one asked for; None refuses nothing.

    Raises
    ------
    UsageError
        The message says what was likely meant.
    """
    if threshold is None or not outcomes:
        return
    chosen = outcome or choose_outcome(table, outcomes)
    values = table[chosen][np.isfinite(table[chosen])]
    if not is_accuracy(chosen) or values.empty or not values.between(0, 100).all():
        return
    most = 1 if values.max() <= 1 else 100
    if 0 <= threshold <= most:
        return
    what = f"{chosen} is an accuracy between 0 and {most} here, so it cannot be {threshold:g}. "
    if most == 1 and 0 < threshold <= 100:
        raise UsageError(
            f"{what}If per cent were meant, use ", Remedy("threshold", threshold / 100), "."
        )
    raise UsageError(f"{what}Set a value between 0 and {most} with ", Remedy("threshold"), ".")


def measure_convergence(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    *,
    outcome: str | None = None,
    threshold: float | None = None,
    direction: str | None = None,
    sustained: int = 1,
) -> Convergence:
    """Find each run's convergence step; one that never crosses is censored where last evaluated.

    Values that are not finite (a diverged loss) count as not evaluated, with a notice.

    Parameters
    ----------
    table : DataFrame
        ``group, run, seed, step`` and the outcome columns, sorted by run and step.
    outcomes : sequence of str
        The outcome columns, at least one.
    outcome, threshold, direction : optional
        What to watch, the value to cross, and whether from below (``above``: converged when at or
        above) or from above (``below``). Chosen automatically where None, and ``how`` says so.
    sustained : int
        The outcome must hold at this many successive evaluated checkpoints; the first counts.

    Raises
    ------
    UsageError
        The outcome is not in the table or an option is out of range.
    NotEnoughDataError
        No threshold is given, and the runs do not agree on a level to choose one by.
    """
    _check(outcomes, outcome, direction, sustained)
    chosen = outcome or choose_outcome(table, outcomes)
    side = direction or better_side(chosen)
    limit = automatic_threshold(table, chosen, side) if threshold is None else threshold
    several_groups = table["group"].nunique() > 1
    require_possible(table, outcomes, chosen, threshold)
    rows, unknown = [], []
    holding = table[np.isfinite(table[chosen])][[*RUN_KEY, "step", chosen]]
    holding = holding.assign(holds=_holds(holding[chosen], limit, side))
    evaluations = EVALUATIONS.frame(holding)
    for (group, run), checkpoints in table.groupby(RUN_KEY, sort=False):
        evaluated = checkpoints[np.isfinite(checkpoints[chosen])]
        if evaluated.empty:
            unknown.append(run_name(str(group), str(run), several_groups=several_groups))
            continue
        at = evaluated["step"].tolist()
        holds = _holds(evaluated[chosen], limit, side).to_numpy()
        first = first_streak(holds, sustained)
        step = None if first is None else at[first]
        reached = at[-1] if step is None else step
        # Convergence could have begun no later than where `sustained` evaluations were left.
        previous = first - 1 if first is not None else len(at) - sustained
        before = checkpoints["step"] <= reached if step is None else checkpoints["step"] < reached
        later = holds[first + 1 :] if first is not None else holds[:0]
        rows.append(
            {
                "group": group,
                "run": run,
                "seed": checkpoints["seed"].iloc[0],
                "converged": step is not None,
                "previous_step": at[previous] if previous >= 0 else None,
                "step": reached,
                "last_step": int(checkpoints["step"].iloc[-1]),
                "time": float(before.mean()),
                "later_back": float(1 - later.mean()) if len(later) else np.nan,
            }
        )
    result = CONVERGENCE.frame(rows)
    return Convergence(
        outcome=chosen,
        threshold=limit,
        direction=side,
        sustained=sustained,
        how=_in_words(table, chosen, limit, side, sustained, outcome is None, threshold is None),
        table=result,
        notices=(
            *_not_finite(table, chosen),
            *_notices(result, unknown, chosen, limit),
            *_at_once(table, result, limit),
            *_not_lasting(result, limit, sustained),
            *(_groups_below(table, result, chosen, side, limit) if threshold is None else ()),
        ),
        evaluations=evaluations,
    )


def _check(
    outcomes: Sequence[str], outcome: str | None, direction: str | None, sustained: int
) -> None:
    if outcome is not None:
        require_known([outcome], outcomes, "outcome")
    if direction is not None:
        require_one_of(direction, DIRECTIONS, "direction")
    if sustained < 1:
        raise UsageError(f"'sustained' must be at least 1 checkpoint, got {sustained}.")


def _holds(values: pd.Series, threshold: float, direction: str) -> pd.Series:
    return values >= threshold if direction == "above" else values <= threshold


def first_streak(holds: NDArray[np.bool_], sustained: int) -> int | None:
    """Return which evaluation (0, 1, …) is the first from which on the threshold holds."""
    if len(holds) < sustained:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(holds, sustained).all(axis=1)
    return int(windows.argmax()) if windows.any() else None


def _in_words(
    table: pd.DataFrame,
    outcome: str,
    threshold: float,
    direction: str,
    sustained: int,
    outcome_chosen: bool,
    threshold_chosen: bool,
) -> Message:
    side = "at least" if direction == "above" else "at most"
    parts: list[str | Remedy] = [
        f"A run has converged at the first evaluation at which {outcome} is {side} {threshold:g}",
        f", for {sustained} evaluations in a row." if sustained > 1 else ".",
    ]
    if threshold_chosen:
        start, best = first_and_best(table, outcome, direction)
        parts += [
            f" The threshold was chosen automatically, {SHARE_OF_THE_WAY:.0%} of the way from the"
            f" runs' median first value ({start:.3g}) to their median best one ({best:.3g}); set it"
            " with ",
            Remedy("threshold"),
            ".",
        ]
    if outcome_chosen:
        parts += [
            " The outcome was chosen automatically; set it with ",
            Remedy("outcome"),
            ".",
        ]
    return Message(*parts)


def _groups_below(
    table: pd.DataFrame, result: pd.DataFrame, outcome: str, direction: str, threshold: float
) -> tuple[Notice, ...]:
    """Name groups of which no run reaches a threshold that was chosen for all groups together."""
    share = result.groupby("group", sort=False)["converged"].mean()
    below = share.index[share == 0].astype(str).tolist()
    if not below or len(below) == len(share):
        return ()
    best = _best_values(table, outcome, direction).groupby("group").median()[below]
    levels = f"{best.min():.3g} to {best.max():.3g}" if len(below) > 1 else f"{best.iloc[0]:.3g}"
    return (
        Notice(
            "statements",
            "limit",
            "groups below the threshold",
            Message(
                f"No run of {len(below)} of the {len(share)} groups reaches {threshold:g}, which "
                f"was chosen for all groups together: {some(below)} (medians of their runs' best "
                f"values: {levels}). Where groups are of different tasks, one level says little of "
                "them: set another with ",
                Remedy("threshold"),
                ", or analyse each task by itself.",
            ),
        ),
    )


def _notices(
    table: pd.DataFrame, unknown: Sequence[str], outcome: str, threshold: float
) -> tuple[Notice, ...]:
    notices = [
        Notice(
            "statements",
            "left out",
            f"run {run}",
            f"{outcome} is known at none of its checkpoints: it is in no statement about "
            "convergence.",
        )
        for run in unknown
    ]
    censored = int((~table["converged"]).sum())
    if censored == len(table):
        notices.append(
            Notice(
                "statements",
                "limit",
                f"outcome {outcome}",
                Message(
                    f"No run reaches the threshold {threshold:g}: convergence cannot be compared. "
                    "Set another one with ",
                    Remedy("threshold"),
                    ".",
                ),
            )
        )
    elif censored:
        reach, counted = ("reaches", "it counts") if censored == 1 else ("reach", "they count")
        notices.append(
            Notice(
                "statements",
                "limit",
                f"outcome {outcome}",
                f"{censored} of {len(table)} runs never {reach} the threshold {threshold:g}; "
                f"{counted} as censored at the last evaluation, not as converged.",
            )
        )
    return tuple(notices)


def _not_finite(table: pd.DataFrame, outcome: str) -> tuple[Notice, ...]:
    infinite = int(np.isinf(table[outcome]).sum())
    if not infinite:
        return ()
    message = f"Checkpoints at which it is infinite: {infinite:,}. They count as not evaluated."
    return (Notice("statements", "odd", f"outcome {outcome}", message),)


def _at_once(table: pd.DataFrame, result: pd.DataFrame, threshold: float) -> tuple[Notice, ...]:
    """Say when the threshold is met from the start, which is rarely what is meant."""
    first = table.groupby(RUN_KEY, sort=False)["step"].first()
    starts = [first[key] for key in result[RUN_KEY].itertuples(index=False, name=None)]
    at_once = int((result["converged"] & (result["step"] == starts)).sum())
    if not at_once:
        return ()
    message = Message(
        f"{at_once} of {len(result)} runs meet the threshold {threshold:g} at their first "
        "checkpoint. Check ",
        Remedy("threshold"),
        " and ",
        Remedy("direction"),
        ".",
    )
    return (Notice("statements", "odd", "convergence", message),)


def _not_lasting(result: pd.DataFrame, threshold: float, sustained: int) -> tuple[Notice, ...]:
    """Name runs that converged by a lucky evaluation rather than for good."""
    back = result[result["later_back"] > _DID_NOT_LAST]
    if back.empty:
        return ()
    several_groups = result["group"].nunique() > 1
    most_first = back.sort_values("later_back", ascending=False, kind="stable")
    named = some(
        f"{run_name(group, run, several_groups=several_groups)} {share:.0%}"
        for group, run, share in most_first[[*RUN_KEY, "later_back"]].itertuples(index=False)
    )
    message = Message(
        f"In {len(back)} of {int(result['converged'].sum())} runs the crossing did not last: later "
        f"evaluations lie on the wrong side of {threshold:g} again ({named}). Ask for more "
        "evaluations in a row with ",
        Remedy("sustained", max(_IN_A_ROW, 2 * sustained)),
        ".",
    )
    return (Notice("statements", "odd", CROSSINGS, message),)
