"""Tell the format of a file by what is in it, and say what it is where it is none of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, read_bytes
from hmmdyn.checkpoints.formats.flax_file import is_flax, open_flax
from hmmdyn.checkpoints.formats.keras_file import is_hdf5, is_keras_zip
from hmmdyn.checkpoints.formats.npy_file import is_npy, is_npz, open_npy, open_npz
from hmmdyn.checkpoints.formats.safetensors_file import is_safetensors, open_safetensors
from hmmdyn.checkpoints.formats.stable_baselines3 import (
    is_stable_baselines3,
    open_stable_baselines3,
)
from hmmdyn.checkpoints.formats.torch_file import is_legacy_torch, is_torch_zip, open_torch
from hmmdyn.checkpoints.formats.whole_file import open_bytes
from hmmdyn.checkpoints.formats.zip_entries import entry_names
from hmmdyn.checkpoints.tensor import Contents
from hmmdyn.errors import CheckpointError
from hmmdyn.places import Place

_TELLING = 512  # bytes at the start of a file by which its format is told
_BY_START: Sequence[tuple[str, Callable[[bytes], bool]]] = (
    ("safetensors", is_safetensors),
    ("pytorch", is_legacy_torch),
    ("hdf5", is_hdf5),
    ("npy", is_npy),
    ("flax", is_flax),
)
_BY_ENTRIES: Sequence[tuple[str, Callable[[list[str]], bool]]] = (
    ("pytorch", is_torch_zip),
    ("keras", is_keras_zip),
    ("npz", is_npz),
    ("stable-baselines3", is_stable_baselines3),
)
# Opened by native libraries, in a process of their own.
NATIVE = ("hdf5", "keras")
READERS: dict[str, Callable[[ByteRange], Contents]] = {
    "safetensors": open_safetensors,
    "pytorch": open_torch,
    "npy": open_npy,
    "flax": open_flax,
    "npz": open_npz,
    "stable-baselines3": open_stable_baselines3,
}


def format_of(file: ByteRange) -> str:
    """Tell a file's format by its first bytes and, in a zip file, its entries.

    Raises
    ------
    CheckpointError
        It is none of those that are read; the message says what it looks like.
    """
    start = start_of(file)
    for name, is_it in _BY_START:
        if is_it(start):
            return name
    if not start.startswith(b"PK\x03\x04"):
        raise CheckpointError(_why_unknown(start))
    entries = entry_names(file)
    for name, holds_it in _BY_ENTRIES:
        if holds_it(entries):
            return name
    raise CheckpointError(
        "it is a zip file, but neither a PyTorch checkpoint, a Keras model, a model of "
        "Stable-Baselines3 nor a NumPy archive."
    )


def format_at(path: Place) -> str | None:
    """Tell the format of a file; None where it is none of those that are read, or is no file."""
    try:
        with closing(open_bytes(path)) as file:
            return format_of(file)
    except (CheckpointError, OSError):
        return None


def start_of(file: ByteRange) -> bytes:
    """Read the bytes that tell a format."""
    return read_bytes(file, 0, min(file.size, _TELLING), "its start")


def _why_unknown(start: bytes) -> str:
    """Say what a file is that is no checkpoint, and what to do about it."""
    if not start:
        return "it is empty (0 bytes). Was training stopped while it was saved?"
    if not start.strip(b"\0"):
        return "it starts with zeros only. Was training stopped while it was saved?"
    if start.startswith(b"version https://git-lfs"):
        return (
            "it is a Git LFS pointer, a few lines that stand for the real file. "
            "Fetch the file with: git lfs pull"
        )
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, probably an error page saved in place of the file. Fetch it anew."
    if start.startswith(b"\x80") and re.search(b"joblib|sklearn", start):
        return (
            "it is a pickle of joblib or scikit-learn: fitted objects, whose fields mean something "
            "only to the version of the library that wrote them, and loading it can run any code. "
            "Save the arrays themselves as safetensors or npz."
        )
    if start[257:262] == b"ustar":
        return (
            "it is a tar archive (as PyTorch wrote before version 0.2, too). Unpack it and use the "
            "files inside, or save the weights anew."
        )
    if start.startswith(b"\x80"):
        return (
            "it is a Python pickle, and loading one can run any code, so hmmdyn does not. "
            "Save the weights as safetensors or npz."
        )
    return (
        f"its format is unknown (it starts with {start[:12]!r}). "
        "hmmdyn reads PyTorch, safetensors, NumPy, Keras and Flax files, and Orbax folders."
    )
