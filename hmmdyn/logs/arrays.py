"""Stable-Baselines3's evaluations, an archive of NumPy arrays."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.errors import LogError
from hmmdyn.logs.content import LARGEST_FILE
from hmmdyn.logs.log import Log

# Its arrays, and what the same library calls their means in its other logs.
_MEANS = {
    "results": "eval/mean_reward",
    "ep_lengths": "eval/mean_ep_length",
    "successes": "eval/success_rate",
}


def read_evaluations(data: bytes) -> Log:
    """Read ``evaluations.npz``: a row per evaluation, its means over episodes.

    Raises
    ------
    LogError
        It is another archive, too large, or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_FILE:
                raise LogError(f"unpacked it is larger than {LARGEST_FILE // 2**20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            if "timesteps" not in arrays or "results" not in arrays:
                raise LogError("it is an archive of arrays that no log is")
            steps = _at_most(arrays["timesteps"], 1).reshape(-1)
            columns: dict[str, NDArray[np.float64]] = {"timesteps": steps}
            for name, called in _MEANS.items():
                if name not in arrays:
                    continue
                values = _at_most(arrays[name], 2)
                if len(values) == len(steps):
                    columns[called] = values.reshape(len(steps), -1).mean(axis=1)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, MemoryError) as error:
        raise LogError(f"it is damaged ({str(error)[:200]})") from None
    return Log(pd.DataFrame(columns), "evaluations of Stable-Baselines3")


def _at_most(array: NDArray[np.generic], n_axes: int) -> NDArray[np.float64]:
    if array.ndim > n_axes or array.dtype.kind not in "iufb" or array.size == 0:
        raise ValueError("an array of it is not of the kind that evaluations are")
    return array.astype(np.float64)
