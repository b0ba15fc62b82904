"""Eigenvalues in two stages, beside LAPACK's in one."""

import numpy as np
import pytest

from hmmdyn.metrics import two_stage
from hmmdyn.metrics.spectrum import singular_values


def symmetric(n):
    rng = np.random.default_rng(n)
    normal = rng.normal(size=(n, n))
    return {
        "Gram matrix": normal @ normal.T,
        "indefinite": normal + normal.T,
        "of rank three": normal[:, :3] @ normal[:, :3].T,
        "diagonal": np.diag(normal[0]),
        "a band already": np.tril(np.triu(normal, -1), 0) + np.tril(np.triu(normal, -1), -1).T,
        "zeros": np.zeros((n, n)),
        "graded": normal @ normal.T * np.outer(*2 * [np.logspace(0, -8, n)]),
        "large": 1e280 * (normal @ normal.T),
        "small": 1e-280 * (normal @ normal.T),
    }


@pytest.mark.parametrize("n", [1, 8, 9, 17, 95])
@pytest.mark.parametrize(("width", "rows"), [(8, 20), (48, 128)])
@pytest.mark.parametrize("kind", symmetric(1))
def test_they_are_those_of_lapack(kind, width, rows, n, monkeypatch):
    monkeypatch.setattr(two_stage, "_WIDTH", width)
    monkeypatch.setattr(two_stage, "_ROWS", rows)
    matrix = symmetric(n)[kind]
    expected = np.linalg.eigvalsh(matrix)
    largest = np.abs(expected).max()
    found = two_stage.eigenvalues(matrix.copy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=n * np.finfo(float).eps * largest)


@pytest.mark.parametrize("shape", [(300, 300), (260, 900), (900, 260)])
def test_singular_values_are_as_exact(shape, monkeypatch):
    matrix = np.random.default_rng(0).normal(size=shape)
    expected = np.linalg.svd(matrix, compute_uv=False)
    monkeypatch.setattr(two_stage, "LEAST_SIDE", 256)
    given = matrix.copy()
    found = singular_values(given)
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-10)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * expected[0])
    np.testing.assert_array_equal(given, matrix)
