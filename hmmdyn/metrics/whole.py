"""What metrics need that is no sum over weights: attention, an embedding, an optimizer's state."""

from __future__ import annotations

import math

import numpy as np

from hmmdyn.checkpoints.heads import Head
from hmmdyn.checkpoints.moments import moments_of
from hmmdyn.checkpoints.parameters import ParameterRules, Parameters, cyclic_embedding
from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.errors import NotToldError
from hmmdyn.metrics.summary import Embedding, Moments
from hmmdyn.results.arrays import FloatArray

_EPSILON = 1e-8  # Adam's own


def logit_norm(head: Head) -> float:
    """Return the largest singular value of W_Qᵀ W_K / √d; NaN where a weight is not finite."""
    if not (np.isfinite(head.query).all() and np.isfinite(head.key).all()):
        return math.nan
    # Of the triangular factors, no larger than the head is wide, instead of the whole product.
    of_query, of_key = (np.asarray(np.linalg.qr(one.T, "r")) for one in (head.query, head.key))
    return float(np.linalg.norm(of_query @ of_key.T, 2)) / math.sqrt(len(head.query))


def embedding_of(
    checkpoint: Checkpoint, parameters: Parameters, rules: ParameterRules
) -> Embedding:
    """Read the embedding of the numbers modulo ``rules.cyclic``.

    Raises
    ------
    NotToldError
        The number was not given, or there is no such embedding.
    """
    if rules.cyclic is None:
        raise NotToldError(
            "which rows of the embedding are cyclic is not told: cyclic=P, --cyclic P"
        )
    name = cyclic_embedding(checkpoint, parameters, rules.cyclic)
    values = checkpoint[name].read()[: rules.cyclic]
    return Embedding(np.asarray(values, dtype=np.float64))


def adam_of(checkpoint: Checkpoint) -> Moments:
    """Sum up the moments that a checkpoint holds of Adam.

    Raises
    ------
    NotToldError
        It holds none.
    """
    first = second = step = 0.0
    n = 0
    for m, v in moments_of(checkpoint):
        of_m, of_v = (np.asarray(one, dtype=np.float64).ravel() for one in (m, v))
        first += float(of_m @ of_m)
        second += float(of_v @ of_v)
        step += _steps(of_m, of_v)
        n += of_m.size
    return Moments(math.sqrt(first), math.sqrt(second), step / n if n else math.nan)


def _steps(first: FloatArray, second: FloatArray) -> float:
    return float((np.abs(first) / (np.sqrt(second) + _EPSILON)).sum())
