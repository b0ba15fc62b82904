"""Metrics on inputs whose values are known in advance, on half precision, and on what is no number.

``test_families.py`` holds every metric against its definition on random matrices, and against
permutations, the transpose and the scale.
"""

import math
from dataclasses import fields

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules
from hmmdyn.metrics.entries import Entries, Kept
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import all_metrics
from hmmdyn.metrics.summary import Attention, Change, Embedding, Matrix, Moments

BY_NAME = {metric.name: metric for metric in all_metrics()}
NEEDED = {
    "matrix": Matrix,
    "weights": lambda values: Entries(Kept(values.dtype, [values])),
    "initial": lambda values: Change.of(values, np.zeros_like(values)),
    "previous": lambda values: Change.of(values, np.zeros_like(values)),
    "biases": lambda values: Entries(Kept(values.dtype, [values])),
    "embedding": Embedding,
    "attention": lambda values: Attention(np.ravel(values)),
    "optimizer": lambda values: Moments(*np.ravel(values)[:3]),
}


def value(name, argument):
    with np.errstate(all="ignore"):
        return BY_NAME[name].function(argument)


# --- inputs whose values are known ---


def orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def of_rank(rank, n=9):
    """A matrix with ``rank`` singular values of 3, and no others."""
    return 3 * orthogonal(n)[:, :rank] @ orthogonal(n, 1)[:rank]


SPECTRA = {
    # All directions alike: as many as there are, and in perfect order.
    "identity": (np.eye(6), [6, 6, 1, 6, 0]),
    "orthogonal": (orthogonal(7), [7, 7, 1, 7, 0]),
    "scaled Hadamard": (5 * np.kron([[1, 1], [1, -1]], [[1, 1], [1, -1]]), [4, 4, 1, 4, 0]),
    # A single one: all weight in it.
    "outer product": (np.outer(np.arange(1, 6), np.arange(2, 6)), [1, 1, 0, 1, None]),
    "constant": (np.full((4, 7), -2.5), [1, 1, 0, 1, None]),
    # Four of nine; the entropy is that of four among nine.
    "rank 4": (of_rank(4), [4, 4, math.log(4) / math.log(9), 4, None]),
    # 1 and ½, by hand: p = (⅔, ⅓), q = (⅘, ⅕).
    "two values": (
        np.diag([1.0, 0.5]),
        [
            1.25,
            3 / 2 ** (2 / 3),
            (0.8 * math.log(1 / 0.8) + 0.2 * math.log(5)) / math.log(2),
            1 / (0.64 + 0.04),
            math.log10(2),
        ],
    ),
}
SPECTRAL = ("stable_rank", "effective_rank", "spectral_entropy", "participation_ratio")


@pytest.mark.parametrize("kind", SPECTRA)
def test_spectra_that_are_known(kind):
    matrix, expected = SPECTRA[kind]
    for name, wanted in zip((*SPECTRAL, "log_condition"), expected, strict=True):
        if wanted is not None:  # of a singular matrix the condition is rounding
            assert value(name, Matrix(matrix)) == pytest.approx(wanted, rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize(
    ("entries", "hoyer", "kurtosis", "near_zero"),
    [
        (np.full((4, 4), -3.0), 0, None, 0),  # nothing is sparse, nothing varies
        (np.eye(1, 16).reshape(4, 4), 1, None, 15 / 16),  # one entry alone
        (np.array([[1.0, -1.0], [-1.0, 1.0]]), 0, 1, 0),  # two points: the least kurtosis
        # Half of 16 entries: (4 − √8)/(4 − 1).
        (np.tile([0.0, 1.0], (4, 2)), (4 - math.sqrt(8)) / 3, 1, 1 / 2),
    ],
)
def test_shapes_that_are_known(entries, hoyer, kurtosis, near_zero):
    weights = NEEDED["weights"](entries)
    assert value("near_zero_w", weights) == pytest.approx(near_zero)
    if kurtosis is not None:
        assert value("kurtosis_w", weights) == pytest.approx(kurtosis)
    argument = NEEDED[BY_NAME["hoyer_sparsity"].needs](entries)
    assert value("hoyer_sparsity", argument) == pytest.approx(hoyer, abs=1e-12)


def test_quantiles_of_a_known_row():
    weights = NEEDED["weights"](np.arange(101.0).reshape(1, 101))
    assert (value("q05_w", weights), value("q95_w", weights)) == (5, 95)


# --- what distances must hold to ---


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_distances_are_distances(seed, n):
    a, b, c = np.random.default_rng(seed).normal(size=(3, n))
    for name in ("distance_l1", "distance_l2", "distance_linf"):
        ab, ba, bc, ac = (
            value(name, Change.of(*ends)) for ends in ((a, b), (b, a), (b, c), (a, c))
        )
        assert ab == pytest.approx(ba, rel=1e-12)
        assert ac <= (ab + bc) * (1 + 1e-12)
        assert value(name, Change.of(a, a)) == 0
    l1, l2, linf = (value(f"distance_{p}", Change.of(a, b)) for p in ("l1", "l2", "linf"))
    assert linf <= l2 * (1 + 1e-12)
    assert l2 <= l1 * (1 + 1e-12)
    assert l1 <= n * linf * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
@settings(deadline=None, max_examples=40)
def test_a_rotation_changes_no_spectrum_and_no_distance(seed, n):
    """Of neurons among each other: what is measured of directions does not see it."""
    rng = np.random.default_rng(seed)
    now, then = rng.normal(size=(2, n, n))
    left, right = orthogonal(n, seed), orthogonal(n, seed + 1)
    for name in (*SPECTRAL, "l2", "spectral_norm", "mean_sv", "var_sv"):
        turned = value(name, Matrix(left @ now @ right))
        assert turned == pytest.approx(value(name, Matrix(now)), rel=1e-7), name
    for name in ("distance_l2", "cosine_to_start", "step_l2", "step_cosine", "relative_step"):
        turned = value(name, Change.of(left @ now @ right, left @ then @ right))
        assert turned == pytest.approx(value(name, Change.of(now, then)), rel=1e-7, abs=1e-9), name


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
@settings(deadline=None, max_examples=40)
def test_the_opposite_sign_turns_what_has_a_sign(seed, n):
    rng = np.random.default_rng(seed)
    now, then = rng.normal(size=(2, n, n))
    odd = {"mean_w", "median_w", "trace", "trace_over_spectral"}
    swapped = {"q05_w": "q95_w", "q95_w": "q05_w"}
    for name, metric in BY_NAME.items():
        if metric.needs == "matrix":
            before, after = value(name, Matrix(now)), value(name, Matrix(-now))
        elif metric.needs == "weights":
            partner = swapped.get(name, name)
            before, after = (
                value(partner, NEEDED["weights"](now)),
                value(name, NEEDED["weights"](-now)),
            )
        elif metric.needs in ("initial", "previous"):
            before, after = (value(name, Change.of(s * now, s * then)) for s in (1, -1))
        else:
            continue
        sign = -1 if name in odd or name in swapped else 1
        assert after == pytest.approx(sign * before, rel=1e-9, nan_ok=True), name


# --- half precision ---


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=lambda t: np.dtype(t).name)
def test_half_precision_is_measured_as_the_numbers_that_it_holds(tmp_path, dtype):
    """Nothing is worked out in half precision: the same numbers in double give the same metrics."""
    rng = np.random.default_rng(0)
    made = {}
    for kind in ("start", "before", "now"):
        made[kind] = {
            "embed.weight": rng.normal(size=(14, 6)).astype(dtype),
            "layers.0.query.weight": rng.normal(size=(12, 6)).astype(dtype),
            "layers.0.key.weight": rng.normal(size=(12, 6)).astype(dtype),
            "layers.0.fc1.weight": rng.normal(0, 0.05, size=(20, 6)).astype(dtype),
            "layers.0.fc1.bias": rng.normal(size=20).astype(dtype),
        }
    found = {}
    for precision in (dtype, np.float64):
        paths = {}
        for kind, tensors in made.items():
            paths[kind] = tmp_path / f"{kind}-{np.dtype(precision).name}.safetensors"
            save_file({name: t.astype(precision) for name, t in tensors.items()}, paths[kind])
        found[precision] = measure(
            paths["now"],
            ["paper", "movement", "spectrum", "shape", "attention", "fourier"],
            ParameterRules(heads=3, cyclic=13),
            references={"initial": paths["start"], "previous": paths["before"]},
            by=("layer", "role"),
        )
    half, double = found[dtype], found[np.float64]
    assert half.problems == double.problems == {}
    assert {"attention_logit", "fourier_gini", "distance_l2", "alpha_hat", "q95_w"} <= set(
        half.metrics
    )
    assert half.metrics == pytest.approx(double.metrics, rel=1e-6, nan_ok=True)
    assert half.parts.keys() == double.parts.keys()
    for part, values in half.parts.items():
        assert values == pytest.approx(double.parts[part], rel=1e-6, nan_ok=True)


def test_large_numbers_of_half_precision_do_not_overflow(tmp_path):
    """Squares of float16's largest numbers are beyond float16."""
    values = np.full((4, 4), 60_000, np.float16)
    np.savez(tmp_path / "a.npz", w1=values)
    found = measure(tmp_path / "a.npz", ["l2", "spectral_norm", "stable_rank"], DEFAULT_RULES)
    assert found.metrics["l2"] == pytest.approx(4 * float(values[0, 0]))
    assert found.metrics["stable_rank"] == pytest.approx(1)


# --- what is no number ---

DEGENERATE = {
    "zeros": np.zeros((4, 3)),
    "one zero": np.zeros((1, 1)),
    "one": np.ones((1, 1)),
    "a row": np.arange(5.0).reshape(1, 5),
    "a column": np.arange(5.0).reshape(5, 1),
    "equal": np.full((4, 3), 0.1),
    "nan": np.full((3, 3), np.nan),
    "a nan": np.where(np.eye(3) > 0, np.nan, 1.0),
    "infinite": np.array([[1.0, np.inf], [0.0, 1.0]]),
    "smallest": np.full((3, 3), 5e-324),
    "largest": np.full((3, 3), 1e200),
}
OF_ARRAYS = [metric for metric in all_metrics() if metric.needs in NEEDED]


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("metric", OF_ARRAYS, ids=lambda m: m.name)
def test_degenerate_weights_give_a_number_or_none(metric, kind):
    """A float, NaN where it is not defined; never an exception, an array or a complex number."""
    values = DEGENERATE[kind]
    if metric.needs == "optimizer":
        values = np.resize(values, 3)
    with np.errstate(all="ignore"):
        found = metric.function(NEEDED[metric.needs](values))
    assert isinstance(found, float | int)


def test_every_kind_of_need_is_among_these():
    assert {metric.needs for metric in all_metrics()} - set(NEEDED) <= {"network", "run"}
    assert len(fields(Moments)) == 3
