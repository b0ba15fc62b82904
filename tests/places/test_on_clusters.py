"""Runs in a store, measured by the workers of a cluster, which read from the store themselves."""

import os

import pandas as pd
import pytest

from hmmdyn import read_runs
from hmmdyn.errors import CheckpointError, HmmdynError
from tests.metrics.test_cluster import Cluster
from tests.metrics.test_ray_cluster import Head
from tests.test_cli import run

from .proxy import proxy
from .web import Answer, web_server

pytest.importorskip("s3fs", reason="the extra 'remote' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
ONE = "runs/seed0/step_20.safetensors"


@pytest.fixture(scope="module")
def door(bucket_url):
    """What the workers come through to the bucket."""
    with proxy(bucket_url) as door, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", door.url)
        yield door


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What all processes of the cluster print."""
    return tmp_path_factory.mktemp("printed") / "all.txt"


@pytest.fixture(scope="module")
def cluster(door, printed, tmp_path_factory):
    """A scheduler and two workers that know the bucket's key."""
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    with printed.open("wb") as file:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), output=file)
        for _ in range(2):
            cluster.add_worker()
        yield cluster
        cluster.end()


@pytest.fixture
def trouble(door):
    """Set what goes wrong; afterwards nothing does."""
    yield lambda of: setattr(door, "trouble", of)
    door.trouble = lambda asked: None


def without_times(trajectories):
    table = trajectories.table.drop(columns="mtime_ns")
    return table[sorted(table)]


def test_the_table_is_that_of_the_disk_though_workers_lose_connections(
    cluster, door, runs, tmp_path, trouble
):
    dropped = []

    def drop(asked):
        if asked.path.endswith(ONE) and "Range" in asked.headers and len(dropped) < 2:
            dropped.append(asked)
            return Answer(cut=1000)
        return None

    trouble(drop)
    door.asked.clear()
    table = tmp_path / "m.parquet"
    run("extract", "s3://box/some/runs", "-o", str(table), "--scheduler", cluster.address)
    pd.testing.assert_frame_equal(without_times(read_runs(table)), without_times(read_runs(runs)))
    assert len(dropped) == 2
    size = sum(file.stat().st_size for file in runs.rglob("*.safetensors"))
    assert size <= door.weights_moved() <= 1.2 * size


def test_what_a_worker_was_refused_is_said_without_the_key(cluster, door, printed, trouble):
    trouble(lambda asked: Answer(status=403) if asked.path.endswith(ONE) else None)
    with pytest.raises(CheckpointError, match=rf"{ONE} cannot be read: access was refus") as told:
        read_runs("s3://box/some/runs", scheduler=cluster.address)
    for secret in ("who-4711", "secret-0815", door.url):
        assert secret not in str(told.value) + printed.read_text()


def test_no_process_of_a_cluster_prints_a_password(cluster, printed, runs, monkeypatch):
    """Also where the work itself fails there, and Dask prints of which task."""
    monkeypatch.setattr("hmmdyn.metrics.clusters.dask.__version__", "0.0")
    with web_server(runs.parent) as web:
        url = web.url.replace("http://", "http://me:pass-4711@") + "/runs?token=tok-0815"
        with pytest.raises(HmmdynError, match="Install the same version") as told:
            read_runs(url, scheduler=cluster.address)
    said = printed.read_text() + str(told.value)
    assert "Compute Failed" in said
    assert "pass-4711" not in said
    assert "tok-0815" not in said


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_table(door, runs):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    door.asked.clear()
    head = Head()
    try:
        found = read_runs("s3://box/some/runs", scheduler=head.address)
    finally:
        head.end()
    pd.testing.assert_frame_equal(without_times(found), without_times(read_runs(runs)))
    assert os.environ["AWS_ENDPOINT_URL"] == door.url
    assert door.weights_moved() > 0
