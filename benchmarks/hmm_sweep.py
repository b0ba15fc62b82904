"""How much faster the sweep over K is than hmmlearn's own, and whether its models are as good.

    python benchmarks/hmm_sweep.py [5x154] [40x1000] [--restarts 5] [-o hmm_sweep.md]

Both do K = 1 … 8 with as many restarts, one after the other in this process, with one thread for
linear algebra; hmmlearn from its own starts (k-means) and with its own stopping rule at the same
tolerance. Times are CPU times. Sizes are runs x checkpoints; 40x1000, the paper's, takes minutes.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from hmmlearn.hmm import GaussianHMM
from markdown_table import table
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.results.observations import Sequences


def trajectories(n_runs: int, n_checkpoints: int, n_metrics: int) -> np.ndarray:
    """Smooth drift with autocorrelated noise, standardised per run; shape (n, D)."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, n_checkpoints)
    runs = []
    for _ in range(n_runs):
        shift = rng.normal(0, 0.05)
        drift = [
            np.tanh(6 * (t - 0.3 - 0.2 * np.sin(i) - shift)) + 0.3 * np.sin(3 * t + i)
            for i in range(n_metrics)
        ]
        noise = np.zeros((n_checkpoints, n_metrics))
        for i in range(1, n_checkpoints):
            noise[i] = 0.9 * noise[i - 1] + 0.05 * rng.normal(size=n_metrics)
        run = np.stack(drift, axis=1) + noise
        runs.append((run - run.mean(axis=0)) / run.std(axis=0))
    return np.concatenate(runs)


def with_hmmlearn(
    values: np.ndarray, lengths: np.ndarray, n_states: int, covariance_type: str, seed: int
) -> float:
    """Log-likelihood of one of hmmlearn's restarts; -inf where it fails."""
    model = GaussianHMM(
        n_states,
        covariance_type=covariance_type,
        n_iter=em.MAX_ITERATIONS,
        tol=em.TOLERANCE * len(values),
        random_state=seed,
    )
    try:
        return float(model.fit(values, lengths).score(values, lengths))
    except ValueError:  # it has turned NaN
        return -np.inf


def measure(size: str, covariance_type: str, options: argparse.Namespace) -> pd.DataFrame:
    """CPU seconds of both sweeps, and how far our models are above hmmlearn's: a row."""
    n_runs, n_checkpoints = map(int, size.split("x"))
    values = trajectories(n_runs, n_checkpoints, options.metrics)
    lengths = np.full(n_runs, n_checkpoints)
    candidates = range(1, options.max_states + 1)
    settings = {
        "covariance_type": covariance_type,
        "n_restarts": options.restarts,
        "random_state": 0,
    }
    sweep(
        Sequences(values[:50], np.array([50])), [1, 2], **settings
    )  # compiled before the clock starts
    with threadpool_limits(1):
        begin = time.process_time()
        ours = sweep(Sequences(values, lengths), candidates, **settings).winners
        middle = time.process_time()
        theirs = {
            k: max(
                with_hmmlearn(values, lengths, k, covariance_type, seed)
                for seed in range(options.restarts if k > 1 else 1)
            )
            for k in candidates
        }
        end = time.process_time()
    row = {
        "hmmdyn, s": middle - begin,
        "hmmlearn, s": end - middle,
        "times faster": (end - middle) / (middle - begin),
        **{f"K = {k}": ours[k].log_likelihood - theirs[k] for k in candidates},
    }
    key = pd.MultiIndex.from_tuples([(size, covariance_type)], names=["size", "covariance"])
    return pd.DataFrame([row], index=key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["5x154"], help="runs x checkpoints")
    parser.add_argument("--metrics", type=int, default=14)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--max-states", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    rows = [measure(size, c, options) for size in options.sizes for c in ("diag", "full")]
    measured = pd.concat(rows)
    text = "\n".join(
        [
            f"K = 1 … {options.max_states}, {options.restarts} restarts, {options.metrics} "
            f"metrics; one thread of a CPU, CPU times; hmmdyn {version('hmmdyn')}, hmmlearn "
            f"{version('hmmlearn')}, NumPy {np.__version__}, Python {platform.python_version()}",
            "",
            table(measured.iloc[:, :3], ".2f"),
            "",
            "Log-likelihood of our best model above that of hmmlearn's best, nats:",
            "",
            table(measured.iloc[:, 3:], "+,.2f"),
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
