"""Several networks trained as one: each is trained as it would be alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import UsageError
from hmmdyn.record.reader import read_recordings
from hmmdyn.tasks.catalogue import TASKS, fitting_stack, train
from hmmdyn.tasks.runs import Keep
from tests.tasks.tiny import TINY, distance, weights_at

torch = pytest.importorskip("torch")
from hmmdyn.tasks.stack import Stack  # noqa: E402


@pytest.mark.parametrize("task", TINY)
def test_a_stack_gives_the_runs_of_single_networks(task, tmp_path):
    for name, at_once in (("alone", 1), ("stacked", 2)):  # the last stack holds one
        train(task, tmp_path / name, [0, 1, 2], recipe=TINY[task], keep=Keep(2), at_once=at_once)
    for seed in range(3):
        alone, stacked = (tmp_path / name / f"seed{seed}" for name in ("alone", "stacked"))
        assert sorted(p.name for p in alone.iterdir()) == sorted(p.name for p in stacked.iterdir())
        for step in (0, 12, 15):
            assert distance(weights_at(alone, step), weights_at(stacked, step)) < 1e-5
        logs = (pd.read_csv(run / "metrics.csv") for run in (alone, stacked))
        np.testing.assert_allclose(*logs, rtol=1e-4, atol=1e-6)
    tables = [read_recordings(tmp_path / name).table for name in ("alone", "stacked")]
    assert tables[0][["run", "step"]].equals(tables[1][["run", "step"]])
    # The test can tell runs apart: other seeds, and the same run one checkpoint earlier.
    first, second = (weights_at(tmp_path / "stacked" / f"seed{seed}", 15) for seed in (0, 1))
    assert distance(first, second) > 1e-2
    assert distance(first, weights_at(tmp_path / "stacked" / "seed0", 12)) > 1e-3


def stack_and_batches(task, n=3):
    """Untrained networks in double precision, and a batch for each."""
    chosen, recipe = TASKS[task], TINY[task]
    rngs = [torch.Generator().manual_seed(seed) for seed in range(n)]
    networks = [chosen.network(recipe, rng).double() for rng in rngs]
    samples = chosen.data(recipe).train
    orders = torch.stack([torch.randperm(len(samples), generator=rng)[:8] for rng in rngs])
    inputs, targets = samples.inputs[orders], samples.targets[orders]
    if inputs.is_floating_point():
        inputs = inputs.double()
    return chosen, networks, inputs, targets


def gradients(chosen, stack, inputs, targets):
    stack.map(chosen.loss, inputs, targets).sum().backward()
    return [parameter.grad for parameter in stack.parameters()]


@pytest.mark.parametrize("task", TINY)
def test_gradients_of_stacked_networks_are_those_of_each(task):
    chosen, networks, inputs, targets = stack_and_batches(task)
    together = gradients(chosen, Stack(networks, "cpu"), inputs, targets)
    for i, network in enumerate(networks):
        batch = inputs[i : i + 1], targets[i : i + 1]
        alone = gradients(chosen, Stack([network], "cpu"), *batch)
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(all_of_them[i], one, rtol=1e-10, atol=1e-12)
        assert any(one.abs().max() > 1e-3 for one in alone)


@pytest.mark.parametrize("task", TINY)
def test_a_network_that_diverges_leaves_the_others_alone(task):
    chosen, networks, inputs, targets = stack_and_batches(task)
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.fill_(torch.nan)
    together = gradients(chosen, Stack(networks, "cpu"), inputs, targets)
    for gradient in together:
        assert gradient[[0, 2]].isfinite().all()
    assert any(gradient[1].isnan().any() for gradient in together)


def test_the_weights_of_a_network_are_named_as_its_own_and_follow_the_training():
    chosen, networks, inputs, targets = stack_and_batches("digits-deep")
    stack = Stack(networks, "cpu")
    held = stack.weights(1)
    own = networks[1].state_dict()
    assert list(held) == list(own)
    assert all(torch.equal(held[name], own[name]) for name in own)
    before = {name: w.clone() for name, w in held.items()}
    gradients(chosen, stack, inputs, targets)
    torch.optim.SGD(stack.parameters(), lr=1.0).step()
    assert any(not torch.equal(held[name], before[name]) for name in held)
    assert not any(w.requires_grad for w in held.values())


def test_networks_with_buffers_are_refused_unless_alone():
    networks = [torch.nn.BatchNorm1d(3) for _ in range(2)]
    with pytest.raises(UsageError, match=r"running_mean cannot be stacked.*one seed at a time"):
        Stack(networks, "cpu")
    assert Stack(networks[:1], "cpu").n_networks == 1


def test_by_default_seeds_are_stacked_off_the_cpu_where_they_can_be():
    task = TASKS["parity"]
    with_buffers = replace(task, network=lambda recipe, rng: torch.nn.BatchNorm1d(3))
    assert [fitting_stack(task, device, 40) for device in ("cpu", "cpu:0", "cuda")] == [1, 1, 40]
    assert fitting_stack(with_buffers, "cuda", 40) == 1
