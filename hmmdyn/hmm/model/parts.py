"""A model's parts, and a model of parts: the one place that tells which variants it is made of.

A model is its first state, a transition model and an emission model. Each comes in variants, and
any of the one goes with any of the other.
"""

from __future__ import annotations

from hmmdyn.hmm.model.chain import CheckpointTransitions, ContinuousTransitions, TransitionModel
from hmmdyn.hmm.model.emissions import (
    AnyEmissions,
    AutoregressiveGaussianEmissions,
    EmissionModel,
    GaussianEmissions,
)
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import HMMParameters


def transitions_of(parameters: HMMParameters) -> TransitionModel:
    """Return how a model's states follow each other."""
    if parameters.generator is None:
        return CheckpointTransitions(parameters.transmat, parameters.minimum_dwell)
    return ContinuousTransitions(
        parameters.transmat, parameters.generator, parameters.clock, parameters.unit
    )


def emissions_of(parameters: HMMParameters) -> AnyEmissions:
    """Return what a model's states emit."""
    plain = parameters.means, parameters.covariances, parameters.covariance_type
    if parameters.autoregression is None:
        return GaussianEmissions(*plain)
    return AutoregressiveGaussianEmissions(*plain, parameters.autoregression)


def assembled(
    startprob: FloatArray, transitions: TransitionModel, emissions: EmissionModel
) -> HMMParameters:
    """Put a model together; the parts' fields are its own."""
    return HMMParameters(startprob=startprob, **vars(transitions), **vars(emissions))
