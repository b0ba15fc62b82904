"""How the singular values of a weight matrix are spread; each metric is a mean over the matrices.

σ are the singular values, largest first, and λ = σ² the eigenvalues of WᵀW.

References
----------
Garrido et al., "RankMe", ICML 2023 (arXiv:2210.02885), equation 1; Roy, Vetterli, "The effective
rank", EUSIPCO 2007.
Martin, Peng, Mahoney, "Predicting trends in the quality of state-of-the-art neural networks without
access to training or testing data", Nature Communications 12 (2021): α, α̂ and their fit.
Clauset, Shalizi, Newman, "Power-law distributions in empirical data", SIAM Review 51 (2009),
equation 3.1 and section 3.3.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import xlogy

from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.spectrum import Spectrum
from hmmdyn.metrics.summary import Matrix

_MARTIN = "Martin, Peng, Mahoney 2021"


@metric(needs="matrix", source="Rudelson, Vershynin 2007")
def stable_rank(matrix: Matrix) -> float:
    """Squared Frobenius norm over the squared spectral norm, Σλ / λ₁."""
    largest = matrix.spectral_norm
    return _over(matrix.spectrum.squared.total, largest * largest)


@metric(needs="matrix", source="Garrido 2023, eq. 1 (RankMe); Roy, Vetterli 2007")
def effective_rank(matrix: Matrix) -> float:
    """Exponential of the entropy of the singular values, exp(−Σ p log p) with p = σ / Σσ."""
    return math.exp(_entropy(matrix.spectrum))


@metric(needs="matrix", source=_MARTIN)
def spectral_entropy(matrix: Matrix) -> float:
    """Entropy of the eigenvalues, p = λ / Σλ, over its largest value (from 0 to 1)."""
    return _over(_entropy(matrix.spectrum.squared), math.log(matrix.spectrum.size))


@metric(needs="matrix", source="Bell, Dean 1970")
def participation_ratio(matrix: Matrix) -> float:
    """How many eigenvalues take part, (Σλ)² / Σλ²."""
    eigenvalues = matrix.spectrum.squared
    return _over(eigenvalues.total**2, eigenvalues.sum_of(np.square))


@metric(needs="matrix")
def log_condition(matrix: Matrix) -> float:
    """Logarithm (base 10) of the largest over the smallest singular value that is not 0."""
    eigenvalues = matrix.eigenvalues
    return 0.5 * math.log10(eigenvalues[-1] / eigenvalues[0]) if len(eigenvalues) else math.nan


@metric(needs="matrix", source=_MARTIN)
def alpha(matrix: Matrix) -> float:
    """Exponent of the power law that fits the tail of the eigenvalues best."""
    return matrix.power_law.exponent


@metric(needs="matrix", source=_MARTIN)
def alpha_distance(matrix: Matrix) -> float:
    """Kolmogorov–Smirnov distance between the tail of the eigenvalues and its power law."""
    return matrix.power_law.distance


@metric(needs="matrix", source=_MARTIN)
def alpha_hat(matrix: Matrix) -> float:
    """Exponent of the power law times the logarithm (base 10) of the largest eigenvalue."""
    if not matrix.spectral_norm:
        return math.nan
    return matrix.power_law.exponent * 2 * math.log10(matrix.spectral_norm)


def _entropy(spectrum: Spectrum) -> float:
    """Entropy of numbers as shares of their sum, in nats; NaN for those of a matrix of zeros."""
    total = spectrum.total
    if not total > 0 or not math.isfinite(total):
        return math.nan
    return -spectrum.sum_of(lambda values: xlogy(values / total, values / total))


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
