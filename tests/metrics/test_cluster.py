"""Measuring on a Dask cluster: a scheduler and workers that are processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import HmmdynError, MissingPackageError, UsageError
from hmmdyn.metrics.extract import extract
from tests.metrics.test_extract import index_of, save, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


class Cluster:
    """A scheduler and workers, and where they print."""

    def __init__(self, folder, output=subprocess.DEVNULL):
        self._folder, self._started, self._output = folder, [], output
        self._file = folder / "scheduler.json"
        self._scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        self.address = self._wait_for_address()

    def add_worker(self, **variables):
        at = ("--scheduler-file", str(self._file), "--nthreads", "1", "--host", "127.0.0.1")
        return self._start("worker", *at, "--no-nanny", **variables)

    def lose_scheduler(self):
        self._scheduler.kill()
        self._scheduler.wait()

    def end(self):
        for process in reversed(self._started):
            process.kill()
            process.wait()

    def _start(self, what, *arguments, **variables):
        if what == "scheduler":
            arguments = (*arguments, "--scheduler-file", str(self._file))
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments, "--no-dashboard"],
            cwd=self._folder,
            env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(self._folder), **variables},
            stdout=self._output,
            stderr=self._output,
        )
        self._started.append(process)
        return process

    def _wait_for_address(self):
        for _ in range(600):
            time.sleep(0.1)
            try:
                return json.loads(self._file.read_text())["address"]
            except (OSError, ValueError):
                assert self._scheduler.poll() is None
        raise AssertionError("the scheduler did not start")


@contextmanager
def started(folder):
    with ExitStack() as stack:
        cluster = Cluster(folder)
        stack.callback(cluster.end)
        yield cluster


@pytest.fixture
def cluster(tmp_path):
    """One to break."""
    with started(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """One of two workers, to use."""
    with started(tmp_path_factory.mktemp("cluster")) as cluster:
        for _ in range(2):
            cluster.add_worker()
        yield cluster


def index_in(root, n_steps=8):
    files = [
        save(root, f"seed{seed}", step, weights_of(seed, step), seed=seed)
        for seed in range(2)
        for step in range(n_steps)
    ]
    return index_of(root, files)


SLOW = """
import os, time
from hmmdyn import metric

@metric(needs="weights")
def slow(weights):
    "Takes a while."
    time.sleep(0.2)
    return float(os.getpid())
"""


def deadly(folder):
    """A file of metrics that end the process at one checkpoint of an index, and the index."""
    path = folder / "deadly_metrics.py"
    path.write_text(
        "import os\nfrom hmmdyn import metric\n"
        '@metric(needs="weights")\n'
        'def deadly(weights):\n    "Ends the process."\n'
        "    if weights.mean == 0: os._exit(9)\n    return 1.0\n"
    )
    index = index_in(folder / "runs", 4)
    save(index.root, "seed1", 2, {name: t * 0 for name, t in weights_of(1, 2).items()})
    return path, index


def slowly(folder):
    """Ask for a metric that takes a while, and tells which process measured."""
    path = folder / "slow_metrics.py"
    path.write_text(SLOW)
    return {"metrics": ["l2", "slow"], "metrics_from": path}


@pytest.fixture
def slow(tmp_path):
    return slowly(tmp_path)


def test_a_cluster_gives_the_same_numbers(standing, tmp_path, monkeypatch):
    """Also of relative paths; what is bad is told as it is here; nothing is measured again."""
    monkeypatch.chdir(tmp_path)
    index = index_in(tmp_path / "runs")
    index.checkpoints[5].path.write_bytes(b"?")  # not one that others are compared with
    files = [replace(f, path=f.path.relative_to(tmp_path)) for f in index.checkpoints]
    index = index_of(Path("runs"), files)
    options = {"skip_bad": True, "metrics": ["paper", "path_length"], "by": ("layer",)}
    here = extract(index, cache=tmp_path / "here.parquet", **options)
    there = extract(index, cache=tmp_path / "there.parquet", scheduler=standing.address, **options)
    pd.testing.assert_frame_equal(here.table, there.table, check_exact=True)
    pd.testing.assert_frame_equal(here.parts, there.parts, check_exact=True)
    assert [n.subject for n in here.notices] == [n.subject for n in there.notices]
    again = extract(index, cache=tmp_path / "there.parquet", **options)
    assert again.n_computed == 0


@pytest.mark.long
def test_a_worker_that_is_killed_and_one_that_joins(cluster, tmp_path, slow):
    index = index_in(tmp_path / "runs", 30)
    first, joined = cluster.add_worker(), []

    def change(done, total):
        if done == 10 and not joined:
            joined.append(cluster.add_worker())
            first.send_signal(signal.SIGKILL)

    found = extract(index, scheduler=cluster.address, progress=change, **slow)
    here = extract(index, metrics=["l2"])
    np.testing.assert_array_equal(found.table["l2"], here.table["l2"])
    assert set(found.table["slow"]) == {first.pid, joined[0].pid}


@pytest.mark.long
def test_a_scheduler_that_is_lost(cluster, tmp_path, slow):
    cluster.add_worker()
    index, cache = index_in(tmp_path / "runs"), tmp_path / "cache.parquet"

    def lose(done, total):
        if done == 5:
            cluster.lose_scheduler()

    with pytest.raises(HmmdynError, match=r"was lost. What was measured is kept"):
        extract(index, cache=cache, scheduler=cluster.address, progress=lose, **slow)
    assert extract(index, cache=cache, **slow).n_reused >= 5


@pytest.mark.long
def test_a_checkpoint_on_which_every_worker_dies(cluster, tmp_path):
    """As one does that takes more memory than any has: it is named, and the others are measured."""
    path, index = deadly(tmp_path)
    for _ in range(5):  # Dask gives a task up that four have died of
        cluster.add_worker()
    found = extract(
        index,
        metrics=["deadly"],
        metrics_from=path,
        scheduler=cluster.address,
        skip_bad=True,
    )
    assert len(found.table) == 7
    (notice,) = [n for n in found.notices if n.kind == "left out"]
    assert notice.subject == "g/seed1/step_2.npz"
    assert "step_2.npz: the workers that measured it were killed" in notice.message


def test_workers_of_another_version_are_refused(standing, tmp_path, monkeypatch):
    monkeypatch.setattr("hmmdyn.metrics.clusters.dask.__version__", "0.0.1")
    with pytest.raises(HmmdynError, match=r"hmmdyn 0\.0\.1 sent the work"):
        extract(index_in(tmp_path / "runs"), scheduler=standing.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "no port"])
def test_no_scheduler_is_wrong_usage(tmp_path, monkeypatch, address):
    monkeypatch.setattr("hmmdyn.metrics.clusters.dask._WAITING", 1)
    with pytest.raises(UsageError, match="No Dask scheduler answers at"):
        extract(index_in(tmp_path / "runs", 2), scheduler=address)


def test_dask_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPackageError, match=r"hmmdyn\[dask\]"):
        extract(index_in(tmp_path / "runs", 2), scheduler="tcp://127.0.0.1:1")
