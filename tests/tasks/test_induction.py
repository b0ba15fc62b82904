"""Induction: sequences that tell their own continuation, and what counts as right."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.tasks.catalogue import TASKS, train
from hmmdyn.tasks.runs import Keep
from tests.tasks.tiny import TINY, weights_at

torch = pytest.importorskip("torch")

TASK = TASKS["induction"]


def sequences_of(samples):
    """Inputs and the last target: the whole sequences."""
    return np.column_stack([samples.inputs.numpy(), samples.targets.numpy()[:, -1]])


def period_of(sequence):
    """After how many tokens the first one comes again."""
    return sequence.tolist().index(sequence[0], 1)


@pytest.mark.parametrize("change", [{}, {"n_half": 2}, {"n_half": 5, "n_tokens": 5}], ids=str)
def test_sequences_are_rows_of_distinct_tokens_over_and_over(change):
    recipe = replace(TASK.recipe, **change)
    data, n_half = TASK.data(recipe), recipe.n_half
    assert (len(data.train), len(data.evaluation)) == (2048, 512)
    periods = []
    for samples in data:
        assert samples.inputs.shape == (len(samples), 2 * n_half - 1)
        for sequence in sequences_of(samples):
            period = period_of(sequence)
            assert len(set(sequence[:period])) == period
            np.testing.assert_array_equal(sequence, np.resize(sequence[:period], 2 * n_half))
            periods.append(period)
    possible = np.arange(n_half // 2, n_half + 1)
    counts = np.array([periods.count(period) for period in possible])
    assert counts.sum() == len(periods) == 2560
    share = 1 / len(possible)  # uniform: five standard errors of a count
    assert (np.abs(counts - 2560 * share) < 5 * np.sqrt(2560 * share * (1 - share))).all()
    first = np.concatenate([sequences_of(samples)[:, 0] for samples in data])
    assert set(first) == set(range(recipe.n_tokens))


def test_every_target_follows_where_the_same_token_stood_before():
    for samples in TASK.data(TASK.recipe):
        for tokens, targets in zip(samples.inputs.tolist(), samples.targets.tolist(), strict=True):
            for place, target in enumerate(targets, start=16):
                before = tokens.index(tokens[place])
                assert before < place
                assert tokens[before + 1] == target


def test_evaluation_sequences_are_not_trained_on():
    data = TASK.data(TASK.recipe)
    trained, evaluated = ({tuple(s) for s in sequences_of(samples)} for samples in data)
    assert not trained & evaluated


def test_the_places_of_tokens_alone_do_not_tell_the_targets():
    """The token a fixed number of places before is right in two sequences of nine at most."""
    samples = TASK.data(TASK.recipe).train
    sequences, targets = sequences_of(samples), samples.targets.numpy()
    for shift in range(17):
        found = sequences[:, 17 - shift : 32 - shift]
        assert shift == 0 or (found == targets).mean() < 0.25, shift


def test_outcomes_are_means_over_all_tokens_asked_for(tmp_path):
    recipe = TINY["induction"]
    train("induction", tmp_path, [0], recipe=recipe, keep=Keep(1))
    network = TASK.network(recipe, torch.Generator())
    weights = weights_at(tmp_path / "seed0", 15)
    network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    last = pd.read_csv(tmp_path / "seed0" / "metrics.csv").iloc[-1]
    for split, samples in zip(("train", "eval"), TASK.data(recipe), strict=True):
        with torch.no_grad():
            logits = network(samples.inputs).double().numpy()
        losses, right = [], []
        for of_sequence, targets in zip(logits, samples.targets.tolist(), strict=True):
            assert len(targets) == recipe.n_half - 1
            for of_token, target in zip(of_sequence, targets, strict=True):
                losses.append(np.log(np.exp(of_token).sum()) - of_token[target])
                right.append(of_token.argmax() == target)
        assert last[f"{split}_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert last[f"{split}_accuracy"] == pytest.approx(np.mean(right), rel=1e-6)


@pytest.mark.slow
def test_a_small_network_learns_it(tmp_path):
    """In seconds, with fewer tokens: far beyond guessing among those of a sequence."""
    recipe = replace(
        TASK.recipe, n_tokens=12, n_half=6, n_train=2048, n_eval=64, d_model=32, d_mlp=16,
        learning_rate=3e-3, n_epochs=40, checkpoint_every=1280, evaluate_every=1280,
    )  # fmt: skip
    train("induction", tmp_path, [0], recipe=recipe)
    log = pd.read_csv(tmp_path / "seed0" / "metrics.csv")
    assert log["eval_accuracy"].iloc[0] < 0.3
    assert log["eval_accuracy"].iloc[-1] > 0.9
