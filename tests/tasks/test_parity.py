"""Training sparse parity: the arithmetic of a step, the folder, seeds, and stopping midway."""

import errno
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from hmmdyn.errors import OutputError, UsageError
from hmmdyn.tasks import parity
from hmmdyn.tasks.parity import ParityRecipe, parity_samples, train_parity

torch = pytest.importorskip("torch")

TINY = ParityRecipe(
    n_bits=6, n_parity_bits=2, n_train=40, n_eval=10, n_hidden=5,
    batch_size=16, n_epochs=5, checkpoint_every=2,
)  # fmt: skip


def files(folder):
    """Relative path -> bytes of every file under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights_at(run, step):
    weights = load_file(run / f"step_{step:06d}.safetensors")
    return {name: w.astype(np.float64) for name, w in weights.items()}


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


def distance(a, b):
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() for name in a)


# ---------------------------------------------------------------------------- what is computed


def test_one_epoch_is_hand_written_sgd_in_one_of_all_batch_orders(tmp_path):
    recipe = replace(
        TINY, n_train=5, batch_size=2, n_epochs=1, checkpoint_every=1, weight_decay=0.3
    )
    train_parity(tmp_path, [0], recipe=recipe)
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


def test_the_hinge_stops_pulling_on_samples_that_are_right_by_a_margin(tmp_path):
    # All 8 samples in every batch, so that the order of samples does not matter.
    recipe = replace(TINY, n_train=8, batch_size=8, n_epochs=20, n_hidden=16)
    train_parity(tmp_path, [0], recipe=recipe)
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
    train_parity(tmp_path, [0], recipe=replace(TINY, n_bits=40, n_hidden=128, n_epochs=1))
    weights = weights_at(tmp_path / "seed0", 0)
    for layer, fans in (("hidden", 40 + 128), ("output", 128 + 1)):
        drawn, bound = weights[f"{layer}.weight"], np.sqrt(6 / fans)
        assert 0.9 * bound < np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)
        assert not weights[f"{layer}.bias"].any()


# ----------------------------------------------------------------------------------- the folder


def test_the_folder_is_ordinary(tmp_path):
    out = tmp_path / "runs" / "parity"
    train_parity(out, [3, 0], recipe=TINY)
    names = [
        "metrics.csv",
        # 3 steps per epoch: every second epoch, and the last.
        *(f"step_0000{step:02d}.safetensors" for step in (0, 6, 12, 15)),
    ]
    assert sorted(files(out)) == [
        "recipe.json", *(f"seed{seed}/{name}" for seed in (0, 3) for name in names)
    ]  # fmt: skip
    shapes = {
        name: (w.shape, w.dtype.name)
        for name, w in load_file(out / "seed3" / "step_000015.safetensors").items()
    }
    assert shapes == {
        "hidden.weight": ((5, 6), "float32"),
        "hidden.bias": ((5,), "float32"),
        "output.weight": ((1, 5), "float32"),
        "output.bias": ((1,), "float32"),
    }
    log = pd.read_csv(out / "seed0" / "metrics.csv")
    assert list(log) == [
        "step", "epoch", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy"
    ]  # fmt: skip
    assert log["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    assert log["step"].tolist() == [0, 3, 6, 9, 12, 15]


def test_the_same_seed_gives_the_same_bytes_on_one_process_or_two(tmp_path):
    train_parity(tmp_path / "a", [0, 1, 2], recipe=TINY)
    train_parity(tmp_path / "b", [0, 1, 2], recipe=TINY, n_jobs=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_seeds_differ_from_the_start(tmp_path):
    train_parity(tmp_path, [0, 1], recipe=TINY)
    first, second = (weights_at(tmp_path / run, 0) for run in ("seed0", "seed1"))
    assert distance(first, second) > 0.1


def test_the_callers_random_state_and_threads_are_left_alone(tmp_path):
    n_threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        train_parity(tmp_path, [0], recipe=TINY)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(torch.get_rng_state(), state)


# --------------------------------------------------------------------------- stopping and going on


def test_complete_runs_are_not_trained_again(tmp_path):
    train_parity(tmp_path, [0], recipe=TINY)
    kept = tmp_path / "seed0" / "metrics.csv"
    kept.write_text("untouched")
    calls = []
    train_parity(tmp_path, [0, 1], recipe=TINY, progress=lambda *call: calls.append(call))
    assert kept.read_text() == "untouched"
    assert calls == [(1, 2), (2, 2)]


def test_an_interrupted_run_starts_anew(tmp_path, monkeypatch):
    train_parity(tmp_path / "whole", [0, 1], recipe=TINY)

    def interrupt(folder, rows):
        if "seed1" in folder.name:
            raise KeyboardInterrupt
        write_outcomes(folder, rows)

    write_outcomes = parity.write_outcomes
    with monkeypatch.context() as patch:
        patch.setattr(parity, "write_outcomes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_parity(tmp_path / "out", [0, 1], recipe=TINY)
    assert (tmp_path / "out" / "seed0").exists()
    assert not (tmp_path / "out" / "seed1").exists()
    # Whatever the interrupted run left behind must not end up in the complete one.
    (tmp_path / "out" / ".seed1.partial" / "step_999999.safetensors").touch()
    train_parity(tmp_path / "out", [0, 1], recipe=TINY)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_two_recipes_do_not_mix(tmp_path):
    train_parity(tmp_path, [0], recipe=TINY)
    before = files(tmp_path)
    with pytest.raises(OutputError, match=r'"n_epochs": 6(.|\n)*"n_epochs": 5'):
        train_parity(tmp_path, [0, 1], recipe=replace(TINY, n_epochs=6))
    assert files(tmp_path) == before


def test_other_peoples_runs_are_left_alone(tmp_path):
    (tmp_path / "seed0").mkdir()
    with pytest.raises(OutputError, match=r"runs that hmmdyn did not train"):
        train_parity(tmp_path, [0, 1], recipe=TINY)
    assert not files(tmp_path)


def test_a_full_disk_is_told_plainly(tmp_path, monkeypatch):
    def full(folder, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parity, "write_outcomes", full)
    with pytest.raises(OutputError, match=r"No space left on device\.\n.*goes on from there"):
        train_parity(tmp_path, [0], recipe=TINY)


def test_a_file_in_the_folders_place_is_told_plainly(tmp_path):
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(OutputError, match="Cannot write"):
        train_parity(taken, [0], recipe=TINY)


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_seeds_must_be_distinct_whole_numbers_from_0_on(tmp_path, seeds):
    with pytest.raises(UsageError, match="'seeds' must be distinct"):
        train_parity(tmp_path / "out", seeds, recipe=TINY)
    assert not (tmp_path / "out").exists()
