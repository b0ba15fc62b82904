"""Models of Stable-Baselines3: a zip file with the policy's weights as a PyTorch file inside.

References
----------
https://stable-baselines3.readthedocs.io/en/master/guide/save_format.html
"""

from __future__ import annotations

from dataclasses import replace

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange
from hmmdyn.checkpoints.formats.torch_file import open_torch
from hmmdyn.checkpoints.formats.zip_entries import entry_bytes, read_directory
from hmmdyn.checkpoints.tensor import Contents

_POLICY = "policy.pth"


def is_stable_baselines3(names: list[str]) -> bool:
    """Whether a zip file with these entries was written by Stable-Baselines3."""
    return _POLICY in names


def open_stable_baselines3(file: ByteRange) -> Contents:
    """Read which tensors the policy holds; their numbers stay on disk.

    The states of optimizers, and whatever else lies beside the policy, are left out.

    Raises
    ------
    CheckpointError
        The file is damaged, or its policy is no dictionary of tensors.
    """
    entries = read_directory(file)
    policy = open_torch(entry_bytes(file, entries[_POLICY]))
    beside = {
        name: "optimizer state" if "optimizer" in name else "kept beside the model"
        for name in entries
        if name.endswith(".pth") and name != _POLICY
    }
    return replace(policy, format="stable-baselines3", left_out={**policy.left_out, **beside})
