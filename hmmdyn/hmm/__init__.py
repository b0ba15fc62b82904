"""From numbers to states: the Gaussian hidden Markov model, its choice of K, the training map.

This is the face: what the rest of the package needs of it, loaded when first used. Behind it are
three floors, each of which imports those before it only:

``model``   what a model is and says of given runs: transitions, emissions, inference
``fit``     EM, where it starts, and the sweep over numbers of states
``choose``  the number of states, and what weighs the choice

What only asks a model something, as ``dynamics`` does, may import ``hmmdyn.hmm.model`` too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmmdyn.hmm.choose.refit import refit_without
    from hmmdyn.hmm.choose.smallest_set import smallest_set
    from hmmdyn.hmm.training_map import Decoding, FittedMap, TrainingMap, fit_training_map

_HOME = {
    "Decoding": "training_map",
    "FittedMap": "training_map",
    "TrainingMap": "training_map",
    "fit_training_map": "training_map",
    "refit_without": "choose.refit",
    "smallest_set": "choose.smallest_set",
}

__all__ = [
    "Decoding",
    "FittedMap",
    "TrainingMap",
    "fit_training_map",
    "refit_without",
    "smallest_set",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hmmdyn.hmm' has no attribute {name!r}")
    return getattr(import_module(f"hmmdyn.hmm.{_HOME[name]}"), name)
