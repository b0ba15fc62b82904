"""Buckets of Google's and containers of Azure's, of servers on this machine, by the real clients.

Google's is the emulator of the package ``gcp-storage-emulator``. Azure's, Azurite, is a package of
npm: the variable AZURITE_BLOB, or the PATH, names ``azurite-blob``; without it these are skipped.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from hmmdyn import open_checkpoint, read_runs, scan
from hmmdyn.checkpoints.audit import audit
from hmmdyn.errors import CheckpointError, NoCheckpointsError

from .proxy import proxy
from .web import WHAT_MAY_PASS, Answer, Web

AZURITE = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
ACCOUNT = "devstoreaccount1"
# Azurite's own, which its documentation tells everybody.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ONE = "some/runs/seed0/step_20.safetensors"
UNSET = ("AZURE_", "GOOGLE_", "STORAGE_EMULATOR")


@dataclass
class Bucket:
    """A bucket with the runs in it, behind a door that notes what goes through."""

    url: str
    door: Web
    put: Callable[[str, bytes], None]

    @property
    def runs(self):
        return f"{self.url}/some/runs"

    def ranges(self):
        return [one for one in self.door.asked if is_range(one)]


def is_range(asked):
    headers = {name.lower(): value for name, value in asked.headers.items()}
    return asked.method == "GET" and bool({"range", "x-ms-range"} & set(headers))


def started(*command):
    """Start a server on a port of its own; return the process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, str(port)], **quiet)
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"{command[0]} did not start")


def connection(door, key=KEY):
    of = f"AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={door.url}/{ACCOUNT};"
    return f"DefaultEndpointsProtocol=http;{of}"


def google():
    if not (find_spec("gcsfs") and find_spec("gcp_storage_emulator")):
        pytest.skip("gcsfs or gcp-storage-emulator is not installed")
    emulator = (sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1")
    return started(*emulator, "--in-memory", "--default-bucket", "box", "--port")


def azure():
    if AZURITE is None or not find_spec("adlfs"):
        pytest.skip("no Azurite, or adlfs is not installed")
    return started(AZURITE, "--inMemoryPersistence", "--skipApiVersionCheck", "--silent",
                   "--disableTelemetry", "--blobPort")  # fmt: skip


@pytest.fixture(scope="module", params=["gs", "az"])
def served(request, runs):
    process, url = {"gs": google, "az": azure}[request.param]()
    with pytest.MonkeyPatch.context() as patch, proxy(url) as door:
        for name in [name for name in os.environ if name.startswith(UNSET)]:
            patch.delenv(name)
        if request.param == "gs":
            patch.setenv("STORAGE_EMULATOR_HOST", door.url)
            patch.setenv("NO_GCE_CHECK", "true")
        else:
            patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection(door))
        from hmmdyn.places.clients import client_of

        client = client_of(request.param)
        if request.param == "az":
            client.mkdir("box")

        def put(key, data):
            client.pipe_file(f"box/{key}", data, mode="overwrite")

        for file in runs.rglob("*"):
            if file.is_file():
                put(f"some/{file.relative_to(runs.parent).as_posix()}", file.read_bytes())
        yield Bucket(f"{request.param}://box", door, put)
        process.terminate()
        process.wait(10)


@pytest.fixture
def bucket(served):
    served.door.asked.clear()
    yield served
    served.door.trouble = lambda asked: None


@pytest.fixture(scope="module")
def local(runs):
    return without_times(read_runs(runs))


def without_times(trajectories):
    return trajectories.table.drop(columns="mtime_ns")


def for_ranges(answer, times=10**6):
    """Send an answer for parts of one file, so many times."""
    left = [times]

    def trouble(asked):
        if not (is_range(asked) and asked.path.endswith(ONE) and left[0]):
            return None
        left[0] -= 1
        return answer

    return trouble


def test_the_table_is_that_of_the_files_on_disk(bucket, runs, local, tmp_path, monkeypatch, capfd):
    """It is read by ranges, once, and neither kept on disk nor talked about."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    cache, told = tmp_path / "cache.parquet", []
    found = read_runs(bucket.runs, cache=cache)
    pd.testing.assert_frame_equal(without_times(found), local)
    assert (found.table["mtime_ns"] > 0).all()
    size = sum(file.stat().st_size for file in runs.rglob("*.safetensors"))
    moved = sum(one.sent for one in bucket.ranges() if one.path.endswith(".safetensors"))
    assert size / 1.1 <= moved <= 1.1 * size
    assert not list((tmp_path / "temporary").iterdir())
    bucket.door.asked.clear()
    again = read_runs(bucket.runs, cache=cache, progress=lambda *all: told.append(all))
    assert ("reused", 16, 16) in told
    assert not [one for one in bucket.ranges() if one.path.endswith(".safetensors")]
    pd.testing.assert_frame_equal(again.table, found.table)
    assert capfd.readouterr() == ("", "")


def test_an_object_that_was_replaced_is_measured_again(bucket, runs, tmp_path):
    cache, told = tmp_path / "cache.parquet", []
    first = read_runs(bucket.runs, cache=cache).table
    bucket.put(ONE, (runs / "seed1/step_20.safetensors").read_bytes())
    try:
        changed = read_runs(bucket.runs, cache=cache, progress=lambda *all: told.append(all)).table
    finally:
        bucket.put(ONE, (runs / "seed0/step_20.safetensors").read_bytes())
    assert ("reused", 15, 16) in told
    assert (first["l2"] != changed["l2"]).sum() == 1


def test_copies_are_found_by_hashes_before_a_byte_is_read(bucket, runs, at_once):
    for seed, step in ((0, 0), (0, 40), (1, 0), (1, 40)):
        file = runs / f"seed{0 if step == 40 else seed}/step_{step}.safetensors"
        bucket.put(f"copied/seed{seed}/step_{step}.safetensors", file.read_bytes())
    index = scan(f"{bucket.url}/copied")
    bucket.door.trouble = lambda asked: Answer(status=403) if is_range(asked) else None
    found = audit(index).findings
    (copy,) = found[found["kind"] == "copy"].itertuples()
    assert copy.runs == ("seed0", "seed1")
    assert copy.steps == (40,)


def test_an_object_that_changes_while_it_is_read_is_refused(bucket):
    made = {"a": np.ones((400, 300), np.float32), "b": np.ones((400, 300), np.float32)}
    bucket.put("step_1.safetensors", save(made))
    checkpoint = open_checkpoint(f"{bucket.url}/step_1.safetensors")
    checkpoint["a"].read()
    bucket.put("step_1.safetensors", save({**made, "b": 2 * made["b"]}))
    checkpoint["b"].read()
    with pytest.raises(CheckpointError, match=r"step_1\.safetensors: it changed while"):
        checkpoint.close()


@WHAT_MAY_PASS
def test_what_may_pass_is_asked_for_again_and_what_stays_is_said(bucket, runs, at_once, answer):
    url = f"{bucket.url}/{ONE}"
    bucket.door.trouble = for_ranges(answer, times=1)
    found, here = read_all(url), read_all(runs.parent / ONE.removeprefix("some/"))
    for name, values in here.items():
        np.testing.assert_array_equal(found[name], values)
    assert len(at_once) <= 1  # Azure's client goes on by itself where an answer is cut short
    bucket.door.trouble = for_ranges(answer)
    bucket.door.asked.clear()
    with pytest.raises(CheckpointError, match=f"{url} cannot be read: .*5 times within"):
        read_all(url)
    assert len(bucket.ranges()) <= 15


def read_all(path):
    with open_checkpoint(path) as checkpoint:
        return {name: tensor.read() for name, tensor in checkpoint.items()}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "access was refused (401 Unauthorized"),
        (403, "access was refused (403 Forbidden"),
        (404, "it is not there"),
        (412, "it changed while it was read"),
    ],
)
def test_what_does_not_pass_is_said_at_once(bucket, at_once, status, reason):
    bucket.door.trouble = for_ranges(Answer(status=status))
    with pytest.raises(CheckpointError) as caught:
        read_all(f"{bucket.url}/{ONE}")
    assert f"{bucket.url}/{ONE} cannot be read: {reason}" in str(caught.value)
    assert KEY[:20] not in str(caught.value)
    assert bucket.door.url not in str(caught.value)
    assert at_once == []


def test_a_run_goes_on_where_a_key_expired(bucket, local, tmp_path, at_once):
    cache, told, served = tmp_path / "cache.parquet", [], []

    def expired(asked):
        served.append(asked)
        return Answer(status=401) if sum(map(is_range, served)) > 30 else None

    bucket.door.trouble = expired
    with pytest.raises(CheckpointError, match="has expired"):
        read_runs(bucket.runs, cache=cache)
    bucket.door.trouble = lambda asked: None
    found = read_runs(bucket.runs, cache=cache, progress=lambda *all: told.append(all))
    pd.testing.assert_frame_equal(without_times(found), local)
    (kept,) = (done for stage, done, _ in told if stage == "reused")
    assert 0 < kept < 16


def test_what_is_not_there_is_said(bucket, at_once):
    for place in ("box/none", "nowhere/runs"):
        url = f"{bucket.url.removesuffix('box')}{place}"
        with pytest.raises(NoCheckpointsError, match=f"{url} does not exist"):
            read_runs(url)


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ({}, "its client knows no account to ask with. Set AZURE_STORAGE_CONNECTION_STRING"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hush"}, "its client knows no account"),
        ({"key": "AAAA" + KEY[4:]}, "access was refused (403 Forbidden)"),
        ({"key": "aaa" + KEY[4:]}, "access was refused (AzureSigningError)"),
    ],
    ids=["none", "malformed", "wrong", "no key"],
)
def test_without_an_account_of_azure_it_is_said_what_to_do(
    bucket, at_once, monkeypatch, account, reason
):
    if not bucket.url.startswith("az:"):
        pytest.skip("of Azure alone")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    if "key" in account:
        account = {"AZURE_STORAGE_CONNECTION_STRING": connection(bucket.door, account["key"])}
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    from adlfs import AzureBlobFileSystem

    AzureBlobFileSystem.clear_instance_cache()
    with pytest.raises(NoCheckpointsError) as caught:
        read_runs(bucket.runs)
    AzureBlobFileSystem.clear_instance_cache()
    assert reason in str(caught.value)
    assert "hush" not in str(caught.value)
    assert KEY[4:20] not in str(caught.value)
