"""Orbax checkpoints, against Orbax' own folders and against what TensorStore wrote."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters
from hmmdyn.checkpoints.read import open_checkpoint
from tests.checkpoints.formats.written.write import pattern
from tests.checkpoints.reading import (
    assert_reads,
    assert_survives,
    outcome_apart,
    refusal,
    scrambled,
)

tensorstore = pytest.importorskip("tensorstore")
msgpack = pytest.importorskip("msgpack")

WRITTEN = Path(__file__).parent / "written"
MODEL = {
    "Dense_0.kernel": pattern(0, (2, 3)),
    "Dense_0.bias": pattern(1, (3,)),
    "LayerNorm_0.scale": pattern(2, (3,)),
}
DTYPES = {"Dense_0.bias": "bfloat16", "LayerNorm_0.scale": "float16"}


def write(folder, name, values, *, driver="zarr", database=False, **metadata):
    """One array of an Orbax folder, written as Orbax does."""
    folder.mkdir(exist_ok=True)
    (folder / "_METADATA").write_text("{}")
    files = {"driver": "file", "path": f"{folder}/"}
    if database:
        kvstore = {"driver": "ocdbt", "base": files, "path": f"{name}/"}
    else:
        kvstore = files | {"path": f"{folder}/{name}/"}
    if driver == "zarr":
        metadata = {"compressor": {"id": "zstd"}, "chunks": list(values.shape) or [], **metadata}
    spec = {"driver": driver, "kvstore": kvstore, "metadata": metadata}
    array = tensorstore.open(
        spec, create=True, dtype=tensorstore.dtype(values.dtype), shape=values.shape
    ).result()
    array.write(values).result()
    return folder


@pytest.mark.parametrize("name", ["orbax_ocdbt", "orbax_zarr", "orbax_zarr3", "orbax_manager/10"])
def test_what_orbax_wrote(name):
    checkpoint = assert_reads(WRITTEN / name, MODEL, DTYPES)
    assert checkpoint.format == "orbax"
    assert checkpoint.scalars == ({"val_loss": 0.5} if "manager" in name else {})
    assert checkpoint.left_out == {"opt_state": "kept beside the model"}
    selected = select_parameters(checkpoint, DEFAULT_RULES)
    assert selected.weights == ("Dense_0.kernel",)
    assert selected.biases == ("Dense_0.bias",)


def test_the_state_of_an_nnx_module():
    with open_checkpoint(WRITTEN / "orbax_nnx") as checkpoint:
        assert list(checkpoint) == [
            *("norm.bias", "norm.mean", "norm.scale", "norm.var", "out.bias", "out.kernel")
        ]
        np.testing.assert_array_equal(checkpoint["out.kernel"].read(), pattern(0, (2, 3)))
        selected = select_parameters(checkpoint, DEFAULT_RULES)
    assert selected.weights == ("out.kernel",)


def test_a_folder_of_steps_is_not_a_checkpoint(tmp_path):
    assert "no file that is a checkpoint" in refusal(WRITTEN / "orbax_manager")
    for step in ("1", "2"):
        write(tmp_path / step, "w", np.ones(3))
    assert "no file that is a checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("mark", ["_CHECKPOINT_METADATA", "orbax.checkpoint"])
def test_a_step_is_told_by_its_mark(tmp_path, mark):
    values = np.ones((2, 3), np.float32)
    step = tmp_path / "7"
    step.mkdir()
    write(step / "pytree", "w", values)
    assert "no file that is a checkpoint" in refusal(step)
    (step / mark).write_text("{}")
    assert_reads(step, {"w": values})


@pytest.mark.parametrize("database", [False, True])
@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "uint32", "int64", "float16", "float32", "float64", "complex64"),
        *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn),
    ],
)
def test_every_dtype(tmp_path, dtype, driver, database):
    values = np.arange(6).astype(dtype).reshape(2, 3)
    write(tmp_path / "a", "params.w", values, driver=driver, database=database)
    with open_checkpoint(tmp_path / "a") as checkpoint:
        assert checkpoint["w"].dtype == values.dtype.name
        assert checkpoint["w"].shape == (2, 3)
        assert checkpoint["w"].read().tolist() == values.tolist()


@pytest.mark.parametrize("metadata", [{"chunks": [2, 2]}, {"chunks": [2, 5], "order": "F"}])
def test_arrays_in_chunks(tmp_path, metadata):
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    folder = write(tmp_path / "a", "w", values, **metadata)
    assert_reads(folder, {"w": values})


def test_big_endian_and_scalars(tmp_path):
    folder = write(tmp_path / "a", "w", np.arange(3.0), dtype=">f8")
    write(folder, "loss", np.array(0.25))
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint["w"].read().dtype.isnative
        assert checkpoint["w"].read().tolist() == [0, 1, 2]
        assert checkpoint.scalars == {"loss": 0.25}


def test_initial_zeros_that_are_not_stored(tmp_path):
    zeros = np.zeros((1000, 1000), np.float32)
    folder = write(tmp_path / "a", "w", zeros, dtype="<f4", fill_value=0)
    assert [file.name for file in (folder / "w").iterdir()] == [".zarray"]
    assert_reads(folder, {"w": zeros})


def test_arrays_that_early_versions_put_together(tmp_path):
    folder = write(tmp_path / "a", "params.w", np.ones((2, 2), np.float32))
    (folder / "_METADATA").unlink()
    packed = msgpack.packb(((2,), "float32", np.arange(2, dtype="f4").tobytes()))
    tree = {"params": {"b": msgpack.ExtType(1, packed), "w": "PLACEHOLDER://params.w"}}
    (folder / "checkpoint").write_bytes(msgpack.packb(tree))
    assert_reads(folder, {"w": np.ones((2, 2)), "b": np.arange(2)})


def test_parts_of_a_step(tmp_path):
    (tmp_path / "_CHECKPOINT_METADATA").write_text('{"metrics": {"loss": 0.5, "note": "x"}}')
    write(tmp_path / "params", "w", np.ones((2, 2), np.float32))
    write(tmp_path / "opt_state", "mu", np.ones((2, 2), np.float32))
    checkpoint = assert_reads(tmp_path, {"w": np.ones((2, 2))})
    assert checkpoint.scalars == {"loss": 0.5}
    assert checkpoint.left_out == {"opt_state": "kept beside the model"}


# What leads elsewhere


def test_no_json_file_names_what_is_opened(tmp_path):
    """Descriptions that point to another folder change nothing."""
    secret = write(tmp_path / "secret", "w", np.full(3, 7.0, np.float32))
    folder = write(tmp_path / "a", "w", np.ones(3, np.float32))
    elsewhere = {"driver": "file", "path": f"{secret}/w/"}
    spec = {"driver": "zarr", "kvstore": elsewhere, "path": str(secret), "base": elsewhere}
    (folder / "_METADATA").write_text(json.dumps({"tree_metadata": {"('w',)": spec}, **spec}))
    (folder / "_sharding").write_text(json.dumps(spec))
    assert_reads(folder, {"w": np.ones(3)})
    array = folder / "w" / ".zarray"
    array.write_text(json.dumps(json.loads(array.read_text()) | spec))
    assert_reads(folder, {"w": np.ones(3)})
    tree = {"w": {"driver": "zarr", "kvstore": {"path": f"{secret}/w/"}}, "v": f"{secret}/w"}
    (folder / "checkpoint").write_bytes(msgpack.packb(tree))
    assert_reads(folder, {"w": np.ones(3)})


def crc32c(data):
    sum_ = 0xFFFFFFFF
    for byte in data:
        sum_ ^= byte
        for _ in range(8):
            sum_ = (sum_ >> 1) ^ (0x82F63B78 if sum_ & 1 else 0)
    return sum_ ^ 0xFFFFFFFF


def test_a_database_cannot_name_files_outside(tmp_path):
    """Orbax merges the databases of its processes into one that names their files by path."""
    folder = tmp_path / "a"
    context = tensorstore.Context()

    def database(path):
        spec = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/"}}
        config = {"compression": None, "max_inline_value_bytes": 0}
        return tensorstore.KvStore.open(spec | {"config": config}, context=context).result()

    write(folder, "w", np.arange(500, dtype=np.float32))
    process = folder / "ocdbt.process_0"
    for file in (folder / "w").iterdir():
        database(process).write(f"w/{file.name}", file.read_bytes()).result()
    shutil.rmtree(folder / "w")
    merging = tensorstore.Transaction(atomic=True)
    merged = database(folder).with_transaction(merging)
    database(process).experimental_copy_range_to(merged).result()
    merging.commit_async().result()
    assert_reads(folder, {"w": np.arange(500)})

    process.rename(tmp_path / "secret.files")
    inside, outside = b"ocdbt.process_0/", b"../secret.files/"
    (node,) = (folder / "d").iterdir()
    body = node.read_bytes()[:-4]
    assert inside in body
    body = body.replace(inside, outside)
    node.write_bytes(body + crc32c(body).to_bytes(4, "little"))
    assert "Invalid key" in refusal(folder)


def test_folders_and_pipes_in_the_way(tmp_path):
    folder = write(tmp_path / "a", "w", np.ones(3, np.float32))
    (folder / "away").symlink_to(WRITTEN, target_is_directory=True)
    assert "away is neither a file nor a folder of its own" in refusal(folder)
    (folder / "away").unlink()
    (folder / "w" / "0").unlink()
    os.mkfifo(folder / "w" / "0")  # who opens it waits for ever
    message, _ = outcome_apart(folder, WRITTEN / "orbax_zarr")
    assert "w/0 is neither a file nor a folder of its own" in message
    (folder / "w" / "0").unlink()
    (folder / "w" / "0").symlink_to("nothing")
    assert "cannot be read" in refusal(folder)


# Damage, and claims that cannot be true


def test_unfinished_and_empty_folders(tmp_path):
    folder = write(tmp_path / "5.orbax-checkpoint-tmp-17", "w", np.ones(3, np.float32))
    assert "it was not finished" in refusal(folder)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "_CHECKPOINT_METADATA").write_text("{}")
    assert "holds no arrays" in refusal(tmp_path / "b")
    (tmp_path / "b" / "_CHECKPOINT_METADATA").write_text("[" * 100_000)
    write(tmp_path / "b" / "state", "w", np.ones(3, np.float32))
    assert "is not valid JSON" in refusal(tmp_path / "b")


@pytest.mark.parametrize("name", ["orbax_ocdbt", "orbax_zarr", "orbax_zarr3"])
def test_every_file_scrambled_or_missing(tmp_path, name):
    shutil.copytree(WRITTEN / name, tmp_path / name)
    n_refused = 0
    for path in sorted((tmp_path / name).rglob("*")):
        if path.is_file():
            whole = path.read_bytes()
            changes = [*scrambled(whole, 3, 4), b"", whole[: len(whole) // 2], whole]
            n_refused += assert_survives(path, changes, tmp_path / name)
    assert n_refused > 10


def rewrite(folder, **changes):
    path = folder / "w" / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_sizes_that_nothing_backs(tmp_path):
    folder = write(tmp_path / "a", "w", np.ones(4, np.float32))
    assert "claim 4,398,046,511,104 bytes" in refusal(rewrite(folder, shape=[2**40]))
    assert "claim 4,398,046,511,104 bytes" in refusal(rewrite(folder, shape=[1], chunks=[2**40]))
    assert "in 16,777,216 pieces" in refusal(rewrite(folder, shape=[2**24], chunks=[1]))
    assert "do not trust it" in refusal(rewrite(folder, shape=[2**62, 2**62], chunks=[1, 1]))
    assert "it is damaged" in refusal(rewrite(folder, shape=[-4]))


def test_an_array_inside_an_array(tmp_path):
    folder = write(tmp_path / "a", "w", np.ones(2, np.float32))
    write(folder, "w.v", np.ones(2, np.float32))
    assert "an array inside another" in refusal(folder)


def test_names_nested_too_deeply(tmp_path):
    folder = write(tmp_path / "a", "a." * 5000 + "w", np.ones(2, np.float32), database=True)
    assert "levels deep" in refusal(folder)


@pytest.mark.parametrize("method", ["zstd", "zlib", "bz2", "blosc"])
def test_a_chunk_that_inflates_to_more_than_a_chunk(tmp_path, method):
    options = {"compressor": {"id": method}}
    if method == "blosc":
        options = {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 0}}
    zeros = np.zeros(2**28, np.uint8)
    folder = write(tmp_path / "a", "w", zeros, dtype="|u1", fill_value=1, **options)
    assert (folder / "w" / "0").stat().st_size < 2**22
    rewrite(folder, shape=[4], chunks=[4])
    message, grown = outcome_apart(folder, WRITTEN / "orbax_zarr")
    assert message.startswith("refused")
    assert grown < 64


def test_without_tensorstore(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    assert "pip install 'hmmdyn[orbax]'" in refusal(WRITTEN / "orbax_ocdbt")
