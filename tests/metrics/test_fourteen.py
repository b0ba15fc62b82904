"""The fourteen metrics against their definitions, written with nothing but NumPy and its SVD."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import NoWeightsError, UsageError
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import Metric, all_metrics, metric, select_metrics
from hmmdyn.metrics.summary import Matrix

FOURTEEN = [
    "l1",
    "l2",
    "l1_over_l2",
    "mean_w",
    "median_w",
    "var_w",
    "mean_b",
    "median_b",
    "var_b",
    "trace",
    "spectral_norm",
    "trace_over_spectral",
    "mean_sv",
    "var_sv",
]


def definition(weights, biases):
    """The metrics of Hu 2023, table 3, term by term in float64."""
    weights = [np.asarray(w, np.float64) for w in weights]
    matrices = [w.reshape(len(w), -1) if w.ndim > 1 else w[None] for w in weights]
    spectra = [np.linalg.svd(m, compute_uv=False) for m in matrices]
    w = np.concatenate([m.ravel() for m in matrices])
    b = np.concatenate([np.asarray(x, np.float64).ravel() for x in biases] or [[np.nan]])
    l1 = [np.abs(m).sum() for m in matrices]
    l2 = [np.sqrt((m**2).sum()) for m in matrices]
    traces = [sum(m[i, i] for i in range(min(m.shape))) for m in matrices]
    top = [s.max() for s in spectra]
    with np.errstate(invalid="ignore"):
        return {
            "l1": np.mean(l1),
            "l2": np.mean(l2),
            "l1_over_l2": np.mean(np.divide(l1, l2)),
            "mean_w": w.mean(),
            "median_w": np.median(w),
            "var_w": w.var(),
            "mean_b": b.mean(),
            "median_b": np.median(b),
            "var_b": b.var(),
            "trace": np.mean(traces),
            "spectral_norm": np.mean(top),
            "trace_over_spectral": np.mean(np.divide(traces, top)),
            "mean_sv": np.mean([s.mean() for s in spectra]),
            "var_sv": np.mean([s.var() for s in spectra]),
        }


def measured(folder, weights, biases=(), **options):
    path = folder / "a.npz"
    tensors = {f"layer{i}.weight": w for i, w in enumerate(weights)}
    tensors |= {f"b{i}": b for i, b in enumerate(biases)}
    np.savez(path, **tensors)
    return measure(path, None, ParameterRules(include=("weight",)), **options)


def assert_by_definition(found, weights, biases):
    expected = definition(weights, biases)
    # Sums of terms of either sign, and the variance of a nearly flat spectrum, are exact
    # relative to the size of their terms.
    entries = np.concatenate([np.abs(np.asarray(w, np.float64)).ravel() for w in weights])
    scale = {
        "mean_w": entries.mean(),
        "trace": expected["spectral_norm"],
        "trace_over_spectral": 1.0,
        "var_sv": expected["mean_sv"] ** 2,
    }
    for name, value in found.metrics.items():
        assert value == pytest.approx(
            expected[name], rel=1e-10, abs=1e-13 * scale.get(name, 0), nan_ok=True
        ), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1)],
        [(5, 3), (2, 5)],
        [(40,), (7, 40)],
        [(8, 3, 5, 5), (16, 8, 3, 3), (10, 16)],
        [(128, 40), (1, 128)],
        [(512, 2048)],
    ],
)
def test_metrics_by_definition(tmp_path, shapes, dtype):
    rng = np.random.default_rng(0)
    weights = [rng.normal(0.01, 0.3, shape).astype(dtype) for shape in shapes]
    biases = [rng.normal(size=shape[0]).astype(dtype) for shape in shapes]
    found = measured(tmp_path, weights, biases)
    assert list(found.metrics) == FOURTEEN
    assert_by_definition(found, weights, biases)


def test_bfloat16_counts_as_its_float32_values(tmp_path):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(20, 30)).astype(ml_dtypes.bfloat16)]
    values = weights[0].astype(np.float32)
    header = b'{"w1":{"dtype":"BF16","shape":[20,30],"data_offsets":[0,1200]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + weights[0].tobytes())
    found = measure(path, None, ParameterRules())
    assert_by_definition(found, [values], [])


def test_rank_deficient_and_dead(tmp_path):
    rng = np.random.default_rng(0)
    low_rank = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 50))).astype(np.float32)
    dead = rng.normal(size=(30, 20)).astype(np.float32)
    dead[7:] = 0
    weights, biases = [low_rank, dead], [np.zeros(3, np.float32)]
    assert_by_definition(measured(tmp_path, weights, biases), weights, biases)


def test_a_matrix_of_zeros_has_no_ratios(tmp_path):
    weights = [np.ones((2, 2)), np.zeros((3, 2))]
    found = measured(tmp_path, weights, [np.ones(2)]).metrics
    assert [name for name in found if math.isnan(found[name])] == [
        "l1_over_l2",
        "trace_over_spectral",
    ]
    assert found["spectral_norm"] == pytest.approx(1.0)
    assert found["mean_sv"] == pytest.approx(0.5)


@given(
    st.lists(
        arrays(
            np.float32,
            array_shapes(min_dims=1, max_dims=4, max_side=4),
            elements=st.floats(-8, 8, width=16),
        ),
        min_size=1,
        max_size=3,
    ),
    arrays(np.float32, st.integers(1, 5), elements=st.floats(-1e3, 1e3, width=32)),
)
@settings(deadline=None)
def test_any_small_network(tmp_path_factory, weights, bias):
    found = measured(tmp_path_factory.mktemp("h"), weights, [bias])
    assert_by_definition(found, weights, [bias])


def test_no_biases(tmp_path):
    found = measured(tmp_path, [np.ones((2, 3))]).metrics
    assert [name for name in found if math.isnan(found[name])] == ["mean_b", "median_b", "var_b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_weights_give_nan_and_are_named(tmp_path, value):
    weights = [np.ones((3, 3)), np.ones((2, 3))]
    weights[0][1, 2] = value
    found = measured(tmp_path, weights, [np.ones(3)])
    assert found.not_finite == ("layer0.weight",)
    of_weights = {n for n in FOURTEEN if n not in ("mean_b", "median_b", "var_b")}
    nan = {name for name in FOURTEEN if math.isnan(found.metrics[name])}
    # A diagonal without it, and a median that an infinity cannot move, are still numbers.
    assert of_weights - nan <= {"trace", "median_w"}
    assert not nan & {"mean_b", "median_b", "var_b"}


def test_split_weights_count_as_matrices_of_their_own(tmp_path):
    fused = np.random.default_rng(0).normal(size=(6, 12))
    np.savez(tmp_path / "a.npz", **{"attn.c_attn.weight": fused})
    found = measure(tmp_path / "a.npz", None, ParameterRules(split=(("c_attn", 1, 3),)))
    assert_by_definition(found, np.split(fused, 3, axis=1), [])


def test_a_frozen_tensor_is_not_measured_but_fingerprinted(tmp_path):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 3)), rng.normal(size=(4, 3))]
    found = measured(
        tmp_path, weights, [np.ones(3)], frozen=["layer1.weight", "b0"], fingerprint=True
    )
    assert_by_definition(found, weights[:1], [])
    assert list(found.fingerprints) == ["layer0.weight", "layer1.weight", "b0"]
    assert found.frozen == ("b0", "layer1.weight")


def test_no_weights(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        **{"wte.weight": np.ones((5, 2)), "ln.weight": np.ones(2), "b": np.ones(2)},
    )
    with pytest.raises(NoWeightsError) as caught:
        measure(tmp_path / "a.npz", None, ParameterRules())
    message = str(caught.value)
    assert "1 embedding (wte.weight)" in message
    assert "1 normalisation (ln.weight)" in message
    assert "1 bias;" in message


# Registry


def test_the_registry_holds_the_fourteen_in_order_each_described():
    assert [m.name for m in select_metrics(None)] == FOURTEEN
    assert all(
        10 < len(m.description) < 90 and not m.description.endswith(".") for m in all_metrics()
    )


def test_selected_metrics_keep_their_order(tmp_path):
    assert [m.name for m in select_metrics(["var_w", "l1"])] == ["l1", "var_w"]
    np.savez(tmp_path / "a.npz", w1=np.full((2, 2), -1.0))
    found = measure(tmp_path / "a.npz", ["var_w", "l1"], ParameterRules())
    assert found.metrics == {"l1": 4.0, "var_w": 0.0}


@pytest.mark.parametrize("names", [["l3"], []])
def test_unknown_metrics(names):
    with pytest.raises(UsageError, match="There are: l1, l2"):
        select_metrics(names)


def test_a_new_family_is_functions_with_a_decorator(monkeypatch, tmp_path):
    all_metrics()  # the families register once, on first use
    monkeypatch.setattr("hmmdyn.metrics.registry._registered", {})

    @metric(needs="matrix")
    def stable_rank(matrix: Matrix) -> float:
        """Frobenius over spectral norm, squared."""
        return (matrix.l2 / matrix.spectral_norm) ** 2

    assert select_metrics(["stable_rank"]) == (
        Metric("stable_rank", "Frobenius over spectral norm, squared", "matrix", stable_rank),
    )
    np.savez(tmp_path / "a.npz", w1=np.eye(3))
    found = measure(tmp_path / "a.npz", ["stable_rank"], ParameterRules())
    assert found.metrics == {"stable_rank": pytest.approx(3.0)}
    with pytest.raises(ValueError, match="already"):
        metric(needs="matrix")(stable_rank)
