"""Flax's MessagePack files, against Flax's own file and against what the msgpack package wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmdyn.checkpoints.formats import flax_file
from hmmdyn.checkpoints.formats.byte_ranges import FileBytes, MemoryBytes
from hmmdyn.checkpoints.formats.flax_file import is_flax, read_tree
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

msgpack = pytest.importorskip("msgpack")

WRITTEN = Path(__file__).parent / "written" / "checkpoint_3"
MODEL = {
    "Dense_0.kernel": pattern(0, (2, 3)),
    "Dense_0.bias": pattern(1, (3,)),
    "LayerNorm_0.scale": pattern(2, (3,)),
}
DTYPES = {"Dense_0.bias": "bfloat16", "LayerNorm_0.scale": "float16"}


def ext(values, code=1):
    """An array as Flax packs it."""
    shape, name = values.shape, values.dtype.name
    return msgpack.ExtType(code, msgpack.packb((shape, name, values.tobytes())))


def write(path, tree):
    path.write_bytes(msgpack.packb(tree))
    return path


def test_what_flax_wrote():
    checkpoint = assert_reads(WRITTEN, MODEL, DTYPES)
    assert checkpoint.format == "flax"
    assert checkpoint.scalars == {"loss": 0.25}
    assert checkpoint.left_out == {"opt_state": "kept beside the model"}
    selected = select_parameters(checkpoint, DEFAULT_RULES)
    assert selected.weights == ("Dense_0.kernel",)
    assert selected.biases == ("Dense_0.bias",)
    assert selected.left_out["LayerNorm_0.scale"] == "normalisation"


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
        *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    ],
)
def test_every_dtype(tmp_path, dtype):
    values = np.arange(6).astype(dtype).reshape(2, 3)
    path = write(tmp_path / "a.msgpack", {"w": ext(values), "empty": ext(values[:0])})
    with open_checkpoint(path) as checkpoint:
        assert checkpoint["w"].dtype == values.dtype.name
        assert checkpoint["empty"].read().shape == (0, 3)
        assert checkpoint["w"].read().tolist() == values.tolist()


def chunked(values, n):
    pieces = np.array_split(values.ravel(), n)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(i): length for i, length in enumerate(values.shape)},
        "chunks": {str(i): ext(piece) for i, piece in enumerate(pieces)},
    }


@pytest.mark.parametrize("n", [1, 3, 12])
def test_an_array_in_chunks(tmp_path, n):
    values = pattern(0, (3, 5)).astype(np.float32)
    path = write(tmp_path / "a", {"params": {"w": chunked(values, n), "b": ext(values[0])}})
    assert_reads(path, {"w": values, "b": values[0]})


def test_chunks_that_do_not_fit(tmp_path):
    values = np.ones(6, np.float32)
    for change in (
        {"shape": {"0": 7}},
        {"shape": {"0": -6}},
        {"shape": None},
        {"chunks": {"0": 3}},
        {"chunks": {"1": ext(values)}},
        {"chunks": {}},
        {"chunks": {"0": ext(values[:2]), "1": ext(values[:4].astype("f8"))}},
    ):
        path = write(tmp_path / "a", {"w": chunked(values, 2) | change})
        assert "the pieces of its array 'w' do not fit" in refusal(path)


def test_boxes_targets_and_arrays_in_other_files(tmp_path):
    w = np.ones((2, 2), np.float32)
    boxed = write(tmp_path / "a", {"params": {"k": {"value": ext(w)}}})
    assert_reads(boxed, {"k": w})
    t5x = {"version": 3, "optimizer": {"target": {"k": ext(w)}, "state": {"m": ext(w)}}}
    checkpoint = assert_reads(write(tmp_path / "b", t5x), {"k": w})
    assert checkpoint.left_out == {"state": "kept beside the model"}
    elsewhere = {"k": ext(w), "far": "PLACEHOLDER://params.far"}
    checkpoint = assert_reads(write(tmp_path / "c", elsewhere), {"k": w})
    assert checkpoint.left_out == {"far": "its numbers are in another file"}


KEYS = st.text(min_size=1, max_size=300)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(KEYS, inner, max_size=40),
    max_leaves=40,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=20))
def test_values_are_those_that_msgpack_reads(tree):
    data = msgpack.packb(tree)
    read, _ = read_tree(MemoryBytes(data))
    assert read == msgpack.unpackb(data)


@settings(deadline=None)
@given(st.dictionaries(KEYS, st.none(), min_size=1, max_size=70_000 // 300))
def test_maps_are_told_by_their_start(tree):
    assert is_flax(msgpack.packb(tree)[:16])


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x80",
        b"\x80\x02}q",
        b"\x89PNG\r\n",
        b"\x89HDF\r\n\x1a\n",
        b"\x93NUMPY",
        b"\x81",
        b"PK",
    ],
)
def test_other_files_are_not_taken_for_flax(start):
    assert not is_flax(start)


def test_a_tensor_is_read_by_itself(tmp_path, monkeypatch):
    counts = []

    def counting(self, view, start, whole=FileBytes.read_into):
        counts.append(len(view))
        whole(self, view, start)

    monkeypatch.setattr(FileBytes, "read_into", counting)
    big, small = np.zeros(10**6, np.float32), np.ones(3, np.float32)
    path = write(tmp_path / "a", {"big": ext(big), "small": ext(small)})
    with open_checkpoint(path) as checkpoint:
        checkpoint["small"].read()
    assert sum(counts) < 2000


# Damage


def test_truncated_anywhere(tmp_path):
    whole = WRITTEN.read_bytes()
    path = tmp_path / "a"
    for length in range(17, len(whole)):
        path.write_bytes(whole[:length])
        assert "truncated" in refusal(path)


def test_trailing_bytes(tmp_path):
    (tmp_path / "a").write_bytes(WRITTEN.read_bytes() + b"\0")
    assert "1 bytes follow the end" in refusal(tmp_path / "a")


def test_scrambled_files_are_read_or_refused(tmp_path):
    whole = WRITTEN.read_bytes()
    assert assert_survives(tmp_path / "a", scrambled(whole, 300, 5)) > 100


def described(shape=(2, 3), dtype="float32", data=bytes(24)):
    return {"w": msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (described(shape=(2, 4)), "does not fill its 24 bytes"),
        (described(shape=(2**40, 2**40)), "does not fill its 24 bytes"),
        (described(shape=(-2, -3)), "does not fill"),
        (described(shape=(2.0, 3)), "does not fill"),
        (described(shape=(True, 6)), "does not fill"),
        (described(shape=(1,) * 65, data=bytes(4)), "has 65 axes; NumPy allows 64"),
        (described(shape=(0, 2**62), data=b""), "does not fill"),
        (described(shape=6), "describes the array 'w' wrongly"),
        (described(dtype="object"), "stored as object, which hmmdyn does not read"),
        (described(dtype="int4"), "stored as int4"),
        (described(dtype=["float32"]), "describes the array 'w' wrongly"),
        (described(data="text"), "describes the array 'w' wrongly"),
        ({"w": msgpack.ExtType(1, b"")}, "it is"),
        ({"w": msgpack.ExtType(1, b"\x93")}, "it is"),
        ({"w": msgpack.ExtType(7, b"?")}, "a value of type 7"),
        ({"w": msgpack.Timestamp(1)}, "a value of type -1"),
        ({"a": {b"key": 1}}, "the key of a value is not a text"),
    ],
)
def test_wrong_arrays(tmp_path, tree, message):
    assert message in refusal(write(tmp_path / "a", tree))


@pytest.mark.parametrize(
    "value",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of four billion values
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\xdb\xff\xff\xff\xff",  # a text
        b"\xc6\xff\xff\xff\xff",  # bytes
        b"\xc9\xff\xff\xff\xff\x01",  # an array
        b"\xc9\xff\xff\xff\xff\x02",  # a complex number
        b"\xc7\x09\x01\x93\xdd\xff\xff\xff\xff",  # an array of four billion axes
    ],
)
def test_claimed_lengths(tmp_path, value):
    (tmp_path / "a").write_bytes(b"\x81\xa1w" + value)
    message, grown = outcome_apart(tmp_path / "a", WRITTEN)
    assert message.startswith("refused")
    assert grown < 32


def test_nesting_and_equal_keys(tmp_path):
    for opened in (b"\x91", b"\x81\xa1a"):
        (tmp_path / "a").write_bytes(b"\x81\xa1w" + opened * 200_000)
        assert "levels deep" in refusal(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\x82\xa1w\x01\xa1w\x02")
    assert "two values called 'w'" in refusal(tmp_path / "a")


def test_more_values_than_a_checkpoint_has(tmp_path, monkeypatch):
    monkeypatch.setattr(flax_file, "_MOST_VALUES", 1000)
    (tmp_path / "a").write_bytes(b"\x81\xa1w\xdd" + struct.pack(">I", 2000) + bytes(2000))
    assert "more than 1,000 values" in refusal(tmp_path / "a")


def test_texts_too_long_to_be_names_are_skipped(tmp_path):
    path = write(tmp_path / "a", {"note": "x" * 20_000, "raw": b"\0", "w": ext(np.ones(2, "f4"))})
    assert_reads(path, {"w": np.ones(2)})
    tree, _ = read_tree(MemoryBytes(path.read_bytes()))
    assert tree["note"] is None
    assert isinstance(tree["w"], LazyTensor)
