"""Single NumPy arrays, against what NumPy wrote."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib import format as npy

from hmmdyn.checkpoints.read import open_checkpoint
from tests.checkpoints.reading import assert_survives, refusal, scrambled


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(6, dtype=">f8"),
        np.arange(4, dtype=np.float16),
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array([1 + 2j]),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_arrays(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with open_checkpoint(tmp_path / "a.npy") as checkpoint:
        assert checkpoint.format == "npy"
        (tensor,) = checkpoint.values()
        read = tensor.read()
    assert tensor.shape == read.shape == values.shape
    assert read.dtype.isnative
    assert read.dtype == (
        np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("=")
    )
    np.testing.assert_array_equal(read, values)


def test_the_later_versions_of_the_header(tmp_path):
    for version in ((2, 0), (3, 0)):
        with (tmp_path / "a.npy").open("wb") as file:
            npy.write_array(file, np.arange(3.0), version)
        with open_checkpoint(tmp_path / "a.npy") as checkpoint:
            np.testing.assert_array_equal(checkpoint["array"].read(), np.arange(3.0))


def forged(header, data=b"", version=b"\x01\x00"):
    text = header.encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY", "header"),
        (b"\x93NUMPY\x09\x00", "header"),
        (
            forged("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", bytes(8)),
            "does not fill its 8 bytes",
        ),
        (
            forged("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
            "does not fill its 8 bytes",
        ),
        (
            forged("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }", bytes(8)),
            "header",
        ),
        (forged("{'descr': '<f8', 'fortran_order': False, 'shape': (2**40,)}"), "header"),
        (
            forged("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"),
            "does not fill its 0 bytes",
        ),
        (forged("{'descr': '|O', 'fortran_order': False, 'shape': ()}"), "holds Python objects"),
        (forged("{'descr': '<U4', 'fortran_order': False, 'shape': ()}"), "not of numbers"),
        (forged("__import__('os').abort()"), "header"),
        (forged("(" * 9000), "header"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    assert message in refusal(tmp_path / "a.npy")


def test_scrambled_files_are_read_or_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    whole = (tmp_path / "a.npy").read_bytes()
    assert assert_survives(tmp_path / "a.npy", scrambled(whole, 200, 3)) > 50
