"""What speaks against reading a fitted map's states as phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hmmdyn.hmm.fit.starts import filled
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.labels import relative_times
from hmmdyn.hmm.model.residuals import residual_autocorrelation
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Sequences
from hmmdyn.results.selection import Diagnostics

# Above this lag-1 autocorrelation within states, the likelihood overstates what another state
# gains so far that a K chosen by it is a resolution.
AUTOCORRELATION_LIMIT = 0.3
_TREND_DEGREE = 3


def diagnose(
    parameters: HMMParameters,
    data: Sequences,
    candidates: Sequence[int],
    choose: Callable[[Sequences], int | None],
    *,
    random_state: int = 0,
) -> Diagnostics:
    """Diagnose a map fitted to runs.

    Parameters
    ----------
    parameters : HMMParameters
        Of the chosen K.
    data : Sequences
        The runs.
    candidates : sequence of int
        The numbers of states tried.
    choose : callable
        The criterion that chose K, applied to other runs: it gets a surrogate.
    random_state : int
        Seeds the surrogate.
    """
    states = decode(parameters, data)
    pooled, by_metric = residual_autocorrelation(parameters, data, states)
    surrogate = choose(replace(data, values=phase_free(data, random_state)))
    single = _single_run_states(states, data, parameters.n_states)
    k = parameters.n_states
    return Diagnostics(
        autocorrelation=pooled,
        autocorrelation_by_metric=by_metric,
        surrogate_n_states=surrogate,
        single_run_states=single,
        at_limit=len(set(candidates)) > 1 and k == max(candidates),
        notices=(
            *_about_autocorrelation(pooled),
            *_about_surrogate(k, surrogate),
            *_about_single_runs(k, single),
        ),
    )


def phase_free(data: Sequences, random_state: int) -> FloatArray:
    """Make trajectories like these, but without phases, shape (n, D).

    What all runs have in common is kept as a slow trend (a cubic in relative time, by least
    squares); what is left of each run gets random Fourier phases, the same for all metrics, which
    keeps every spectrum and cross-spectrum but leaves nothing beyond stationary linear noise [1]_.
    Every run keeps its mean and deviation, metric by metric, and its missing values.

    A spectrum has no ends: where a run's residuals end far from where they began, the surrogate is
    somewhat rougher than the run.

    References
    ----------
    .. [1] Prichard & Theiler (1994), Physical Review Letters 73, 951-954.
    """
    rng = np.random.default_rng(random_state)
    complete = filled(data.values)
    basis = np.polynomial.legendre.legvander(2 * relative_times(data.lengths) - 1, _TREND_DEGREE)
    trend = basis @ np.linalg.lstsq(basis, complete, rcond=None)[0]
    runs = [
        _with_moments_of(original, slow + _with_random_phases(original - slow, rng))
        for original, slow in zip(data.split(complete), data.split(trend), strict=True)
    ]
    return np.where(np.isnan(data.values), np.nan, np.concatenate(runs))


def _with_random_phases(run: FloatArray, rng: np.random.Generator) -> FloatArray:
    n = len(run)
    turned = rng.uniform(0, 2 * np.pi, n // 2 + 1)
    turned[0] = 0.0  # the mean stays, and so does the fastest wave of an even number of points
    if n % 2 == 0:
        turned[-1] = 0.0
    spectrum = np.fft.rfft(run, axis=0) * np.exp(1j * turned)[:, None]
    return np.fft.irfft(spectrum, n, axis=0)


def _with_moments_of(original: FloatArray, run: FloatArray) -> FloatArray:
    deviation = run.std(axis=0)
    scale = original.std(axis=0) / np.where(deviation > 0, deviation, 1.0)
    return np.asarray(original.mean(axis=0) + (run - run.mean(axis=0)) * scale)


def _single_run_states(states: IntArray, data: Sequences, n_states: int) -> tuple[int, ...]:
    if len(data.lengths) == 1:
        return ()
    run = data.run_of_row
    return tuple(k for k in range(n_states) if len(np.unique(run[states == k])) == 1)


def _about_autocorrelation(autocorrelation: float) -> list[Notice]:
    if not autocorrelation > AUTOCORRELATION_LIMIT:
        return []
    return [
        Notice(
            "model",
            "limit",
            "autocorrelation",
            "Successive checkpoints within a state are alike: the lag-1 autocorrelation of the "
            f"residuals is {autocorrelation:.2f}, where the model assumes 0. Chosen by likelihood "
            "(BIC, AIC, ICL), K is a resolution rather than a count of phases.",
        )
    ]


def _about_surrogate(n_states: int, surrogate: int | None) -> list[Notice]:
    if surrogate is None or surrogate < n_states:
        return []
    return [
        Notice(
            "model",
            "limit",
            "number of states",
            f"The criterion that gave {n_states} states gives {surrogate} on made-up trajectories "
            "with the trend and the spectrum of these runs, but no phases: this number is no "
            "evidence of phases.",
        )
    ]


def _about_single_runs(n_states: int, single: tuple[int, ...]) -> list[Notice]:
    if not single:
        return []
    if len(single) == 1:
        which = f"State {single[0]} of {n_states} is visited by a single run: it tells"
    else:
        *first, last = map(str, single)
        which = (
            f"States {', '.join(first)} and {last} of {n_states} are visited by a single run each: "
            "they tell"
        )
    message = f"{which} of that run, not of the recipe."
    return [Notice("model", "limit", "states of one run", message)]
