"""Runs as Weights & Biases keeps them on disk."""

import contextlib
import random
from pathlib import Path

import pytest

from hmmdyn.errors import LogError
from hmmdyn.logs import read_log
from tests.stores.wandb_files import field, items, log_of, written

# Written by wandb 0.31.0: an offline run of four steps, and one with a NaN and an infinity.
REAL = Path(__file__).parents[1] / "stores" / "offline-run.wandb"


def read(tmp_path, data):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(data)
    return read_log(path)


def test_a_run_that_wandb_wrote():
    log = read_log(REAL)
    frame = log.frame
    assert frame["_step"].tolist() == [0, 10, 20, 30, 50]
    assert frame["l2"].tolist()[:4] == [10, 11, 14, 19]
    assert frame["eval/loss"].tolist()[:4] == [2.0, 1.5, 1.0, 0.5]
    assert frame["loss"].tolist()[-1] == float("inf")
    told = frame[["run", "run_id", "group", "seed"]].drop_duplicates().to_numpy().tolist()
    assert told == [["adam-seed0", "yxo6qr60", "adam", "0"]]
    assert log.left_out == {}


def test_records_that_span_blocks(tmp_path):
    history = [{"_step": s, "l2": s / 3, "text": "x" * (s * 1000)} for s in range(120)]
    log = read(tmp_path, written("id", "name", history))
    assert log.frame["l2"].tolist() == [s / 3 for s in range(120)]
    assert log.left_out == {}


def test_nested_values_and_a_step_of_the_record(tmp_path):
    row = field(1, field(2, "eval") + field(2, "loss") + field(16, "0.5"))
    row += field(2, field(1, 70))
    frame = read(tmp_path, log_of([field(2, row), field(2, items({"l2": {"mean": 2.0}}))])).frame
    assert frame["eval/loss"].tolist()[0] == 0.5
    assert frame["l2/mean"].tolist()[1] == 2.0
    assert frame["_step"].tolist()[0] == 70


def test_a_run_that_was_killed_while_it_wrote(tmp_path):
    data = REAL.read_bytes()
    log = read(tmp_path, data[:1250])
    assert log.frame["_step"].tolist() == [0, 10]
    assert log.left_out == {"Records that are damaged or cut short": 1}
    with pytest.raises(LogError, match="without a history"):
        read(tmp_path, data[:300])


def test_damage_costs_a_block_and_is_told(tmp_path):
    history = [{"_step": s, "l2": s / 3, "text": "x" * 1000} for s in range(120)]
    data = bytearray(written("id", "name", history))
    data[40_000] ^= 1
    log = read(tmp_path, bytes(data))
    assert 80 < len(log.frame) < 120
    assert log.frame["_step"].tolist()[-1] == 119
    assert list(log.left_out) == ["Records that are damaged or cut short"]


def test_hostile_records(tmp_path):
    good = field(2, items({"_step": 1, "l2": 2.0}))
    bad = [b"\xff" * 30, field(2, b"\x0a\xff\xff\xff\xff\x0f"), field(2, b"\x0b"), field(2, 7)]
    bad.append(field(2, field(1, field(1, "l2") + field(16, "[" * 100_000))))
    log = read(tmp_path, log_of([*bad, good]))
    assert log.frame["l2"].tolist() == [2.0]
    assert log.left_out == {"Records that are damaged or cut short": len(bad)}


def test_random_damage_raises_nothing_else(tmp_path):
    data, chance = REAL.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(LogError):
            read(tmp_path, bytes(damaged))
