"""How much faster the sweep over K is than hmmlearn's own, and whether its models are as good.

    python benchmarks/hmm_sweep.py [--runs 5] [--checkpoints 154] [--metrics 14] [--restarts 5]

Both do K = 1 … 8 with as many restarts, one after the other in this process, with one thread for
linear algebra; hmmlearn from its own starts (k-means) and with its own stopping rule at the same
tolerance. Times are CPU times. The paper's scale is ``--runs 40 --checkpoints 1000`` (minutes).
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import numpy as np
from hmmlearn.hmm import GaussianHMM
from threadpoolctl import threadpool_limits

from hmmdyn.hmm import em
from hmmdyn.hmm.sweep import sweep


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--checkpoints", type=int, default=154)
    parser.add_argument("--metrics", type=int, default=14)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--max-states", type=int, default=8)
    options = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    values = trajectories(options.runs, options.checkpoints, options.metrics)
    lengths = np.full(options.runs, options.checkpoints)
    candidates = range(1, options.max_states + 1)
    for covariance_type in ("diag", "full"):
        settings = {
            "covariance_type": covariance_type,
            "n_restarts": options.restarts,
            "random_state": 0,
        }
        sweep(values[:50], np.array([50]), [1, 2], **settings)  # compiled before the clock starts
        with threadpool_limits(1):
            begin = time.process_time()
            ours = sweep(values, lengths, candidates, **settings).winners
            middle = time.process_time()
            theirs = {
                k: max(
                    with_hmmlearn(values, lengths, k, covariance_type, seed)
                    for seed in range(options.restarts if k > 1 else 1)
                )
                for k in candidates
            }
            end = time.process_time()
        gains = ", ".join(f"{ours[k].log_likelihood - theirs[k]:+.2f}" for k in candidates)
        print(
            f"{covariance_type}: hmmdyn {middle - begin:.2f} s, hmmlearn {end - middle:.2f} s, "
            f"ratio {(end - middle) / (middle - begin):.1f}\n"
            f"  log-likelihood against hmmlearn's, nats, K = 1 … {options.max_states}: {gains}"
        )


if __name__ == "__main__":
    main()
