"""From memorisation to generalisation: when training outcomes level off, and held-out ones follow.

A run has *generalised* where its held-out outcome has an improving transition; of several the
largest counts. One without is held against the levels between which the others generalise: it has
generalised, though so slowly or late that it has no transition, where it ends past half of the way
between them, and else it has not (its delay is censored). It has *memorised* where its training
outcome has an improving transition, or improves from the first checkpoint on and levels off before
generalisation begins: then no calm was seen before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from hmmdyn.dynamics.outcomes import inflections as rules
from hmmdyn.dynamics.outcomes.curves import LAST, Curve
from hmmdyn.dynamics.outcomes.inflections import Inflection, rise_from_start
from hmmdyn.results.outcomes import DELAYS

# Of its way that a held-out outcome has gone at most when the training outcome has levelled off,
# for grokking: it is about where it started, as at chance.
ABOUT_CHANCE = 0.2

Curves = Mapping[tuple[str, str], Curve]  # of one outcome, by (group, run)


@dataclass(frozen=True)
class Generalisation:
    """When a run generalises: begins after ``begin``, at ``step``, between ``low`` and ``high``.

    All but ``begin`` are NaN or, of ``high``, infinite where it had not when it ended; ``dated``
    where it has a transition. ``chance`` and ``reached`` are the levels before and after.
    """

    begin: float
    step: float
    low: float
    high: float
    chance: float
    reached: float
    dated: bool
    censored: bool


def generalisations(
    held_out: Curves, largest: Mapping[Curve, Inflection]
) -> dict[tuple[str, str], Generalisation]:
    """Say when runs generalise, as far as that is known: of none where none has a transition.

    Parameters
    ----------
    held_out : mapping
        Curves of the held-out outcome.
    largest : mapping
        The largest improving transition of each curve that has one.
    """
    seen = [largest[c] for c in held_out.values() if c in largest]
    if not seen:
        return {}
    reached = float(np.median([one.to_value for one in seen]))
    firsts: dict[str, list[float]] = {}
    for curve in held_out.values():
        values = curve.finite()[1]
        if len(values):
            firsts.setdefault(curve.group, []).append(float(values[0]))
    found = {}
    for key, curve in held_out.items():
        if len(curve.finite()[1]) < rules.MIN_EVALUATIONS:
            continue
        chance = float(np.median(firsts[curve.group]))
        if curve in largest:
            one = largest[curve]
            found[key] = Generalisation(
                one.start, one.step, one.step_low, one.step_high, chance, one.to_value, True, False
            )
        elif chance != reached:
            found[key] = _without_transition(curve, chance, reached)
    return found


def _without_transition(curve: Curve, chance: float, reached: float) -> Generalisation:
    """Say when a run generalises whose outcome has no transition, or that it has not."""
    steps, values = curve.finite()
    done = (values - chance) / (reached - chance)
    if np.median(done[-LAST:]) < 0.5:
        last = float(steps[-1])
        return Generalisation(np.inf, np.nan, last, np.inf, chance, reached, False, True)
    rising = isotonic_regression(done).x
    begin = float(steps[max(int(np.searchsorted(rising, ABOUT_CHANCE, side="right")) - 1, 0)])
    half, nearly = (
        float(steps[min(int(np.searchsorted(rising, share)), len(steps) - 1)])
        for share in (0.5, 1 - ABOUT_CHANCE)
    )
    return Generalisation(begin, half, begin, nearly, chance, reached, False, False)


def memorisations(
    training: Curves,
    largest: Mapping[Curve, Inflection],
    generalised: Mapping[tuple[str, str], Generalisation],
) -> dict[Curve, Inflection]:
    """Find training outcomes that rise from the start and level off before generalisation."""
    found = {}
    for key, curve in training.items():
        if key in generalised and curve not in largest:
            steps, values = curve.finite(until=generalised[key].begin)
            rise = rise_from_start(steps, values, falling=curve.improving < 0)
            if rise is not None:
                found[curve] = rise
    return found


def find_delays(
    training: Curves,
    held_out: Curves,
    memorised: Mapping[Curve, Inflection],
    generalised: Mapping[tuple[str, str], Generalisation],
) -> pd.DataFrame:
    """Measure the delay from memorisation to generalisation of every run in which both are known.

    Parameters
    ----------
    training, held_out : mapping
        Curves of the two outcomes.
    memorised : mapping
        The transition of each training curve that has one, or its rise from the start.
    generalised : mapping
        As :func:`generalisations` returns them.

    Returns
    -------
    DataFrame
        See :data:`.results.outcomes.DELAYS`. Each delay has an interval: no evaluation tells more.
    """
    rows = []
    for key, curve in training.items():
        if curve not in memorised or key not in generalised:
            continue
        first, then = memorised[curve], generalised[key]
        until = then.low if then.censored else then.step
        progress = np.nan
        if first.end < then.begin:
            progress = _progress(held_out[key], first, then)
        rows.append(
            {
                **curve.labels,
                "memorisation": first.step,
                "generalisation": then.step,
                "delay": until - first.step,
                "delay_low": then.low - first.step_high,
                "delay_high": then.high - first.step_low,
                "censored": then.censored,
                "dated": then.dated,
                "progress": progress,
                "grokking": not then.censored and progress <= ABOUT_CHANCE,
            }
        )
    return DELAYS.frame(rows)


def _progress(curve: Curve, memorised: Inflection, then: Generalisation) -> float:
    """Return which share of its way the held-out outcome had done when training levelled off."""
    steps, values = curve.finite()
    since = values[(steps >= memorised.end) & (steps <= then.begin)][:LAST]
    if len(since) == 0:
        since = values[steps <= then.begin][-1:]
    if len(since) == 0 or then.reached == then.chance:
        return float("nan")
    return float((np.median(since) - then.chance) / (then.reached - then.chance))
