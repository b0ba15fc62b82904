"""Exceptions of hmmdyn, named by meaning so that callers can catch the one they can handle.

Every message says what happened, where, why, and what to do about it.
"""

from __future__ import annotations

from hmmdyn.messages import Either, Message, Remedy


class HmmdynError(Exception):
    """Base class: the work could not be done, and the message says why and what to do.

    It is made of texts and remedies; ``str(error)`` names options as a caller of a function does.
    """

    def __init__(self, *parts: str | Remedy | Either) -> None:
        super().__init__(Message(*parts))

    @property
    def message(self) -> Message:
        """What is to be told, with its remedies."""
        return Message(*self.args)


class UsageError(HmmdynError):
    """The options contradict each other or name something that does not exist."""


class LayoutError(HmmdynError):
    """The folder's layout could not be understood, or a layout that was given does not fit it."""


class NoCheckpointsError(LayoutError):
    """The folder is missing, empty, or holds nothing that is a checkpoint."""


class DuplicateCheckpointError(LayoutError):
    """Two files claim to be the same checkpoint (group, run, step)."""


class CheckpointError(HmmdynError):
    """A checkpoint cannot be read: truncated, of an unknown format, or refused as unsafe."""


class ArchitectureMismatchError(HmmdynError):
    """Checkpoints of one group hold different weights (names or shapes)."""


class NotToldError(HmmdynError):
    """A checkpoint does not tell what a metric needs; the message is the reason."""


class NoWeightsError(HmmdynError):
    """A checkpoint holds no weight matrix once everything that is not a weight is left out."""


class LogError(HmmdynError):
    """A file is no log that can be read; the message is the reason, for the file's name to come."""


class NoTimeError(LogError):
    """A log has no column that tells when its rows were logged."""


class OutcomeError(HmmdynError):
    """A file of outcomes cannot be read, or does not fit the runs."""


class TableError(HmmdynError):
    """A metric table lacks a needed column, holds a value of the wrong kind, or has no rows."""


class MetricNotFiniteError(TableError):
    """A metric is infinite at some checkpoints."""


class NotEnoughDataError(HmmdynError):
    """There are too few runs, checkpoints or varying metrics for the question asked."""


class NoValidFitError(HmmdynError):
    """No restart of any number of states gave a valid fit; the message counts the reasons."""


class TrainingMapError(HmmdynError):
    """A saved training map is malformed, or does not fit the metrics it is applied to."""


class OutputError(HmmdynError):
    """A result cannot be written: no permission, no space, or the path is taken."""


class MissingPackageError(HmmdynError):
    """The work needs an optional package that is not installed; the message names the extra."""
