"""Time of one EM iteration against hmmlearn, dynamax and pomegranate, from the same start.

    pip install hmmlearn dynamax pomegranate
    python benchmarks/hmm_peers.py [--runs 40] [--checkpoints 1000] [--states 8] [-o hmm_peers.md]

One process; peers that are not installed are left out and named. What a peer does once (dynamax
compiles) is not counted: an iteration's time is the difference between a long and a short fit, over
the difference in iterations. Linear algebra has one thread, PyTorch too; JAX takes the threads it
wants. Times are wall-clock, the best of three. hmmdyn is timed as the others are, one model in
double precision, and as its sweep works: five models side by side, racing in single precision.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from hmm_sweep import trajectories
from markdown_table import table
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import start
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences

_SHORT, _LONG = 3, 13
_PACKAGES = ("hmmdyn", "hmmlearn", "dynamax", "jax", "pomegranate", "torch", "numpy")


def with_hmmdyn(
    values: np.ndarray,
    lengths: np.ndarray,
    first: HMMParameters,
    n_models: int = 1,
    single: bool = False,
) -> Callable[[int], None]:
    em = EM(Sequences(values, lengths), first.covariance_type, single=single)

    def fit(n: int) -> None:
        models = [Model(first) for _ in range(n_models)]
        em.advance(models, n, until_converged=False)

    return fit


def with_hmmlearn(
    values: np.ndarray, lengths: np.ndarray, first: HMMParameters
) -> Callable[[int], None]:
    from hmmdyn.hmm.conversion import to_hmmlearn

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


_SIDE_BY_SIDE = 5
# Name -> how it is fitted, and how many models a fit brings forward.
_FITTERS: dict[str, tuple[Callable[..., Callable[[int], None]], int]] = {
    "hmmdyn": (with_hmmdyn, 1),
    f"hmmdyn, {_SIDE_BY_SIDE} models": (
        partial(with_hmmdyn, n_models=_SIDE_BY_SIDE),
        _SIDE_BY_SIDE,
    ),
    f"hmmdyn, {_SIDE_BY_SIDE} models, single precision": (
        partial(with_hmmdyn, n_models=_SIDE_BY_SIDE, single=True),
        _SIDE_BY_SIDE,
    ),
    "hmmlearn": (with_hmmlearn, 1),
    "dynamax": (with_dynamax, 1),
    "pomegranate": (with_pomegranate, 1),
}


def per_iteration(fit: Callable[[int], None]) -> float:
    """Milliseconds of one iteration."""

    def timed(n: int) -> float:
        begin = time.perf_counter()
        fit(n)
        return time.perf_counter() - begin

    fit(_SHORT)
    short, long = (min(timed(n) for _ in range(3)) for n in (_SHORT, _LONG))
    return 1000 * (long - short) / (_LONG - _SHORT)


def measure(options: argparse.Namespace, covariance_type: str) -> pd.DataFrame:
    """Milliseconds per iteration and model, and that in hmmdyn's: a row per program."""
    values = trajectories(options.runs, options.checkpoints, options.metrics)
    lengths = np.full(options.runs, options.checkpoints)
    first = start(Sequences(values, lengths), options.states, covariance_type, 0, "k-means")
    times = {}
    for name, (fitter, n_models) in _FITTERS.items():
        if find_spec(name.partition(",")[0]) is None:
            print(f"{name} is not installed")
            continue
        with threadpool_limits(1):
            times[covariance_type, name] = per_iteration(fitter(values, lengths, first)) / n_models
    index = pd.MultiIndex.from_tuples(times, names=["covariance", "program"])
    measured = pd.DataFrame({"ms per iteration": list(times.values())}, index=index)
    return measured.assign(**{"times hmmdyn's": measured / measured.iloc[0]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--metrics", type=int, default=14)
    parser.add_argument("--states", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    measured = pd.concat([measure(options, c) for c in ("diag", "full")])
    installed = [name for name in _PACKAGES if find_spec(name)]
    text = "\n".join(
        [
            f"{options.runs} runs of {options.checkpoints} checkpoints, {options.metrics} metrics, "
            f"K = {options.states}; {', '.join(f'{p} {version(p)}' for p in installed)}, Python "
            f"{platform.python_version()}",
            "",
            table(measured, ".1f"),
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
