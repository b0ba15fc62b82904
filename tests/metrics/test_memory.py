"""Measuring within bounds of memory: what it takes is bounded, and the numbers are the same."""

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
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.memory import bytes_needed, parse_size, room_of_each
from tests.make_runs import write_runs
from tests.test_cli import one_line, run

MB = 10**6
# Peak memory is of the process, so each measurement has one of its own.
GROWTH = """
import resource, sys
from pathlib import Path
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.metrics.measure import measure

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path, small, metrics, spectrum, room = sys.argv[1:]
rules = ParameterRules(spectrum=spectrum)
measure(Path(small), metrics.split(","), rules)  # libraries are loaded
before = peak()
measure(Path(path), metrics.split(","), rules, room=int(room) or None)
print(peak() - before)
"""


def growth(path, small, metrics, spectrum, room=0):
    command = [sys.executable, "-c", GROWTH, path, small, metrics, spectrum, str(room)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
    assert room_of_each(2000 * MB, 1) == 1700 * MB
    assert room_of_each(2000 * MB, 3) == 200 * MB  # and the process they work for
    with pytest.raises(UsageError, match=r"5 processes take 1\.50 GB"):
        room_of_each(1000 * MB, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted otherwise")
@pytest.mark.parametrize("spectrum", ["exact", "sketch"])
@pytest.mark.parametrize("metrics", ["mean_w,median_w", "paper"])
def test_a_tensor_takes_no_more_than_is_said(tmp_path, small, metrics, spectrum):
    values = np.random.default_rng(0).standard_normal((1200, 4000), dtype=np.float32)
    save_file({"fc.weight": values}, tmp_path / "one.safetensors")
    tensor = LazyTensor(values.shape, "float32", lambda: values)
    said = bytes_needed(tensor, as_matrices=metrics == "paper", sketched=spectrum == "sketch")
    took = growth(tmp_path / "one.safetensors", small, metrics, spectrum, said)
    assert said / 3 < took <= said + 20 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted otherwise")
def test_what_does_not_fit_is_read_again(tmp_path, small):
    rng = np.random.default_rng(0)
    tensors = {f"layers.{i}.weight": rng.standard_normal((1000, 1000)) for i in range(20)}
    path = tmp_path / "network.safetensors"
    save_file(tensors, path)
    metrics = "median_w,var_w,l1"
    room = 60 * MB
    assert growth(path, small, metrics, "exact") > 150 * MB
    assert growth(path, small, metrics, "exact", room) < room + 20 * MB
    bounded = measure(path, metrics.split(","), ParameterRules(), room=room)
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


def test_the_command_takes_an_amount_and_not_for_a_cluster(tmp_path):
    runs, table = write_runs(tmp_path / "runs"), tmp_path / "m.parquet"
    arguments = ["extract", runs, "-o", table, "--jobs", "1", "--max-memory", "2GB"]
    run(*arguments)
    assert len(pd.read_parquet(table))
    refused = run(*arguments, "--scheduler", "tcp://127.0.0.1:1", code=2)
    assert "--max-memory" in one_line(refused.output)
