"""Sustained inflections of one curve: where a loss or an accuracy passes from one level to another.

A transition is calm, then fast, then calm. A curve that declines steadily, or falls from its first
value on and levels off like a power law, has none: nothing calm comes before its fall. On a clock
of log steps the first of these steps is drawn out to look calm whatever the curve does, so that a
transition must have its inflection in steps, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.optimize import isotonic_regression
from scipy.signal import find_peaks, savgol_filter

from hmmdyn.results.arrays import FloatArray

# A curve needs this many evaluated checkpoints before anything is said of its shape.
MIN_EVALUATIONS = 10
MIN_BEFORE = 6  # as many, before it is said that a curve has levelled off
MEDIAN_OF = 5  # checkpoints in the running median: spikes of at most two vanish
BANDWIDTH = 0.05  # of the evaluations, to each side of a checkpoint; at least two checkpoints
SHARE = 0.3  # of the curve's whole way that a transition covers at least
FAST = 1 / 3  # of the run's clock that 10 % to 90 % of a transition take at most
CALM = 0.25  # of its own change that the curve may move in the stretch before it, or after it
STRETCH = 0.3  # of the run's clock that this stretch lasts, where the run is long enough
SLOWER = 0.6  # of its steps' slope within a transition, which that before it has at most
CLEAR = 5.0  # standard errors of its own slope that the steepest slope has at least
WIDENING = 10.0  # last gap between checkpoints over the first, from which on a clock is logarithmic

_QUARTER, _HALF = 0.25, 0.5  # of a change: a transition is faster between these than before
_FOOT = 0.1  # a transition begins and ends where its slope is this share of the steepest
_NORMAL_MAD = 1.4826  # standard deviation of normal noise over its median absolute deviation
_NORMAL_MEAN = 1.2533  # the same over its mean absolute deviation
_TWO_SIDED_95 = 1.96
_ROUNDING = 1e-9  # of the largest level: a curve that moves by less is flat


@dataclass(frozen=True)
class Inflection:
    """One transition of a curve; all but the two levels are steps.

    ``start`` and ``end`` are where 10 % and 90 % of the change are done, ``step`` is where it is
    steepest, with its 95 % interval ``step_low`` … ``step_high``. The change is that between the
    feet of the slope, which leaves out the last 5 % of a logistic's.
    """

    start: float
    step: float
    end: float
    step_low: float
    step_high: float
    from_value: float
    to_value: float

    @property
    def change(self) -> float:
        """Size and sign of the change."""
        return self.to_value - self.from_value


@dataclass(frozen=True)
class _Smoothed:
    """A curve on an even grid of its clock, g points as many as evaluations.

    ``median`` (g,) is its running median, ``level`` (g,) and ``slope`` (g,; per grid point) those
    of a straight line through the points within the bandwidth of each; ``slope_error`` is the
    standard error of a slope.
    """

    clock: FloatArray
    median: FloatArray
    level: FloatArray
    slope: FloatArray
    slope_error: float


def is_logarithmic(steps: NDArray[np.integer]) -> bool:
    """Whether checkpoints lie so that time is better counted in log(1 + step) than in steps."""
    gaps = np.diff(steps)
    return len(gaps) > 1 and bool(steps[0] >= 0 and gaps[-1] > WIDENING * gaps[0])


def to_clock(steps: FloatArray, logarithmic: bool) -> FloatArray:
    """Return steps on the clock."""
    return np.log1p(steps) if logarithmic else steps


def from_clock(clock: FloatArray, logarithmic: bool) -> FloatArray:
    """Return the steps at readings of the clock."""
    return np.expm1(clock) if logarithmic else clock


def inflections(steps: FloatArray, values: FloatArray, logarithmic: bool) -> list[Inflection]:
    """Find the transitions of one curve, in order of time.

    The curve is freed from spikes by a running median of 5 checkpoints, put on an even grid of the
    clock, and smoothed by straight lines through windows of 5 % of the evaluations to each side. A
    transition is a peak of the slope, as far as the slope exceeds a tenth of the peak. It counts
    where it covers at least 30 % of the whole way of the smoothed curve, does 10 % to 90 % of it in
    a third of the run or less, is steeper than 5 standard errors of a slope, and the curve moves by
    no more than a quarter of it in the 30 % of the run before it, and after it. It must accelerate
    in steps, on whatever clock it is found: from the beginning of that calm to the first quarter of
    the change, the curve moves at 0.6 of its pace over the second quarter at most. An exponential,
    or a power law with an offset, never does, though on a clock of log steps it has an inflection.

    Parameters
    ----------
    steps : ndarray, shape (n,)
        Steps of the evaluations, increasing.
    values : ndarray, shape (n,)
        The outcome, finite.
    logarithmic : bool
        Count time by log(1 + step), and then by steps, too, for transitions that this finds beside.

    Notes
    -----
    Bad at: steps that follow each other within 30 % of the run, of which none is calm enough;
    transitions in the first or last checkpoints, where no calm can be seen; changes as wide as a
    third of the run. Up to one random walk in ten looks like a transition. On a logarithmic clock
    the interval of a step is a little too short where checkpoints are few.
    ``benchmarks/outcome_transitions.md`` has the rates.
    """
    if len(steps) < MIN_EVALUATIONS:
        return []
    found = _on_clock(steps, values, logarithmic=logarithmic)
    if logarithmic:  # what is fast late in training is crowded into the end of that clock
        found += [
            late
            for late in _on_clock(steps, values, logarithmic=False)
            if all(late.start > one.end or late.end < one.start for one in found)
        ]
    return sorted(found, key=lambda one: one.step)


def _on_clock(steps: FloatArray, values: FloatArray, *, logarithmic: bool) -> list[Inflection]:
    # In units of its largest level: the squares of a fit must neither overflow nor vanish.
    unit = float(np.abs(median_filter(values, MEDIAN_OF, mode="nearest")).max())
    if unit == 0:
        return []
    with np.errstate(over="ignore"):  # of a spike
        curve = _smooth(to_clock(steps, logarithmic), values / unit)
    if np.ptp(curve.level) <= _ROUNDING:
        return []
    found: dict[tuple[int, int], Inflection] = {}
    for direction in (1, -1):
        slope = np.maximum(direction * curve.slope, 0.0)
        # No slope is calm beyond the ends of the run: a peak there is no transition.
        peaks, _ = find_peaks(slope, height=max(CLEAR * curve.slope_error, np.finfo(float).tiny))
        for peak in peaks:
            first, last = _feet(slope, peak)
            if first < 0 or last == len(slope) or slope[first:last].max() > slope[peak]:
                continue
            # Peaks of exactly one height share their feet: they are one transition.
            if (
                (first, last) not in found
                and _stands_out(curve, first, last)
                and _accelerates(curve, first, last, logarithmic)
            ):
                found[first, last] = _measured(curve, slope, int(peak), first, last)
    longest = FAST * (curve.clock[-1] - curve.clock[0])
    return [
        _converted(one, steps, logarithmic, unit)
        for one in found.values()
        if one.end - one.start <= longest
    ]


def rise_from_start(steps: FloatArray, values: FloatArray, *, falling: bool) -> Inflection | None:
    """Measure how a curve goes from its first value to the level it keeps; None where it does not.

    This asks for no inflection, so it says nothing of phases by itself: it tells when an outcome
    that improves from the first checkpoint on had done so. It counts where 90 % of the way is done
    in the first half of the steps, and the change is at least 5 times the scatter of the rest.

    ``step`` is where half of the way is done; its interval is the one from ``start`` to ``end``,
    and to the evaluations around ``step`` at least, because they tell no more.
    """
    if len(steps) < MIN_BEFORE:
        return None
    clean = median_filter(values, MEDIAN_OF, mode="nearest")
    middle = len(steps) // 2
    rest = clean[middle:]
    before, after = float(values[0]), float(np.median(rest))
    scatter = _NORMAL_MAD * float(np.median(np.abs(values[middle:] - after)))
    direction = -1 if falling else 1
    change = direction * (after - before)
    if change <= CLEAR * scatter:
        return None
    start, half, end = _crossings(steps, clean, before, after)
    if end > (steps[0] + steps[-1]) / 2:
        return None
    around = int(np.searchsorted(steps, half))
    low = min(start, float(steps[max(0, around - 1)]))
    high = max(end, float(steps[min(around, len(steps) - 1)]))
    return Inflection(start, half, end, low, high, before, after)


def _smooth(clock: FloatArray, values: FloatArray) -> _Smoothed:
    grid = np.linspace(clock[0], clock[-1], len(clock))
    median = np.interp(grid, clock, median_filter(values, MEDIAN_OF, mode="nearest"))
    half = max(2, round(BANDWIDTH * len(grid)))
    width = 2 * half + 1
    level = savgol_filter(median, width, 1)
    residuals = np.abs(values - np.interp(clock, grid, level))
    # An accuracy takes few values, so more than half of the residuals can be nothing at all: what
    # is left of them after the running median counts, too.
    scatter = max(
        _NORMAL_MAD * float(np.median(residuals)),
        _NORMAL_MEAN * float(np.abs(median - level).mean()),
    )
    return _Smoothed(
        clock=grid,
        median=median,
        level=level,
        slope=savgol_filter(median, width, 1, deriv=1),
        slope_error=scatter / float(np.sqrt((np.arange(-half, half + 1) ** 2).sum())),
    )


def _feet(slope: FloatArray, peak: int) -> tuple[int, int]:
    """Grid points around a peak at which the slope is small again; beyond the grid if nowhere."""
    small = np.flatnonzero(slope <= _FOOT * slope[peak])
    i = int(np.searchsorted(small, peak))
    return (
        int(small[i - 1]) if i > 0 else -1,
        int(small[i]) if i < len(small) else len(slope),
    )


def _stands_out(curve: _Smoothed, first: int, last: int) -> bool:
    """Whether the change between two grid points is large, and calm comes before and after it."""
    change = abs(curve.level[last] - curve.level[first])
    before = curve.level[_calm_from(curve, first) : first + 1]
    after = curve.level[last : last + _stretch(curve) + 1]
    moved = max(np.ptp(before), np.ptp(after))
    return bool(change >= SHARE * np.ptp(curve.level) and moved <= CALM * change)


def _accelerates(curve: _Smoothed, first: int, last: int, logarithmic: bool) -> bool:
    """Whether the change between two grid points goes faster, per step, than what comes before."""
    before, after = curve.level[first], curve.level[last]
    part, calm_from = slice(first, last + 1), _calm_from(curve, first)
    times = _crossings(curve.clock[part], curve.median[part], before, after, (_QUARTER, _HALF))
    begin, quarter, half = from_clock(np.array([curve.clock[calm_from], *times]), logarithmic)
    # A curve that first went the other way is no faster for it.
    done = min((curve.level[calm_from] - before) / (after - before), 0.0)
    # As products, for what takes no time at all.
    return bool(
        (_QUARTER - done) * (half - quarter) <= SLOWER * (_HALF - _QUARTER) * (quarter - begin)
    )


def _calm_from(curve: _Smoothed, first: int) -> int:
    """Return where the stretch begins that must be calm before a transition."""
    return max(0, first - _stretch(curve))


def _stretch(curve: _Smoothed) -> int:
    return round(STRETCH * len(curve.level))


def _measured(curve: _Smoothed, slope: FloatArray, peak: int, first: int, last: int) -> Inflection:
    """Measure the transition between two grid points, on the clock; ``slope`` is upwards there."""
    before, after = float(curve.level[first]), float(curve.level[last])
    part = slice(first, last + 1)
    start, _, end = _crossings(curve.clock[part], curve.median[part], before, after)
    # Slopes within 1.96 standard errors of their difference are not clearly less steep.
    clearly_less = slope < slope[peak] - _TWO_SIDED_95 * np.sqrt(2) * curve.slope_error
    lesser = np.r_[first, first + np.flatnonzero(clearly_less[part]), last]
    low, high = lesser[lesser <= peak].max(), lesser[lesser >= peak].min()
    # The vertex of the parabola through the steepest slope and its neighbours.
    bend = slope[peak - 1] - 2 * slope[peak] + slope[peak + 1]
    shift = (slope[peak - 1] - slope[peak + 1]) / (2 * bend) if bend < 0 else 0.0
    return Inflection(
        start=start,
        step=float(curve.clock[peak] + shift * (curve.clock[1] - curve.clock[0])),
        end=end,
        step_low=float(curve.clock[low]),
        step_high=float(curve.clock[high]),
        from_value=before,
        to_value=after,
    )


def _crossings(
    clock: FloatArray,
    values: FloatArray,
    before: float,
    after: float,
    shares: tuple[float, ...] = (0.1, 0.5, 0.9),
) -> list[float]:
    """Return when these shares of a change are done, by the closest monotone curve."""
    done = isotonic_regression((values - before) / (after - before)).x
    # A little slope makes the way back from shares to time unique.
    tilted = done + 1e-9 * np.arange(len(done))
    times: list[float] = np.interp(shares, tilted, clock).tolist()
    return times


def _converted(one: Inflection, steps: FloatArray, logarithmic: bool, unit: float) -> Inflection:
    """Convert clock to steps and levels to their unit; intervals reach the checkpoints around."""
    start, step, end, low, high = (
        float(from_clock(np.asarray(t), logarithmic))
        for t in (one.start, one.step, one.end, one.step_low, one.step_high)
    )
    around = int(np.searchsorted(steps, step))
    before, after = float(steps[max(0, around - 1)]), float(steps[min(around, len(steps) - 1)])
    return Inflection(
        start=start,
        step=step,
        end=end,
        step_low=min(low, before),
        step_high=max(high, after),
        from_value=unit * one.from_value,
        to_value=unit * one.to_value,
    )
