"""What weighs the choice of a number of states: everything that speaks for and against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.hmm.choose.criteria import criteria_table
from hmmdyn.hmm.choose.diagnostics import diagnose
from hmmdyn.hmm.choose.folds import Split, about_metrics_left_out
from hmmdyn.hmm.choose.held_out import hold_out
from hmmdyn.hmm.choose.recommend import recommend
from hmmdyn.hmm.choose.stability import measure_stability
from hmmdyn.hmm.fit.progress import Stages
from hmmdyn.hmm.fit.settings import SweepSettings
from hmmdyn.hmm.fit.sweep import Sweep, attempts_table
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.selection import Selection

N_STAGES = 3


def weigh(
    selection: Selection,
    observations: Observations,
    candidates: Sequence[int],
    settings: SweepSettings,
    stages: Stages,
    split: Split,
) -> Selection:
    """Add to a choice what weighs it.

    The other covariance type by the same criteria on the same runs; how well every K predicts runs
    held out, and what that recommends; whether other seeds find the same map; and whether the
    model's assumptions hold.

    Parameters
    ----------
    selection : Selection
        The choice, of one covariance type.
    observations : Observations
        All runs.
    candidates : sequence of int
        The numbers of states tried.
    settings : SweepSettings
        Of the sweep that chose.
    stages : Stages
        Progress, of which this takes ``N_STAGES`` stages.
    split : Split
        The runs by which was chosen.
    """
    (other,) = set(COVARIANCE_TYPES) - {selection.covariance_type}
    swept = settings.sweep(split.fitted, candidates, other, stages.of_next_stage())
    criteria = criteria_table(swept, candidates, other, settings.options, split)
    scores = hold_out(
        observations,
        candidates,
        options=settings.options,
        random_state=settings.random_state,
        n_jobs=settings.n_jobs,
        progress=stages.of_next_stage(),
    )
    advice = recommend(scores)
    left_out = sorted(set(scores.left_out) - set(split.left_out))  # those are named already
    criteria = pd.concat([selection.criteria, criteria], ignore_index=True)
    criteria = criteria.merge(scores.criteria, on=["covariance_type", "n_states"], how="outer")
    weighed = replace(
        selection,
        criteria=criteria,
        attempts=pd.concat(
            [selection.attempts, attempts_table(swept, other, split.fitted)], ignore_index=True
        ),
        recommendation=advice,
        notices=(
            *selection.notices,
            *about_metrics_left_out(left_out, observations.features),
        ),
    )

    def bic_choice(surrogate: Sequences) -> int | None:
        kind = selection.covariance_type
        again = settings.sweep(surrogate, candidates, kind)
        whole = Split.of_none(surrogate)
        bic = criteria_table(again, candidates, kind, settings.options, whole)["bic"]
        return None if bic.isna().all() else int(candidates[int(np.nanargmin(bic))])

    # Only where BIC on all runs chose, and had a choice, can it be asked again of a surrogate.
    asked = selection.criterion == "bic" and len(candidates) > 1 and selection.n_states > 1

    recommended = _recommended(weighed, swept, observations, settings)
    if recommended is not None:
        recommended = _examined(recommended, observations, candidates, settings, lambda *_: None)
    stages.of_next_stage()(1, 1)
    return replace(
        _examined(
            weighed, observations, candidates, settings, bic_choice if asked else lambda *_: None
        ),
        recommended=recommended,
    )


def _recommended(
    selection: Selection, other: Sweep, observations: Observations, settings: SweepSettings
) -> Selection | None:
    """Put the recommended model in the place of the chosen one, unless it is the same.

    One state makes no map to look at. ``other`` is the sweep of the other covariance type.
    """
    advice = selection.recommendation
    if advice is None or advice.n_states in (None, 1):
        return None
    same_type = advice.covariance_type == selection.covariance_type
    if same_type and advice.n_states == selection.n_states:
        return None
    attempts = selection.attempts
    models: dict[int, HMMParameters]
    if same_type and not selection.held_out:
        models = dict(selection.models)
    else:
        if selection.held_out:  # models so far have not seen all runs
            other = settings.sweep(observations, [advice.n_states], advice.covariance_type)
            last = attempts_table(other, advice.covariance_type, observations)
            attempts = pd.concat([attempts, last], ignore_index=True)
        models = {k: fit.in_time_order(observations.lengths) for k, fit in other.winners.items()}
    if advice.n_states not in models:
        return None
    return replace(
        selection,
        attempts=attempts,
        n_states=advice.n_states,
        covariance_type=advice.covariance_type,
        criterion="path",
        models=models,
        notices=(),
    )


def _examined(
    selection: Selection,
    observations: Observations,
    candidates: Sequence[int],
    settings: SweepSettings,
    choose: Callable[[Sequences], int | None],
) -> Selection:
    """Add whether other seeds find the same map, and whether its assumptions hold."""
    parameters = selection.models[selection.n_states]
    diagnostics = diagnose(
        parameters,
        observations,
        candidates,
        choose,
        random_state=settings.random_state,
    )
    return replace(
        selection,
        stability=measure_stability(
            parameters,
            observations,
            options=settings.options,
            random_state=settings.random_state,
            n_jobs=settings.n_jobs,
        ),
        diagnostics=diagnostics,
        notices=(*selection.notices, *diagnostics.notices),
    )
