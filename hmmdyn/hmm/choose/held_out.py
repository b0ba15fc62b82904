"""How well maps predict runs they have not seen, and the number of states that recommends.

Two scores for every held-out run. Its *log-likelihood* under the map asks whether states repeat
from run to run; on smooth, autocorrelated metrics it keeps rising with K, because a finer staircase
follows a drift that all runs share more closely. The *path score* asks whether states are phases:
it scores the run along the path that the map decodes, with what is left around the states' means
free to be autocorrelated, so that drift costs nothing and a step that is not in the data costs as
much as a missed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.errors import UsageError
from hmmdyn.hmm.fit.em import COVARIANCE_PRIOR, Fit
from hmmdyn.hmm.fit.sweep import Progress, sweep
from hmmdyn.hmm.model.chain import gaps, propagators
from hmmdyn.hmm.model.inference import beliefs, decode
from hmmdyn.results.arrays import FloatArray, IntArray, RunData
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.notice import Notice
from hmmdyn.results.selection import Recommendation

# Every run is held out alone up to so many runs; beyond, so many folds.
MAX_FOLDS = 10
# With two runs every fit sees a single one, and one difference has no spread.
MIN_RUNS = 3
# The path score looks at a run about so many times, whatever its number of checkpoints: a
# transition faster than that counts as a jump, and saving more often does not turn it into drift.
LOOKS = 40
# So many of the runs are left out of the mean score at either end: one run that went its own way is
# predicted so badly that it would decide alone.
TRIMMED = 0.2


@dataclass(frozen=True)
class HeldOut:
    """How well every map predicts runs it was not fitted to.

    Attributes
    ----------
    criteria : DataFrame
        One row per covariance type and K: ``covariance_type, n_states, held_out, held_out_se,
        path, path_se`` (the two scores, nats per checkpoint and nats per look: mean over runs
        without the highest and lowest fifth, and its standard error), ``n_scored`` (runs). NaN
        where a fold has no valid fit or a score is not finite: such a K cannot be compared.
    runs : DataFrame
        One row per covariance type, K and run: ``covariance_type, n_states, run`` (its position),
        ``fold, held_out, path``. Runs without a score are not in it.
    n_runs : int
        Runs there are; with fewer than ``MIN_RUNS`` none is held out.
    left_out : tuple of int
        Positions of metrics that some runs were scored without: no run they were held out from
        knows them.
    """

    criteria: pd.DataFrame
    runs: pd.DataFrame
    n_runs: int
    left_out: tuple[int, ...] = ()


def hold_out(
    values: FloatArray,
    lengths: IntArray,
    candidates: Sequence[int],
    *,
    covariance_types: Sequence[str] = COVARIANCE_TYPES,
    options: ModelOptions = PLAIN_MODEL,
    steps: IntArray | None = None,
    n_restarts: int = 2,
    random_state: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> HeldOut:
    """Fit to all runs but some, score those, and so on until every run was held out once.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations, runs contiguous; NaN where a metric is missing.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    candidates : sequence of int
        Numbers of states; one state, the trajectory without phases, is always scored too.
    options, steps
        As in :func:`hmmdyn.hmm.fit.sweep.sweep`.
    n_restarts : int
        Starts per K and fold. Two are enough: splits and merges of the neighbours' winners do the
        rest.
    random_state : int
        Seeds the folds and the starts.
    progress : callable, optional
        Called with (sweeps' steps done, steps in all).

    Raises
    ------
    UsageError
        A covariance type is not known, or none is asked for.

    Notes
    -----
    The path score of a run with observations z and decoded path s is

        log p(s) + log p(r_first) + Σ_t log N(r_t - A r_{t-m}; 0, S) / m,    r_t = z_t - μ(s_t),

    divided by the number of looks n/m. With m = 1 it is the likelihood of a mean-switching
    autoregression [1]_ at one path, and so a lower bound of that over all paths; with more it is
    the mean over the m ways to look at every m-th checkpoint. m makes about 40 looks of a run. A, S
    and the covariance of the first residuals come from the training runs, unrestricted for ``diag``
    maps too, so that these compare with ``full`` ones. A missing value counts as a residual of 0.

    The path score counts phases that are entered in less than about 1/40 of a run. Where
    transitions take longer it sees drift, and K = 1 comes out: see :func:`recommend`.

    References
    ----------
    .. [1] Hamilton (1989), Econometrica 57(2), 357-384.
    """
    if not covariance_types or not set(covariance_types) <= set(COVARIANCE_TYPES):
        raise UsageError(
            f"'covariance_types' must be some of {COVARIANCE_TYPES}, got {tuple(covariance_types)}."
        )
    tried = sorted({1, *candidates})
    folds = _folds(len(lengths), random_state) if len(lengths) >= MIN_RUNS else []
    work = [(c, f) for c in covariance_types for f in range(len(folds))]
    stride = max(1, round(float(np.median(lengths)) / LOOKS))
    rows: list[dict[str, object]] = []
    left_out: set[int] = set()
    for done, (covariance_type, f) in enumerate(work):
        held = np.isin(np.arange(len(lengths)), folds[f])
        training, unseen, without = split_runs(values, lengths, steps, held)
        left_out |= set(without)
        distinct = len(np.unique(np.nan_to_num(training[0], nan=np.inf), axis=0))
        winners = sweep(
            *training[:2],
            [k for k in tried if k <= distinct],
            covariance_type=covariance_type,
            options=options,
            steps=training[2],
            n_restarts=n_restarts,
            random_state=random_state,
            n_jobs=n_jobs,
            progress=_part_of(progress, done, len(work)),
        ).winners
        rows += _scored(winners, training, unseen, stride, covariance_type, f, np.flatnonzero(held))
    columns = ["covariance_type", "n_states", "run", "fold", "held_out", "path"]
    runs = pd.DataFrame(rows, columns=columns)
    criteria = pd.DataFrame(
        _mean_scores(runs, covariance_type, k, len(lengths))
        for covariance_type in covariance_types
        for k in tried
    )
    return HeldOut(criteria, runs, len(lengths), tuple(sorted(left_out)))


def recommend(held_out: HeldOut) -> Recommendation:
    """Recommend a number of states by the one-standard-error rule on held-out runs.

    The rule takes the smallest K whose mean score lies within one standard error of the best. The
    standard error is that of the best mean, not of paired differences: these shrink without limit
    as runs are added, and a drift shared by all runs is then cut ever finer. Means leave out the
    highest and lowest fifth of the runs, so a state that only fewer runs visit does not count.

    By the path score the rule counts phases. One state is recommended only where neither score
    allows more than two. Otherwise these runs do not determine K: either states repeat from run to
    run (by the log-likelihood) but a drift without phases explains them as well, or the runs are
    too few or too different for the standard error to tell K from one.
    """
    scores = held_out.criteria
    tried = sorted(map(int, scores["n_states"].unique()))
    phases = _within_one_error(scores, "path")
    repeating = _within_one_error(scores, "held_out")
    why_not = ""
    if held_out.n_runs < MIN_RUNS:
        runs = "1 run" if held_out.n_runs == 1 else f"{held_out.n_runs} runs"
        why_not = f"with {runs} none can be held out to compare them on; that takes {MIN_RUNS}"
    elif len(tried) == 1:
        why_not = "there was only one to choose from"
    elif phases.empty:
        why_not = "none had a valid fit to every part of the runs"
    if why_not:
        reason = f"No number of states is recommended: {why_not}."
        covariance_type = str(scores["covariance_type"].iloc[0])
        return Recommendation(None, covariance_type, tried[0], tried[-1], reason)
    n_phases, covariance_type = _simplest(phases)
    high = int(phases["n_states"].max())
    if n_phases > 1:
        reason = (
            f"{n_phases} states: on runs held out from the fit, fewer predict worse by more than a "
            "standard error and more do not predict better, with smooth drift within the states "
            "allowed for."
        )
        if n_phases == tried[-1]:
            reason += " This is the largest number tried, and there may be more."
        return Recommendation(n_phases, covariance_type, n_phases, high, reason)
    n_repeating, covariance_type = _simplest(repeating)
    high = max(n_repeating, high)
    if high <= 2:
        reason = (
            "1 state: on runs held out from the fit, more states do not predict better by more "
            "than a standard error; these runs show no phases that repeat."
        )
        return Recommendation(1, covariance_type, 1, high, reason)
    if n_repeating > 2:
        why = (
            f"on runs held out from the fit, {n_repeating} states repeat, but a smooth drift "
            "without any phases predicts those runs as well"
        )
    else:
        why = (
            "the runs differ so much from each other that, held out from the fit, they are "
            "predicted about as well by any of these"
        )
    reason = (
        "These runs do not determine the number of states, which may be anything from 1 to "
        f"{high}: {why}. Read it as a resolution, not as a count of phases."
    )
    return Recommendation(None, covariance_type, 1, high, reason)


def _folds(n_runs: int, random_state: int) -> list[IntArray]:
    order = np.random.default_rng(random_state).permutation(n_runs)
    return np.array_split(order, min(n_runs, MAX_FOLDS))


def of_runs(
    values: FloatArray, lengths: IntArray, steps: IntArray | None, chosen: np.ndarray
) -> RunData:
    """Take the data of some of the runs; ``chosen`` is a mask, shape (R,)."""
    rows = np.repeat(chosen, lengths)
    return values[rows], lengths[chosen], None if steps is None else steps[rows]


def split_runs(
    values: FloatArray, lengths: IntArray, steps: IntArray | None, held: np.ndarray
) -> tuple[RunData, RunData, tuple[int, ...]]:
    """Split data into the runs to fit to and those held out, by a mask of the latter, shape (R,).

    Both are left without the metrics that no run to fit to knows, of which the third item tells
    the positions: a map says nothing of them, and their scores would drown the others.
    """
    unknown = np.isnan(values[np.repeat(~held, lengths)]).all(axis=0)
    known = values[:, ~unknown]
    return (
        of_runs(known, lengths, steps, ~held),
        of_runs(known, lengths, steps, held),
        tuple(np.flatnonzero(unknown).tolist()),
    )


def about_metrics_left_out(positions: Iterable[int], features: Sequence[str]) -> list[Notice]:
    """Name the metrics that runs held out are scored without: see :func:`split_runs`."""
    message = (
        "Runs held out are scored without it where no run that the map was fitted to knows it, "
        "because the map then says nothing of it."
    )
    return [Notice("model", "left out", f"metric {features[i]}", message) for i in positions]


def _part_of(progress: Progress | None, done: int, n_parts: int) -> Progress | None:
    """Report one sweep's progress as part of all sweeps'."""
    if progress is None:
        return None
    return lambda step, steps: progress(done * steps + step, n_parts * steps)


def _scored(
    winners: Mapping[int, Fit],
    training: RunData,
    unseen: RunData,
    stride: int,
    covariance_type: str,
    fold: int,
    runs: IntArray,
) -> list[dict[str, object]]:
    """Score the unseen runs under the best fit of every K."""
    rows: list[dict[str, object]] = []
    for k, fitted in winners.items():
        if fitted.parameters is None or fitted.states is None:
            raise AssertionError("only valid fits win")
        residuals = Residuals.fit(
            _residuals(fitted.parameters, training[0], fitted.states), training[1], stride
        )
        likelihood = beliefs(fitted.parameters, *unseen).log_likelihood / unseen[1]
        path = path_scores(fitted.parameters, residuals, *unseen)
        rows += [
            {
                "covariance_type": covariance_type,
                "n_states": k,
                "run": int(run),
                "fold": fold,
                "held_out": float(likelihood[r]),
                "path": float(path[r]),
            }
            for r, run in enumerate(runs)
        ]
    return rows


@dataclass(frozen=True)
class Residuals:
    """A first-order autoregression of what is left around the states' means.

    r_t = A r_{t-m} + e, e ~ N(0, S) for looks m = ``stride`` checkpoints apart: ``transition`` A
    (D, D), ``innovation`` S (D, D), and ``marginal`` (D, D), the covariance of a run's first
    residuals.
    """

    transition: FloatArray
    innovation: FloatArray
    marginal: FloatArray
    stride: int

    @classmethod
    def fit(cls, residuals: FloatArray, lengths: IntArray, stride: int) -> Residuals:
        """Fit by least squares to all runs, with the covariance prior of the maps themselves."""
        runs = np.split(residuals, np.cumsum(lengths)[:-1])
        before = np.concatenate([run[:-stride] for run in runs])
        after = np.concatenate([run[stride:] for run in runs])
        prior = COVARIANCE_PRIOR * np.eye(residuals.shape[1])
        transition = np.linalg.solve(before.T @ before + prior, before.T @ after).T
        innovation = after - before @ transition.T
        return cls(
            transition,
            (innovation.T @ innovation + prior) / max(len(after), 1),
            (residuals.T @ residuals + prior) / len(residuals),
            stride,
        )

    def log_density(self, run: FloatArray) -> float:
        """Log-density of one run's residuals (n, D) at every m-th checkpoint, in the mean, nats."""
        m = min(self.stride, len(run))
        first = _log_gaussian(run[:m], self.marginal).mean()
        rest = _log_gaussian(run[m:] - run[:-m] @ self.transition.T, self.innovation).sum()
        return float(first + rest / m)


def path_scores(
    parameters: HMMParameters,
    residuals: Residuals,
    values: FloatArray,
    lengths: IntArray,
    steps: IntArray | None = None,
) -> FloatArray:
    """Path score of every run per look, shape (R,), nats: see :func:`hold_out`."""
    states = decode(parameters, values, lengths, steps)
    rest = _residuals(parameters, values, states)
    before = gaps(parameters.clock, parameters.unit, steps, lengths)
    borders = np.cumsum(lengths)[:-1]
    return np.array(
        [
            (_log_path(parameters, path, since) + residuals.log_density(run))
            / max(1.0, len(path) / residuals.stride)
            for path, run, since in zip(
                *(np.split(rows, borders) for rows in (states, rest, before)), strict=True
            )
        ]
    )


def _residuals(parameters: HMMParameters, values: FloatArray, states: IntArray) -> FloatArray:
    return np.nan_to_num(values - parameters.means[states], nan=0.0)


def _log_path(parameters: HMMParameters, path: IntArray, before: FloatArray) -> float:
    """Log-probability of one run's path; ``before`` (n,) are the gaps in the model's unit."""
    transitions = parameters.transmat[path[:-1], path[1:]]
    if parameters.generator is not None:
        distinct, which = np.unique(before[1:], return_inverse=True)
        transitions = propagators(parameters.generator, distinct)[which, path[:-1], path[1:]]
    entered = np.flatnonzero(np.diff(path, prepend=path[0] - 1))
    age = np.arange(len(path)) - np.repeat(entered, np.diff(entered, append=len(path)))
    # A state is kept for certain until its dwell is over; a first visit may have begun before.
    kept = (age[:-1] + 1 < parameters.minimum_dwell) & (
        np.arange(len(path) - 1) >= entered[1:].min(initial=len(path))
    )
    steps = np.log(transitions[~kept]).sum()
    return float(np.log(parameters.startprob[path[0]]) + steps)


def _log_gaussian(rows: FloatArray, covariance: FloatArray) -> FloatArray:
    """Log-density of each row under N(0, Σ), shape (n,)."""
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, rows.T)
    constant = np.log(np.diag(root)).sum() + 0.5 * len(covariance) * np.log(2 * np.pi)
    density: FloatArray = -0.5 * (whitened**2).sum(axis=0) - constant
    return density


def _mean_scores(
    runs: pd.DataFrame, covariance_type: str, n_states: int, n_runs: int
) -> dict[str, object]:
    """Average the scores of one covariance type and K over the runs, if all have one."""
    mine = runs[(runs["covariance_type"] == covariance_type) & (runs["n_states"] == n_states)]
    complete = len(mine) == n_runs and bool(np.isfinite(mine[["held_out", "path"]]).all(axis=None))
    row: dict[str, object] = {"covariance_type": covariance_type, "n_states": n_states}
    for score in ("held_out", "path"):
        of_runs = mine[score].to_numpy(dtype=np.float64)
        mean, error = trimmed_mean(of_runs) if complete else (np.nan, np.nan)
        row |= {score: mean, f"{score}_se": error}
    return row | {"n_scored": len(mine)}


def trimmed_mean(scores: FloatArray) -> tuple[float, float]:
    """Mean without the highest and lowest fifth, and its standard error from the winsorised ones.

    References
    ----------
    .. [1] Tukey & McLaughlin (1963), Sankhyā A 25, 331-352.
    """
    n, cut = len(scores), int(TRIMMED * len(scores))
    ordered = np.sort(scores)
    kept = ordered[cut : n - cut]
    winsorised = np.clip(ordered, kept[0], kept[-1])
    return float(kept.mean()), float(winsorised.std(ddof=1) * np.sqrt(n) / len(kept))


def _within_one_error(scores: pd.DataFrame, score: str) -> pd.DataFrame:
    """Rows whose mean is within one standard error of the best; empty where there is no score."""
    known: pd.DataFrame = scores[scores[score].notna()]
    if known.empty:
        return known
    mean, error = known[score].to_numpy(), known[f"{score}_se"].to_numpy()
    best = mean.argmax()
    near: pd.DataFrame = known[mean >= mean[best] - error[best]]
    return near


def _simplest(rows: pd.DataFrame) -> tuple[int, str]:
    """Fewest states; of the covariance types with so many, the one with fewer parameters."""
    fewest = int(rows["n_states"].min())
    types = set(rows.loc[rows["n_states"] == fewest, "covariance_type"])
    return fewest, min(types, key=COVARIANCE_TYPES.index)
