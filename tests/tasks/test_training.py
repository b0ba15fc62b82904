"""What a training computes and keeps: AdamW, data, outcomes, checkpoints, recorded metrics."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from hmmdyn import read_runs
from hmmdyn.errors import UsageError
from hmmdyn.record.reader import read_recordings
from hmmdyn.record.rows import RECORDING
from hmmdyn.tasks.catalogue import TASKS, train
from hmmdyn.tasks.runs import Keep
from tests.tasks.tiny import FROM_DISK, TINY, files, weights_at

torch = pytest.importorskip("torch")


# --------------------------------------------------------------------------------- arithmetic


def digits_gradient(weights, x, labels):
    """Of the mean cross entropy of an MLP, by the chain rule, in float64."""
    before = x @ weights["hidden.weight"].T + weights["hidden.bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    d_logits = (likely - np.eye(10)[labels]) / len(labels)
    d_before = (d_logits @ weights["output.weight"]) * (before > 0)
    return {
        "hidden.weight": d_before.T @ x,
        "hidden.bias": d_before.sum(axis=0),
        "output.weight": d_logits.T @ hidden,
        "output.bias": d_logits.sum(axis=0),
    }, -np.log(likely[np.arange(len(labels)), labels]).mean()


def test_digits_are_trained_by_adamw_as_published(tmp_path):
    """Loshchilov & Hutter 2019, algorithm 2: decay beside the step, moments without their bias."""
    recipe = replace(
        TINY["digits"], batch_size=100, n_epochs=4, checkpoint_every=1, evaluate_every=1,
        learning_rate=0.01, weight_decay=0.5,
    )  # fmt: skip
    train("digits", tmp_path, [0], recipe=recipe, keep=Keep(1))
    run = tmp_path / "seed0"
    samples = TASKS["digits"].data(recipe).train
    x, labels = samples.inputs.double().numpy(), samples.targets.numpy()
    assert len(labels) < recipe.batch_size  # every step sees all samples, in whatever order
    weights = weights_at(run, 0)
    mean, square = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    clear = {name: np.full(w.shape, True) for name, w in weights.items()}
    losses = []
    for t in range(1, 5):
        gradient, loss = digits_gradient(weights, x, labels)
        losses.append(loss)
        for name, g in gradient.items():
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = 0.999 * square[name] + 0.001 * g**2
            step = mean[name] / (1 - 0.9**t) / (np.sqrt(square[name] / (1 - 0.999**t)) + 1e-8)
            weights[name] = weights[name] * (1 - 0.01 * 0.5) - 0.01 * step
            clear[name] &= np.abs(g) > 1e-4  # a gradient of nearly 0 is rounded to either sign
        trained = weights_at(run, t)
        for name, w in weights.items():
            assert clear[name].mean() > 0.3
            np.testing.assert_allclose(w[clear[name]], trained[name][clear[name]], atol=2e-6)
    log = pd.read_csv(run / "metrics.csv")
    np.testing.assert_allclose(log["train_loss"][:4], losses, rtol=1e-5)


def test_outcomes_are_means_over_all_samples_however_many_are_evaluated_at_once(
    tmp_path, monkeypatch
):
    for name, n_images in (("all", 2000), ("pieces", 7)):  # the last piece is smaller
        monkeypatch.setattr("hmmdyn.tasks.training._EVALUATED_AT_ONCE", 64 * n_images)
        train("digits", tmp_path / name, [0], recipe=TINY["digits"])
    logs = (pd.read_csv(tmp_path / name / "seed0" / "metrics.csv") for name in ("all", "pieces"))
    np.testing.assert_allclose(*logs, rtol=1e-6)


# --------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("share", [0.3, 0.5, 0.99])
def test_addition_splits_all_pairs(share):
    recipe = replace(TINY["modular-addition"], train_share=share)
    train_set, evaluation = TASKS["modular-addition"].data(recipe)
    assert len(train_set) == int(49 * share)
    pairs = torch.cat([train_set.inputs, evaluation.inputs]).tolist()
    assert sorted(pairs) == [[x, y] for x in range(7) for y in range(7)]
    sums = torch.cat([train_set.targets, evaluation.targets]).tolist()
    assert sums == [(x + y) % 7 for x, y in pairs]


def test_digits_are_scikit_learns_each_in_one_set():
    recipe = TASKS["digits"].recipe
    train_set, evaluation = TASKS["digits"].data(recipe)
    assert (len(train_set), len(evaluation)) == (1438, 359)
    pixels, digits = load_digits(return_X_y=True)
    found = torch.cat([train_set.inputs, evaluation.inputs]).numpy()
    labels = torch.cat([train_set.targets, evaluation.targets]).numpy()
    assert (found.min(), found.max()) == (0, 1)

    def rows(images, digits):
        return sorted(map(tuple, np.column_stack([images, digits]).tolist()))

    assert rows(found * 16, labels) == rows(pixels, digits)


@pytest.mark.parametrize("task", ["modular-addition", "induction", "digits"])
def test_data_follow_the_data_seed_alone(task):
    data = TASKS[task].data
    first, again, other = (
        data(replace(TASKS[task].recipe, **change)).train.inputs
        for change in ({}, {"n_epochs": 3, "batch_size": 7}, {"data_seed": 1})
    )
    assert torch.equal(first, again)
    assert first.shape == other.shape
    assert not torch.equal(first, other)


# ------------------------------------------------------------------- checkpoints and recording


def checkpoint_names(run):
    return sorted(p.name for p in run.glob("step_*"))


def names(steps):
    return [f"step_{step:06d}.safetensors" for step in steps]


def test_every_task_has_a_tiny_recipe():
    assert TINY.keys() | FROM_DISK == TASKS.keys()


@pytest.mark.parametrize(
    ("kept", "steps"),
    [
        ("none", []),
        ("all", [0, 4, 8, 12, 15]),
        ("every:1", [0, 4, 8, 12, 15]),
        ("every:2", [0, 8, 15]),
        ("every:3", [0, 12, 15]),
        ("every:9", [0, 15]),
    ],
)
def test_the_checkpoints_asked_for_are_kept_and_the_last_one(tmp_path, kept, steps):
    recipe = replace(TINY["parity"], checkpoint_every=4)  # 15 steps: the last is no multiple
    train("parity", tmp_path, [0, 1], recipe=recipe, keep=Keep.parse(kept), at_once=2)
    for run in (tmp_path / "seed0", tmp_path / "seed1"):
        assert checkpoint_names(run) == names(steps)
        assert (run / RECORDING).exists() == (kept not in ("all", "every:1"))


@pytest.mark.parametrize(
    "text", ["", "some", "every", "every:", "every:0", "every:-1", "every:1.5", "ALL", "all "]
)
def test_what_to_keep_is_one_of_three(text):
    with pytest.raises(UsageError, match=r"must be 'all', 'none' or 'every:N', got"):
        Keep.parse(text)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("task", TINY)
def test_recorded_rows_are_those_extracted_from_the_same_runs_checkpoints(task, at_once, tmp_path):
    for name, keep in (("saved", Keep(1)), ("both", Keep(2)), ("recorded", Keep(0))):
        train(task, tmp_path / name, [0, 1], recipe=TINY[task], keep=keep, at_once=at_once)
    saved, both = files(tmp_path / "saved"), files(tmp_path / "both")
    runs = [name for name in both if name.startswith("seed")]
    assert all(saved[name] == both[name] for name in runs if RECORDING not in name)  # one training
    recorded, extracted = read_recordings(tmp_path / "recorded"), read_runs(tmp_path / "saved")
    of_recorded = files(tmp_path / "recorded")
    assert {name: of_recorded[name] for name in of_recorded if name.startswith("seed")} == {
        name: both[name] for name in runs if "step_" not in name
    }
    assert_same_rows(recorded, extracted)
    assert recorded.table["step"].tolist() == [0, 6, 12, 15] * 2


def assert_same_rows(recorded, extracted):
    assert recorded.metrics == extracted.metrics
    assert sorted(recorded.outcomes) == sorted(extracted.outcomes)
    assert len(recorded.outcomes) == 4
    keys = ["run", "seed", "step"]
    assert recorded.table[keys].equals(extracted.table[keys])
    columns = [*recorded.metrics, *recorded.outcomes]
    np.testing.assert_allclose(recorded.table[columns], extracted.table[columns], rtol=1e-6)


@pytest.mark.parametrize(
    ("evaluate_every", "checkpoint_every"),
    [(1, 4), (4, 1), (4, 6), (6, 4), (7, 7), (100, 100), (15, 2)],
)
def test_intervals_need_not_divide_anything(tmp_path, evaluate_every, checkpoint_every):
    recipe = replace(
        TINY["parity"], evaluate_every=evaluate_every, checkpoint_every=checkpoint_every
    )
    train("parity", tmp_path / "saved", [0], recipe=recipe, keep=Keep(1))
    train("parity", tmp_path / "recorded", [0], recipe=recipe)
    log = pd.read_csv(tmp_path / "recorded" / "seed0" / "metrics.csv")
    evaluated = sorted({*range(0, 15, evaluate_every), 15})
    assert log["step"].tolist() == evaluated
    np.testing.assert_allclose(log["epoch"], np.array(evaluated) / 3, rtol=1e-6)
    looked_at = sorted({*range(0, 15, checkpoint_every), 15})
    assert checkpoint_names(tmp_path / "saved" / "seed0") == names(looked_at)
    recorded, extracted = read_recordings(tmp_path / "recorded"), read_runs(tmp_path / "saved")
    assert_same_rows(recorded, extracted)
    assert recorded.table["step"].tolist() == looked_at


def test_how_often_it_is_looked_at_does_not_change_the_training(tmp_path):
    ends = []
    for i, (evaluate_every, checkpoint_every) in enumerate([(1, 1), (15, 15), (2, 7)]):
        recipe = replace(
            TINY["digits-deep"], evaluate_every=evaluate_every, checkpoint_every=checkpoint_every
        )
        train("digits-deep", tmp_path / str(i), [0], recipe=recipe, keep=Keep(1))
        ends.append((tmp_path / str(i) / "seed0" / names([15])[0]).read_bytes())
    assert ends[0] == ends[1] == ends[2]


def test_a_diverging_run_is_trained_and_recorded_to_its_end(tmp_path):
    recipe = replace(TINY["parity"], learning_rate=1e30)
    train("parity", tmp_path, [0], recipe=recipe)
    assert read_recordings(tmp_path).table["step"].tolist() == [0, 6, 12, 15]
    log = pd.read_csv(tmp_path / "seed0" / "metrics.csv")
    assert not np.isfinite(log["train_loss"].iloc[-1])
