"""Time of one EM iteration against hmmlearn, dynamax and pomegranate, from the same start.

    pip install hmmlearn dynamax pomegranate
    python benchmarks/hmm_peers.py [--runs 40] [--checkpoints 1000] [--metrics 14] [--states 8]

One process, double precision; peers that are not installed are left out and named. What a peer
does once (dynamax compiles) is not counted: an iteration's time is the difference between a long
and a short fit, over the difference in iterations. Linear algebra has one thread, PyTorch too;
JAX takes the threads it wants. Times are wall-clock, the best of three.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from hmm_sweep import trajectories
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.em import EM, Model
from hmmdyn.hmm.starts import start
from hmmdyn.results import HMMParameters

_SHORT, _LONG = 3, 13


def with_hmmdyn(
    values: np.ndarray, lengths: np.ndarray, first: HMMParameters
) -> Callable[[int], None]:
    em = EM(values, lengths, first.covariance_type)
    return lambda n: em.advance([Model(first)], n, until_converged=False)


def with_hmmlearn(
    values: np.ndarray, lengths: np.ndarray, first: HMMParameters
) -> Callable[[int], None]:
    from hmmdyn.hmm.gaussian import to_hmmlearn

    def fit(n: int) -> None:
        model = to_hmmlearn(first)
        model.set_params(init_params="", n_iter=n, tol=-np.inf)
        model.fit(values, lengths)

    return fit


def with_dynamax(
    values: np.ndarray, lengths: np.ndarray, first: HMMParameters
) -> Callable[[int], None]:
    import jax

    jax.config.update("jax_enable_x64", True)
    from dynamax.hidden_markov_model import DiagonalGaussianHMM, GaussianHMM

    k, d = first.means.shape
    kind = DiagonalGaussianHMM if first.covariance_type == "diag" else GaussianHMM
    spread = "emission_scale_diags" if first.covariance_type == "diag" else "emission_covariances"
    scale = np.sqrt(first.covariances) if first.covariance_type == "diag" else first.covariances
    model = kind(k, d)
    parameters, properties = model.initialize(
        initial_probs=jax.numpy.array(first.startprob),
        transition_matrix=jax.numpy.array(first.transmat),
        emission_means=jax.numpy.array(first.means),
        **{spread: jax.numpy.array(scale)},
    )
    runs = jax.numpy.array(values.reshape(len(lengths), -1, d))

    def fit(n: int) -> None:
        _, log_probs = model.fit_em(parameters, properties, runs, num_iters=n, verbose=False)
        np.asarray(log_probs)

    return fit


def with_pomegranate(
    values: np.ndarray, lengths: np.ndarray, first: HMMParameters
) -> Callable[[int], None]:
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.hmm import DenseHMM

    torch.set_num_threads(1)
    runs = torch.tensor(values.reshape(len(lengths), -1, values.shape[1]))

    def fit(n: int) -> None:
        states = [
            Normal(mean, covariance, covariance_type=first.covariance_type).to(torch.float64)
            for mean, covariance in zip(first.means, first.covariances, strict=True)
        ]
        model = DenseHMM(
            states,
            edges=first.transmat,
            starts=first.startprob,
            ends=np.full(len(states), 1e-6),
            max_iter=n,
            tol=1e-300,
        ).to(torch.float64)
        model.fit(runs)

    return fit


_PEERS = {
    "hmmdyn": with_hmmdyn,
    "hmmlearn": with_hmmlearn,
    "dynamax": with_dynamax,
    "pomegranate": with_pomegranate,
}


def per_iteration(fit: Callable[[int], None]) -> float:
    """Seconds of one iteration."""

    def timed(n: int) -> float:
        begin = time.perf_counter()
        fit(n)
        return time.perf_counter() - begin

    fit(_SHORT)
    short, long = (min(timed(n) for _ in range(3)) for n in (_SHORT, _LONG))
    return (long - short) / (_LONG - _SHORT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--metrics", type=int, default=14)
    parser.add_argument("--states", type=int, default=8)
    options = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    values = trajectories(options.runs, options.checkpoints, options.metrics)
    lengths = np.full(options.runs, options.checkpoints)
    for covariance_type in ("diag", "full"):
        first = start(values, lengths, options.states, covariance_type, 0, "k-means")
        ours = None
        for name, peer in _PEERS.items():
            if find_spec(name) is None:
                print(f"{covariance_type}: {name} is not installed")
                continue
            try:
                with threadpool_limits(1):
                    seconds = per_iteration(peer(values, lengths, first))
            except Exception as error:  # a peer's failure is a finding, not ours to raise
                print(f"{covariance_type}: {name} failed: {type(error).__name__}: {error}")
                continue
            ours = ours or seconds
            print(f"{covariance_type}: {name} {1000 * seconds:.1f} ms, {seconds / ours:.1f}")


if __name__ == "__main__":
    main()
