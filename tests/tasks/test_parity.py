"""Training sparse parity: the arithmetic of a step, against SGD written out by hand."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest

from hmmdyn.tasks.catalogue import train
from hmmdyn.tasks.parity import parity_samples
from hmmdyn.tasks.runs import Keep
from tests.tasks.tiny import PARITY, distance, weights_at

pytest.importorskip("torch")


def output_of(weights, bits):
    hidden = np.maximum(bits @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    return hidden @ weights["output.weight"][0] + weights["output.bias"][0]


def sgd_step(weights, bits, labels, recipe):
    """One step of SGD on the mean hinge loss, written out by hand in float64."""
    before = bits @ weights["hidden.weight"].T + weights["hidden.bias"]
    d_output = np.where(output_of(weights, bits) * labels < 1, -labels, 0) / len(labels)
    d_before = np.outer(d_output, weights["output.weight"][0]) * (before > 0)
    gradient = {
        "hidden.weight": d_before.T @ bits,
        "hidden.bias": d_before.sum(axis=0),
        "output.weight": (d_output @ np.maximum(before, 0))[None, :],
        "output.bias": d_output.sum(keepdims=True),
    }
    return {
        name: value - recipe.learning_rate * (gradient[name] + recipe.weight_decay * value)
        for name, value in weights.items()
    }


def test_one_epoch_is_hand_written_sgd_in_one_of_all_batch_orders(tmp_path):
    recipe = replace(PARITY, n_train=5, batch_size=2, n_epochs=1, weight_decay=0.3)
    train("parity", tmp_path, [0], recipe=recipe, keep=Keep(1))
    bits, labels = parity_samples(recipe)[0]
    start, end = weights_at(tmp_path / "seed0", 0), weights_at(tmp_path / "seed0", 3)
    distances = {}
    for order in permutations(range(5)):
        batches = order[:2], order[2:4], order[4:]
        weights = start
        for batch in batches:
            weights = sgd_step(weights, bits[[*batch]], labels[[*batch]], recipe)
        distances[tuple(map(frozenset, batches))] = distance(weights, end)
    nearest, second = sorted(distances.values())[:2]
    assert nearest < 1e-6
    assert second > 1e-3  # the test can tell batch orders, and so mistakes of that size, apart


def test_every_epoch_meets_every_sample_once_in_a_new_order(tmp_path):
    # One sample per step, none of them learned yet: which one it was shows in the weights.
    recipe = replace(
        PARITY, n_train=6, batch_size=1, n_epochs=3, checkpoint_every=1, learning_rate=1e-3
    )
    train("parity", tmp_path, [0], recipe=recipe, keep=Keep(1))
    bits, labels = parity_samples(recipe)[0]
    weights = [weights_at(tmp_path / "seed0", step) for step in range(19)]
    met = []
    for before, after in pairwise(weights):
        candidates = [
            distance(sgd_step(before, bits[[i]], labels[[i]], recipe), after) for i in range(6)
        ]
        nearest, second = np.argsort(candidates)[:2]
        assert candidates[nearest] < 1e-7 < 1e-5 < candidates[second]
        met.append(int(nearest))
    epochs = [met[:6], met[6:12], met[12:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 3
    assert len(set(map(tuple, epochs))) == 3


def test_the_hinge_stops_pulling_on_samples_that_are_right_by_a_margin(tmp_path):
    # All 8 samples in every batch, so that the order of samples does not matter.
    recipe = replace(PARITY, n_train=8, batch_size=8, n_epochs=20, n_hidden=16)
    train("parity", tmp_path, [0], recipe=recipe, keep=Keep(1))
    bits, labels = parity_samples(recipe)[0]
    weights = weights_at(tmp_path / "seed0", 0)
    for _ in range(recipe.n_epochs):
        weights = sgd_step(weights, bits, labels, recipe)
    assert distance(weights, weights_at(tmp_path / "seed0", recipe.n_epochs)) < 1e-5
    margins = labels * output_of(weights, bits)
    assert 0 < (margins > 1).sum() < 8  # both sides of the hinge were met
    last = pd.read_csv(tmp_path / "seed0" / "metrics.csv").iloc[-1]
    assert last["train_loss"] == pytest.approx(np.maximum(1 - margins, 0).mean(), rel=1e-4)
    assert last["train_accuracy"] == (margins > 0).mean()


def test_networks_start_xavier_uniform_with_zero_biases(tmp_path):
    recipe = replace(PARITY, n_bits=40, n_hidden=128, n_epochs=1)
    train("parity", tmp_path, [0], recipe=recipe, keep=Keep(1))
    weights = weights_at(tmp_path / "seed0", 0)
    for layer, fans in (("hidden", 40 + 128), ("output", 128 + 1)):
        drawn, bound = weights[f"{layer}.weight"], np.sqrt(6 / fans)
        assert 0.9 * bound < np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)
        assert not weights[f"{layer}.bias"].any()
