"""Measuring on a Ray cluster whose processes run on this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import HmmdynError, MissingPackageError, UsageError
from hmmdyn.metrics.extract import extract
from tests.metrics.test_cluster import deadly, index_in, slowly

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's


class Head:
    """A head that has one worker process for every processor it is told to have."""

    def __init__(self):
        from ray._common.network_utils import find_free_port

        self._ray = str(Path(sys.executable).with_name("ray"))
        ports = {name: str(find_free_port()) for name in ("port", "ray-client-server-port")}
        self.address = f"ray://127.0.0.1:{ports['ray-client-server-port']}"
        options = [word for name, port in ports.items() for word in (f"--{name}", port)]
        self._run("start", "--head", "--num-cpus", "2", "--node-ip-address", "127.0.0.1", *options)

    def end(self):
        self._run("stop", "--force")

    def _run(self, *arguments):
        more = ("--include-dashboard=false", "--disable-usage-stats")
        subprocess.run(
            [self._ray, *arguments, *(more if arguments[0] == "start" else ())],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture
def head():
    pytest.importorskip("ray")
    head = Head()
    yield head
    head.end()


@pytest.mark.long
def test_a_cluster_gives_the_same_numbers(head, tmp_path):
    index = index_in(tmp_path / "runs")
    index.checkpoints[5].path.write_bytes(b"?")
    options = {"skip_bad": True, "metrics": ["paper", "path_length"], "by": ("layer",)}
    here = extract(index, **options)
    there = extract(index, scheduler=head.address, **options)
    pd.testing.assert_frame_equal(here.table, there.table, check_exact=True)
    pd.testing.assert_frame_equal(here.parts, there.parts, check_exact=True)
    assert [n.subject for n in here.notices] == [n.subject for n in there.notices]


@pytest.mark.long
def test_a_worker_that_is_killed_and_a_head_that_is_lost(head, tmp_path):
    slow = slowly(tmp_path)
    index, cache = index_in(tmp_path / "runs", 30), tmp_path / "cache.parquet"
    killed = []

    def kill_a_worker(done, total):
        workers = subprocess.run(["pgrep", "-f", "ray::checked"], capture_output=True, text=True)
        if done >= 10 and not killed and workers.stdout:
            killed.append(int(workers.stdout.split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    found = extract(index, scheduler=head.address, progress=kill_a_worker, **slow)
    here = extract(index, metrics=["l2"])
    np.testing.assert_array_equal(found.table["l2"], here.table["l2"])
    assert killed

    def lose(done, total):
        if done == 10:
            head.end()

    with pytest.raises(HmmdynError, match=r"was lost. What was measured is kept"):
        extract(index, cache=cache, scheduler=head.address, progress=lose, **slow)
    assert extract(index, cache=cache, **slow).n_reused >= 10


@pytest.mark.long
def test_a_checkpoint_on_which_every_worker_dies(head, tmp_path):
    path, index = deadly(tmp_path)
    found = extract(
        index,
        metrics=["deadly"],
        metrics_from=path,
        scheduler=head.address,
        skip_bad=True,
    )
    assert len(found.table) == 7
    (notice,) = [n for n in found.notices if n.kind == "left out"]
    assert "step_2.npz: the workers that measured it were killed" in notice.message


@pytest.mark.long
def test_workers_of_another_version_are_refused(head, tmp_path, monkeypatch):
    monkeypatch.setattr("hmmdyn.metrics.clusters.ray.__version__", "0.0.1")
    with pytest.raises(HmmdynError, match=r"hmmdyn 0\.0\.1 sent the work"):
        extract(index_in(tmp_path / "runs"), scheduler=head.address)


@pytest.mark.long
def test_a_cluster_that_does_not_answer(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=r"No Ray cluster of the same versions answers"):
        extract(index_in(tmp_path / "runs"), scheduler="ray://127.0.0.1:9")


def test_ray_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hmmdyn\[ray\]'"):
        extract(index_in(tmp_path / "runs"), scheduler="ray://127.0.0.1:10001")
