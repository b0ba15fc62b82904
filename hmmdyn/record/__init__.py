"""Metrics recorded while training runs: the rows of extraction, without keeping checkpoints."""

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.record.recorder import MetricRecorder

__all__ = ["MetricRecorder", "ParameterRules"]
