"""Places that are no path of this machine, in fsspec's memory."""

import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from hmmdyn import Options, open_checkpoint, read_runs, scan
from hmmdyn.errors import MissingPackageError, NoCheckpointsError, TableError, UsageError
from hmmdyn.places import place, shown, with_layout
from hmmdyn.sources import expected_traffic
from hmmdyn.tables.metric_table import write_table
from tests.make_runs import weights, write_runs
from tests.test_cli import run

fsspec = pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def copied(folder, memory, to):
    for file in folder.rglob("*"):
        if file.is_file():
            memory.pipe_file(f"/{to}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def test_runs_and_outcomes_are_those_of_the_disk(tmp_path, memory):
    root = write_runs(tmp_path / "runs")
    copied(root, memory, "box/runs")
    found = read_runs("memory://box/runs").table.drop(columns="mtime_ns")
    pd.testing.assert_frame_equal(found, read_runs(root).table.drop(columns="mtime_ns"))


def test_an_index_names_the_same_runs(tmp_path, memory):
    root = write_runs(tmp_path / "runs")
    copied(root, memory, "box/runs")
    here, there = scan(root), scan("memory://box/runs")
    for one, other in zip(here.checkpoints, there.checkpoints, strict=True):
        assert (one.group, one.run, one.step, one.size) == (
            other.group, other.run, other.step, other.size
        )  # fmt: skip
        assert one.path.relative_to(root) == other.path.relative_to(there.root)
    assert here.notices == there.notices


def test_a_folder_of_logs_is_read(tmp_path, memory):
    root = write_runs(tmp_path / "runs")
    for file in root.rglob("*.safetensors"):
        file.unlink()
    copied(root, memory, "box/runs")
    found = read_runs("memory://box/runs")
    pd.testing.assert_frame_equal(found.table, read_runs(root).table)


def test_runs_of_keras_files_are_measured(tmp_path, memory):
    h5py = pytest.importorskip("h5py")
    for seed in (0, 1):
        (tmp_path / f"runs/seed{seed}").mkdir(parents=True)
        for step in (0, 10, 20):
            file = tmp_path / f"runs/seed{seed}/step_{step}.weights.h5"
            with h5py.File(file, "w") as written:
                for name, values in weights(seed, step).items():
                    written[name.replace(".", "/")] = values
    copied(tmp_path / "runs", memory, "box/runs")
    found = read_runs("memory://box/runs").table.drop(columns="mtime_ns")
    here = read_runs(tmp_path / "runs").table.drop(columns="mtime_ns")
    pd.testing.assert_frame_equal(found, here)
    assert len(found) == 6


def test_event_files_are_read(tmp_path, memory):
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    root = write_runs(tmp_path / "runs", n_runs=1, outcomes=False)
    with (root / "seed0/events.out.tfevents.1.host").open("wb") as file:
        for step in range(0, 160, 10):
            values = [Summary.Value(tag="loss", simple_value=2.0 - step / 160)]
            RecordWriter(file).write(
                Event(step=step, summary=Summary(value=values)).SerializeToString()
            )
    copied(root, memory, "box/runs")
    found = read_runs("memory://box/runs")
    assert found.outcomes == ("loss",)
    pd.testing.assert_series_equal(found.table["loss"], read_runs(root).table["loss"])


@pytest.mark.parametrize("name", ["metrics.parquet", "metrics.csv", "metrics.csv.gz"])
def test_a_table_is_read_with_the_parts_beside_it(tmp_path, memory, name):
    runs = read_runs(write_runs(tmp_path / "runs"), Options(by=("layer",)))
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / name
    if name.endswith("parquet"):
        write_table(runs, file)
    else:
        runs.table.to_csv(file, index=False)
    copied(tmp_path / "tables", memory, "box")
    found, here = read_runs(f"memory://box/{name}"), read_runs(file)
    pd.testing.assert_frame_equal(found.table, here.table)
    pd.testing.assert_frame_equal(found.parts, here.parts)
    assert (found.metrics, found.outcomes) == (here.metrics, here.outcomes)
    assert len(found.parts) > 0 or not name.endswith("parquet")
    a_map = tmp_path / "map.json"
    quickly = ["--states", "2", "--protocol", "bic", "--restarts", "1"]
    run("fit", f"memory://box/{name}", "-o", str(a_map), *quickly)
    assert a_map.exists()


def test_a_list_of_tables_is_read(tmp_path, memory):
    (tmp_path / "logs").mkdir()
    for seed in (0, 1):
        rows = "".join(f"{step},{step * seed + 1.5}\n" for step in range(5))
        (tmp_path / f"logs/seed{seed}.csv").write_text(f"step,l2\n{rows}")
    copied(tmp_path, memory, "box")
    names = ["seed0.csv", "seed1.csv"]
    found = read_runs([f"memory://box/logs/{name}" for name in names])
    here = read_runs([tmp_path / "logs" / name for name in names])
    pd.testing.assert_frame_equal(found.table, here.table)
    with pytest.raises(TableError, match="lie in different stores"):
        read_runs(["memory://box/logs/seed0.csv", tmp_path / "logs/seed1.csv"])


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_trackers_database_is_read(tmp_path, memory, journal):
    with closing(sqlite3.connect(tmp_path / "project.db")) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("CREATE TABLE metrics (run_name, step, metrics)")
        for step in range(5):
            row = ("seed0", step, json.dumps({"l2": 1.5 + step}))
            db.execute("INSERT INTO metrics VALUES (?, ?, ?)", row)
        db.commit()
    copied(tmp_path, memory, "box")
    found = read_runs("memory://box/project.db").table
    pd.testing.assert_frame_equal(found, read_runs(tmp_path / "project.db").table)
    assert list(found["l2"]) == [1.5, 2.5, 3.5, 4.5, 5.5]


def test_a_table_that_is_not_there_or_none_is_said(memory):
    memory.pipe_file("/box/a.csv", b"")
    with pytest.raises(TableError, match=r"memory://box/a\.csv cannot be read as a table: it is"):
        read_runs("memory://box/a.csv")
    with pytest.raises(TableError, match=r"There is no file memory://box/none\.csv"):
        read_runs("memory://box/none.csv")


def test_measurements_are_kept_where_a_store_tells_no_versions(tmp_path, memory):
    copied(write_runs(tmp_path / "runs", n_runs=1), memory, "box/runs")
    cache, told = tmp_path / "cache.parquet", []
    first = read_runs("memory://box/runs", cache=cache).table
    memory.pipe_file("/box/runs/seed0/step_10.safetensors", _saved(weights(9, 10)))
    again = read_runs(
        "memory://box/runs", cache=cache, progress=lambda *all: told.append(all)
    ).table
    assert ("reused", 15, 16) in told
    assert list(np.flatnonzero(first["l2"] != again["l2"])) == [1]


def _saved(tensors):
    from safetensors.numpy import save

    return save(tensors)


def test_shards_and_numpy_files_are_read(tmp_path, memory):
    from safetensors.numpy import save_file

    tensors = weights(0, 0)
    (tmp_path / "step_1").mkdir()
    names = list(tensors)
    for i, part in enumerate((names[:2], names[2:]), 1):
        save_file(
            {n: tensors[n] for n in part}, tmp_path / f"step_1/model-0000{i}-of-00002.safetensors"
        )
    weight_map = {n: f"model-0000{1 + (n in names[2:])}-of-00002.safetensors" for n in names}
    (tmp_path / "step_1/model.safetensors.index.json").write_text(
        '{"weight_map": ' + str(weight_map).replace("'", '"') + "}"
    )
    np.savez(tmp_path / "step_2.npz", **tensors)
    np.savez_compressed(tmp_path / "step_3.npz", **tensors)
    copied(tmp_path, memory, "box")
    for name, kind in {
        "step_1": "safetensors (sharded)",
        "step_1/model.safetensors.index.json": "safetensors (sharded)",
        "step_2.npz": "npz",
        "step_3.npz": "npz",
    }.items():
        with open_checkpoint(f"memory://box/{name}") as checkpoint:
            assert checkpoint.format == kind
            for tensor, values in tensors.items():
                np.testing.assert_array_equal(checkpoint[tensor].read(), values)


def test_files_of_pytorch_are_read(tmp_path, memory):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(values) for name, values in weights(0, 0).items()}
    big = torch.arange(3 * 2**20, dtype=torch.bfloat16).reshape(-1, 1024)
    torch.save({"state_dict": {**tensors, "big": big}}, tmp_path / "step_1.pt")
    copied(tmp_path, memory, "box")
    with open_checkpoint("memory://box/step_1.pt") as checkpoint:
        for name, values in tensors.items():
            np.testing.assert_array_equal(checkpoint[name].read(), values.numpy())
        np.testing.assert_array_equal(checkpoint["big"].read(), big.float().numpy())


def test_a_place_is_a_path_unless_it_is_a_url(tmp_path):
    assert place(str(tmp_path)) == tmp_path
    assert place(f"file://{tmp_path}") == tmp_path
    assert str(place("memory://box/runs/")) == "memory://box/runs"
    assert place("memory://box/runs").parent.name == "box"


@pytest.mark.parametrize(
    ("url", "root", "layout"),
    [
        ("memory://box/a/{group}-{seed}/{step}.pt", "memory://box/a", "{group}-{seed}/{step}.pt"),
        ("memory://box/a*/s{step}", "memory://box", "a*/s{step}"),
        ("memory://box/a", "memory://box/a", None),
    ],
)
def test_a_url_may_end_in_a_layout(url, root, layout):
    found, rest = with_layout(url, None)
    assert (str(found), rest) == (root, layout)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:secret@host:81/a?sig=secret#secret", "https://host:81/a"),
        ("hf://owner/name-seed{seed}@step{step}", "hf://owner/name-seed{seed}@step{step}"),
        ("runs/a@b?c", "runs/a@b?c"),
    ],
)
def test_a_url_is_told_without_secrets(url, told):
    assert shown(url) == told


@pytest.mark.parametrize("url", ["memory://", "simplecache::memory://box", "s5://bucket/runs"])
def test_a_url_that_names_no_place_is_refused(url):
    with pytest.raises(UsageError, match=r"names no place|is no store that is known"):
        read_runs(url)


def test_nothing_there_is_said(memory):
    with pytest.raises(NoCheckpointsError, match=r"memory://box/none does not exist"):
        read_runs("memory://box/none")


def test_a_missing_package_is_named(monkeypatch):
    def missing(protocol):
        raise ImportError

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    with pytest.raises(MissingPackageError, match=r"needs the package s3fs.*'hmmdyn\[remote\]'"):
        read_runs("s3://bucket/runs")


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hmmdyn\[remote\]'"):
        read_runs("memory://box/runs")


def test_the_runs_left_out_are_left_out(tmp_path, memory):
    copied(write_runs(tmp_path / "runs"), memory, "box/runs")
    found = read_runs("memory://box/runs", Options(exclude_runs=("seed1",)))
    assert set(found.table["run"]) == {"seed0", "seed2"}
    shutil.rmtree(tmp_path / "runs")


def test_only_the_tensors_asked_for_are_read_and_it_is_told(tmp_path, memory):
    root = write_runs(tmp_path / "runs", n_runs=1)
    copied(root, memory, "box/runs")
    options = Options(tensors=(r"layers\.0\.",))
    found = read_runs("memory://box/runs", options)
    alone = read_runs(root, Options(exclude=(r"layers\.1\.",)))
    pd.testing.assert_frame_equal(found.table[[*found.metrics]], alone.table[[*alone.metrics]])
    assert any(
        "2 not asked for (layers.1.bias, layers.1.weight)" in n.message for n in found.notices
    )


def test_what_will_be_moved_is_told_before(tmp_path, memory):
    copied(write_runs(tmp_path / "runs", n_runs=2), memory, "box/runs")
    index = scan("memory://box/runs")
    each = sum(values.nbytes for values in weights(0, 0).values())
    first = weights(0, 0)["layers.0.weight"].nbytes
    told = expected_traffic(index, Options())
    assert (told.n_bytes, told.n_checkpoints) == (32 * each, 32)
    assert told.size == sum(file.size for file in index.checkpoints)
    only = Options(tensors=(r"layers\.0\.weight",), metrics=("movement",))
    assert expected_traffic(index, only).n_bytes == 3 * 32 * first
    assert expected_traffic(scan(tmp_path / "runs"), Options()) is None


def test_a_scan_says_how_much_would_be_moved(tmp_path, memory):
    from typer.testing import CliRunner

    from hmmdyn.cli.main import app

    copied(write_runs(tmp_path / "runs", shape=(300, 400)), memory, "box/runs")
    shown = CliRunner().invoke(app, ["scan", "memory://box/runs", "--tensors", "weight"])
    assert shown.exit_code == 0, shown.output
    each = 4 * (300 * 400 + 2 * 300)
    assert f"about {48 * each / 1e6:,.1f} MB are read from memory://box/runs" in shown.output
