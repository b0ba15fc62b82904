"""Clock or seed: whether runs change by schedule, or each in its own time.

A learning rate schedule, or a deceleration that all runs share, makes every run change at the same
step. A model of what all runs do at each step then predicts a new run better than states do. Where
each seed changes in its own time, states do. Neither says whether boundaries are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import t as student

from hmmdyn.hmm.choose.boundaries import clock_of
from hmmdyn.hmm.choose.passages import interpolated
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.kernels import TimeMajor
from hmmdyn.hmm.model.parts import emissions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.boundaries import CANNOT_TELL, OWN_TIME, SCHEDULE
from hmmdyn.results.model import HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences

# Both models see the runs in so many principal components at most.
_COMPONENTS = 6
_FOLDS = 5
# Runs are thinned to about so many checkpoints: between more, an attractor would draw too little
# for a model that remembers to be fitted.
_LOOKS = 40
# More runs do not make the answer surer: so many are drawn.
_MOST_RUNS = 200
# Fewer runs do not show what differs between them.
_LEAST_RUNS = 6
_ITERATIONS = 60
# What is left has one of these multiples of its variance: heavy tails, for both models.
_SCALES = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
# At each step mean and variance of the increments are taken over so many steps to both sides.
_AROUND = 2
_ATTRACTORS = ModelOptions(autoregressive=True)


@dataclass(frozen=True)
class ClockOrSeed:
    """Which model predicts runs that it has not seen, and what follows.

    Attributes
    ----------
    verdict : str
        ``each seed in its own time`` (states predict better), ``shared by schedule`` (the shared
        course does) or ``cannot tell``.
    difference : float
        Log-density by states minus that by the shared course, nats per checkpoint, mean over runs;
        NaN where it was not asked.
    low, high : float
        Its 95 % interval over runs (paired t).
    runs : DataFrame
        One row per run that was looked at: ``run`` (position among them), ``states, clock``
        (nats per checkpoint).
    reason : str
        In words, why the verdict is what it is.
    """

    verdict: str
    difference: float
    low: float
    high: float
    runs: pd.DataFrame
    reason: str


def clock_or_seed(data: Sequences, labels: IntArray, *, random_state: int = 0) -> ClockOrSeed:
    """Predict held-out runs by states, and by what the other runs did at the same step.

    Parameters
    ----------
    data : Sequences
        Standardised observations, shape (n, D), with the steps of the checkpoints: the clock.
        Missing values are interpolated in time.
    labels : ndarray, shape (n,)
        States from which the attractors are first guessed; a level of the zoom with about four
        states is a good choice. One state is the model that all runs relax alike.
    random_state : int
        Same input and seed, same folds.

    Notes
    -----
    *Clock*: x_t is normal around ρ x_{t-1} + b_t with variance s v_t, where b_t and v_t are those
    of the training runs at and around the same step (b_t drawn to the steps around it as far as
    noise explains the difference), and s is one of seven scales, whose weights
    are fitted: tails may be heavy. ρ, one per component, is how far a run that is off the course
    stays off it; without it (ρ = 1) states would win by white noise alone, since they draw runs
    back to their level. *States*: within state k, x_t is normal, with such scales, around x_{t-1} +
    λ_k (μ_k - x_{t-1}), and states follow each other in a Markov chain. Both predict everything
    after a run's first checkpoint, five folds of runs in turn. Of long runs they see every so
    many-th checkpoint, about forty of them, and nats are per checkpoint seen; of more than 200 runs
    they see 200, drawn at random. How often the answer
    is right: ``benchmarks/again_and_clock.md``.

    References
    ----------
    James and Stein (1961), Estimation with quadratic loss, Proceedings of the Fourth Berkeley
    Symposium 1:361-379.
    """
    rng = np.random.default_rng(random_state)
    if len(data.lengths) > _MOST_RUNS:
        drawn = np.zeros(len(data.lengths), dtype=bool)
        drawn[rng.choice(len(drawn), _MOST_RUNS, replace=False)] = True
        labels, data = labels[drawn[data.run_of_row]], data.of(drawn)
    lengths, steps = data.lengths, clock_of(data)
    n_runs = len(lengths)
    if n_runs < _LEAST_RUNS:
        return _not_asked(f"There are {n_runs} runs; it takes {_LEAST_RUNS} to see them differ.")
    shared = _shared_steps(steps, lengths)
    if shared < 0.9:
        return _not_asked("Runs were not saved at the same steps, so there is no course to share.")
    looks = _looks(lengths)
    values = interpolated(data.values, lengths)[looks]
    labels, steps, runs = labels[looks], steps[looks], np.repeat(np.arange(n_runs), lengths)[looks]
    lengths = np.bincount(runs, minlength=n_runs)
    x = _components(values)
    fold_of = rng.permutation(np.arange(n_runs) % _FOLDS)
    scores = np.full((n_runs, 2), np.nan)
    for fold in range(_FOLDS):
        held = fold_of == fold
        rows = np.repeat(held, lengths)
        train = x[~rows], lengths[~held]
        test = x[rows], lengths[held]
        scores[held, 0] = _states_score(*train, labels[~rows], *test)
        scores[held, 1] = _clock_score(*train, steps[~rows], *test, steps[rows])
    return _weighed(scores / np.maximum(lengths - 1, 1)[:, None])


def _not_asked(reason: str) -> ClockOrSeed:
    runs = pd.DataFrame(columns=["run", "states", "clock"])
    return ClockOrSeed(CANNOT_TELL, np.nan, np.nan, np.nan, runs, reason)


def _looks(lengths: IntArray) -> IntArray:
    """Rows of every so many-th checkpoint of each run, at least two of each that has two."""
    stride = max(1, round(int(lengths.max()) / _LOOKS))
    begins = np.cumsum(lengths) - lengths
    return np.concatenate(
        [
            begin + np.arange(0, n, min(stride, max(n - 1, 1)))
            for begin, n in zip(begins, lengths, strict=True)
        ]
    )


def _shared_steps(steps: IntArray, lengths: IntArray) -> float:
    """Share of the checkpoints at steps that at least half of the runs have."""
    _, which, counts = np.unique(steps, return_inverse=True, return_counts=True)
    return float((counts[which] >= len(lengths) / 2).mean())


def _components(values: FloatArray) -> FloatArray:
    """Principal components, each with variance 1 or next to none, shape (n, at most 6)."""
    centred = values - values.mean(axis=0)
    size, axes = np.linalg.eigh(centred.T @ centred / len(values))
    kept = np.argsort(-size)[:_COMPONENTS]
    kept = kept[size[kept] > 1e-9 * size.max()]
    return np.asarray(centred @ axes[:, kept] / np.sqrt(size[kept]))


def _states_score(
    values: FloatArray,
    lengths: IntArray,
    labels: IntArray,
    new_values: FloatArray,
    new_lengths: IntArray,
) -> FloatArray:
    """Log-density of each new run after its first checkpoint, by attractors; shape (R,)."""
    _, labels = np.unique(labels, return_inverse=True)
    n_states = int(labels.max()) + 1
    first = from_labels(Sequences(values, lengths), labels, n_states, "diag", options=_ATTRACTORS)
    model = Model(first)
    EM(Sequences(values, lengths), "diag", options=_ATTRACTORS).advance([model], _ITERATIONS)
    parameters = model.parameters if np.isfinite(model.reached) else first
    # Tails as heavy as the clock may have: the scales' weights are those of the training runs.
    path = np.asarray(decode(parameters, Sequences(values, lengths)))
    own = np.arange(len(values)), path
    weights = _scale_weights(_standardised_by_states(parameters, values, lengths)[own])
    z = _standardised_by_states(parameters, new_values, new_lengths)
    density = logsumexp(_log_scaled(z) + np.log(weights), axis=2)
    density -= 0.5 * np.log(parameters.covariances).sum(axis=1)
    return _log_after_first(parameters, density, new_lengths)


def _standardised_by_states(
    parameters: HMMParameters, values: FloatArray, lengths: IntArray
) -> FloatArray:
    """Distance of each checkpoint from where each state expects it, shape (n, K, D)."""
    emissions, data = emissions_of(parameters), Sequences(values, lengths)
    means = [emissions.centre(k, data) for k in range(parameters.n_states)]
    return (values[:, None] - np.stack(means, axis=1)) / np.sqrt(parameters.covariances)


def _log_after_first(
    parameters: HMMParameters, density: FloatArray, lengths: IntArray
) -> FloatArray:
    """Log-density of each run given its first checkpoint, by the forward recursion; shape (R,)."""
    side_by_side = TimeMajor(lengths)
    with np.errstate(divide="ignore"):
        start, transitions = np.log(parameters.startprob), np.log(parameters.transmat)
    first, *later = np.split(density[side_by_side.rows], side_by_side.begins[1:-1])
    forward = start + first
    before = np.logaddexp.reduce(forward, axis=1)
    for here in later:
        arrived = forward[: len(here), :, None] + transitions
        forward[: len(here)] = np.logaddexp.reduce(arrived, axis=1) + here
    scores = np.empty(len(lengths))
    scores[side_by_side.runs] = np.logaddexp.reduce(forward, axis=1) - before
    return scores


def _clock_score(
    values: FloatArray,
    lengths: IntArray,
    steps: IntArray,
    new_values: FloatArray,
    new_lengths: IntArray,
    new_steps: IntArray,
) -> FloatArray:
    """The same by the increments that the other runs made around the same step; shape (R,)."""
    kept = _kept_off_course(values, lengths, steps)
    moves, at, _ = _increments(values, lengths, steps, kept)
    grid, mean, variance = _course(moves, at)
    weights = _scale_weights(_standardised(moves, at, grid, mean, variance))
    new_moves, new_at, run = _increments(new_values, new_lengths, new_steps, kept)
    place = _nearest(grid, new_at)
    density = logsumexp(
        _log_scaled(_standardised(new_moves, new_at, grid, mean, variance)) + np.log(weights),
        axis=1,
    )
    density -= 0.5 * np.log(variance[place]).sum(axis=1)
    return np.bincount(run, density, len(new_lengths)).astype(np.float64, copy=False)


def _kept_off_course(values: FloatArray, lengths: IntArray, steps: IntArray) -> FloatArray:
    """How much of a run's distance from the mean course is left a checkpoint later, shape (D,)."""
    grid, place = np.unique(steps, return_inverse=True)
    course = np.zeros((len(grid), values.shape[1]))
    np.add.at(course, place, values)
    off = values - (course / np.bincount(place)[:, None])[place]
    after, _, _ = _increments(off, lengths, steps, np.zeros(values.shape[1]))
    change, _, _ = _increments(off, lengths, steps, np.ones(values.shape[1]))
    before = after - change
    kept = (after * before).sum(axis=0) / np.maximum((before**2).sum(axis=0), 1e-12)
    return np.asarray(np.clip(kept, 0.0, 1.0))


def _increments(
    values: FloatArray, lengths: IntArray, steps: IntArray, kept: FloatArray
) -> tuple[FloatArray, IntArray, IntArray]:
    """Each checkpoint minus what is kept of the one before (m, D), its step, and its run."""
    inner = np.ones(len(values), dtype=bool)
    inner[np.cumsum(lengths) - lengths] = False
    rows = np.flatnonzero(inner)
    runs = np.repeat(np.arange(len(lengths)), lengths)
    return values[rows] - kept * values[rows - 1], steps[rows], runs[rows]


def _course(moves: FloatArray, at: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Mean and variance of the increments around each step; steps (S,), and both (S, D).

    Few runs know the mean at one step badly, and the clock would lose by that alone: it is drawn
    to the mean of the steps around it by the positive part of James and Stein (1961). A jump that
    runs share at one step is far from these, and stays.
    """
    grid, place = np.unique(at, return_inverse=True)
    n = np.bincount(place).astype(np.float64)
    sums, squares = np.zeros((2, len(grid), moves.shape[1]))
    np.add.at(sums, place, moves)
    np.add.at(squares, place, moves**2)
    own = sums / n[:, None]
    scatter = squares - n[:, None] * own**2
    free = _sums_around(np.maximum(n - 1, 0)[:, None])
    overall = scatter.sum(axis=0) / np.maximum(n - 1, 0).sum()
    variance = (_sums_around(scatter) + overall) / (free + 1)
    n_around = _sums_around(n[:, None])
    smooth = _sums_around(sums) / n_around
    lost = 1 / n[:, None] - 1 / n_around  # how much more precise the mean of all of them is
    far = ((own - smooth) ** 2 / np.maximum(variance * lost, 1e-300)).sum(axis=1, keepdims=True)
    kept = np.clip(1 - moves.shape[1] / np.maximum(far, 1e-12), 0.0, 1.0)
    unknown = kept / n[:, None] + (1 - kept) / n_around
    return grid, smooth + kept * (own - smooth), variance * (1 + unknown)


def _sums_around(values: FloatArray) -> FloatArray:
    """Sums over so many neighbours to both sides, however few rows there are; shape (S, D)."""
    summed = [np.convolve(column, np.ones(2 * _AROUND + 1)) for column in values.T]
    return np.stack([s[_AROUND : _AROUND + len(values)] for s in summed], axis=1)


def _nearest(grid: IntArray, steps: IntArray) -> IntArray:
    after = np.clip(np.searchsorted(grid, steps), 1, len(grid) - 1)
    return np.where(steps - grid[after - 1] < grid[after] - steps, after - 1, after)


def _standardised(
    moves: FloatArray, at: IntArray, grid: IntArray, mean: FloatArray, variance: FloatArray
) -> FloatArray:
    place = _nearest(grid, at)
    return (moves - mean[place]) / np.sqrt(variance[place])


def _log_scaled(z: FloatArray) -> FloatArray:
    """Log-density of standardised values (…, D) at each scale, shape (…, scales)."""
    n = z.shape[-1]
    square = (z**2).sum(axis=-1)[..., None]
    return np.asarray(-0.5 * (square / _SCALES + n * np.log(2 * np.pi * _SCALES)))


def _scale_weights(z: FloatArray) -> FloatArray:
    """Weights of the scales by EM, shape (scales,)."""
    weights = np.full(len(_SCALES), 1 / len(_SCALES))
    density = _log_scaled(z)
    density = np.exp(density - density.max(axis=1, keepdims=True))
    for _ in range(50):
        shares = weights * (density.T @ (1 / (density @ weights)))
        weights = (shares + 0.1) / (len(z) + 0.1 * len(_SCALES))
    return weights


def _weighed(scores: FloatArray) -> ClockOrSeed:
    """Compare two scores per run, shape (R, 2)."""
    runs = pd.DataFrame({"run": range(len(scores)), "states": scores[:, 0], "clock": scores[:, 1]})
    apart = scores[:, 0] - scores[:, 1]
    mean, n = float(apart.mean()), len(apart)
    half = float(student.ppf(0.975, n - 1) * apart.std(ddof=1) / np.sqrt(n))
    better = int((apart > 0).sum())
    low, high = mean - half, mean + half
    verdict = OWN_TIME if low > 0 else SCHEDULE if high < 0 else CANNOT_TELL
    reason = (
        f"States predict {better} of {n} held-out runs better than the course that all runs share: "
        f"by {mean:+.2f} nats per checkpoint ({low:+.2f} to {high:+.2f})."
    )
    return ClockOrSeed(verdict, mean, low, high, runs, reason)
