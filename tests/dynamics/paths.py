"""Runs made of state paths and accuracy curves, in which it is known what states do."""

import numpy as np
import pandas as pd


def runs_of(paths, accuracies):
    """(states, table) of runs given as state paths and accuracy curves."""
    frames = [
        pd.DataFrame(
            {
                "group": "all",
                "run": f"r{i}",
                "seed": pd.array([i] * len(path), dtype="Int64"),
                "step": np.arange(len(path)),
                "state": path,
                "accuracy": accuracy,
            }
        )
        for i, (path, accuracy) in enumerate(zip(paths, accuracies, strict=True))
    ]
    return pd.concat(frames, ignore_index=True)


def detour_world(n_runs=16, length=40, seed=0):
    """Half of the runs pass through state 1 for a while, and converge that much later."""
    rng = np.random.default_rng(seed)
    paths, accuracies = [], []
    for i in range(n_runs):
        early, late = rng.integers(4, 8), rng.integers(3, 6)
        detour = rng.integers(8, 14) if i % 2 else 0
        path = np.r_[np.zeros(early), np.ones(detour), np.full(late, 2)].astype(int)
        converged_at = len(path) + rng.integers(0, 3)
        path = np.r_[path, np.full(length - len(path), 3)]
        paths.append(path)
        accuracies.append((np.arange(length) >= converged_at).astype(float))
    return runs_of(paths, accuracies)
