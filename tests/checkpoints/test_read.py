from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import WIDENED, LazyTensor
from hmmdyn.errors import CheckpointError
from tests.checkpoints.reading import read_everything

WEIGHTS = {
    "fc1.weight": np.arange(12, dtype=np.float32).reshape(4, 3) / 7,
    "fc1.bias": np.linspace(-1, 1, 4),
    "steps": np.array([3, 5], dtype=np.int64),
    "half": np.array([[1.5, -2.0]], dtype=np.float16),
}


def write_safetensors(path, header, data=b"", length=None):
    """A file with any header, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def write_shards(folder, shards, index="model.safetensors.index.json"):
    folder.mkdir(exist_ok=True)
    for name, tensors in shards.items():
        save_file(tensors, folder / name)
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def assert_holds(checkpoint, expected):
    assert set(checkpoint) == set(expected)
    for name, values in expected.items():
        tensor = checkpoint[name]
        read = tensor.read()
        assert tensor.shape == read.shape == values.shape
        assert tensor.dtype == values.dtype.name
        widened = values.astype(np.float32) if values.dtype == np.float16 else values
        assert read.dtype == widened.dtype
        np.testing.assert_array_equal(read, widened)


def refusal(path):
    """The message with which a checkpoint is refused, be it when opened or when read."""
    with pytest.raises(CheckpointError) as caught:
        read_everything(path)
    message = str(caught.value)
    assert message.count(path.name) == 1  # the file is named, once
    return message


# What can be read


def test_safetensors(tmp_path):
    path = tmp_path / "step_100.bin"  # the content tells the format, not the suffix
    save_file(WEIGHTS, path)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "safetensors"
        assert_holds(checkpoint, WEIGHTS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "step_100.npz"
    save(path, **WEIGHTS, big=np.arange(3, dtype=">f4"), note=np.array("text"))
    with open_checkpoint(str(path)) as checkpoint:
        assert checkpoint.format == "npz"
        assert checkpoint.left_out == {"note": "not numbers (<U4)"}
        big = checkpoint["big"].read()
        assert big.dtype.isnative
        assert_holds(checkpoint, {**WEIGHTS, "big": np.arange(3, dtype=np.float32)})


def test_every_bfloat16_is_the_float32_with_the_same_upper_bits(tmp_path):
    patterns = np.arange(2**16, dtype=np.uint16)
    header = {"w": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 2**17]}}
    path = write_safetensors(tmp_path / "a.safetensors", header, patterns.tobytes())
    expected = (patterns.astype(np.uint32) << 16).view(np.float32).reshape(256, 256)
    with open_checkpoint(path) as checkpoint:
        read = checkpoint["w"].read()
    assert checkpoint["w"].dtype == "bfloat16"
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(np.signbit(read), np.signbit(expected))


def float8(bits, exponent_bits, bias):
    """Value of a float8 pattern from its definition (finite patterns only)."""
    mantissa_bits = 7 - exponent_bits
    sign = -1.0 if bits & 0x80 else 1.0
    exponent = (bits >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = (bits & (2**mantissa_bits - 1)) / 2**mantissa_bits
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias)
    return sign * (1 + fraction) * 2.0 ** (exponent - bias)


@pytest.mark.parametrize(
    ("code", "exponent_bits", "bias"),
    [("F8_E4M3", 4, 7), ("F8_E5M2", 5, 15), ("F8_E4M3FNUZ", 4, 8), ("F8_E5M2FNUZ", 5, 16)],
)
def test_float8_by_its_definition(tmp_path, code, exponent_bits, bias):
    header = {"w": {"dtype": code, "shape": [256], "data_offsets": [0, 256]}}
    path = write_safetensors(tmp_path / "a.safetensors", header, bytes(range(256)))
    with open_checkpoint(path) as checkpoint:
        read = checkpoint["w"].read()
    finite = np.isfinite(read)
    assert finite.sum() >= 248
    expected = np.array([float8(bits, exponent_bits, bias) for bits in range(256)])
    np.testing.assert_array_equal(read[finite], expected[finite])


def test_empty_and_scalar_tensors(tmp_path):
    tensors = {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(2.5, np.float32)}
    save_file(tensors, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert_holds(checkpoint, tensors)


def test_tensors_are_read_only_when_asked_for(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(10_000, np.float32), "b": np.ones(10_000, np.float32)}, path)
    with open_checkpoint(path) as checkpoint:
        os.truncate(path, path.stat().st_size - 4)
        for name in "ab":  # had they been read on opening, they would be read now
            with pytest.raises(CheckpointError, match=r"a\.safetensors: it changed while it was"):
                checkpoint[name].read()


@pytest.mark.parametrize("inside", ["", "model.safetensors.index.json"])
def test_shards_as_folder_or_index(tmp_path, inside):
    shards = {
        "model-00001-of-00002.safetensors": {"a.weight": np.ones((2, 2), np.float32)},
        "model-00002-of-00002.safetensors": {"b.weight": np.full((2, 3), 2, np.float32)},
    }
    folder = write_shards(tmp_path / "checkpoint-500", shards)
    (folder / "config.json").write_text("{}")
    with open_checkpoint(folder / inside) as checkpoint:
        assert checkpoint.format == "safetensors (sharded)"
        assert_holds(checkpoint, {k: v for shard in shards.values() for k, v in shard.items()})


def test_a_shard_index_of_another_name(tmp_path):
    shards = {"x-00001-of-00001.safetensors": {"a": np.ones(2, np.float32)}}
    folder = write_shards(tmp_path / "f", shards, "x.safetensors.index.fp16.json")
    with open_checkpoint(folder) as checkpoint:
        assert list(checkpoint) == ["a"]


def test_a_folder_with_a_single_checkpoint(tmp_path):
    np.savez(tmp_path / "weights.npz", w=np.ones((2, 2)))
    np.savez(tmp_path / "optimizer.npz", m=np.ones((2, 2)))
    (tmp_path / "notes.txt").write_text("notes")
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint) == ["w"]


def test_outcomes_stored_with_the_weights(tmp_path):
    metadata = {"val_loss": "0.25", "format": "pt", "eval_accuracy": "nan", "epoch": "3"}
    save_file({"w": np.ones((2, 2))}, tmp_path / "a.safetensors", metadata)
    np.savez(tmp_path / "b.npz", w=np.ones((2, 2)), train_loss=0.5, epoch=3)
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert checkpoint.scalars == {"val_loss": 0.25}
    with open_checkpoint(tmp_path / "b.npz") as checkpoint:
        assert checkpoint.scalars == {"train_loss": 0.5}
        assert list(checkpoint) == ["w", "epoch"]


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("module.fc.weight", "fc.weight"),
        ("_orig_mod.fc.weight", "fc.weight"),
        ("module._orig_mod.module.fc.weight", "fc.weight"),
        ("model._orig_mod.fc.weight", "model.fc.weight"),
        ("net.module.fc.weight", "net.fc.weight"),
        ("layers.0._checkpoint_wrapped_module.fc.weight", "layers.0.fc.weight"),
        ("submodule.fc.weight", "submodule.fc.weight"),
    ],
)
def test_wrappers_are_looked_through(tmp_path, stored, name):
    np.savez(tmp_path / "a.npz", **{stored: np.ones((2, 2))})
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert list(checkpoint) == [name]


def test_names_stay_where_unwrapping_would_mix_tensors_up(tmp_path):
    names = ["fc.weight", "module.fc.weight"]
    np.savez(tmp_path / "a.npz", **{name: np.ones((2, 2)) for name in names})
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert list(checkpoint) == names


def test_a_nested_dictionary_that_cannot_be_flattened():
    tensor = LazyTensor((2,), "float32", lambda: np.ones(2, np.float32))
    assert list(flatten({"a": {"b": [tensor, {"c": tensor}]}}).tensors) == ["a.b.0", "a.b.1.c"]
    with pytest.raises(CheckpointError, match=r"two tensors called 'a\.b'"):
        flatten({"a": {"b": tensor}, "a.b": tensor})
    nested = tensor
    for _ in range(100):
        nested = {"x": nested}
    with pytest.raises(CheckpointError, match="64 levels deep"):
        flatten(nested)


# PyTorch


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("container", ["model", "state_dict", "model_state_dict", "module"])
def test_pytorch_training_checkpoint(tmp_path, container, legacy):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {
        container: {f"_orig_mod.{k}": v for k, v in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "loss": 0.25,
        "val_accuracy": torch.tensor(0.5),
        "config": {"lr": 0.1},
        "metrics": {"test_loss": 0.75},
    }
    path = tmp_path / "step_3.pt"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "pytorch"
        assert_holds(checkpoint, {k: v.numpy() for k, v in model.state_dict().items()})
        assert checkpoint.scalars == {"loss": 0.25, "val_accuracy": 0.5, "test_loss": 0.75}
        assert checkpoint.left_out == {"optimizer": "kept beside the model"}


def test_pytorch_containers_in_containers_and_models_of_several_parts(tmp_path):
    torch = pytest.importorskip("torch")
    w = torch.ones(2, 2)
    torch.save({"state_dict": {"model": {"fc.weight": w}}, "model": "resnet18"}, tmp_path / "a.pt")
    torch.save({"encoder": {"w": w}, "decoder": [{"w": w * 2}]}, tmp_path / "b.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert list(checkpoint) == ["fc.weight"]
    with open_checkpoint(tmp_path / "b.pt") as checkpoint:
        assert list(checkpoint) == ["encoder.w", "decoder.0.w"]


def test_pytorch_tied_tensors_are_aliases_and_views_are_not(tmp_path):
    torch = pytest.importorskip("torch")
    w = torch.randn(4, 4)
    saved = {"head.weight": w, "embed.weight": w, "view": w[:2], "turned": w.T, "copy": w.clone()}
    torch.save(saved, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert checkpoint.aliases == {"embed.weight": "head.weight"}
        np.testing.assert_array_equal(checkpoint["turned"].read(), w.T.numpy())


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "bool"],
)
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_types_written_by_pytorch(tmp_path, dtype, kind):
    torch = pytest.importorskip("torch")
    stored = torch.linspace(-3, 3, 24).reshape(4, 6).to(getattr(torch, dtype))
    path = tmp_path / f"a.{kind}"
    if kind == "pt":
        torch.save({"w": stored, "requires_grad": torch.nn.Parameter(torch.ones(1))}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file({"w": stored}, path)
    with open_checkpoint(path) as checkpoint:
        read = checkpoint["w"].read()
        assert checkpoint["w"].dtype == dtype
        for tensor in checkpoint.values():
            tensor.read()
    narrow = dtype.startswith(("float8", "float16", "bfloat16"))
    expected = (stored.float() if narrow else stored).numpy()
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)


def test_pytorch_shards(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2, 2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(2, 2)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    weight_map = {name: f"pytorch_model-0000{i}-of-00002.bin" for i, name in ((1, "a"), (2, "b"))}
    index = {"metadata": {"total_size": 32}, "weight_map": weight_map}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.format == "pytorch (sharded)"
        assert list(checkpoint) == ["a", "b"]


class Payload:
    """A pickle of this would make a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pytorch_file_with_code_is_read_and_the_code_does_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "x": Payload(tmp_path / "ran")}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert list(checkpoint) == ["w"]
    assert not (tmp_path / "ran").exists()


def test_pytorch_file_that_is_no_dictionary(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.ones(2), tmp_path / "a.pt")
    assert "it holds a Tensor, not a dictionary" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_file_cut_short(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(100)}, path, _use_new_zipfile_serialization=not legacy)
    os.truncate(path, path.stat().st_size - 40)
    refusal(path)


# What is refused

GOOD = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ({"a": GOOD}, b"12", "truncated: its tensors need 4 bytes and 2 are there"),
        ({"a": GOOD}, b"12345", "1 bytes follow"),
        ({"a": {**GOOD, "data_offsets": [4, 8]}}, b"12345678", "gaps"),
        ({"a": GOOD, "b": GOOD}, b"1234", "overlap"),
        ({"a": {**GOOD, "shape": [2]}}, b"1234", "does not fill its 4 bytes"),
        ({"a": {**GOOD, "shape": [-1]}}, b"1234", "no whole number"),
        ({"a": {**GOOD, "shape": [1.0]}}, b"1234", "no whole number"),
        ({"a": {**GOOD, "shape": [2**62, 2**62]}}, b"1234", "does not fill"),
        ({"a": {**GOOD, "data_offsets": [4, 0]}}, b"1234", "ends before it starts"),
        ({"a": {**GOOD, "dtype": "F4"}}, b"1234", "stored as F4"),
        ({"a": {**GOOD, "dtype": ["F32"]}}, b"1234", "hmmdyn does not read"),
        ({"a": {"dtype": "F32"}}, b"", "describes tensor 'a' wrongly"),
        ({"a": 3}, b"", "describes tensor 'a' wrongly"),
        (b'{"a":1,"a":2}', b"", "occurs twice"),
        (b'{"a":' * 100_000, b"", "not valid JSON"),
        (b"{\xff}", b"", "not valid JSON"),
        (b"{nonsense", b"", "not valid JSON"),
    ],
)
def test_wrong_safetensors(tmp_path, header, data, reason):
    assert reason in refusal(write_safetensors(tmp_path / "a.safetensors", header, data))


def test_safetensors_header_longer_than_the_file_or_the_format_allows(tmp_path):
    path = tmp_path / "a.safetensors"
    assert "truncated" in refusal(write_safetensors(path, {"a": GOOD}, length=10_000))
    assert "allows" in refusal(write_safetensors(path, {"a": GOOD}, length=2**31))


def npz_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zip_bytes(**entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty (0 bytes)"),
        (bytes(5000), "zeros only"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"<html>404</html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x93NUMPY" + bytes(100), "no NumPy header"),
        (pickle.dumps({"w": 1}), "Python pickle"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "format is unknown"),
        (b"step,loss\n1,2\n", "format is unknown"),
        (b"{}", "not the index"),
        (b'{"weight_map": {}}', "names no tensors"),
        (
            b'{"weight_map": {"/layers/dense/vars": "model_00000.weights.h5"}}',
            "Keras weights in several files",
        ),
        (b'{"weight_map": [1]}', "names no tensors"),
        (b'{"a":' * 100_000, "not the index"),
        (npz_bytes(w=np.ones(50))[:-30], "truncated: the record at the end"),
        (npz_bytes(w=np.array([{}])), "Python objects"),
        (zip_bytes(w=b"nonsense"), "damaged"),
        (
            zip_bytes(w=npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**40,)}")),
            "damaged",
        ),
        (
            zip_bytes(
                w=npy_header(
                    "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }\n"
                )
            ),
            "does not fill its 0 bytes",
        ),
    ],
)
def test_what_is_no_checkpoint(tmp_path, content, reason):
    path = tmp_path / "step_100.pt"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_npz_with_a_flipped_bit(tmp_path):
    content = bytearray(npz_bytes(w=np.ones(50)))
    content[content.index(b"\xf0\x3f") + 80] ^= 1
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_npz_with_two_arrays_of_one_name(tmp_path):
    path = tmp_path / "a.npz"
    array = io.BytesIO()
    np.save(array, np.ones(2))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", array.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("w.npy", array.getvalue())
    assert "two of its zip entries share a name" in refusal(path)


def test_a_zip_file_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "neither a PyTorch checkpoint" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..\\x", "C:x", "..", "", 3]
)
def test_shard_outside_the_folder(tmp_path, shard):
    save_file({"w": np.ones(2)}, tmp_path / "x.safetensors")
    (tmp_path / "f").mkdir()
    path = tmp_path / "f" / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"w": shard}}))
    assert "must be files in the folder" in refusal(path)


def test_missing_shard_and_missing_tensor(tmp_path):
    shards = {"s1.safetensors": {"a": np.ones(2)}, "s2.safetensors": {"b": np.ones(2)}}
    folder = write_shards(tmp_path / "f", shards)
    index = folder / "model.safetensors.index.json"
    save_file({"c": np.ones(2)}, folder / "s2.safetensors")
    assert "says that s2.safetensors holds 'b'" in refusal(index)
    (folder / "s2.safetensors").unlink()
    assert "the shard s2.safetensors is missing" in refusal(index)


def test_a_bad_shard_is_named_itself(tmp_path):
    folder = write_shards(tmp_path / "f", {"s1.safetensors": {"a": np.ones(2)}})
    (folder / "s1.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"s1\.safetensors: it is empty"):
        open_checkpoint(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as on Linux")
def test_nothing_stays_open_when_an_outcome_cannot_be_read(tmp_path):
    whole = npz_bytes(loss=np.array(0.5))
    (tmp_path / "a.npz").write_bytes(whole.replace(struct.pack("<d", 0.5), bytes(8)))
    n_open = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(CheckpointError, match=r"a\.npz: .*checksum") as caught:
        open_checkpoint(tmp_path / "a.npz")
    assert len([*Path("/proc/self/fd").iterdir()]) == n_open
    assert caught.tb is not None  # which would keep the file from being collected, and closed


def test_a_file_that_may_not_be_read_is_no_checkpoint_of_its_folder(tmp_path, monkeypatch):
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, w=np.ones(2))
    opened = os.open

    def refuse(path, *arguments, **more):
        if Path(path).name == "b.npz":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint["w"].read().tolist() == [1, 1]


def test_missing_ambiguous_and_empty_places(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.pt")
    assert "holds no file" in refusal(tmp_path)
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, w=np.ones(2))
    message = refusal(tmp_path)
    assert "2 checkpoint files (a.npz, b.npz)" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    assert "neither a file nor a folder" in refusal(tmp_path / "a.pt")


def test_ml_dtypes_knows_every_widened_type():
    # The reader names types as ml_dtypes does: the table must not drift.
    for name, dtype in WIDENED.items():
        assert dtype.name == name
        assert name == "float16" or hasattr(ml_dtypes, name)
