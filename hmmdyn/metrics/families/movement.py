"""How far the weights have moved: from where the run began, and from checkpoint to checkpoint.

All weight matrices together are one vector w; w_0 is that of the run's first checkpoint, w_t− that
of the checkpoint before.

References
----------
Hoffer, Hubara, Soudry, "Train longer, generalize better: closing the generalization gap in large
batch training of neural networks", NeurIPS 2017 (arXiv:1705.08741), section 3: ‖w_t − w_0‖ grows
with log t.
"""

from __future__ import annotations

import math

import pandas as pd

from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Change

_HOFFER = "Hoffer 2017, section 3"


@metric(needs="initial", unit="w", source=_HOFFER)
def distance_l2(since: Change) -> float:
    """Distance from the first checkpoint, ‖w_t − w_0‖₂."""
    return since.l2


@metric(needs="initial", unit="w")
def distance_l1(since: Change) -> float:
    """Distance from the first checkpoint in ℓ1, Σ|w_t − w_0|."""
    return since.l1


@metric(needs="initial", unit="w")
def distance_linf(since: Change) -> float:
    """Largest change of a weight since the first checkpoint."""
    return since.linf


@metric(needs="initial")
def cosine_to_start(since: Change) -> float:
    """Cosine between the weights and those of the first checkpoint."""
    return since.cosine


@metric(needs="previous", unit="w")
def step_l2(since: Change) -> float:
    """Distance from the checkpoint before, ‖w_t − w_t−‖₂."""
    return since.l2


@metric(needs="previous")
def step_cosine(since: Change) -> float:
    """Cosine between the weights and those of the checkpoint before."""
    return since.cosine


@metric(needs="previous")
def relative_step(since: Change) -> float:
    """Distance from the checkpoint before over the norm it had."""
    return since.l2 / math.sqrt(since.then) if since.then else math.nan


@metric(needs="run", unit="w", of=("step_l2",))
def path_length(run: pd.DataFrame) -> pd.Series[float]:
    """Sum of the distances from checkpoint to checkpoint up to here."""
    known = run["step_l2"].copy()
    known.iloc[0] = 0.0  # nothing comes before
    return known.cumsum(skipna=False)  # from a step that is not known on, neither is the path
