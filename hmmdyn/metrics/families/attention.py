"""How sharp attention can get: the largest singular value of W_Qᵀ W_K / √d of every head.

It is the most that a head's logit x W_Qᵀ W_K y / √d can be for inputs of norm 1, d the width of the
head; biases, rotations of positions and normalisations of queries and keys are not counted. Such
logits grow before training diverges.

References
----------
Wortsman et al., "Small-scale proxies for large-scale transformer training instabilities", ICLR 2024
(arXiv:2309.14322), section 3.1; Zhai et al., "Stabilizing transformer training by preventing
attention entropy collapse", ICML 2023 (arXiv:2303.06296).
"""

from __future__ import annotations

from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Attention

_SOURCE = "Zhai 2023; Wortsman 2023, section 3.1"


@metric(needs="attention", unit="w²", source=_SOURCE)
def attention_logit(attention: Attention) -> float:
    """Largest singular value of W_Qᵀ W_K / √d of a head of width d, mean over the heads."""
    return float(attention.logit_norms.mean())


@metric(needs="attention", unit="w²", source=_SOURCE)
def attention_logit_max(attention: Attention) -> float:
    """Largest singular value of W_Qᵀ W_K / √d of a head of width d, largest of all heads."""
    return float(attention.logit_norms.max())
