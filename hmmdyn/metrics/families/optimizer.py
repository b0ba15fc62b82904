"""The state of Adam and its relatives, over all parameters that it trains (embeddings, too).

m is the first moment, a moving average of gradients, and v the second, of their squares.

References
----------
Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015 (arXiv:1412.6980), algorithm 1.
"""

from __future__ import annotations

from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Moments

_SOURCE = "Kingma, Ba 2015, algorithm 1"


@metric(needs="optimizer", unit="1/w", source=_SOURCE)
def first_moment(moments: Moments) -> float:
    """Euclidean norm of Adam's first moment m."""
    return moments.first


@metric(needs="optimizer", unit="1/w²", source=_SOURCE)
def second_moment(moments: Moments) -> float:
    """Euclidean norm of Adam's second moment v."""
    return moments.second


@metric(needs="optimizer", source=_SOURCE)
def effective_step(moments: Moments) -> float:
    """Step of Adam at learning rate 1, |m| / (√v + 10⁻⁸), mean over entries, bias uncorrected."""
    return moments.step
