"""When a change of state happens, and how long it takes.

Each passage is described by a logistic curve between two levels of its own. All runs share the
width: the sum of squares that is left, by run and width, gives the best width, and resampling its
rows gives that width's interval over runs. A change that is no logistic curve gets the width of the
nearest one; for a ramp, 6 % too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import norm, t

from hmmdyn.hmm.choose.passages import Passages, Resampling, positions
from hmmdyn.results.arrays import FloatArray, IntArray

# From 10 to 90 %, a logistic curve takes so many of its scales.
_LOGISTIC_WIDTH = 2 * np.log(9)
# Of a visit between two changes, the quarter next to the other change is left alone.
_LEFT_ALONE = 4
# A passage is looked at through so many points at once: first all of it, then more closely.
_POINTS = 96
# A closer look reaches so many widths to both sides, and no less than half its points.
_REACH = 3.0
_COVERAGE = 0.90
# What resampling runs cannot see, since all of them share it (drift beside the change, its shape,
# checkpoints between which it happens): half a 90 % interval, of the duration and in checkpoints.
# Chosen on simulations so that intervals hold the truth in 90 %.
_SHARED_ERROR = 0.20
_CHECKPOINT_ERROR = 0.75


@dataclass(frozen=True)
class Change:
    """Date and duration of one boundary.

    ``date`` (median over runs) and ``duration`` (from 10 to 90 %), each with a 90 % interval over
    runs, in steps. ``runs`` (P,) and ``dates`` (P,): every passage's own. ``spacing``: steps from
    one checkpoint to the next around it, median over passages.
    """

    date: float
    date_low: float
    date_high: float
    duration: float
    duration_low: float
    duration_high: float
    runs: IntArray
    dates: FloatArray
    spacing: float

    @property
    def first_dates(self) -> FloatArray:
        """The first date of each run, in order of ``runs``."""
        return _first_of_runs(self.dates, np.unique(self.runs, return_inverse=True)[1])


def measure_change(
    values: FloatArray,
    passages: Passages,
    within: FloatArray,
    steps: FloatArray,
    lengths: IntArray,
    resampling: Resampling,
) -> Change:
    """Date a boundary and measure how long it takes to be crossed.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations without missing values.
    passages : Passages
        All between the same two states.
    within : ndarray, shape (D, D)
        Covariance within states.
    steps : ndarray, shape (n,)
        Of the checkpoints.
    lengths : ndarray, shape (R,)
        Checkpoints of each run.
    resampling : Resampling
        Draws the runs for the intervals.

    Notes
    -----
    Intervals are expanded percentiles of the bootstrap over runs [1]_: with few runs, plain ones
    are too narrow. That of the duration is widened by what runs share, as found on simulations; a
    duration that may be below one checkpoint may be nothing at all, and its interval begins at 0.

    References
    ----------
    .. [1] Hesterberg (2015), What teachers should know about the bootstrap, The American
       Statistician 69:371-386.
    """
    position, which = positions(values, passages, within)
    low, high = _stretches(passages, lengths)
    tracks = np.split(position, np.cumsum(np.bincount(which))[:-1])
    kept = [p for p, track in enumerate(tracks) if np.isfinite(track).all()]
    if not kept:
        kept = list(range(len(passages)))
        tracks = [np.nan_to_num(track) for track in tracks]
    begin = passages.begin
    longest = int((high - low).max())
    widths = _grid(longest)
    runs, of_run = np.unique(passages.run[kept], return_inverse=True)
    spans = [(low[p], high[p]) for p in kept]
    rest, centres = _profiles(tracks, kept, begin, spans, widths)
    if longest > _POINTS:
        best = int(rest.sum(axis=0).argmin())
        reach = max(_POINTS / 2, _REACH * widths[best])
        spans = [
            (max(a, int(c - reach)), min(b, int(c + reach) + 1))
            for (a, b), c in zip(spans, centres[:, best], strict=True)
        ]
        rest, centres = _profiles(tracks, kept, begin, spans, widths)
    by_run = np.zeros((len(runs), len(widths)))
    np.add.at(by_run, of_run, rest)
    draws = resampling.weights(len(runs))
    levels = expanded_levels(len(runs))
    drawn = _least(draws @ by_run, widths)
    width = float(_least(by_run.sum(axis=0)[None], widths)[0])
    centre = centres[:, int(by_run.sum(axis=0).argmin())]
    dates = _step_at(centre, steps)
    first = _first_of_runs(dates, of_run)
    medians = weighted_quantiles(first, draws, 0.5)
    inside = passages.begin[kept], passages.end[kept] - 1
    unit = float(np.median(_steps_per_row(centre, width, steps, *inside)))
    duration_low, duration_high = _widened(width, *np.quantile(drawn, levels))
    date_low, date_high = np.quantile(medians, levels)
    return Change(
        float(np.median(first)),
        float(date_low),
        float(date_high),
        width * unit,
        duration_low * unit,
        duration_high * unit,
        passages.run[kept],
        dates,
        unit,
    )


def _first_of_runs(dates: FloatArray, of_run: IntArray) -> FloatArray:
    """The first date of each run, shape (R,); ``of_run`` (P,) says whose each is."""
    first = np.full(int(of_run.max()) + 1, np.inf)
    np.minimum.at(first, of_run, dates)
    return first


def _stretches(passages: Passages, lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of each passage without what belongs to the changes before and after it."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    is_first = passages.begin == starts[passages.run]
    is_last = passages.end == ends[passages.run]
    before = (passages.change - passages.begin) // _LEFT_ALONE
    after = (passages.end - passages.change) // _LEFT_ALONE
    low = passages.begin + np.where(is_first, 0, before)
    return low, passages.end - np.where(is_last, 0, after)


def _grid(longest: int) -> FloatArray:
    """Widths to try, in checkpoints: 0, quarters up to 3, then each an eighth more."""
    fine = np.arange(0, 3, 0.25)
    n_more = max(1, int(np.ceil(np.log(max(longest, 4) / 3) / np.log(1.125))))
    return np.concatenate([fine, 3 * 1.125 ** np.arange(n_more + 1)])


def _profiles(
    tracks: list[FloatArray],
    kept: list[int],
    begin: IntArray,
    spans: list[tuple[int, int]],
    widths: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Mean square left by the best curve of each width, and its middle (row), both (P, W)."""
    rest = np.empty((len(kept), len(widths)))
    centres = np.empty_like(rest)
    for i, (p, (a, b)) in enumerate(zip(kept, spans, strict=True)):
        track = tracks[p][a - begin[p] : b - begin[p]]
        block = max(1, -(-len(track) // _POINTS))
        n = max(1, len(track) // block)
        y = track[: n * block].reshape(n, block).mean(axis=1)
        middle, left = _best_curves(y, widths / block)
        rest[i] = left * block
        centres[i] = a + (middle + 0.5) * block - 0.5
    return rest, centres


def _best_curves(y: FloatArray, widths: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middle of the best curve of each width, and the squares it leaves, both shape (W,)."""
    n = len(y)
    centred = y - y.mean()
    explained = _explained_at_gaps(centred, widths)
    # Between two points at first, then more closely around the best gap.
    closer = explained.argmax(axis=1)[:, None] + 0.5 + np.linspace(-0.75, 0.75, 7)
    curves = _curve(np.arange(n) - np.clip(closer, 0.0, n - 1.0)[:, :, None], widths[:, None, None])
    curves -= curves.mean(axis=2, keepdims=True)
    refined = _explained(curves @ centred, (curves**2).sum(axis=2))
    best = np.arange(len(widths)), refined.argmax(axis=1)
    # Of curves that leave nothing but rounding, the first one is the best.
    return np.clip(closer, 0.0, n - 1.0)[best], np.maximum(centred @ centred - refined[best], 1e-9)


def _curve(since: FloatArray, widths: FloatArray) -> FloatArray:
    """A logistic curve, of a width from 10 to 90 %, so long after its middle."""
    scale = np.maximum(widths / _LOGISTIC_WIDTH, 1e-3)
    return np.asarray(1 / (1 + np.exp(-np.clip(since / scale, -40, 40))))


def _explained_at_gaps(centred: FloatArray, widths: FloatArray) -> FloatArray:
    """Squares explained by the curves with their middle in each gap between points, (W, n - 1)."""
    n = len(centred)
    # The curve around any gap is a stretch of this longer one.
    long = _curve(np.arange(-(n - 1.5), n - 1), widths[:, None])
    along = (sliding_window_view(long, n, axis=1) @ centred)[:, ::-1]
    sums, squares = (
        np.concatenate([np.zeros((len(widths), 1)), np.cumsum(x, axis=1)], axis=1)
        for x in (long, long**2)
    )
    total, square = ((x[:, n:] - x[:, :-n])[:, ::-1] for x in (sums, squares))
    return _explained(along, square - total**2 / n)


def _explained(along: FloatArray, square: FloatArray) -> FloatArray:
    """Squares explained by curves that go up, as the passage does."""
    return np.maximum(along, 0.0) ** 2 / np.maximum(square, 1e-9)


def _least(rest: FloatArray, widths: FloatArray) -> FloatArray:
    """Width at the least of each row, between the widths tried by a parabola."""
    at = np.clip(rest.argmin(axis=1), 1, len(widths) - 2)
    rows = np.arange(len(rest))
    one, two, three = (rest[rows, at + i] for i in (-1, 0, 1))
    bend = one - 2 * two + three
    shift = np.where(bend > 0, 0.5 * (one - three) / np.where(bend > 0, bend, 1.0), 0.0)
    exact = np.clip(at + shift, 0, len(widths) - 1)
    exact = np.where(rest.argmin(axis=1) == 0, 0.0, exact)
    return np.interp(exact, np.arange(len(widths)), widths)


def _widened(width: float, low: float, high: float) -> tuple[float, float]:
    """Add to an interval, in checkpoints, what all runs share."""
    shared = (_SHARED_ERROR * width) ** 2 + _CHECKPOINT_ERROR**2
    lower = width - np.sqrt((width - low) ** 2 + shared)
    upper = width + np.sqrt((high - width) ** 2 + shared)
    return float(lower) if lower >= 1 else 0.0, float(upper)


def expanded_levels(n_runs: int) -> tuple[float, float]:
    """Percentiles of the bootstrap that stand in for a t interval with so few runs."""
    if n_runs < 2:
        return 0.0, 1.0
    tail = (1 - _COVERAGE) / 2
    alpha = float(norm.cdf(np.sqrt(n_runs / (n_runs - 1)) * t.ppf(tail, n_runs - 1)))
    return alpha, 1 - alpha


def weighted_quantiles(values: FloatArray, draws: FloatArray, share: float) -> FloatArray:
    """Quantile of each draw of the values, shape (B,); halfway where it lies between two."""
    order = np.argsort(values)
    reached = np.cumsum(draws[:, order], axis=1)
    wanted = share * reached[:, -1:]
    lower = values[order][(reached >= wanted).argmax(axis=1)]
    upper = values[order][(reached > wanted).argmax(axis=1)]
    return np.asarray((lower + upper) / 2)


def _step_at(rows: FloatArray, steps: FloatArray) -> FloatArray:
    return np.interp(rows, np.arange(len(steps)), steps)


def _steps_per_row(
    centre: FloatArray, width: float, steps: FloatArray, first: IntArray, last: IntArray
) -> FloatArray:
    """Steps from one checkpoint to the next around each change."""
    half = max(width, 1.0) / 2
    low = np.clip(centre - half, first, last)
    high = np.clip(centre + half, first, last)
    return (_step_at(high, steps) - _step_at(low, steps)) / np.maximum(high - low, 1e-9)
