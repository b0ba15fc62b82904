"""Sketched spectra beside exact ones."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import NotToldError
from hmmdyn.metrics import summary
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.metrics.sketch import sketched_spectrum
from hmmdyn.metrics.spectrum import Spectrum, singular_values
from hmmdyn.metrics.summary import Matrix

N = 400


def rotated(values, rng):
    u, v = (np.linalg.qr(rng.normal(size=(N, N)))[0] for _ in range(2))
    return (u * values) @ v


def matrices():
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.normal(size=(N, N))
    return {
        "as initialised": noise,
        "wide": rng.normal(size=(N, 4 * N)),
        "tall": rng.normal(size=(3 * N, N)),
        "one direction has grown": noise + 5 * np.outer(rng.normal(size=N), np.ones(N)) / N,
        "power law": rotated(np.arange(1.0, N + 1) ** -1, rng),
        "steep power law": rotated(np.arange(1.0, N + 1) ** -2, rng),
        "low rank and noise": rng.normal(size=(N, 9)) @ rng.normal(size=(9, N)) + noise,
        "low rank": rng.normal(size=(N, 9)) @ rng.normal(size=(9, N)),
        "dead units": noise * (np.arange(N) % 3 > 0),
        "tiny": 1e-30 * noise,
        "huge": 1e30 * noise,
    }


@pytest.mark.parametrize("kind", matrices())
def test_a_sketch_is_right_to_about_a_percent(kind):
    matrix = matrices()[kind]
    exact, sketch = Spectrum(singular_values(matrix)), sketched_spectrum(matrix)
    assert sketch.values[0] == pytest.approx(exact.values[0], rel=1e-3)
    assert sketch.mean == pytest.approx(exact.mean, rel=0.015)
    assert sketch.size == pytest.approx(exact.size, rel=1e-3)
    assert sketch.squared.total == pytest.approx(exact.squared.total, rel=1e-3)


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
    sketch = sketched_spectrum(np.zeros((N, N)))
    assert (sketch.mean, sketch.variance, sketch.values[0], sketch.size) == (0, 0, 0, N)


def test_only_large_matrices_are_sketched(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    path = tmp_path / "step_1.safetensors"
    save_file({f"fc{n}.weight": rng.normal(size=(n, n)) for n in (100, 400)}, path)
    exact = measure(path, ["paper", "spectrum"], ParameterRules())
    rules = ParameterRules(spectrum="sketch")
    assert measure(path, ["paper", "spectrum"], rules).metrics == exact.metrics
    monkeypatch.setattr(summary, "LEAST_SIDE", 200)
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
    matrix = Matrix(np.random.default_rng(0).normal(size=(300, 300)), sketched=True)
    assert np.isfinite(matrix.spectral_norm)
    with pytest.raises(NotToldError, match="--spectrum exact"):
        _ = matrix.singular_values


def test_not_finite_entries_have_no_spectrum():
    values = np.ones((1100, 1100))
    values[3, 4] = np.inf
    assert np.isnan(Matrix(values, sketched=True).spectrum.values).all()
