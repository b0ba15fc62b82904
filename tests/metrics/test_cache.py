"""The file of measurements: damage is noticed and mended, others' checkpoints and rows are, too."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.parameters import DEFAULT_RULES
from hmmdyn.checkpoints.probe import content_probe
from hmmdyn.metrics import cache as module
from hmmdyn.metrics.cache import MeasurementCache, place_for
from hmmdyn.metrics.extract import extract
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import select_metrics
from tests.make_runs import weights, write_runs

STEPS = range(0, 120, 10)
N = 3 * len(STEPS)


@pytest.fixture
def index(tmp_path):
    return discover(write_runs(tmp_path / "runs", steps=STEPS, outcomes=False))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kept.parquet"


def told(extraction):
    return [n.message for n in extraction.notices if n.subject == "measurements kept"]


def same(found, expected):
    pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)


def opened(index, place):
    return MeasurementCache(place, index.root, DEFAULT_RULES)


def flipped(data, at, bit):
    data = bytearray(data)
    data[at] ^= 1 << bit
    return bytes(data)


@pytest.mark.parametrize("part", ["group 0", "group 1", "group 2", "group 3", "footer"])
def test_a_flipped_bit_never_gives_another_number(index, place, monkeypatch, part):
    """Wherever it is: read right, or not at all."""
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 9)
    expected = extract(index, cache=place)
    whole = place.read_bytes()
    metadata = pq.read_metadata(place)
    assert metadata.num_row_groups == 4
    if part == "footer":
        start, end = len(whole) - metadata.serialized_size - 8, len(whole)
    else:
        group = metadata.row_group(int(part[-1]))
        columns = [group.column(i) for i in range(group.num_columns)]
        start = min(c.dictionary_page_offset or c.data_page_offset for c in columns)
        end = start + sum(c.total_compressed_size for c in columns)
    draw = random.Random(part)
    right = {file: opened(index, place).get(file) for file in index.checkpoints}
    n_lost = []
    for _ in range(25):
        place.write_bytes(flipped(whole, draw.randrange(start, end), draw.randrange(8)))
        with opened(index, place) as store:
            found = {file: store.get(file) for file in index.checkpoints}
        assert all(measurement in (None, right[file]) for file, measurement in found.items())
        n_lost.append(sum(measurement is None for measurement in found.values()))
        assert not n_lost[-1] or store.n_damaged != 0
    if part != "footer":
        assert max(n_lost) > 0
        assert sorted(n_lost)[len(n_lost) // 2] <= 9  # what is elsewhere is kept
    again = extract(index, cache=place)
    same(again, expected)
    assert place.read_bytes() == whole or not n_lost[-1]


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.5, 0.9999])
def test_an_empty_or_cut_file_is_made_again(index, place, kept):
    expected = extract(index, cache=place)
    whole = place.read_bytes()
    length = int(len(whole) * kept) if kept != 0.0001 else 4
    place.write_bytes(whole[:length])
    found = extract(index, cache=place)
    same(found, expected)
    assert found.n_computed == N
    (message,) = told(found)
    assert "could not be read" in message
    assert place.read_bytes() == whole
    assert not told(extract(index, cache=place))


def test_what_is_beyond_reading_is_put_aside(index, place):
    place.write_bytes(b"PAR1 somebody's table, half copied")
    extract(index, cache=place)
    aside = place.with_name("kept.parquet.damaged")
    assert aside.read_bytes().endswith(b"half copied")


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_a_checkpoint_replaced_by_one_of_the_same_size_and_time_is_measured_again(
    tmp_path, place, kind
):
    def save(step, tensors):
        path = tmp_path / "runs" / "seed0" / f"step_{step}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path) if kind == "safetensors" else np.savez(path, **tensors)
        return path

    paths = [save(step, weights(0, step)) for step in STEPS]
    index = discover(tmp_path / "runs")
    extract(index, cache=place)
    status = paths[5].stat()
    save(50, weights(1, 50))  # as `cp -p` and `rsync -t` do
    os.utime(paths[5], ns=(status.st_atime_ns, status.st_mtime_ns))
    again = discover(tmp_path / "runs")
    assert again == index
    found = extract(again, cache=place)
    assert (found.n_computed, found.n_reused) == (1, len(STEPS) - 1)
    same(found, extract(again))


def test_probes_of_folders_and_shards(tmp_path):
    import json

    folder = tmp_path / "step_1"
    (folder / "part").mkdir(parents=True)
    (folder / "a").write_bytes(bytes(100_000))
    (folder / "part" / "b").write_bytes(bytes(10))
    save_file(weights(0, 0), folder / "one.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "one.safetensors"}}))
    probes = {content_probe(folder), content_probe(index)}
    (folder / "part" / "b").write_bytes(bytes(9) + b"1")
    assert content_probe(folder) not in probes
    probes.add(content_probe(folder))
    save_file(weights(0, 1), folder / "one.safetensors")
    assert not {content_probe(folder), content_probe(index)} & probes
    assert content_probe(tmp_path / "gone") == ""
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"w": "../gone"}}'):
        index.write_text(text)
        content_probe(index)


def test_two_at_once_keep_what_both_measured(index, place):
    first, second = opened(index, place), opened(index, place)
    half = len(index.checkpoints) // 2
    names = tuple(metric.name for metric in select_metrics(None))
    for store, files in (
        (first, index.checkpoints[:half]),
        (second, index.checkpoints[half:]),
    ):
        with store:
            for file in files:
                assert store.get(file) is None
                store.put(file, measure(file.path, names, DEFAULT_RULES))
    third = opened(index, place)
    assert all(third.get(file) for file in index.checkpoints)


def test_the_place_goes_with_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    one, other = tmp_path / "a" / "runs", tmp_path / "b" / "runs"
    for root in (one, other):
        root.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert place_for(one) == place_for(one.parent / "." / "runs")
    assert place_for(one) != place_for(other)
    assert place_for(one).parent == tmp_path / "kept" / "hmmdyn" / "metrics"
    assert place_for(one).name.startswith("runs-")


def test_a_moved_checkpoint_of_another_size_is_another_one(index, place):
    extract(index, cache=place)
    file = index.checkpoints[0]
    assert opened(index, place).get(file)
    assert opened(index, place).get(replace(file, size=file.size + 1)) is None
    shutil.rmtree(index.root)
    assert opened(index, place).get(file) is None
