"""When each run converged: the first step at which an outcome crosses a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmmdyn.choices import DIRECTIONS
from hmmdyn.errors import UsageError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import better_side, data_split, is_accuracy, require_known, require_one_of
from hmmdyn.results.convergence import CONVERGENCE, Convergence
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice

# The automatic threshold lies this far along the way from the first value to the best one.
SHARE_OF_THE_WAY = 0.9


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
    values = finite.groupby(RUN_KEY, sort=False)[outcome]
    best = values.max() if direction == "above" else values.min()
    return float(values.first().median()), float(best.median())


def automatic_threshold(table: pd.DataFrame, outcome: str, direction: str) -> float:
    """Return a threshold slightly short of the best value seen, rounded to 1 % of the way or less.

    It lies nine tenths of the way from the median first value to the median best value of the
    runs: for an accuracy that starts at chance (0.5) and reaches 1, at 0.95.
    """
    first, best = first_and_best(table, outcome, direction)
    if first == best:
        return best
    decimals = 2 - math.floor(math.log10(abs(best - first)))
    return round(first + SHARE_OF_THE_WAY * (best - first), decimals)


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
    """
    _check(outcomes, outcome, direction, sustained)
    chosen = outcome or choose_outcome(table, outcomes)
    side = direction or better_side(chosen)
    limit = automatic_threshold(table, chosen, side) if threshold is None else threshold
    several_groups = table["group"].nunique() > 1
    rows, unknown = [], []
    for (group, run), checkpoints in table.groupby(RUN_KEY, sort=False):
        evaluated = checkpoints[np.isfinite(checkpoints[chosen])]
        if evaluated.empty:
            unknown.append(run_name(str(group), str(run), several_groups=several_groups))
            continue
        at = evaluated["step"].tolist()
        first = _first_crossing(evaluated, chosen, limit, side, sustained)
        step = None if first is None else at[first]
        reached = at[-1] if step is None else step
        # Convergence could have begun no later than where `sustained` evaluations were left.
        previous = first - 1 if first is not None else len(at) - sustained
        before = checkpoints["step"] <= reached if step is None else checkpoints["step"] < reached
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
            }
        )
    result = CONVERGENCE.frame(rows)
    return Convergence(
        outcome=chosen,
        threshold=limit,
        direction=side,
        sustained=sustained,
        how=_in_words(chosen, limit, side, sustained, outcome is None, threshold is None),
        table=result,
        notices=(
            *_not_finite(table, chosen),
            *_notices(result, unknown, chosen, limit),
            *_at_once(table, result, limit),
        ),
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


def _first_crossing(
    evaluated: pd.DataFrame, outcome: str, threshold: float, direction: str, sustained: int
) -> int | None:
    """Return which evaluation (0, 1, …) is the first from which on the threshold holds."""
    values = evaluated[outcome].to_numpy()
    holds = values >= threshold if direction == "above" else values <= threshold
    if len(holds) < sustained:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(holds, sustained).all(axis=1)
    return int(windows.argmax()) if windows.any() else None


def _in_words(
    outcome: str,
    threshold: float,
    direction: str,
    sustained: int,
    outcome_chosen: bool,
    threshold_chosen: bool,
) -> Message:
    side = "at least" if direction == "above" else "at most"
    parts: list[str | Remedy] = [
        f"A run has converged at the first checkpoint where {outcome} is {side} {threshold:g}",
        f", for {sustained} evaluated checkpoints in a row." if sustained > 1 else ".",
    ]
    if threshold_chosen:
        parts += [
            f" The threshold was chosen automatically, {SHARE_OF_THE_WAY:.0%} of the way from the"
            " runs' median first value to their median best one; set it with ",
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


def _notices(
    table: pd.DataFrame, unknown: Sequence[str], outcome: str, threshold: float
) -> tuple[Notice, ...]:
    notices = [
        Notice(
            "statements",
            "left out",
            f"run {run}",
            f"{outcome} is known at none of its checkpoints: it is in the map, but in no statement "
            "about convergence.",
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
        notices.append(
            Notice(
                "statements",
                "limit",
                f"outcome {outcome}",
                f"{censored} of {len(table)} runs never reach the threshold {threshold:g}; they "
                "are censored at their last evaluated step, not counted as converged.",
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
