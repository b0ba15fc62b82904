"""Whether another seed would have given the same map."""

from __future__ import annotations

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.fit.em import Fit
from hmmdyn.hmm.fit.starts import KINDS
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.labels import match
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences
from hmmdyn.results.selection import Stability

# A state is found again where it holds nearly the same checkpoints: a Jaccard index of at least
# this, the usual mark of a stable cluster (Hennig 2007, section 3).
_FOUND = 0.75
N_REPEATS = 10
_SEED = 7


def measure_stability(
    parameters: HMMParameters,
    data: Sequences,
    *,
    options: ModelOptions = PLAIN_MODEL,
    n_repeats: int = N_REPEATS,
    random_state: int,
    n_jobs: int = 1,
) -> Stability:
    """Repeat the search for a model of this size with other seeds, and compare the maps.

    Every repeat is a sweep of its own (with K - 1 and K + 1), from one start of each kind.
    States are matched by their means; a repeat that finds no valid model counts as finding nothing.

    Parameters
    ----------
    parameters : HMMParameters
        The map.
    data : Sequences
        The runs it was fitted to.
    options : ModelOptions
        With which it was fitted.
    n_repeats : int
        Searches.
    random_state : int
        Seeds them.
    n_jobs : int
        Threads to work with.
    """
    states = decode(parameters, data)
    seeds = np.random.SeedSequence([_SEED, random_state]).generate_state(n_repeats)
    with threadpool_limits(1):
        fits = Parallel(n_jobs=n_jobs, backend="threading")(
            delayed(_repeat)(parameters, data, options, int(seed)) for seed in seeds
        )
    found = np.zeros(parameters.n_states, dtype=np.int64)
    agreement = []
    for fit in fits:
        if fit is None or fit.parameters is None or fit.states is None:
            agreement.append(0.0)
            continue
        agreement.append(float(adjusted_rand_score(states, fit.states)))
        matched = match(parameters.means, fit.parameters.means)[fit.states]
        for k in range(parameters.n_states):
            either = (states == k) | (matched == k)
            both = (states == k) & (matched == k)
            found[k] += bool(both.sum() >= _FOUND * max(either.sum(), 1))
    return Stability(
        n_repeats=n_repeats,
        agreement=float(np.mean(agreement)),
        states=pd.DataFrame({"state": np.arange(parameters.n_states), "n_found": found}),
    )


def _repeat(
    parameters: HMMParameters, data: Sequences, options: ModelOptions, seed: int
) -> Fit | None:
    k = parameters.n_states
    swept = sweep(
        data,
        [k],
        options=options,
        covariance_type=parameters.covariance_type,
        n_restarts=len(KINDS),
        random_state=seed,
    )
    return swept.winners.get(k)
