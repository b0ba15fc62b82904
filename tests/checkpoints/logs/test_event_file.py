"""TensorBoard's event files beside checkpoints, by the writers of TensorBoard and PyTorch."""

from __future__ import annotations

import os
import struct
import sys

import numpy as np
import pytest

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.logs import find_outcomes
from hmmdyn.errors import LogError
from hmmdyn.logs.event_file import read_events

pytest.importorskip("tensorboard")

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

NAME = "events.out.tfevents.1700000000.host7.4242.0"


def simple(tag, number):
    return Summary.Value(tag=tag, simple_value=number)


def tensor(tag, values, dtype=np.float32):
    return Summary.Value(tag=tag, tensor=make_tensor_proto(values, dtype))


def write(path, *events, name=NAME):
    """An event file of (step, summary values)."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / name).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for step, *values in events:
            writer.write(Event(step=step, summary=Summary(value=values)).SerializeToString())
    return path / name


@pytest.fixture
def root(tmp_path):
    for seed in (0, 1):
        for step in (0, 10, 20):
            path = tmp_path / "mnist" / f"seed{seed}" / f"step_{step}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path / "mnist"


def outcomes_of(root, run="seed0"):
    outcomes = find_outcomes(discover(root))
    table = outcomes.table[outcomes.table["run"] == run].set_index("step")
    found = {name: table[name].dropna().to_dict() for name in outcomes.outcomes}
    return found, " ".join(notice.message for notice in outcomes.notices)


def test_both_kinds_of_scalars_and_nothing_else(root):
    write(
        root / "seed0",
        (0, simple("train/loss", 1.5), tensor("eval_accuracy", 0.25)),
        (10, simple("train/loss", 0.5), tensor("eval_accuracy", 0.75, np.float64)),
        (10, simple("grad_norm", 3.0), tensor("loss_by_class", [1.0, 2.0])),
        (10, tensor("loss_note", b"falling", None), tensor("error", 7, np.int64)),
        (20, simple("train/loss", 0.25)),
    )
    found, told = outcomes_of(root)
    assert found == {
        "train_loss": {0: 1.5, 10: 0.5, 20: 0.25},
        "eval_accuracy": {0: 0.25, 10: 0.75},
        "error": {10: 7.0},
    }
    assert "grad_norm" in told


def test_values_are_bit_for_bit_those_written(tmp_path):
    numbers = np.random.default_rng(0).normal(size=50).astype(np.float32)
    path = write(tmp_path, *((step, simple("loss", x)) for step, x in enumerate(numbers)))
    frame = read_events(path)
    np.testing.assert_array_equal(frame["step"], np.arange(50))
    np.testing.assert_array_equal(frame["loss"], numbers.astype(np.float64))


def test_a_step_logged_again(root):
    write(root / "seed0", (0, simple("loss", 3.0)), (10, simple("loss", 2.0)))
    resumed = NAME.replace("1700000000", "1700009999")
    write(
        root / "seed0",
        *((step, simple("loss", loss)) for step, loss in ((10, 1.0), (20, 0.75), (20, 0.5))),
        name=resumed,
    )
    found, told = outcomes_of(root)
    assert found["loss"] == {0: 3.0, 10: 1.0, 20: 0.5}
    assert f"the last value counts: seed0/{resumed} (1)" in told


def test_whose_log_it_is_and_which_split(root):
    for seed in (0, 1):
        run = root / f"seed{seed}"
        write(run / "logs" / "train", (10, simple("train_loss", 1.0 + seed)))
        write(run / "logs" / "validation", (10, simple("loss", 2.0 + seed)))
    for seed in (0, 1):
        found, _ = outcomes_of(root, f"seed{seed}")
        assert found == {"train_loss": {10: 1.0 + seed}, "validation_loss": {10: 2.0 + seed}}


def test_what_keras_counts_in_epochs(tmp_path):
    path = write(
        tmp_path / "train",
        (0, tensor("epoch_loss", 1.0)),
        (500, tensor("evaluation_loss_vs_iterations", 3.0)),
    )
    frame = read_events(path)
    assert frame["epoch"].dropna().tolist() == [0]
    assert frame["train/epoch_loss"].dropna().tolist() == [1.0]
    assert frame["step"].dropna().tolist() == [500]


def test_a_tag_named_like_the_time(tmp_path):
    frame = read_events(write(tmp_path, (7, simple("step", 1.0), simple("epoch", 2.0))))
    assert frame.to_dict("list") == {"step": [7], "epoch": [2.0]}


def test_what_pytorch_writes(root):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(root / "seed1" / "runs") as writer:
        for step in (0, 10):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
        writer.add_text("note", "hello", 0)
        writer.add_histogram("weights", np.ones(5), 0)
    found, _ = outcomes_of(root, "seed1")
    assert found == {"loss_train": {0: 1.0, 10: float(np.float32(1 / 11))}}


# Damage


def test_the_last_event_of_a_run_that_goes_on(tmp_path):
    path = write(tmp_path, *((step, simple("loss", 1.0)) for step in range(5)))
    whole = path.read_bytes()
    for missing in (1, 5, 17, 30):
        path.write_bytes(whole[:-missing])
        assert len(read_events(path)) == 4


def test_files_without_scalars(tmp_path):
    path = write(tmp_path, (0, tensor("note", b"text", None)))
    for content in (b"", path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(LogError, match="it holds no scalars"):
            read_events(path)


def test_damaged_files_are_named(root):
    path = write(root / "seed0", *((step, simple("loss", 1.0)) for step in (0, 10, 20)))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.rindex(b"loss")] ^= 1
    path.write_bytes(flipped)
    found, told = outcomes_of(root)
    assert found == {}
    assert f"the checksum of an event does not fit): seed0/{NAME}" in told
    path.write_bytes(whole + struct.pack("<Q", 2**62) + bytes(100))
    _, told = outcomes_of(root)
    assert "an event claims 4,611,686,018,427,387,904 bytes" in told
    with path.open("wb") as file:
        RecordWriter(file).write(b"\xff" * 20)  # framed well, and no event
    assert "it is damaged" in outcomes_of(root)[1]
    with path.open("wb") as file:
        forged = tensor("loss", 1.0)
        forged.tensor.tensor_content = bytes(3)
        event = Event(step=1, summary=Summary(value=[forged]))
        RecordWriter(file).write(event.SerializeToString())
    assert "it is damaged" in outcomes_of(root)[1]


def test_pipes_are_not_opened(root):
    os.mkfifo(root / "seed0" / NAME)
    assert outcomes_of(root)[0] == {}


def test_without_tensorboard(root, monkeypatch):
    names = [f"seed{seed}/{NAME}" for seed in (0, 1)]
    for name in names:
        write(root / name.split("/")[0], (0, simple("loss", 1.0)))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    found, told = outcomes_of(root)
    assert found == {}
    assert "pip install 'hmmdyn[tensorboard]'" in told
    assert all(name in told for name in names)
