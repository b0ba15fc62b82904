"""What the tests of several formats share: read everything, and read it in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError


def assert_reads(path, expected, dtypes=None):
    """Hold a checkpoint against values by name; ``dtypes`` are those stored other than float32."""
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint) == set(expected)
        for name, values in expected.items():
            read = checkpoint[name].read()
            assert checkpoint[name].dtype == (dtypes or {}).get(name, "float32")
            assert read.dtype == np.float32
            assert read.shape == checkpoint[name].shape
            np.testing.assert_array_equal(read, values)
        return checkpoint


def read_everything(path):
    with open_checkpoint(path) as checkpoint:
        for tensor in checkpoint.values():
            tensor.read()


def refusal(path):
    """The message with which a checkpoint is refused, be it when opened or when read."""
    with pytest.raises(CheckpointError) as caught:
        read_everything(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert not message.startswith(f"{path}: {path}")
    return message


def assert_survives(path, changes, checkpoint=None):
    """Write contents to a file in turn; each must be read or refused, and not fail otherwise."""
    n_refused = 0
    for content in changes:
        path.write_bytes(content)
        try:
            read_everything(checkpoint or path)
        except CheckpointError:
            n_refused += 1
    return n_refused


def scrambled(whole, n_files, n_bytes):
    """The same bytes over and over, a few of them replaced at random."""
    rng = np.random.default_rng(0)
    for _ in range(n_files):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=n_bytes):
            data[at] = rng.integers(256)
        yield bytes(data)


_READ = """
import resource, sys
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError
try:
    open_checkpoint(sys.argv[1])  # so that what is imported is not counted
except CheckpointError:
    pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open_checkpoint(sys.argv[2]) as checkpoint:
        for tensor in checkpoint.values():
            tensor.read()
    print("read", dict(checkpoint.left_out))
except CheckpointError as error:
    print("refused:", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def outcome_apart(path, harmless):
    """What reading a file comes to, and by how many MB it made a process of its own grow."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, harmless, path],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    message, grown = done.stdout.strip().rsplit("\n", 1)
    return message, int(grown)
