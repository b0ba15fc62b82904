"""Keras and HDF5 files, against Keras' own files and against what h5py wrote."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hmmdyn.checkpoints.formats.keras_names import names_of, snake_case
from hmmdyn.checkpoints.matrices import as_matrices, axes_of
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.checkpoints.tensor import LazyTensor
from tests.checkpoints.formats.written.write import pattern
from tests.checkpoints.reading import (
    assert_reads,
    assert_survives,
    outcome_apart,
    refusal,
    scrambled,
)

h5py = pytest.importorskip("h5py")

WRITTEN = Path(__file__).parent / "written"

# Every variable of the model that written/write.py makes: its number there, and its shape.
VARIABLES = {
    "stem/kernel": (0, (2, 2, 2, 4)),
    "stem/bias": (1, (4,)),
    "batch_normalization/gamma": (2, (4,)),
    "batch_normalization/beta": (3, (4,)),
    "batch_normalization/moving_mean": (4, (4,)),
    "batch_normalization/moving_variance": (5, (4,)),
    "multi_head_attention/query_dense/kernel": (6, (4, 2, 3)),
    "multi_head_attention/query_dense/bias": (7, (2, 3)),
    "multi_head_attention/key_dense/kernel": (8, (4, 2, 3)),
    "multi_head_attention/key_dense/bias": (9, (2, 3)),
    "multi_head_attention/value_dense/kernel": (10, (4, 2, 3)),
    "multi_head_attention/value_dense/bias": (11, (2, 3)),
    "multi_head_attention/output_dense/kernel": (12, (2, 3, 4)),
    "multi_head_attention/output_dense/bias": (13, (4,)),
    "embedding/embeddings": (14, (5, 2)),
    "dense/kernel": (15, (16, 3)),
    "dense/bias": (16, (3,)),
    "dense_1/kernel": (17, (4, 3)),
}
# Keras 2's format has other names for the parts of attention.
LEGACY_NAMES = {
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "output_dense": "attention_output",
}


def legacy(name):
    return "/".join(LEGACY_NAMES.get(part, part) for part in name.split("/"))


@pytest.mark.parametrize(
    ("file", "kind"),
    [("model.keras", "keras"), ("model.weights.h5", "hdf5"), ("legacy.h5", "hdf5")],
)
def test_what_keras_wrote(file, kind):
    renamed = legacy if file == "legacy.h5" else str
    expected = {renamed(name): pattern(*variable) for name, variable in VARIABLES.items()}
    bfloat16 = {renamed("dense_1/kernel"): "bfloat16"}
    checkpoint = assert_reads(WRITTEN / file, expected, bfloat16)
    assert checkpoint.format == kind
    assert list(checkpoint.left_out.values()) == ["optimizer state"]


def test_weights_and_biases_of_a_keras_model():
    with open_checkpoint(WRITTEN / "model.keras") as checkpoint:
        selected = select_parameters(checkpoint, DEFAULT_RULES)
    assert set(selected.weights) == {n for n in VARIABLES if n.endswith("/kernel")}
    assert set(selected.biases) == {n for n in VARIABLES if n.endswith("/bias")}
    assert selected.left_out["embedding/embeddings"] == "embedding"
    for variable in ("gamma", "beta", "moving_mean", "moving_variance"):
        assert selected.left_out[f"batch_normalization/{variable}"] == "normalisation"


@pytest.mark.parametrize("name", ["kernel", "pointwise_kernel"])
def test_the_last_axis_of_a_kernel_is_its_output(name):
    values = np.arange(2 * 2 * 3 * 5).reshape(2, 2, 3, 5)
    tensor = LazyTensor(values.shape, "float32", lambda: values)
    (matrix,) = as_matrices(values, axes_of(f"conv/{name}", {f"conv/{name}": tensor}))
    assert matrix.shape == (5, 12)
    np.testing.assert_array_equal(matrix[4], values[..., 4].ravel())


# Names


def named(shapes, titles=None, classes=None):
    paths = {tuple(path.split("/")): shape for path, shape in shapes.items()}
    by_group = {tuple(path.split("/")): title for path, title in (titles or {}).items()}
    return list(names_of(paths, by_group, classes or {}).values())


def test_the_variables_of_a_layer_are_named_by_its_class():
    vectors = {f"layers/batch_normalization_3/vars/{i}": (4,) for i in range(4)}
    assert [name.split("/")[-1] for name in named(vectors)] == [
        *("gamma", "beta", "moving_mean", "moving_variance")
    ]
    cell = {"layers/lstm/cell/vars/0": (2, 8), "layers/lstm/cell/vars/1": (2, 8)}
    names = named(cell, {"layers/lstm/cell/vars": "lstm_cell_7"})
    assert names == ["lstm/cell/kernel", "lstm/cell/recurrent_kernel"]


def test_a_layer_keeps_numbers_where_its_variables_cannot_be_told():
    # Without gamma or without beta? Three vectors do not say.
    three = {f"layers/batch_normalization/vars/{i}": (4,) for i in range(3)}
    assert named(three) == [f"batch_normalization/{i}" for i in range(3)]
    # The first of them is not there.
    assert named({"layers/dense/vars/1": (4,)}) == ["dense/1"]
    # An embedding, or a dense layer without bias?
    assert named({"layers/my_layer/vars/0": (5, 2)}) == ["my_layer/0"]
    # The configuration knows the class of a layer by its title.
    told = named(
        {"tokens/vars/0": (5, 2)}, {"tokens/vars": "my_tokens"}, {"my_tokens": "embedding"}
    )
    assert told == ["tokens/embeddings"]


def test_one_number_for_each_output_is_a_bias():
    assert named({"a/vars/0": (5, 2), "a/vars/1": (2,)}) == ["a/kernel", "a/bias"]
    assert named({"a/vars/0": (5, 2), "a/vars/1": (5,)}) == ["a/0", "a/1"]


def test_names_do_not_depend_on_how_many_models_came_before():
    kernel = {"layers/dense/vars/0": (3, 2)}
    for title in ("dense", "dense_12", ""):
        assert named(kernel, {"layers/dense/vars": title}) == ["dense/kernel"]
    assert named(kernel, {"layers/dense/vars": "head"}) == ["head/kernel"]
    # The name of an attribute is stable, the title of what is in it is not.
    assert named({"mlp/vars/0": (3, 2)}, {"mlp/vars": "dense_4"}) == ["mlp/kernel"]


def test_names_of_keras_2_do_not_depend_on_how_many_models_came_before():
    for first in (0, 1, 9):
        of_layer = [f"dense_{n}" if n else "dense" for n in (first, first + 1)]
        for form in ("{0}/{0}/kernel:0", "model_weights/{0}/{0}/kernel", "model_3/{0}/kernel:0"):
            told = named({form.format(name): (3, 2) for name in of_layer})
            assert [name.removeprefix("model/") for name in told] == [
                "dense/kernel",
                "dense_1/kernel",
            ]
    # What someone else has written, or has named, stays.
    assert named({"dense_4/kernel": (3, 2)}) == ["dense_4/kernel"]
    assert named({"block_4/block_4/kernel:0": (3, 2)}) == ["block_4/kernel"]


def test_equal_names_fall_back_to_where_variables_are_stored():
    shapes = {"layers/dense/vars/0": (3, 2), "layers/dense_1/vars/0": (3, 2)}
    titles = {"layers/dense/vars": "head", "layers/dense_1/vars": "head"}
    assert named(shapes, titles) == list(shapes)


def test_snake_case_is_that_of_keras():
    cases = {
        "Conv2D": "conv2d",
        "BatchNormalization": "batch_normalization",
        "LSTMCell": "lstm_cell",
        "GRUCell": "gru_cell",
        "SimpleRNNCell": "simple_rnn_cell",
        "PReLU": "p_re_lu",
        "RMSNormalization": "rms_normalization",
        "SeparableConv2D": "separable_conv2d",
        "Conv2DTranspose": "conv2d_transpose",
        "EinsumDense": "einsum_dense",
    }
    assert {name: snake_case(name) for name in cases} == cases


# Exactness


def test_datasets_of_any_hdf5_file(tmp_path):
    path = tmp_path / "a.h5"
    values = {
        "double": np.linspace(0, 1, 7),
        "big_endian": np.arange(6, dtype=">f4").reshape(2, 3),
        "half": np.arange(4, dtype=np.float16),
        "deep/er": np.arange(3, dtype=np.int64),
        "flag": np.array([True, False]),
        "scalar": np.array(2.5),
        "none": np.zeros((0, 3)),
        "complex": np.array([1 + 2j]),
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
        file["text"] = "hello"
        file["null"] = h5py.Empty("f4")
        file["record"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint) == set(values)
        assert checkpoint.left_out == {
            "null": "empty",
            "record": "not numbers",
            "text": "not numbers",
        }
        for name, value in values.items():
            read = checkpoint[name].read()
            assert read.dtype.isnative
            assert read.shape == checkpoint[name].shape == value.shape
            np.testing.assert_array_equal(read, value)


def test_every_bfloat16_pattern(tmp_path):
    bits = np.arange(2**16, dtype=np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["w"] = bits.view(ml_dtypes.bfloat16)
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        assert checkpoint["w"].dtype == "bfloat16"
        read = checkpoint["w"].read()
    np.testing.assert_array_equal(read, (bits.astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (3, 4)},
        {"chunks": (3, 4), "compression": "gzip", "compression_opts": 9},
        {"chunks": (3, 4), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (3, 4), "shuffle": True},
        {"chunks": (3, 4), "maxshape": (None, 8)},
    ],
)
def test_chunked_and_compressed_datasets(tmp_path, options):
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", data=values, **options)
    assert_reads(tmp_path / "a.h5", {"w": values})


def test_hard_links_are_tied_tensors(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["first"] = np.ones((2, 2), np.float32)
        file["second"] = file["first"]
        file["group/itself"] = file["/"]  # a cycle
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        assert list(checkpoint) == ["first", "second"]
        assert checkpoint.aliases == {"second": "first"}


def test_optimizers_are_left_out_wherever_they_are(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for optimizer in ("d_optimizer", "layers/functional/optimizer", "optimizer_weights"):
            file[f"{optimizer}/vars/0"] = np.ones(3, np.float32)
        file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
    checkpoint = assert_reads(tmp_path / "a.h5", {"dense/kernel": np.ones((2, 3))})
    assert checkpoint.left_out == dict.fromkeys(
        ["d_optimizer", "layers/functional/optimizer", "optimizer_weights"], "optimizer state"
    )


def test_tensors_stay_on_disk_until_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(100_000, np.float32)
    with open_checkpoint(path) as checkpoint:
        os.truncate(path, 1000)
        with pytest.raises(Exception, match=r"a\.h5: it changed while it was read"):
            checkpoint["w"].read()
    with pytest.raises(Exception, match=r"a\.h5: it is closed"):
        checkpoint["w"].read()


# What leads elsewhere


def test_links_and_datasets_of_other_files_are_left_out(tmp_path):
    secret = tmp_path / "secret"
    os.mkfifo(secret)  # who opens it waits for ever
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["w"] = np.ones(3, np.float32)
        file["soft"] = h5py.SoftLink("/w")
        file["external"] = h5py.ExternalLink(str(secret), "/w")
        layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
        whole = h5py.VirtualSource(str(secret), "w", (4,), maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = whole[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (4,), "f4", external=[(str(secret), 0, 16)])
    harmless = WRITTEN / "legacy.h5"
    message, _ = outcome_apart(path, harmless)
    assert message.startswith("read")
    assert "'soft': 'a link to elsewhere, which is not followed'" in message
    assert "'external': 'a link to elsewhere, which is not followed'" in message
    assert "'virtual': 'its numbers are in another file, which is not opened'" in message
    assert "'raw': 'its numbers are in another file, which is not opened'" in message
    assert_reads(path, {"w": np.ones(3)})


def test_filters_that_would_load_a_plugin_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", data=np.ones(100), compression="lzf")
    assert "needs a plugin" in refusal(tmp_path / "a.h5")


def test_a_lambda_layer_is_only_a_name(tmp_path):
    """A configuration that names code to run is not even looked at beyond its layers' classes."""
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    config = {
        "module": "os",
        "class_name": "Lambda",
        "config": {
            "name": "evil",
            "function": {"class_name": "__lambda__", "config": {"code": code}},
        },
    }
    path = write_keras(tmp_path / "a.keras", config)
    assert_reads(path, {"dense/kernel": np.ones((2, 2))})
    assert not marker.exists()


# Damage, and claims that cannot be true


def write_keras(path, config, *, compress=False):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["dense/vars/0"] = np.ones((2, 2), np.float32)
    text = config if isinstance(config, str) else json.dumps(config)
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def test_damaged_keras_archives(tmp_path):
    assert "config.json is not valid JSON" in refusal(write_keras(tmp_path / "a.keras", "{"))
    deep = "[" * 100_000
    assert "config.json is not valid JSON" in refusal(write_keras(tmp_path / "b.keras", deep))
    packed = write_keras(tmp_path / "c.keras", {}, compress=True)
    assert "which Keras never does" in refusal(packed)
    path = write_keras(tmp_path / "d.keras", {})
    data = bytearray(path.read_bytes())
    ones = np.ones(4, np.float32).tobytes()
    data[data.index(ones)] ^= 1
    path.write_bytes(data)
    assert "checksum" in refusal(path)


@pytest.mark.parametrize("kept", [9, 100, 0.5, 0.99])
def test_truncated_files(tmp_path, kept):
    whole = (WRITTEN / "legacy.h5").read_bytes()
    path = tmp_path / "a.h5"
    path.write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
    assert "it is damaged" in refusal(path) or "truncated" in refusal(path)


def test_scrambled_files_are_read_or_refused(tmp_path):
    whole = (WRITTEN / "legacy.h5").read_bytes()
    assert assert_survives(tmp_path / "a.h5", scrambled(whole, 60, 20)) > 20


def test_sizes_that_nothing_backs(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (2**40,), "f4", chunks=(2**20,))
    assert "4,398,046,511,104 bytes" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("w", (2**24,), "u1", chunks=(2,))
    assert "in 8,388,608 pieces" in refusal(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("w", (1,), "u1", chunks=(2**31,), maxshape=(None,))
    assert "2,147,483,648 bytes in 1 pieces" in refusal(tmp_path / "c.h5")


def test_a_chunk_that_inflates_to_more_than_a_chunk(tmp_path):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("w", (4,), "u1", chunks=(4,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(2**29), 9))
    assert path.stat().st_size < 2**20
    message, grown = outcome_apart(path, WRITTEN / "legacy.h5")
    assert "inflates to more than the 4 bytes" in message
    assert grown < 64


def test_groups_nested_too_deeply(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/".join("a" * 100)] = np.ones(2)
    assert "levels deep" in refusal(tmp_path / "a.h5")


def test_without_h5py(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for file in ("model.keras", "legacy.h5"):
        assert "pip install 'hmmdyn[keras]'" in refusal(WRITTEN / file)
