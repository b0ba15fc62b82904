from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hmmdyn.metrics import spectrum
from hmmdyn.metrics.spectrum import singular_values


def assert_exact(matrix):
    """Nuclear norm, largest value and each value against LAPACK's float64 SVD."""
    found, expected = singular_values(matrix), np.linalg.svd(matrix, compute_uv=False)
    assert found.shape == (min(matrix.shape),)
    assert found.dtype == np.float64
    assert (np.diff(found) <= 0).all()
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-10, abs=1e-300)
    assert found[0] == pytest.approx(expected[0], rel=1e-12, abs=1e-300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * expected.sum())


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 7), (7, 1), (5, 5), (40, 128), (128, 40), (784, 100), (512, 2048)],
)
def test_random_matrices_of_every_shape(shape):
    assert_exact(np.random.default_rng(0).normal(size=shape))


def random_orthogonal(n, rng):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


@pytest.mark.parametrize(
    "values",
    [
        np.r_[1.0, np.zeros(39)],  # rank one
        np.r_[np.ones(20), np.zeros(20)],  # half the rank
        np.r_[1.0, np.full(39, 1e-7)],  # many small values, lost in a Gram matrix
        np.logspace(0, -14, 40),
        np.logspace(-150, -170, 40),  # squares underflow
        np.logspace(170, 150, 40),  # squares overflow
        np.ones(40),
    ],
)
def test_prescribed_spectra(values):
    rng = np.random.default_rng(1)
    u, v = random_orthogonal(40, rng), random_orthogonal(60, rng)[:40]
    matrix = (u * values) @ v
    assert_exact(matrix)
    assert singular_values(matrix).sum() == pytest.approx(values.sum(), rel=1e-10)


def test_zero_matrix_and_dead_units():
    np.testing.assert_array_equal(singular_values(np.zeros((3, 5))), np.zeros(3))
    matrix = np.random.default_rng(2).normal(size=(30, 50))
    matrix[10:] = 0
    matrix[:, 5:9] = 0
    assert_exact(matrix)
    assert np.count_nonzero(singular_values(matrix)) == 10


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
@settings(deadline=None)
def test_any_small_matrix(matrix):
    assert_exact(matrix)


def count_svds(monkeypatch):
    calls = []
    svd = np.linalg.svd
    monkeypatch.setattr(spectrum.np.linalg, "svd", lambda *a, **k: calls.append(a) or svd(*a, **k))
    return calls


def test_the_fast_route_is_taken_for_ordinary_weights(monkeypatch):
    rng = np.random.default_rng(3)
    matrices = [rng.normal(size=shape) for shape in [(128, 40), (100, 784), (256, 256), (1, 9)]]
    dead = rng.normal(size=(128, 40))
    dead[64:] = 0
    calls = count_svds(monkeypatch)
    for matrix in (*matrices, dead):
        singular_values(matrix)
    assert not calls
    singular_values(np.outer(np.ones(40), np.ones(40)) + 1e-9 * rng.normal(size=(40, 40)))
    assert len(calls) == 1
