"""One recorder at a time has a folder, whatever becomes of its process; no row goes silently."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hmmdyn import MetricRecorder, locks
from hmmdyn.errors import OutputError, UsageError
from hmmdyn.locks import TakenError
from hmmdyn.record.reader import read_recordings
from hmmdyn.record.recorder import LOCK
from hmmdyn.record.rows import RECORDING, REPLACED
from tests.make_runs import weights

HOLD = """
import sys, time
from hmmdyn import MetricRecorder
from tests.make_runs import weights
recorder = MetricRecorder(sys.argv[1])
for step in range(3):
    recorder.record(weights(0, step), step)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return tmp_path / "seed0"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(locks.Lock.__init__, "__kwdefaults__", {"wait": 0.2})


def steps(file):
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def holder(run, before=""):
    process = subprocess.Popen(
        [sys.executable, "-c", before + HOLD, str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def end(process):
    process.kill()
    process.communicate()


def test_a_second_recorder_of_the_same_process_is_refused(run):
    with MetricRecorder(run) as first:
        for step in range(5):
            first.record(weights(0, step), step)
        with pytest.raises(OutputError, match=r"close\(\) the other recorder"):
            MetricRecorder(run)
        for step in range(5, 9):
            first.record(weights(0, step), step)
    assert steps(run / RECORDING) == list(range(9))
    assert not (run / LOCK).exists()
    MetricRecorder(run).close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_recorder_that_nobody_holds_lets_go(run):
    recorder = MetricRecorder(run)
    del recorder
    MetricRecorder(run).close()


def test_a_recorder_that_was_refused_holds_nothing(run):
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 0), 0)
    with pytest.raises(UsageError):
        MetricRecorder(run, step_unit="epoch")
    MetricRecorder(run).close()


def test_a_second_process_is_told_who_records_and_a_killed_one_lets_go_at_once(run):
    process = holder(run)
    try:
        with pytest.raises(TakenError, match=f"recorded by another.*process {process.pid} on"):
            MetricRecorder(run)
    finally:
        end(process)
    with MetricRecorder(run) as recorder:
        assert recorder.last_step == 2
        recorder.record(weights(0, 3), 3)
    assert steps(run / RECORDING) == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked on Unix")
def test_workers_forked_by_a_killed_training_hold_nothing(run):
    """As those of a DataLoader, which outlive their parent."""
    forked = """
import os, threading, time
def fork():
    child = os.fork()
    if child == 0:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        time.sleep(60)
        os._exit(0)
    return child
"""
    script = forked + HOLD.replace('print("ready"', 'print(fork(), flush=True)\nprint("ready"')
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    child = int(process.stdout.readline())
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        MetricRecorder(run).close()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("what", ["opened", "grew", "went"])
def test_without_a_lock_the_elder_hears_of_the_younger(run, what, monkeypatch):
    """As on a network file system whose locks end at the machine."""
    elder = MetricRecorder(run)
    for step in range(3):
        elder.record(weights(0, step), step)
    path = run / RECORDING
    if what == "opened":
        monkeypatch.setattr(locks, "_acquired", lambda path, wait: locks.FileLock(f"{path}.other"))
        with MetricRecorder(run) as younger:
            younger.record(weights(0, 3), 3)
    elif what == "grew":
        path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    else:
        path.rename(path.with_name("elsewhere"))
    expected = "No such file" if what == "went" else "somebody else since the last row"
    for _ in range(2):
        with pytest.raises(OutputError, match=expected):
            elder.record(weights(0, 3), 3)
        with pytest.raises(OutputError, match=expected):
            elder.record(weights(0, 0), 0)
    elder.close()
    if what == "opened":
        assert steps(path) == [0, 1, 2, 3]


def test_where_there_are_no_locks_a_marker_stands_for_one(run, monkeypatch):
    def none(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.FileLock, "acquire", none)
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 0), 0)
        with pytest.raises(TakenError, match="is being recorded by another"):
            MetricRecorder(run)
    MetricRecorder(run).close()


def test_only_rank_0_of_a_distributed_training_records(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    recorders = []
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        recorders.append(MetricRecorder(run))
    assert [recorder.is_recording for recorder in recorders] == [True, False, False, False]
    for step in range(4):
        for recorder in recorders:
            recorder.step(weights(0, step), step, train_loss=1.0)
            recorder.log(step, eval_loss=2.0)
    assert [recorder.last_step for recorder in recorders] == [3, None, None, None]
    for recorder in recorders:
        recorder.close()
    assert steps(run / RECORDING) == [0, 1, 2, 3]


def test_every_rank_may_train_a_run_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        with MetricRecorder(tmp_path / f"seed{rank}", every_rank=True) as recorder:
            recorder.record(weights(rank, 0), 0)
    assert len(read_recordings(tmp_path).runs) == 2


def test_the_rank_of_an_adapter_is_not_that_of_a_process(run, monkeypatch):
    monkeypatch.setenv("RANK", "8")
    with MetricRecorder(run) as recorder:
        assert recorder.is_recording


def test_the_rank_that_pytorch_knows(run, monkeypatch):
    class Distributed:
        is_available = is_initialized = staticmethod(lambda: True)
        get_rank = staticmethod(lambda: 1)

    monkeypatch.setitem(sys.modules, "torch.distributed", Distributed)
    assert not MetricRecorder(run).is_recording
    assert not run.exists()


def test_rows_that_training_goes_back_before_are_kept_aside(run):
    with MetricRecorder(run) as recorder:
        for step in (0, 10, 20, 30):
            recorder.record(weights(0, step), step, train_loss=1.0)
    before = (run / RECORDING).read_bytes()
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 0), 0)  # started anew in the same folder
    assert (run / REPLACED).read_bytes() == before
    assert steps(run / RECORDING) == [0]
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 10), 10)
        recorder.record(weights(0, 10), 10)
    assert steps(run / REPLACED) == [0, 10, 20, 30, 10]
    assert len(read_recordings(run).table) == 2
