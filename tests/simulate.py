"""Small made-up trainings with known states, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Observations, Standardisation

# Real metrics of five seeds of Pythia 70M; tests that need them are skipped where they are absent.
PYTHIA = Path(__file__).parents[2] / "shared" / "data" / "pythia70m_metrics.tsv"


def random_parameters(
    n_states: int, n_features: int, covariance_type: str, seed: int = 0
) -> HMMParameters:
    rng = np.random.default_rng(seed)
    if covariance_type == "diag":
        covariances = rng.uniform(0.3, 2.0, (n_states, n_features))
    else:
        roots = rng.normal(size=(n_states, n_features, n_features))
        covariances = roots @ roots.transpose(0, 2, 1) + 0.5 * np.eye(n_features)
    return HMMParameters(
        startprob=rng.dirichlet(np.ones(n_states)),
        transmat=rng.dirichlet(np.ones(n_states), size=n_states),
        means=rng.normal(scale=2.0, size=(n_states, n_features)),
        covariances=covariances,
        covariance_type=covariance_type,
    )


def sample(
    parameters: HMMParameters, lengths: list[int], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw (values, states) from the model, one sequence per length."""
    rng = np.random.default_rng(seed)
    values, states = [], []
    for n in lengths:
        state = rng.choice(parameters.n_states, p=parameters.startprob)
        for _ in range(n):
            covariance = parameters.covariances[state]
            matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
            values.append(rng.multivariate_normal(parameters.means[state], matrix))
            states.append(state)
            state = rng.choice(parameters.n_states, p=parameters.transmat[state])
    return np.array(values), np.array(states)


def observations(
    values: np.ndarray, lengths: list[int], features: tuple[str, ...] | None = None
) -> Observations:
    """Observations as they are, one run per length, steps 0, 10, 20, …"""
    n_features = values.shape[1]
    return Observations(
        values=values,
        lengths=np.array(lengths),
        runs=pd.DataFrame(
            {
                "group": "all",
                "run": [f"seed{i}" for i in range(len(lengths))],
                "seed": pd.array(range(len(lengths)), dtype="Int64"),
            }
        ),
        steps=np.concatenate([10 * np.arange(n) for n in lengths]),
        features=features or tuple(f"m{i}" for i in range(n_features)),
        standardisation=Standardisation("run"),
    )


def phased_table(
    n_runs: int = 6, n_checkpoints: int = 30, n_metrics: int = 3, seed: int = 0
) -> pd.DataFrame:
    """Metrics of runs that walk three phases in order, and an accuracy that jumps with the last.

    Change points differ between runs; run i's last phase starts at ``12 + i``.
    """
    rng = np.random.default_rng(seed)
    levels = rng.normal(scale=4.0, size=(3, n_metrics))
    rows = []
    for run in range(n_runs):
        for t in range(n_checkpoints):
            phase = int(t >= 5 + run // 2) + int(t >= 12 + run)
            metrics = levels[phase] + rng.normal(scale=0.3, size=n_metrics)
            rows.append(
                {
                    "run": f"seed{run}",
                    "seed": run,
                    "step": 100 * t,
                    **{f"m{i}": value for i, value in enumerate(metrics)},
                    "train_accuracy": 0.5 if phase == 0 else 1.0,
                    "eval_accuracy": 1.0 if phase == 2 else 0.5,
                }
            )
    return pd.DataFrame(rows)
