"""The path score: how well a map's decoded states describe runs as phases, drift allowed for.

It scores a run along the path that the map decodes, with what is left around the states' means free
to be autocorrelated. So drift costs nothing, and a step that is not in the data costs as much as a
missed one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmmdyn.hmm.fit.em import COVARIANCE_PRIOR
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.parts import transitions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences

# The path score looks at a run about so many times, whatever its number of checkpoints: a
# transition faster than that counts as a jump, and saving more often does not turn it into drift.
LOOKS = 40


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


def path_scores(parameters: HMMParameters, residuals: Residuals, data: Sequences) -> FloatArray:
    """Path score of every run per look, shape (R,), nats.

    Notes
    -----
    The path score of a run with observations z and decoded path s is

        log p(s) + log p(r_first) + Σ_t log N(r_t - A r_{t-m}; 0, S) / m,    r_t = z_t - μ(s_t),

    divided by the number of looks n/m. With m = 1 it is the likelihood of a mean-switching
    autoregression [1]_ at one path, and so a lower bound of that over all paths; with more it is
    the mean over the m ways to look at every m-th checkpoint. m makes about 40 looks of a run. A, S
    and the covariance of the first residuals come from the training runs, unrestricted for ``diag``
    maps too, so that these compare with ``full`` ones. A missing value counts as a residual of 0.

    References
    ----------
    .. [1] Hamilton (1989), Econometrica 57(2), 357-384.
    """
    states = decode(parameters, data)
    rest = residuals_of(parameters, data.values, states)
    before = transitions_of(parameters).gaps(data)
    return np.array(
        [
            (log_path(parameters, path, since) + residuals.log_density(run))
            / max(1.0, len(path) / residuals.stride)
            for path, run, since in zip(*map(data.split, (states, rest, before)), strict=True)
        ]
    )


def log_path(parameters: HMMParameters, path: IntArray, gaps: FloatArray) -> float:
    """Log-probability of one run's path (n,), nats; ``gaps`` (n,) are in the model's unit."""
    transitions = transitions_of(parameters).log_path(path, gaps)
    return float(np.log(parameters.startprob[path[0]]) + transitions)


def residuals_of(parameters: HMMParameters, values: FloatArray, states: IntArray) -> FloatArray:
    """What is left of observations around their states' means, shape (n, D); 0 where missing."""
    return np.nan_to_num(values - parameters.means[states], nan=0.0)


def _log_gaussian(rows: FloatArray, covariance: FloatArray) -> FloatArray:
    """Log-density of each row under N(0, Σ), shape (n,)."""
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, rows.T)
    constant = np.log(np.diag(root)).sum() + 0.5 * len(covariance) * np.log(2 * np.pi)
    density: FloatArray = -0.5 * (whitened**2).sum(axis=0) - constant
    return density
