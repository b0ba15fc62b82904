"""Work done by the workers of a cluster, which somebody else starts, and may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hmmdyn.errors import HmmdynError
from hmmdyn.names import printable
from hmmdyn.version import __version__

RAY = "ray://"
KILLED = (
    "the workers that measured it were killed, one after the other; most likely memory ran out. "
    "Give workers more of it"
)
Item = TypeVar("Item")
Result = TypeVar("Result")


def on_cluster(
    scheduler: str,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    died: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """Yield what a function returns for each item, in any order, from the workers of a cluster.

    An item whose worker ends before its time is given to another one; workers that join get their
    share.

    Parameters
    ----------
    scheduler : str
        Address of a Dask scheduler (``tcp://host:8786``), or of a Ray cluster
        (``ray://host:10001``).
    function : callable
        What the workers call, with one item; they import it from here.
    items : sequence
        Its arguments.
    died : callable
        Returns the result in the place of an item whose workers died, each of them, while they
        worked on it; it is called with the item and what to say of it.

    Raises
    ------
    MissingPackageError
        Dask, or Ray, is not installed.
    UsageError
        No scheduler answers there.
    HmmdynError
        The connection to the scheduler was lost, or workers cannot do this work at all.
    """
    if scheduler.startswith(RAY):
        from hmmdyn.metrics.clusters.ray import on_ray

        return on_ray(scheduler, function, items, died)
    from hmmdyn.metrics.clusters.dask import on_dask

    return on_dask(scheduler, function, items, died)


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
