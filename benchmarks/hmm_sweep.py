"""How much faster the sweep over K and restarts is than hmmlearn's, from the same starts.

    python benchmarks/hmm_sweep.py [--runs 5] [--checkpoints 154] [--metrics 14] [--restarts 10]

Both fit every start to the same tolerance, one after the other in this process, with one thread
for linear algebra. The paper's scale is ``--runs 40 --checkpoints 1000 --restarts 5`` (minutes).
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
from hmmdyn.hmm.gaussian import to_hmmlearn
from hmmdyn.hmm.starts import start


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


def with_hmmlearn(values: np.ndarray, lengths: np.ndarray, first) -> float:
    model: GaussianHMM = to_hmmlearn(first)
    prior = em.COVARIANCE_PRIOR
    model.covars_prior = (
        prior if first.covariance_type == "diag" else prior * np.eye(values.shape[1])
    )
    model.set_params(covars_weight=1, init_params="")
    model.n_iter = model.monitor_.n_iter = em.MAX_ITERATIONS
    model.monitor_.tol = em.TOLERANCE * len(values)
    return float(model.fit(values, lengths).score(values, lengths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--checkpoints", type=int, default=154)
    parser.add_argument("--metrics", type=int, default=14)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--max-states", type=int, default=8)
    options = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    values = trajectories(options.runs, options.checkpoints, options.metrics)
    lengths = np.full(options.runs, options.checkpoints)
    for covariance_type in ("diag", "full"):
        starts = {
            k: [
                start(
                    values, lengths, k, covariance_type, 100 * k + r, ("kmeans", "segments")[r % 2]
                )
                for r in range(options.restarts)
            ]
            for k in range(1, options.max_states + 1)
        }
        em.fit(values[:50], np.array([50]), starts[2][:1])  # compiled before the clock starts
        with threadpool_limits(1):
            begin = time.perf_counter()
            ours = {k: em.fit(values, lengths, firsts) for k, firsts in starts.items()}
            middle = time.perf_counter()
            theirs = {
                k: [with_hmmlearn(values, lengths, f) for f in fs] for k, fs in starts.items()
            }
            end = time.perf_counter()
        worst = max(np.nanmax(theirs[k]) - max(f.log_likelihood for f in ours[k]) for k in starts)
        print(
            f"{covariance_type}: hmmdyn {middle - begin:.2f} s, hmmlearn {end - middle:.2f} s, "
            f"ratio {(end - middle) / (middle - begin):.1f}; log-likelihood short of hmmlearn's "
            f"by at most {worst:.2g} nats at any K"
        )


if __name__ == "__main__":
    main()
