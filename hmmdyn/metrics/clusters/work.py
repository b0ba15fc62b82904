"""What work on any cluster has in common: the call on a worker, and what is said of failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hmmdyn.errors import HmmdynError
from hmmdyn.names import printable
from hmmdyn.version import __version__

KILLED = (
    "the workers that measured it were killed, one after the other; most likely memory ran out. "
    "Give workers more of it"
)
Item = TypeVar("Item")
Result = TypeVar("Result")


def checked(function: Callable[[Item], Result], item: Item, version: str) -> Result:
    """Call a function, on a worker, where it is the function that the sender has."""
    if version != __version__:
        raise HmmdynError(
            f"A worker has hmmdyn {__version__}, and hmmdyn {version} sent the work. Install the "
            "same version for both."
        )
    return function(item)


def lost(scheduler: str) -> HmmdynError:
    """Return the error of a connection that was lost."""
    return HmmdynError(
        f"The connection to the scheduler at {printable(scheduler)} was lost. What was measured is "
        "kept: start the scheduler, and the same command goes on from there."
    )


def failed(scheduler: str, error: BaseException) -> HmmdynError:
    """Return the error of a worker that cannot do this work at all."""
    return HmmdynError(
        f"A worker of {printable(scheduler)} failed: {type(error).__name__}: "
        f"{printable(str(error))}\nWorkers need hmmdyn {__version__}, and the packages that the "
        "runs' formats need."
    )
