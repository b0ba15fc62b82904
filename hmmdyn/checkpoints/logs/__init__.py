"""Logs beside checkpoints: say whose they are, read them, and join them to the checkpoints."""

from hmmdyn.checkpoints.logs.join import JoinedOutcomes, join_outcomes, of_runs_in
from hmmdyn.checkpoints.logs.outcomes import find_outcomes

__all__ = ["JoinedOutcomes", "find_outcomes", "join_outcomes", "of_runs_in"]
