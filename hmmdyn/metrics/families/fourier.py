"""Which frequencies an embedding of numbers modulo P is made of (``--cyclic P``).

Row x of the embedding is Σ_k a_k cos(2πkx/P) + b_k sin(2πkx/P), a_k and b_k vectors; the norm of
frequency k = 1 … ⌊P/2⌋ is the root of ‖a_k‖² + ‖b_k‖². Networks that grok modular addition keep a
few.

References
----------
Nanda et al., "Progress measures for grokking via mechanistic interpretability", ICLR 2023
(arXiv:2301.05217), sections 4 (key frequencies) and 5 (Gini coefficient of the norms).
"""

from __future__ import annotations

import math

import numpy as np

from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Embedding

_SHARE = 0.9  # of the power that key frequencies hold


@metric(needs="embedding", source="Nanda 2023, section 5")
def fourier_gini(embedding: Embedding) -> float:
    """Gini coefficient of the norms of the embedding's frequencies (0: all alike, near 1: one)."""
    norms = np.sort(embedding.frequency_norms)
    n, total = len(norms), float(norms.sum())
    if not total:
        return math.nan
    return float((2 * np.arange(1, n + 1) - n - 1) @ norms) / (n * total)


@metric(needs="embedding", source="after Nanda 2023, section 4")
def key_frequencies(embedding: Embedding) -> float:
    """How many frequencies hold 90 % of the power of the embedding's, at least."""
    power = np.sort(np.square(embedding.frequency_norms))[::-1]
    total = float(power.sum())
    if not total > 0:
        return math.nan
    held = np.cumsum(power) / total
    return float(np.searchsorted(held, _SHARE * (1 - 1e-12)) + 1)
