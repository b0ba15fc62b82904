"""Native readers in a process that can be stopped: whatever becomes of it is an error in words."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.formats import limits, native
from hmmdyn.checkpoints.formats.byte_ranges import FileBytes
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError
from hmmdyn.metrics.extract import extract
from tests.checkpoints.reading import refusal

h5py = pytest.importorskip("h5py")

# Made by fuzzing: HDF5 never comes back from reading an attribute of it.
WITHOUT_END = Path(__file__).parent / "damaged" / "attribute_without_end.h5"
ROOT = Path(__file__).parents[3]
LIMITED = pytest.mark.skipif(not limits.ARE_SET, reason="the system sets no limits")


def write(path, side=6, first=0.0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        values = first + np.arange(side * side, dtype=np.float32).reshape(side, side)
        file.create_dataset("dense/kernel", data=values, **options)
    return path


def worker_of(checkpoint):
    return checkpoint["dense/kernel"].read.args[1].read.func.__self__._worker


@LIMITED
def test_a_reader_that_never_comes_back_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_OPENING_CPU", 1.0)
    message = refusal(WITHOUT_END)
    assert message.startswith(str(WITHOUT_END))
    assert "stopped after 1 seconds of work" in message
    with open_checkpoint(write(tmp_path / "good.h5")) as checkpoint:
        assert checkpoint["dense/kernel"].read().sum() == sum(range(36))


@LIMITED
def test_time_in_which_a_store_is_waited_for_does_not_count():
    bounds = limits.Limits(1 << 30, 100, 0.5)
    code = "import sys, time; from hmmdyn.checkpoints.formats import limits\n"
    code += f"with limits.within(limits.{bounds}), limits.waiting(): time.sleep(1)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_reader_that_asks_a_store_without_end_is_stopped(tmp_path, monkeypatch):
    """Whatever it asks for is counted, for each thing that is wanted of it."""
    file = write(tmp_path / "model.h5", side=600)
    with closing(FileBytes(file)) as source:
        contents = native.open_natively("hdf5", source)
        tensor = contents.tensors["dense/kernel"]
        assert tensor.read().shape == (600, 600)
        monkeypatch.setattr(native, "_MOST_READINGS", 0)
        with pytest.raises(CheckpointError, match="does not come to an end"):
            tensor.read()
        contents.close()
        monkeypatch.undo()
        native.open_natively("hdf5", source).close()


@LIMITED
def test_one_that_waits_for_ever_is_stopped():
    bounds = limits.Limits(1 << 30, 100, 0.5)
    code = "import sys, time; from hmmdyn.checkpoints.formats import limits\n"
    code += f"with limits.within(limits.{bounds}): time.sleep(60)"
    status = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode
    assert "was stopped after 0 seconds. Either its disk" in limits.why_it_died(status, bounds)


@LIMITED
def test_memory_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", side=3000)
    monkeypatch.setattr(limits, "of_reading", lambda nbytes: limits.Limits(1 << 20, 10, 60))
    assert "reading it takes more than 1 MB of memory" in refusal(path)


def test_pieces_that_nothing_backs_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (1_000_000,), chunks=(1,), dtype="f4")
    assert "1,000,000 pieces" in refusal(path)


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_reader_that_dies_takes_no_other_checkpoint_with_it(tmp_path, number):
    first, second = (open_checkpoint(write(tmp_path / name)) for name in ("a.h5", "b.h5"))
    assert worker_of(first)._process.pid != worker_of(second)._process.pid
    os.kill(worker_of(first)._process.pid, getattr(signal, number))
    expected = "memory ran out" if number == "SIGKILL" else number
    with pytest.raises(CheckpointError, match=f"a.h5: .*{expected}"):
        first["dense/kernel"].read()
    assert second["dense/kernel"].read().shape == (6, 6)
    first.close()
    second.close()
    with open_checkpoint(tmp_path / "a.h5") as again:
        assert again["dense/kernel"].read().shape == (6, 6)


def test_a_process_that_died_while_it_waited_is_none_of_the_next_file_s_business(tmp_path):
    for i in range(2):
        with open_checkpoint(write(tmp_path / f"{i}.h5")) as checkpoint:
            assert checkpoint["dense/kernel"].read().shape == (6, 6)
            process = worker_of(checkpoint)._process
        process.kill()
        process.wait()


def test_one_process_serves_one_file_after_another(tmp_path):
    pids = set()
    for i in range(5):
        with open_checkpoint(write(tmp_path / f"{i}.h5", first=i)) as checkpoint:
            assert checkpoint["dense/kernel"].read()[0, 0] == i
            pids.add(worker_of(checkpoint)._process.pid)
    assert len(pids) == 1
    with pytest.raises(CheckpointError, match="it is closed"):
        checkpoint["dense/kernel"].read()


def test_numbers_arrive_as_they_are(tmp_path):
    arrays = {
        "scalar": np.float64(1.5),
        "empty": np.zeros((0, 3), np.float32),
        "complex": np.arange(6).reshape(2, 3) * (1 + 2j),
        "flags": np.array([True, False]),
        "big_endian": np.arange(5, dtype=">i4"),
        "half": np.arange(4, dtype=np.float16),
        "transposed": np.arange(12.0).reshape(3, 4).T,
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        for name, values in arrays.items():
            np.testing.assert_array_equal(checkpoint[name].read(), values)
            assert checkpoint[name].read().flags.writeable


def test_bad_files_are_skipped_whatever_readers_make_of_them(tmp_path):
    """An error of zlib is none of HDF5's, and was none that extraction knew."""
    for step in range(3):
        write(tmp_path / "seed0" / f"step_{step}.h5", side=64, first=step, compression="gzip")
    broken = tmp_path / "seed0" / "step_1.h5"
    with h5py.File(broken) as file:
        chunk = file["dense/kernel"].id.get_chunk_info(0)
    data = bytearray(broken.read_bytes())
    data[chunk.byte_offset] ^= 0xFF
    broken.write_bytes(data)
    found = extract(discover(tmp_path), skip_bad=True)
    assert found.table["step"].tolist() == [0, 2]
    (notice,) = [n for n in found.notices if n.stage == "reading"]
    assert "piece of its dataset /dense/kernel cannot be inflated" in notice.message


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_reader_ends_with_its_parent(tmp_path):
    """Waiting for work, at once; at work, with its limits."""
    write(tmp_path / "good.h5")
    shutil.copy(WITHOUT_END, tmp_path / "endless.h5")
    code = (
        "import sys\n"
        "from hmmdyn.checkpoints.formats import limits, native\n"
        "from hmmdyn.checkpoints.read import open_checkpoint\n"
        "limits._OPENING_CPU = 1.0\n"
        "good = open_checkpoint(sys.argv[1] + '/good.h5')\n"
        "workers = [native._Worker()]\n"
        "native._idle += workers\n"
        "waiting = good['dense/kernel'].read.args[1].read.func.__self__._worker\n"
        "print(waiting._process.pid, workers[0]._process.pid, flush=True)\n"
        "open_checkpoint(sys.argv[1] + '/endless.h5')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    workers = list(map(int, parent.stdout.readline().split()))
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_nothing_is_imported_from_the_folder_one_is_in(tmp_path, monkeypatch):
    for name in ("json", "numpy", "h5py", "hmmdyn"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    path = write(tmp_path / "a.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(native, "_idle", [])
    with open_checkpoint(path.name) as checkpoint:
        assert checkpoint["dense/kernel"].read().shape == (6, 6)
    native._end_idle()
    assert not (tmp_path / "ran").exists()
