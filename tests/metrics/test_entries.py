"""Entries in memory and read again: the same numbers, those of numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.metrics import entries, tally
from hmmdyn.metrics.entries import Entries, Kept, ReadAgain
from hmmdyn.metrics.measure import measure

SHARES = (0.0, 0.05, 0.5, 0.95, 1.0)


def both(parts):
    """The same entries, kept and read again."""
    tensors = [LazyTensor(p.shape, p.dtype.name, lambda p=p: p) for p in parts]
    kept = Kept.for_tensors(tensors)
    for part in parts:
        kept.add(part)
    return Entries(kept), Entries(ReadAgain(tensors))


def numbers(found):
    quantiles = [found.quantile(share) for share in SHARES]
    return [found.mean, found.variance, found.kurtosis, found.share_below(0.5), *quantiles]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_entries_read_again_have_the_numbers_of_those_kept(kind, data):
    width = 8 * np.dtype(kind).itemsize
    elements = st.floats(-1e3, 1e3, width=width) | st.sampled_from([0.0, -0.0, 1e-30, 1.5])
    parts = data.draw(st.lists(arrays(kind, st.integers(0, 9), elements=elements), max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "CHUNK", data.draw(st.sampled_from([1, 4, 1000])))
        kept, again = both(parts)
        np.testing.assert_array_equal(numbers(again), numbers(kept))
        pooled = np.concatenate([np.zeros(0, kind), *parts]).astype(np.float64)
        if not len(pooled):
            assert np.isnan(numbers(kept)).all()
            return
        expected = [np.quantile(pooled, share) for share in SHARES]
        np.testing.assert_allclose(numbers(again)[4:], expected, rtol=1e-9, atol=1e-9)
        assert again.median == np.median(pooled)
        assert kept.variance == pytest.approx(pooled.var(), rel=1e-9, abs=1e-12)


def test_a_variance_whose_square_vanishes_has_no_kurtosis():
    for found in both([np.array([0.0, 1.9e-105])]):
        assert found.variance > 0
        assert np.isnan(found.kurtosis)


def test_more_than_one_piece_and_an_even_count(monkeypatch):
    monkeypatch.setattr(entries, "CHUNK", 7)
    values = np.random.default_rng(0).normal(1e4, 1, 1000).astype(np.float32)
    exact = values.astype(np.float64)
    for found in both([values]):
        assert found.mean == pytest.approx(exact.mean(), rel=1e-14)
        assert found.median == np.median(exact)  # halfway between two float32 numbers
        assert found.variance == pytest.approx(exact.var(), rel=1e-12)


def many(n=100_000):
    rng = np.random.default_rng(0)
    normal = rng.normal(size=n).astype(np.float32)
    return {
        "normal": normal,
        "in order": np.sort(normal),
        "one value": np.zeros(n, np.float32),
        "two values": np.sign(normal),
        "heavy tails": normal / rng.normal(size=n).astype(np.float32),
        "pruned": np.where(normal > 1, normal, np.float32(0)),
        "infinities": np.where(np.abs(normal) > 1, np.inf * normal, normal),
        # Every entry that a sample has is larger than all others.
        "as sampled": np.where(np.arange(n) % 1009 == 0, np.float32(9), normal),
    }


@pytest.mark.parametrize("kind", many())
def test_entries_of_any_rank_among_many(kind, monkeypatch):
    monkeypatch.setattr(entries, "CHUNK", 1009 * 5)
    values = many()[kind]
    n, ordered = len(values), np.sort(values)
    pool = Kept(values.dtype, np.split(values, [9, 40_000]))
    for ranks in ([0, 0], [3, 4], [n // 4], [n // 2 - 1, n // 2], [n - 9, n - 8], [n - 1]):
        assert pool.at_ranks(ranks) == list(ordered[ranks])
    np.testing.assert_array_equal(values, many()[kind])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_number_or_lies_at_the_end(value):
    values = np.array([1.0, 2.0, value])
    for found in both([values]):
        assert found.median == pytest.approx(np.median(values), nan_ok=True)
        assert found.quantile(1) == pytest.approx(value, nan_ok=True)
    for found in both([np.array([np.inf, -np.inf, 3.0])]):
        with np.errstate(invalid="ignore"):
            assert found.median == 3


def test_a_large_network_is_read_again_with_the_same_metrics(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    path = tmp_path / "step_1.safetensors"
    shapes = {"weight": (40, 30), "bias": (40,)}
    save_file(
        {
            f"layers.{i}.{name}": rng.normal(size=shape).astype(np.float32)
            for i in range(3)
            for name, shape in shapes.items()
        },
        path,
    )
    kept = measure(path, ["paper", "shape"], ParameterRules(), by=("layer",))
    monkeypatch.setattr(tally, "_MOST_KEPT", 100)
    again = measure(path, ["paper", "shape"], ParameterRules(), by=("layer",))
    assert again == kept
    assert len(kept.parts) == 3
