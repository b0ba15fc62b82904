"""The fourteen metrics of the paper.

References
----------
Hu, Chen, Saphra, Cho, "Latent State Models of Training Dynamics", TMLR 2023 (arXiv:2308.09543),
table 3. Variances are population variances (ddof 0).
"""

from __future__ import annotations

import math

from hmmdyn.metrics.entries import Entries
from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Matrix


@metric(needs="matrix")
def l1(matrix: Matrix) -> float:
    """Sum of absolute weights, mean over the weight matrices."""
    return matrix.l1


@metric(needs="matrix")
def l2(matrix: Matrix) -> float:
    """Frobenius norm, mean over the weight matrices."""
    return matrix.l2


@metric(needs="matrix")
def l1_over_l2(matrix: Matrix) -> float:
    """L1 norm over L2 norm, mean over the weight matrices (lower: sparser)."""
    return _ratio(matrix.l1, matrix.l2)


@metric(needs="weights")
def mean_w(weights: Entries) -> float:
    """Mean of all weights."""
    return weights.mean


@metric(needs="weights")
def median_w(weights: Entries) -> float:
    """Median of all weights."""
    return weights.median


@metric(needs="weights")
def var_w(weights: Entries) -> float:
    """Variance of all weights."""
    return weights.variance


@metric(needs="biases")
def mean_b(biases: Entries) -> float:
    """Mean of all biases."""
    return biases.mean


@metric(needs="biases")
def median_b(biases: Entries) -> float:
    """Median of all biases."""
    return biases.median


@metric(needs="biases")
def var_b(biases: Entries) -> float:
    """Variance of all biases."""
    return biases.variance


@metric(needs="matrix")
def trace(matrix: Matrix) -> float:
    """Sum of the leading diagonal, mean over the weight matrices."""
    return matrix.trace


@metric(needs="matrix")
def spectral_norm(matrix: Matrix) -> float:
    """Largest singular value, mean over the weight matrices."""
    return matrix.spectral_norm


@metric(needs="matrix")
def trace_over_spectral(matrix: Matrix) -> float:
    """Trace over largest singular value, mean over the weight matrices."""
    return _ratio(matrix.trace, matrix.spectral_norm)


@metric(needs="matrix")
def mean_sv(matrix: Matrix) -> float:
    """Mean singular value, mean over the weight matrices."""
    return matrix.spectrum.mean


@metric(needs="matrix")
def var_sv(matrix: Matrix) -> float:
    """Variance of the singular values, mean over the weight matrices."""
    return matrix.spectrum.variance


def _ratio(numerator: float, denominator: float) -> float:
    """Quotient; NaN for the 0/0 of a matrix of zeros."""
    return numerator / denominator if denominator else math.nan
