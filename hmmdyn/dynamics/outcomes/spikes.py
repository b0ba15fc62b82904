"""Spikes, rises and divergences: where a loss leaves its level upwards, and if it comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from hmmdyn.results.arrays import FloatArray

# A run needs this many finite evaluations before any of them can be called unusual.
MIN_EVALUATIONS = 10
PRECEDING = 7  # evaluations whose median is the level a value is held against
SCATTER_OVER = 15  # evaluations whose changes tell the scatter at a place
UNUSUAL = 8.0  # deviations above its level from which on a value is unusual …
NOTABLE = 0.02  # … and as a share of the loss's whole way down, lest trifles count
LOST = 0.1  # of that way which a divergence has lost at least when the run ends
BRIEF = 0.1  # of the evaluations that a spike lasts at most
UNFINISHED = 3  # evaluations from which on an excursion that outlasts the run is no spike
COMMON = 0.05  # of the evaluations: where more begin an excursion, that is how the loss scatters

SPIKE, RISE, DIVERGENCE, OVERFITTING = "spike", "rise", "divergence", "overfitting"

_ROUNDED = 0.1  # of the changes are none at all, from which on a loss is taken for rounded

_SETTLED = 8  # evaluations within which two excursions that last have become the level
_FAR = 50.0  # nats: e to this power is further than any loss goes
# Standard deviation of normal noise over the median absolute difference of two values.
_NORMAL_DIFFERENCE = 1.4826 / np.sqrt(2)


@dataclass(frozen=True)
class Excursion:
    """A loss off its level: evaluations ``first`` … ``after - 1`` of the run.

    ``returned`` is whether it was seen to come back, at evaluation ``after``. ``level`` is where it
    left from, NaN where too little had gone before; ``height`` is how far above that it came,
    infinite where the loss was.
    """

    kind: str
    first: int
    after: int
    returned: bool
    level: float
    height: float


def excursions(values: FloatArray) -> list[Excursion]:
    """Find the spikes, rises and divergences of one loss.

    A value is unusual where it lies above the median of the 7 evaluations before it by more than 8
    robust standard deviations, of the loss and of its logarithm, by five times what one in twenty
    of the run exceed (8 deviations of normal noise), and by 2 % of the loss's whole way down, or is
    infinite. The excursion ends where the loss is back below half of that. One that is over within
    a tenth of the evaluations is a ``spike``. One in which the run ends, after three evaluations or
    more, is a ``divergence`` where a tenth of the way down is lost again, or the loss ends
    infinite. Any other is a ``rise``.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The loss at each evaluation; infinite where it was.

    Notes
    -----
    The deviation comes from changes between successive evaluations, over the whole run and over the
    15 before, whichever is larger: a steady rise is not unusual, nor is noise where the loss is
    still high. Of a rounded loss it is at least half of the last digit. The logarithm is for losses
    of nearly zero, which scatter by factors, the comparison with all others for means over
    batches, which scatter upwards. Where more than one evaluation in twenty begins an
    excursion, that is how this loss scatters, and none is reported. The first 7 evaluations are
    never unusual unless infinite.
    """
    finite = np.isfinite(values)
    known = pd.Series(np.where(finite, values, np.nan))
    level, reach = _level_and_reach(known)
    lost = LOST * way_down(values)
    unusual = ~finite | (values > level + reach)
    found: list[Excursion] = []
    i = 0
    for first in np.flatnonzero(unusual):
        if first < i:
            continue
        one = _excursion(values, int(first), float(level[first]), float(reach[first]), lost)
        found.append(one)
        i = one.after
    ordinary = sum(np.isfinite(one.height) for one in found) > COMMON * len(values)
    return [one for one in found if not (ordinary and np.isfinite(one.height))]


def way_down(values: FloatArray) -> float:
    """Return how far a loss comes from its first value to its lowest level, 0 or more."""
    known = pd.Series(values[np.isfinite(values)])
    if len(known) < MIN_EVALUATIONS:
        return 0.0
    return max(0.0, float(known.iloc[0] - known.rolling(PRECEDING).median().min()))


def _level_and_reach(loss: pd.Series) -> tuple[FloatArray, FloatArray]:
    """Level before each evaluation, and how far above it a value is not yet unusual.

    Both are NaN where too little has gone before.
    """
    known = loss.dropna()
    if len(known) < MIN_EVALUATIONS:
        return np.full(len(loss), np.nan), np.full(len(loss), np.nan)
    level = known.rolling(PRECEDING).median().shift(1)
    reach = (UNUSUAL * _scatter(known)).clip(lower=NOTABLE * way_down(loss.to_numpy()))
    if (known > 0).all():
        factor = np.expm1((UNUSUAL * _scatter(np.log(known))).clip(upper=_FAR))
        reach = reach.combine(level * factor, max)
    # What lasts is above the level for four evaluations or so: then it is the level.
    share = min(max(COMMON, _SETTLED / len(known)), 0.25)
    higher = float((known - level).clip(lower=0).quantile(1 - share))
    reach = reach.clip(lower=UNUSUAL / float(ndtri(1 - share)) * higher)
    both = pd.DataFrame({"level": level, "reach": reach}).reindex(loss.index).ffill()
    return both["level"].to_numpy(), both["reach"].to_numpy()


def _scatter(known: pd.Series) -> pd.Series:
    """Return the standard deviation at each evaluation, by the changes between those before it."""
    changes = known.diff().abs()
    here = changes.rolling(SCATTER_OVER, min_periods=PRECEDING - 1).median().shift(1)
    usual = changes.median()
    if (changes == 0).mean() >= _ROUNDED and changes.any():
        usual = max(usual, changes[changes > 0].min() / 2)
    scatter: pd.Series = _NORMAL_DIFFERENCE * here.clip(lower=usual)
    return scatter


def _excursion(
    values: FloatArray, first: int, level: float, reach: float, lost: float
) -> Excursion:
    # Where too little came before, any finite value is a way back.
    bound = np.finfo(float).max if np.isnan(level) else level + reach / 2
    back = np.flatnonzero(values[first:] <= bound)
    after = first + int(back[0]) if len(back) else len(values)
    lasted = after - first
    peak = float(values[first:after].max())
    if len(back):
        kind = RISE if lasted > max(BRIEF * len(values), 1) else SPIKE
    elif not np.isfinite(values[-1]):
        kind = DIVERGENCE
    elif lasted < UNFINISHED:
        kind = SPIKE
    else:
        kind = DIVERGENCE if np.median(values[-UNFINISHED:]) - level >= lost else RISE
    height = np.inf if np.isinf(peak) else peak - level
    return Excursion(kind, first, after, bool(len(back)), level, height)
