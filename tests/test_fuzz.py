"""Files of every format that is read, damaged at random: read, or refused in words.

A few of each in a run of all tests; ``HMMDYN_FUZZ=2000`` says how many of each else. Whatever goes
wrong is an `HmmdynError` that names the file: nothing else may come out, and nothing may hang.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from hmmdyn import MetricRecorder
from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.formats import limits
from hmmdyn.checkpoints.logs import find_outcomes, join_outcomes
from hmmdyn.checkpoints.parameters import DEFAULT_RULES
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import HmmdynError
from hmmdyn.hmm import TrainingMap
from hmmdyn.metrics.measure import measure_opened
from hmmdyn.record.reader import read_recordings
from hmmdyn.record.rows import RECORDING
from hmmdyn.tables.metric_table import from_frame, read_table, write_table
from tests.checkpoints.hostile import forge
from tests.make_runs import weights

N = int(os.environ.get("HMMDYN_FUZZ", "12"))
WRITTEN = Path(__file__).parent / "checkpoints" / "formats" / "written"


def read_checkpoint(path):
    with open_checkpoint(path) as checkpoint:
        measure_opened(checkpoint, None, DEFAULT_RULES, fingerprint=True)


def read_logs(path):
    index = discover(path)
    join_outcomes(index, find_outcomes(index))


def use_map(path):
    from tests.simulate import phased_table

    TrainingMap.load(path).apply(from_frame(phased_table(n_runs=2)))


def beside_checkpoints(folder, name, content):
    """A run of three checkpoints with a file of outcomes, or the like, beside them."""
    run = folder / "runs" / "seed0"
    run.mkdir(parents=True)
    for step in (0, 10, 20):
        np.savez(run / f"step_{step}.npz", **weights(0, step))
    (run / name).write_bytes(content)
    return run / name, folder / "runs"


def copied(folder, name):
    """A file that its library wrote."""
    return one(shutil.copy(WRITTEN / name, folder / name))


def one(path):
    return Path(path), Path(path)


def whole(folder, name):
    """A folder that its library wrote, any file of which may be damaged."""
    place = shutil.copytree(WRITTEN / name, folder / name)
    return sorted(path for path in place.rglob("*") if path.is_file()), place


def torch_zip(folder):
    path = folder / "a.pt"
    path.write_bytes(forge.state(w=forge.tensor(), x=forge.call("os.system", forge.text("id"))))
    return one(path)


def legacy(folder):
    path = folder / "a.pt"
    path.write_bytes(forge.legacy(forge.dictionary(w=forge.tensor())))
    return one(path)


def npz(folder):
    np.savez(folder / "a.npz", **weights(0, 0))
    return one(folder / "a.npz")


def npy(folder):
    np.save(folder / "a.npy", weights(0, 0)["layers.0.weight"])
    return one(folder / "a.npy")


def safetensors(folder):
    save_file(weights(0, 0), folder / "a.safetensors")
    return one(folder / "a.safetensors")


def shard_index(folder):
    save_file(weights(0, 0), folder / "one.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": dict.fromkeys(weights(0, 0), "one.safetensors")}))
    return one(path)


def gzipped_hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        for name, values in weights(0, 0).items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=values.ndim > 1)
    return one(folder / "a.h5")


def trainer_state(folder):
    history = [
        {"step": s, "epoch": s / 10, "loss": 1 / (1 + s), "eval_loss": 2.0} for s in (10, 20)
    ]
    state = {"global_step": 20, "log_history": history}
    return beside_checkpoints(folder, "trainer_state.json", json.dumps(state).encode())


def csv_log(folder):
    rows = "".join(f"{step},{1 / (1 + step)},0.5\n" for step in range(0, 21, 5))
    return beside_checkpoints(folder, "metrics.csv", f"step,train_loss,eval_acc\n{rows}".encode())


def jsonl_log(folder):
    rows = [json.dumps({"step": step, "loss": 1 / (1 + step)}) for step in range(0, 21, 5)]
    return beside_checkpoints(folder, "log.jsonl", "\n".join(rows).encode())


def event_file(folder):
    pytest.importorskip("tensorboard")
    from tests.checkpoints.logs.test_event_file import NAME, simple, tensor, write

    events = [(s, simple("train/loss", 1 / (1 + s)), tensor("eval/acc", 0.5)) for s in (0, 10, 20)]
    made = write(folder / "made", *events)
    return beside_checkpoints(folder, NAME, made.read_bytes())


def metric_table():
    steps = np.tile(np.arange(0, 60, 10), 2)
    columns = {"norm": 1.5 + np.sin(steps), "sharpness": 2.5 + np.cos(steps), "val_loss": 1.25}
    return from_frame(
        pd.DataFrame({"seed": np.repeat([0, 1], 6), "step": steps, **columns}),
        outcomes=("val_loss",),
    )


def own_parquet(folder):
    """Such as is written: with the metadata of hmmdyn and of pandas."""
    path = folder / "table.parquet"
    write_table(metric_table(), path)
    return one(path)


def csv_table(folder):
    path = folder / "table.csv"
    metric_table().table.to_csv(path, index=False)
    return one(path)


def jsonl_table(folder):
    path = folder / "table.jsonl"
    metric_table().table.to_json(path, orient="records", lines=True)
    return one(path)


def recording(folder):
    with MetricRecorder(folder / "seed0") as recorder:
        for step in range(4):
            recorder.record(weights(0, step), step, train_loss=1 / (1 + step))
    return folder / "seed0" / RECORDING, folder / "seed0"


def training_map(folder):
    """Such as is written, of two states and the metrics of `phased_table`."""
    document = {
        "format": "hmmdyn training map",
        "format_version": 1,
        "hmmdyn_version": "0.1.0",
        "features": ["m0", "m1", "m2"],
        "step_unit": "step",
        "covariance_type": "diag",
        "startprob": [0.75, 0.25],
        "transmat": [[0.9, 0.1], [0.2, 0.8]],
        "means": [[-1.0, -0.5, 0.0], [1.0, 0.5, 0.25]],
        "covariances": [[1.0, 0.5, 0.25], [0.5, 1.0, 2.0]],
        "standardisation": {
            "kind": "pooled", "first": None, "mean": [0.0, 1.0, 2.0], "deviation": [1.0, 2.0, 3.0],
        },
        "options": {"protocol": "bic"},
    }  # fmt: skip
    path = folder / "map.json"
    path.write_text(json.dumps(document))
    return one(path)


FORMATS = {
    "torch": (torch_zip, read_checkpoint),
    "torch, before 1.6": (legacy, read_checkpoint),
    "npz": (npz, read_checkpoint),
    "npy": (npy, read_checkpoint),
    "safetensors": (safetensors, read_checkpoint),
    "index of shards": (shard_index, read_checkpoint),
    "Flax": (lambda folder: copied(folder, "checkpoint_3"), read_checkpoint),
    "Keras": (lambda folder: copied(folder, "model.keras"), read_checkpoint),
    "HDF5": (gzipped_hdf5, read_checkpoint),
    "Orbax, OCDBT": (lambda folder: whole(folder, "orbax_ocdbt"), read_checkpoint),
    "Orbax, Zarr": (lambda folder: whole(folder, "orbax_zarr"), read_checkpoint),
    "Orbax, Zarr 3": (lambda folder: whole(folder, "orbax_zarr3"), read_checkpoint),
    "trainer state": (trainer_state, read_logs),
    "CSV log": (csv_log, read_logs),
    "JSON lines log": (jsonl_log, read_logs),
    "event file": (event_file, read_logs),
    "recording": (recording, read_recordings),
    "table, CSV": (csv_table, read_table),
    "table, JSON lines": (jsonl_table, read_table),
    "table, Parquet": (own_parquet, read_table),
    "training map": (training_map, use_map),
}
# What text formats are damaged with beside bytes: numbers and nesting that parsers trip over.
TOKENS = [
    b"9" * 400, b"-1", b"0", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"[" * 3000,
    b"1.5", b"\x00", b"\xff\xfe", b",", b"\n", b'"', b"__proto__", b"18446744073709551616",
]  # fmt: skip
NUMBER = b"0123456789"


def damaged(data, draw):
    """The bytes with some changed, dropped, repeated or cut off, or other words for numbers."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        at = int(draw.integers(max(1, len(data))))
        kind = draw.integers(7)
        if kind == 0:
            data[at : at + 1] = bytes([draw.integers(256)])
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << int(draw.integers(8))
        elif kind == 2:
            del data[at : at + int(draw.integers(1, 9))]
        elif kind == 3:
            data[at:at] = data[: int(draw.integers(1, 30))]
        elif kind == 4:
            data[at : at + 8] = struct.pack("<q", int(draw.choice([-1, 0, 2**31, 2**62])))
        elif kind == 5:
            digits = [i for i, byte in enumerate(data[at : at + 200], at) if byte in NUMBER]
            start = digits[0] if digits else at
            end = start
            while end < len(data) and data[end] in b"0123456789.-e":
                end += 1
            data[start:end] = TOKENS[draw.integers(len(TOKENS))]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused_in_words(name, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_OPENING_CPU", 2.0)
    make, read = FORMATS[name]
    files, place = make(tmp_path)
    read(place)
    files = files if isinstance(files, list) else [files]
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    outcomes = {"read": 0, "refused": 0}
    escaped, longest = [], 0
    for i in range(N):
        file = files[draw.integers(len(files))]
        good = file.read_bytes()
        file.write_bytes(damaged(good, draw))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(place)
            outcomes["read"] += 1
        except HmmdynError as error:
            outcomes["refused"] += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            escaped.append(f"{i}: {type(error).__name__}: {error}"[:300])
            if kept := os.environ.get("HMMDYN_FUZZ_KEEP"):
                shutil.copy(file, Path(kept) / f"{name}-{i}{file.suffix}".replace(" ", "_"))
        file.write_bytes(good)
    print(f"| {name} | {N:,} | {outcomes['read']:,} | {outcomes['refused']:,} | {len(escaped)} |")
    assert not escaped, escaped[:10]
    assert longest < 3000  # characters
