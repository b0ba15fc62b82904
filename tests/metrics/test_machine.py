"""Measuring within bounds of memory and on a device: the numbers are the same."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import hmmdyn
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import UsageError
from hmmdyn.metrics.linear_algebra import Torch, on_device
from hmmdyn.metrics.machine import Machine, bytes_needed, parse_size
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.spectrum import singular_values
from tests.make_runs import write_runs
from tests.test_cli import one_line, run

MB = 10**6
# Peak memory is of a process, so each measurement has one of its own.
PEAKS = """
import sys
from pathlib import Path
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.metrics.machine import Machine
from hmmdyn.metrics.measure import measure

def peak():
    # Not ru_maxrss, which has what the process that started this one had taken, too.
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])

path, small, metrics, spectrum, room = sys.argv[1:]
rules = ParameterRules(spectrum=spectrum)
measure(Path(small), metrics.split(","), rules)  # libraries are loaded
before = peak()
measure(Path(path), metrics.split(","), rules, machine=Machine(int(room) or None))
print(before, peak())
"""


def peaks(path, small, metrics, spectrum, room=0):
    """Most memory that a process has taken, before it measures and after it has."""
    command = [sys.executable, "-c", PEAKS, path, small, metrics, spectrum, str(room)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after = map(int, said.split())
    return before, after


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_file({"fc.weight": np.eye(8, dtype=np.float32)}, path)
    return path


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5g", 15 * 10**8), ("512 MiB", 512 * 2**20), ("4TB", 4 * 10**12)],
)
def test_memory_as_people_write_it(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "2", "GB", "-1GB", "2 PB", "1e9", "nan", "２GB", "2GB\x1b[2J"]
)
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(UsageError, match=r"written as 2GB") as refused:
        parse_size(text)
    assert "\x1b" not in str(refused.value)


def test_processes_share_what_there_is():
    assert Machine.shared(2000 * MB, 1, "cpu").room == 1700 * MB
    assert Machine.shared(2000 * MB, 3, "cpu").room == 200 * MB  # and the process they work for
    with pytest.raises(UsageError, match=r"5 processes take 1\.50 GB"):
        Machine.shared(1000 * MB, 4, "cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted otherwise")
@pytest.mark.parametrize("spectrum", ["exact", "sketch"])
@pytest.mark.parametrize("metrics", ["mean_w,median_w", "paper"])
def test_a_tensor_takes_no_more_than_is_said(tmp_path, small, metrics, spectrum):
    values = np.random.default_rng(0).standard_normal((1200, 4000), dtype=np.float32)
    save_file({"fc.weight": values}, tmp_path / "one.safetensors")
    tensor = LazyTensor(values.shape, "float32", lambda: values)
    said = bytes_needed(tensor, as_matrices=metrics == "paper", sketched=spectrum == "sketch")
    before, after = peaks(tmp_path / "one.safetensors", small, metrics, spectrum, said)
    assert said / 3 < after - before <= said + 20 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted otherwise")
def test_what_does_not_fit_is_read_again(tmp_path, small):
    rng = np.random.default_rng(0)
    tensors = {f"layers.{i}.weight": rng.standard_normal((1000, 1000)) for i in range(40)}
    path = tmp_path / "network.safetensors"
    save_file(tensors, path)
    metrics = "median_w,var_w,l1"
    room = Machine.shared(360 * MB, 1, "cpu").room
    assert peaks(path, small, metrics, "exact")[1] > 400 * MB
    assert peaks(path, small, metrics, "exact", room)[1] < 360 * MB
    bounded = measure(path, metrics.split(","), ParameterRules(), machine=Machine(room))
    assert bounded.metrics == measure(path, metrics.split(","), ParameterRules()).metrics


def test_a_tensor_that_cannot_fit_is_named(tmp_path):
    for step in range(3):
        folder = tmp_path / "runs" / "seed0"
        folder.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(step).normal(size=(600, 600))
        save_file({"big.weight": values}, folder / f"step_{step}.safetensors")
    with pytest.raises(UsageError) as refused:
        hmmdyn.read_runs(tmp_path / "runs", max_memory=310 * MB)
    said = str(refused.value)
    assert "big.weight of shape (600, 600)" in said
    assert "--spectrum sketch" in said
    assert len(hmmdyn.read_runs(tmp_path / "runs", max_memory=400 * MB).table) == 3


# PyTorch computes on the processor, too, by the code that it does on a GPU with.
BY_TORCH = "cpu:0"


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(np.random.default_rng(0).normal(size=(30, 50)), id="wide"),
        pytest.param(np.random.default_rng(1).normal(size=(50, 30)), id="tall"),
        pytest.param(np.outer(np.arange(1.0, 9), np.ones(5)), id="of rank one: by SVD"),
        pytest.param(np.asfortranarray(np.eye(4))[::-1], id="laid out otherwise"),
        pytest.param(np.zeros((3, 4)), id="zeros"),
    ],
)
def test_a_device_computes_the_same_singular_values(matrix):
    pytest.importorskip("torch")
    found = singular_values(matrix, on_device(BY_TORCH))
    np.testing.assert_allclose(found, np.linalg.svd(matrix, compute_uv=False), atol=1e-10)
    np.testing.assert_allclose(found, singular_values(matrix), rtol=1e-6, atol=1e-10)


def test_metrics_are_the_same_by_a_device(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    runs = write_runs(tmp_path / "runs")
    here = hmmdyn.read_runs(runs)
    asked = []
    for name in ("gram_eigenvalues", "singular_values"):
        compute = getattr(Torch, name)
        monkeypatch.setattr(
            Torch, name, lambda *a, compute=compute: (asked.append(1), compute(*a))[1]
        )
    there = hmmdyn.read_runs(runs, device=BY_TORCH)
    assert len(asked) >= 2 * len(here.table)  # matrices
    for metric in here.metrics:
        np.testing.assert_allclose(there.table[metric], here.table[metric], rtol=1e-6)


@pytest.mark.parametrize("device", ["no such thing", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_said_before_anything_is_measured(tmp_path, device):
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"has no device .* Leave --device out"):
        hmmdyn.read_runs(write_runs(tmp_path / "runs"), device=device)


def test_a_device_that_fails_is_no_value_of_a_metric(tmp_path, monkeypatch):
    """Its memory runs out, say: the numbers are not kept as if the matrix had none."""
    torch = pytest.importorskip("torch")

    def fail(*_):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(torch.linalg, "eigvalsh", fail)
    with pytest.raises(UsageError, match=r"shape \(6, 5\): out of memory\. Use fewer"):
        hmmdyn.read_runs(write_runs(tmp_path / "runs"), device=BY_TORCH)


def test_without_torch_a_device_says_where_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"--device cuda needs PyTorch"):
        Torch("cuda")


def test_the_command_takes_an_amount_and_not_for_a_cluster(tmp_path):
    runs, table = write_runs(tmp_path / "runs"), tmp_path / "m.parquet"
    arguments = ["extract", runs, "-o", table, "--jobs", "1", "--max-memory", "2GB"]
    run(*arguments)
    assert len(pd.read_parquet(table))
    refused = run(*arguments, "--scheduler", "tcp://127.0.0.1:1", code=2)
    assert "--max-memory" in one_line(refused.output)
