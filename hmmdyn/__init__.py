"""hmmdyn: see the phases training went through, and compare seeds for convergence speed.

    from hmmdyn import analyze
    analysis = analyze("runs/")
    analysis.figure.training_map()
    analysis.write("hmmdyn-report")

The public names are loaded when first used, so that ``import hmmdyn`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hmmdyn.version import __version__

if TYPE_CHECKING:
    from hmmdyn.analysis import Analysis, OutcomeAnalysis
    from hmmdyn.checkpoints.read import open_checkpoint
    from hmmdyn.errors import HmmdynError
    from hmmdyn.hmm import TrainingMap
    from hmmdyn.metrics.registry import metric
    from hmmdyn.options import Options
    from hmmdyn.pipeline import analyze, fit
    from hmmdyn.record.recorder import MetricRecorder
    from hmmdyn.sources import read_runs, scan
    from hmmdyn.tables.trajectories import Trajectories


_HOME = {
    "Analysis": "analysis",
    "HmmdynError": "errors",
    "MetricRecorder": "record.recorder",
    "Options": "options",
    "OutcomeAnalysis": "analysis",
    "TrainingMap": "hmm",
    "Trajectories": "tables.trajectories",
    "analyze": "pipeline",
    "fit": "pipeline",
    "metric": "metrics.registry",
    "open_checkpoint": "checkpoints.read",
    "read_runs": "sources",
    "scan": "sources",
}

__all__ = [
    "Analysis",
    "HmmdynError",
    "MetricRecorder",
    "Options",
    "OutcomeAnalysis",
    "TrainingMap",
    "Trajectories",
    "__version__",
    "analyze",
    "fit",
    "metric",
    "open_checkpoint",
    "read_runs",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hmmdyn' has no attribute {name!r}")
    return getattr(import_module(f"hmmdyn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
