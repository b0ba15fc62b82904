"""Sketched spectra beside exact ones."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import NotToldError
from hmmdyn.metrics import sketch, summary
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.metrics.sketch import sketched_spectrum
from hmmdyn.metrics.spectrum import Spectrum, singular_values
from hmmdyn.metrics.summary import Matrix

N = 1024


@pytest.fixture(autouse=True)
def fewer_numbers(monkeypatch):
    """As many random vectors as for a matrix of 2,048, the least that is sketched."""
    monkeypatch.setattr(sketch, "_RANDOM_NUMBERS", 32 * N)
    monkeypatch.setattr(sketch, "LEAST_SIDE", N)


def rotated(values, rng):
    u, v = (np.linalg.qr(rng.normal(size=(N, N)))[0] for _ in range(2))
    return (u * values) @ v


RANKS = np.arange(1.0, N + 1)
NOISE = 0.02 * np.random.default_rng(1).normal(size=(N, N))
MATRICES = {
    "as initialised": lambda rng: NOISE,
    "wide": lambda rng: rng.normal(size=(N, 4 * N)),
    "tall": lambda rng: rng.normal(size=(3 * N, N)),
    "one direction has grown": lambda rng: NOISE + 5 * np.outer(rng.normal(size=N), RANKS > 0) / N,
    "power law": lambda rng: rotated(RANKS**-1, rng),
    "steep power law": lambda rng: rotated(RANKS**-2, rng),
    "low rank and noise": lambda rng: rng.normal(size=(N, 9)) @ rng.normal(size=(9, N)) + NOISE,
    "low rank": lambda rng: rng.normal(size=(N, 9)) @ rng.normal(size=(9, N)),
    "dead units": lambda rng: NOISE * (np.arange(N) % 3 > 0),
    "tiny": lambda rng: 1e-30 * NOISE,
    "huge": lambda rng: 1e30 * NOISE,
    # Of equal values, Lanczos finds no more than there are starting vectors (40).
    "orthogonal": lambda rng: rotated(np.ones(N), rng),
    "30 equal values": lambda rng: rotated(1.0 * (RANKS <= 30), rng),
    "60 equal values": lambda rng: rotated(1.0 * (RANKS <= 60), rng),
    "a tenth of the values are large": lambda rng: rotated(0.05 + (RANKS < N / 10), rng),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_a_sketch_is_right_to_about_a_percent(kind):
    matrix = MATRICES[kind](np.random.default_rng(0))
    exact, sketched = Spectrum(singular_values(matrix)), sketched_spectrum(matrix)
    assert sketched.values[0] == pytest.approx(exact.values[0], rel=1e-3)
    assert sketched.mean == pytest.approx(exact.mean, rel=0.01)
    assert sketched.variance == pytest.approx(exact.variance, rel=0.02, abs=1e-6 * exact.mean**2)
    assert sketched.size == pytest.approx(exact.size, rel=1e-3)
    assert sketched.squared.total == pytest.approx(exact.squared.total, rel=1e-3)


@pytest.mark.parametrize("alive", [1, 39, 200, N])
@pytest.mark.parametrize("axis", [0, 1])
def test_where_few_units_are_alive(alive, axis):
    side = 2 * N
    matrix = np.random.default_rng(0).normal(size=(side, side))
    np.moveaxis(matrix, axis, 0)[alive:] = 0
    exact, sketched = Spectrum(singular_values(matrix)), sketched_spectrum(matrix)
    assert sketched.values[0] == pytest.approx(exact.values[0], rel=1e-3)
    assert sketched.mean == pytest.approx(exact.mean, rel=0.015)
    assert sketched.size == pytest.approx(side)


@pytest.mark.parametrize("exponent", [0.5, 1, 2])
def test_values_that_stand_alone_are_not_left_to_chance(exponent):
    # Without this the sums were off by up to 3 % for some starting vectors.
    matrix = rotated(RANKS**-exponent, np.random.default_rng(0))
    assert sketched_spectrum(matrix).mean == pytest.approx((RANKS**-exponent).mean(), rel=2e-3)


def test_the_error_is_common_to_the_checkpoints_of_a_run():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(N, N))
    step = 1e-3 * rng.normal(size=(N, N))
    exact = [singular_values(matrix + i * step).mean() for i in range(3)]
    sketched = [sketched_spectrum(matrix + i * step).mean for i in range(3)]
    errors = np.array(sketched) - np.array(exact)
    assert np.ptp(errors) < 0.02 * np.abs(errors).max()
    np.testing.assert_array_equal(
        sketched_spectrum(matrix).values, sketched_spectrum(matrix.copy()).values
    )


def test_a_matrix_of_zeros():
    found = sketched_spectrum(np.zeros((N, N)))
    assert (found.mean, found.variance, found.values[0], found.size) == (0, 0, 0, N)


def test_only_large_matrices_are_sketched(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    path = tmp_path / "step_1.safetensors"
    save_file({f"fc{n}.weight": rng.normal(size=(n, n)) for n in (100, N)}, path)
    exact = measure(path, ["paper", "spectrum"], ParameterRules())
    rules = ParameterRules(spectrum="sketch")
    assert measure(path, ["paper", "spectrum"], rules).metrics == exact.metrics
    monkeypatch.setattr(summary, "LEAST_SIDE", N)
    sketched = measure(path, ["paper", "spectrum"], rules)
    for name in ("l1", "l2", "median_w", "trace"):
        assert sketched.metrics[name] == exact.metrics[name]
    told = [
        m.name for m in select_metrics(["paper", "spectrum"]) if m.name not in sketched.problems
    ]
    for name in set(told) - {"mean_b", "median_b", "var_b"}:
        assert sketched.metrics[name] == pytest.approx(exact.metrics[name], rel=0.03), name
    assert set(sketched.problems) == {"log_condition", "alpha", "alpha_distance", "alpha_hat"}
    assert "--spectrum exact" in sketched.problems["alpha"]


def test_what_needs_the_small_singular_values_says_so(monkeypatch):
    monkeypatch.setattr(summary, "LEAST_SIDE", 200)
    matrix = Matrix(np.random.default_rng(0).normal(size=(600, 600)), sketched=True)
    assert np.isfinite(matrix.spectral_norm)
    with pytest.raises(NotToldError, match="--spectrum exact"):
        _ = matrix.singular_values


def test_not_finite_entries_have_no_spectrum():
    values = np.ones((2100, 2100))
    values[3, 4] = np.inf
    assert np.isnan(Matrix(values, sketched=True).spectrum.values).all()
