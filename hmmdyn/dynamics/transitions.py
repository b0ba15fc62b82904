"""Transitions between states: the edges of the training map, and what drives each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.dynamics.change_points import intervals
from hmmdyn.hmm import Decoding
from hmmdyn.hmm.model.inference import transition_posterior
from hmmdyn.hmm.model.missing import marginal, patterns
from hmmdyn.hmm.model.parts import emissions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.transitions import INFLUENCES, TRANSITION_TIMES, TRANSITIONS

# A run names so many features as the most influential ones of a transition.
_TOP = 3


def change_points(decoding: Decoding, parameters: HMMParameters) -> pd.DataFrame:
    """List every decoded change of state.

    Returns
    -------
    DataFrame
        ``group, run, seed, previous_step, step, step_low, step_high, from_state, to_state,
        probability``. The change happened after ``step_low`` and not after ``step_high``, with
        90 % probability (:mod:`hmmdyn.dynamics.change_points`). ``probability``: the smoothed
        posterior of being in ``from_state`` at the checkpoint before and in ``to_state`` at
        ``step``.
    """
    states = decoding.states
    rows = _entries(decoding)
    path = states["state"].to_numpy()
    low, high = intervals(decoding, parameters, rows)
    changes = states.loc[rows, [*RUN_KEY, "seed"]].assign(
        previous_step=states["step"].to_numpy()[rows - 1],
        step=states["step"].to_numpy()[rows],
        step_low=low,
        step_high=high,
        from_state=path[rows - 1],
        to_state=path[rows],
        probability=transition_posterior(
            parameters, decoding.beliefs, rows, path[rows - 1], path[rows]
        ),
    )
    return changes.reset_index(drop=True)


def training_map_edges(
    changes: pd.DataFrame,
    parameters: HMMParameters,
    n_runs: int,
    convergence: Convergence | None,
) -> pd.DataFrame:
    """Summarise the edges of the training map; an edge no decoded run takes is left out.

    Parameters
    ----------
    changes : DataFrame
        As :func:`change_points` lists them.
    parameters : HMMParameters
        The map.
    n_runs : int
        Runs decoded.
    convergence : Convergence or None
        When runs converged; None where no outcome tells.

    Returns
    -------
    DataFrame
        ``from_state, to_state, probability, n_taken, n_runs, n_total, n_converged,
        convergence_mean, convergence_se`` as in :class:`.results.findings.Findings`. The standard
        error is the deviation (ddof 1) over the root of the number of converged runs.
    """
    steps = _convergence_steps(convergence)
    edges = []
    for _, taken in changes.groupby(["from_state", "to_state"]):
        j, k = int(taken["from_state"].iloc[0]), int(taken["to_state"].iloc[0])
        runs = taken[RUN_KEY].drop_duplicates()
        keys = runs.itertuples(index=False, name=None)
        converged = [steps[key] for key in keys if key in steps]
        edges.append(
            {
                "from_state": j,
                "to_state": k,
                "probability": parameters.transmat[j, k],
                "n_taken": len(taken),
                "n_runs": len(runs),
                "n_total": n_runs,
                "n_converged": len(converged),
                "convergence_mean": np.mean(converged) if converged else np.nan,
                "convergence_se": (
                    np.std(converged, ddof=1) / np.sqrt(len(converged))
                    if len(converged) > 1
                    else np.nan
                ),
            }
        )
    return TRANSITIONS.frame(edges)


def transition_times(changes: pd.DataFrame, boundaries: pd.DataFrame) -> pd.DataFrame:
    """Summarise over runs when each transition is first taken: see ``Findings``.

    Parameters
    ----------
    changes : DataFrame
        As :func:`change_points` returns them.
    boundaries : DataFrame
        Those that are supported, with their dates: a change has one date, wherever it is told.
    """
    first = changes.drop_duplicates([*RUN_KEY, "from_state", "to_state"])
    times = first.assign(width=first["step_high"] - first["step_low"])
    summary = times.groupby(["from_state", "to_state"], as_index=False).agg(
        n_runs=("step", "size"),
        first_step=("step", "min"),
        median_step=("step", "median"),
        last_step=("step", "max"),
        step_low=("step_low", "min"),
        step_high=("step_high", "max"),
        width=("width", "median"),
    )
    dated = boundaries[["from_state", "to_state", "date", "date_low", "date_high"]]
    summary = summary.merge(dated, on=["from_state", "to_state"], how="left")
    summary["date"] = summary["date"].fillna(summary["median_step"])
    return summary[TRANSITION_TIMES.names]


def influences(decoding: Decoding, parameters: HMMParameters) -> pd.DataFrame:
    """Rank the features by their influence on each transition (Hu 2023, appendix A).

    For a transition j→k: the absolute derivative of log p(s_t = k | z_1:t) with respect to z_t at
    the first checkpoint t in k, averaged over all occurrences in all runs. A feature that is
    missing at t contributes nothing to its mean; one that is missing at every occurrence of a
    transition has no influence that could be known, and no row there.

    The mean may be one run's doing. So it comes with its spread over runs, each run's own mean
    being one value, and with the number of runs that would name the feature themselves.

    Returns
    -------
    DataFrame
        ``from_state, to_state, rank`` (1 = most influential)``, feature, influence,
        influence_sd`` (over runs, ddof 1; NaN with one)``, n_runs`` (in which it is known at this
        transition)``, n_top`` (of these, in which it is among the three most influential)``,
        movement`` (μ_k − μ_j, in standard deviations).
    """
    rows = _entries(decoding)
    path = decoding.states["state"].to_numpy()
    run = decoding.observations.run_of_row[rows]
    gradients = np.abs(belief_gradient(decoding, parameters, rows, path[rows]))
    names = np.array(decoding.observations.features, dtype=object)
    parts = []
    edges = pd.DataFrame({"j": path[rows - 1], "k": path[rows]})
    for _, taken in edges.groupby(["j", "k"]):
        j, k = int(taken["j"].iloc[0]), int(taken["k"].iloc[0])
        occurrences = pd.DataFrame(gradients[taken.index])  # missing ones are left out of sums
        of_run = occurrences.groupby(run[taken.index]).mean()
        in_top = of_run.rank(axis=1, ascending=False, method="first") <= _TOP
        edge = pd.DataFrame(
            {
                "from_state": j,
                "to_state": k,
                "rank": 0,
                "feature": names,
                "influence": occurrences.mean(),
                "influence_sd": of_run.std(ddof=1),
                "n_runs": of_run.notna().sum(),
                "n_top": in_top.sum(),
                "movement": parameters.means[k] - parameters.means[j],
            }
        ).dropna(subset="influence")
        edge = edge.sort_values("influence", ascending=False, kind="stable")
        parts.append(edge.assign(rank=np.arange(1, len(edge) + 1)))
    return pd.concat(parts, ignore_index=True) if parts else INFLUENCES.frame()


def belief_gradient(
    decoding: Decoding, parameters: HMMParameters, rows: IntArray, states: IntArray
) -> FloatArray:
    """Derivative of log p(s_t = k | z_1:t) by z_t, for rows t and states k, shape (m, D).

    Equals Σ_k⁻¹(μ_k − z_t) − Σ_h γ_t(h) Σ_h⁻¹(μ_h − z_t), with γ the filtered posterior and, where
    emissions remember, μ the mean given the checkpoint before. Where metrics are missing at t, the
    posterior depends on the others alone, and μ, Σ and z are those of the others; the derivative by
    a missing metric is NaN.

    Parameters
    ----------
    decoding : Decoding
        Of the runs.
    parameters : HMMParameters
        The map that decoded them.
    rows, states : ndarray, shape (m,)
        Checkpoints t, and a state k for each.
    """
    data, emissions = decoding.observations, emissions_of(parameters)
    z = data.values[rows]
    centres = np.stack([emissions.centre(k, data)[rows] for k in range(parameters.n_states)])
    gradient = np.full(z.shape, np.nan)
    for at, known in patterns(z):
        _, covariances = marginal(parameters.means, parameters.covariances, known)
        short = (centres[:, at] - z[at])[:, :, known]  # (K, rows with these metrics, known metrics)
        pulls: NDArray[Any]
        if parameters.covariance_type == "diag":
            pulls = short / covariances[:, None]
        else:
            pulls = np.linalg.solve(covariances, short.transpose(0, 2, 1)).transpose(0, 2, 1)
        expected = np.einsum("mk,kmd->md", decoding.beliefs.filtered[rows[at]], pulls)
        gradient[np.ix_(at, known)] = pulls[states[at], np.arange(len(at))] - expected
    return gradient


def is_forking(edges: pd.DataFrame, n_visited: int) -> bool:
    """Whether the map forks: true unless its pruned graph is a line (Hu 2023, section 2.2).

    A line visits every one of the ``n_visited`` states once: no state has two ways in or out,
    none stands alone, and there is no way back.
    """
    if edges.empty:
        return n_visited > 1
    ways_out = edges["from_state"].value_counts()
    ways_in = edges["to_state"].value_counts()
    reached = set(edges["from_state"]) | set(edges["to_state"])
    is_line = (
        ways_out.max() == 1
        and ways_in.max() == 1
        and len(edges) == n_visited - 1
        and len(reached) == n_visited  # else a cycle, and a state that stands alone
    )
    return not is_line


def _entries(decoding: Decoding) -> IntArray:
    """Rows at which a run enters another state than the one it was in."""
    path = decoding.states["state"].to_numpy()
    first = np.zeros(len(path), dtype=bool)
    first[decoding.observations.first_rows] = True
    changed = np.zeros(len(path), dtype=bool)
    changed[1:] = path[1:] != path[:-1]
    return np.flatnonzero(changed & ~first)


def _convergence_steps(convergence: Convergence | None) -> dict[tuple[str, str], float]:
    if convergence is None:
        return {}
    table = convergence.table[convergence.table["converged"]]
    keys = table[RUN_KEY].itertuples(index=False, name=None)
    return dict(zip(keys, table["step"].astype(float), strict=True))
