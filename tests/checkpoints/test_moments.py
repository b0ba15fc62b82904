"""The moments of Adam as torch.distributed, Flax and Orbax keep them, against Adam written plainly.

The gradients are known, so what the moments must be follows from the definition (Kingma & Ba 2015,
algorithm 1): m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g².
"""

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hmmdyn.checkpoints.moments import moments_of
from hmmdyn.checkpoints.parameters import DEFAULT_RULES
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import NotToldError
from hmmdyn.metrics.measure import measure
from tests.checkpoints.formats.test_flax_file import ext
from tests.checkpoints.formats.test_flax_file import write as write_flax
from tests.checkpoints.formats.written.write import gradients as written_gradients

WRITTEN = Path(__file__).parent / "formats" / "written"
BETAS = (0.9, 0.999)
SHAPES = {"0.weight": (5, 4), "0.bias": (5,), "1.weight": (3, 5), "1.bias": (3,)}
N_STEPS = 4


def gradients(step):
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def plainly(steps=None):
    """Of every parameter its first and second moment, term by term, in double precision."""
    steps = [gradients(step) for step in range(N_STEPS)] if steps is None else steps
    moments = {name: [np.zeros(g.shape), np.zeros(g.shape)] for name, g in steps[0].items()}
    for step in steps:
        for name, gradient in step.items():
            for k, power in enumerate((1, 2)):
                held = BETAS[k] * moments[name][k]
                moments[name][k] = held + (1 - BETAS[k]) * gradient.astype(np.float64) ** power
    return moments


def of_family(moments):
    """The metrics of the family, by their definitions."""
    m, v = (np.concatenate([pair[k].ravel() for pair in moments.values()]) for k in (0, 1))
    return {
        "first_moment": np.sqrt((m**2).sum()),
        "second_moment": np.sqrt((v**2).sum()),
        "effective_step": np.mean(np.abs(m) / (np.sqrt(v) + 1e-8)),
    }


def assert_holds(path, moments, rel=1e-5):
    """A checkpoint holds these moments, no others, and the metrics are theirs."""
    with open_checkpoint(path) as checkpoint:
        assert not [name for name in checkpoint if "exp_avg" in name or "mu" in name]
        found = [tuple(map(np.asarray, pair)) for pair in moments_of(checkpoint)]
    key = lambda pair: (pair[0].shape, float(pair[0].astype(np.float64).sum()))  # noqa: E731
    expected = sorted((tuple(pair) for pair in moments.values()), key=key)
    assert len(found) == len(expected)
    for ours, theirs in zip(sorted(found, key=key), expected, strict=True):
        for k in (0, 1):
            np.testing.assert_allclose(ours[k].astype(np.float64), theirs[k], rtol=rel, atol=1e-12)
    measured = measure(path, ["optimizer"], DEFAULT_RULES)
    assert measured.problems == {}
    assert measured.metrics == pytest.approx(of_family(moments), rel=rel)


# --- torch.distributed ---

TRAINED = """
import sys, numpy as np, torch
sys.path[:0] = [sys.argv[3]]
from tests.checkpoints.test_moments import BETAS, N_STEPS, SHAPES, gradients

def network(place):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))
    for module in net:
        for name, values in list(module.named_parameters()):
            setattr(module, name, torch.nn.Parameter(place(values.detach())))
    return net

def trained(place):
    net = network(place)
    optimizer = torch.optim.AdamW(net.parameters(), betas=BETAS, foreach=False)
    for step in range(N_STEPS):
        for name, values in net.named_parameters():
            values.grad = place(torch.from_numpy(gradients(step)[name]))
        optimizer.step()
    return net, optimizer
"""
ALONE = f"""{TRAINED}
import torch.distributed.checkpoint as dcp
net, optimizer = trained(lambda t: t)
saved = {{"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": N_STEPS}}
dcp.save(saved, checkpoint_id=f"{{sys.argv[2]}}/step-4", no_dist=True)
"""
SHARDED = f"""{TRAINED}
import os, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{{folder}}/store", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
net, optimizer = trained(lambda t: distribute_tensor(t, mesh, [Shard(0)]))
model, state = get_state_dict(net, optimizer)
dcp.save({{"model": model, "optim": state}}, checkpoint_id=f"{{folder}}/step-4")
os._exit(0)  # as in test_torch_distributed.py
"""


def run(script, folder, n_processes):
    pytest.importorskip("torch.distributed.checkpoint")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(folder), str(Path.cwd())],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(n_processes)
    ]  # fmt: skip
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * n_processes, errors
    return folder / "step-4"


def test_one_process_of_torch_distributed(tmp_path):
    assert_holds(run(ALONE, tmp_path, 1), plainly())


def test_moments_cut_over_two_processes(tmp_path):
    path = run(SHARDED, tmp_path, 2)
    assert len(list(path.glob("*.distcp"))) == 2
    assert_holds(path, plainly())


# --- Flax and Orbax, optax's states in them ---


def nested(values):
    """Dotted names as Flax nests them: Dense_0/kernel, which is a weight transposed."""
    tree = {}
    for name, array in values.items():
        layer, leaf = name.split(".")
        array = array.T if leaf == "weight" else array
        leaf = {"weight": "kernel", "bias": "bias"}[leaf]
        tree.setdefault(f"Dense_{layer}", {})[leaf] = array
    return tree


def train_state(cast=np.float32):
    """What Flax makes of a TrainState whose optimizer is a chain of clipping and Adam."""
    m, v = ({n: pair[k].astype(cast) for n, pair in plainly().items()} for k in (0, 1))
    adam = {"count": np.int32(N_STEPS), "mu": nested(m), "nu": nested(v)}
    params = nested({name: np.ones(shape, np.float32) for name, shape in SHAPES.items()})
    return {
        "step": np.int32(N_STEPS),
        "params": params,
        "opt_state": {"0": {}, "1": {"0": adam, "1": {}, "2": {}}},
    }


def transposed(moments, cast=np.float32):
    return {
        name: [(one.T if one.ndim == 2 else one).astype(cast).astype(np.float64) for one in pair]
        for name, pair in moments.items()
    }


def packed(tree):
    pytest.importorskip("msgpack")
    if isinstance(tree, dict):
        return {name: packed(inner) for name, inner in tree.items()}
    return ext(np.asarray(tree))


def flattened(tree):
    layers = tree.items()
    return {f"{layer}.{leaf}": values for layer, own in layers for leaf, values in own.items()}


@pytest.mark.parametrize("cast", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_train_state_of_flax(tmp_path, cast):
    path = write_flax(tmp_path / "checkpoint_4", packed(train_state(cast)))
    assert_holds(path, transposed(plainly(), cast))


@pytest.mark.parametrize("name", ["adam_3", "orbax_adam"])
def test_what_optax_flax_and_orbax_wrote(name):
    if name == "orbax_adam":
        pytest.importorskip("tensorstore")
    steps = [flattened(written_gradients(step)) for step in range(3)]
    assert_holds(WRITTEN / name, plainly(steps))


def test_a_state_without_second_moments_is_none(tmp_path):
    tree = train_state()
    del tree["opt_state"]["1"]["0"]["nu"]
    path = write_flax(tmp_path / "checkpoint_4", packed(tree))
    with open_checkpoint(path) as checkpoint, pytest.raises(NotToldError, match="no moments"):
        list(moments_of(checkpoint))


def test_a_step_of_no_gradient_moves_nothing(tmp_path):
    zeros = {name: [np.zeros(shape), np.zeros(shape)] for name, shape in SHAPES.items()}
    assert of_family(zeros)["effective_step"] == 0
    tree = train_state()
    for which in ("mu", "nu"):
        tree["opt_state"]["1"]["0"][which] = nested({n: z[0] for n, z in zeros.items()})
    path = write_flax(tmp_path / "checkpoint_4", packed(tree))
    assert measure(path, ["optimizer"], DEFAULT_RULES).metrics == of_family(zeros)
