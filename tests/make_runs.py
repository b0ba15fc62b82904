"""Small folders of made-up training runs on disk, for tests of the whole walk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file


def weights(seed: int, step: int, shape: tuple[int, int] = (6, 5)) -> dict[str, np.ndarray]:
    """A tiny MLP that grows, jumps at step 60 + 10 × seed, and then shrinks a little."""
    rng = np.random.default_rng(1000 * seed + step)
    start = np.random.default_rng(seed)
    jump = step >= 60 + 10 * seed
    scale = (3.0 if jump else 1.0) + step / 200
    first = scale * start.normal(size=shape) + 0.05 * rng.normal(size=shape)
    second = scale * start.normal(size=(2, shape[0])) + 0.05 * rng.normal(size=(2, shape[0]))
    return {
        "layers.0.weight": first.astype(np.float32),
        "layers.0.bias": (0.1 * jump + 0.02 * rng.normal(size=shape[0])).astype(np.float32),
        "layers.1.weight": second.astype(np.float32),
        "layers.1.bias": (0.02 * rng.normal(size=2)).astype(np.float32),
    }


def write_runs(
    root: Path,
    *,
    n_runs: int = 3,
    steps: range = range(0, 160, 10),
    outcomes: bool = True,
    shape: tuple[int, int] = (6, 5),
) -> Path:
    """Write ``root/seed<i>/step_<n>.safetensors`` and, unless told not to, ``metrics.csv``."""
    for seed in range(n_runs):
        folder = root / f"seed{seed}"
        folder.mkdir(parents=True)
        for step in steps:
            save_file(weights(seed, step, shape), folder / f"step_{step}.safetensors")
        if outcomes:
            jumped = [step >= 60 + 10 * seed for step in steps]
            pd.DataFrame(
                {
                    "step": list(steps),
                    "train_accuracy": [min(1.0, 0.5 + step / 60) for step in steps],
                    "eval_accuracy": [0.99 if j else 0.5 for j in jumped],
                }
            ).to_csv(folder / "metrics.csv", index=False)
    return root
