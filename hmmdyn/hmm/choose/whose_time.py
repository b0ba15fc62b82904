"""Whose time a boundary keeps: whether runs cross it together, or each in its own time.

A schedule moves all runs at once: they are in the change at the same steps, and what is left
between their dates is how well a date can be known, a part of the change's own duration and of the
checkpoints' spacing. Where the dates spread over longer than that, some runs are through before
others begin. :mod:`hmmdyn.hmm.choose.clock_or_seed` asks the same of a whole map, and of runs
without boundaries, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmmdyn.hmm.choose.duration import Change, expanded_levels, weighted_quantiles
from hmmdyn.hmm.choose.passages import Resampling
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.boundaries import CANNOT_TELL, OWN_TIME, SCHEDULE

# From 10 to 90 % of a normal distribution is so many times its middle half.
_OF_MIDDLE_HALF = 1.9
# Of abrupt changes dates are known to about so many checkpoints.
_CHECKPOINTS = 2.0


@dataclass(frozen=True)
class WhoseTime:
    """How far the dates of a boundary are spread over runs, and what follows.

    ``spread``: time between the dates of the runs (the first of each), from 10 to 90 %, in steps,
    with a 90 % interval over runs. ``verdict``: ``each seed in its own time``, ``shared by
    schedule`` or ``cannot tell``.
    """

    spread: float
    spread_low: float
    spread_high: float
    verdict: str


def whose_time(change: Change, resampling: Resampling) -> WhoseTime:
    """Hold the spread of a boundary's dates against its duration and the checkpoints' spacing.

    Parameters
    ----------
    change : Change
        A boundary's dates and duration.
    resampling : Resampling
        Draws the runs for the interval.

    Notes
    -----
    The spread is taken from the middle half of the dates, as of normal ones, so that a few runs
    dated wrongly do not make it. How often the answer is right: ``benchmarks/again_and_clock.md``.
    """
    first = change.first_dates
    draws = resampling.weights(len(first))
    spread = float(_spread(first, np.ones((1, len(first))))[0])
    low, high = np.quantile(_spread(first, draws), expanded_levels(len(first)))
    together = change.duration + _CHECKPOINTS * change.spacing
    verdict = OWN_TIME if low > together else SCHEDULE if high < together else CANNOT_TELL
    return WhoseTime(spread, float(low), float(high), verdict)


def _spread(dates: FloatArray, draws: FloatArray) -> FloatArray:
    """Spread of the dates by each draw of the runs, shape (B,)."""
    quarter, three_quarters = (weighted_quantiles(dates, draws, q) for q in (0.25, 0.75))
    return _OF_MIDDLE_HALF * (three_quarters - quarter)
