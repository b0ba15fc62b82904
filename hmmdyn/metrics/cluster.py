"""Work done by the workers of a Dask cluster, which somebody else starts, and may stop.

Dask's own futures are used and not joblib's backend for Dask: of a task whose workers die again and
again (memory runs out) joblib never hears, and waits for ever (joblib 1.6.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from hmmdyn.errors import HmmdynError, MissingPackageError, UsageError
from hmmdyn.names import printable
from hmmdyn.version import __version__

if TYPE_CHECKING:
    from distributed import Client

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_WAITING = 20  # seconds for the scheduler to answer
_CLOSING = 2  # seconds for it to hear that nothing more is wanted
_AT_ONCE = 10_000  # tasks that the scheduler knows of; further ones follow as these are done


def on_dask(
    scheduler: str,
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    died: Callable[[_Item, str], _Result],
) -> Iterator[_Result]:
    """Yield what a function returns for each item, in any order, from the workers of a cluster.

    An item whose worker ends before its time is given to another one; workers that join get their
    share.

    Parameters
    ----------
    scheduler : str
        Address of the scheduler: ``tcp://host:8786``.
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
        Dask is not installed.
    UsageError
        No scheduler answers there.
    HmmdynError
        The connection to the scheduler was lost, or workers cannot do this work at all.
    """
    with _connected(scheduler) as client:
        from distributed import KilledWorker, as_completed

        rest = iter(items)
        of_future = {}

        def submitted(item: _Item) -> Any:
            future = client.submit(_checked, function, item, __version__, pure=False)
            of_future[future] = item
            return future

        first = [submitted(item) for item in islice(rest, _AT_ONCE)]
        running = as_completed(first, loop=client.loop)
        for future in running:
            item = of_future.pop(future)
            if future.status == "cancelled":
                raise HmmdynError(
                    f"The connection to the scheduler at {printable(scheduler)} was lost. What was "
                    "measured is kept: start the scheduler, and the same command goes on from "
                    "there."
                )
            error = future.exception() if future.status == "error" else None
            if isinstance(error, HmmdynError):
                raise error
            if isinstance(error, KilledWorker):
                yield died(item, _KILLED)
            elif error is not None:
                raise HmmdynError(
                    f"A worker of {printable(scheduler)} failed: {type(error).__name__}: "
                    f"{printable(str(error))}\nWorkers need hmmdyn {__version__}, and the packages "
                    "that the runs' formats need."
                ) from error
            else:
                yield future.result()
            for following in islice(rest, 1):
                running.add(submitted(following))


_KILLED = (
    "the workers that measured it were killed, one after the other; most likely memory ran out. "
    "Give workers more of it"
)


def _checked(function: Callable[[_Item], _Result], item: _Item, version: str) -> _Result:
    """Call a function, on a worker, where it is the function that the sender has."""
    if version != __version__:
        raise HmmdynError(
            f"A worker has hmmdyn {__version__}, and hmmdyn {version} sent the work. Install the "
            "same version for both."
        )
    return function(item)


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingPackageError(
            "Work on a Dask cluster needs the package distributed, which is not installed. "
            "Install it with: pip install 'hmmdyn[dask]'"
        ) from None
    try:
        client = Client(scheduler, timeout=_WAITING, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise UsageError(
            f"No Dask scheduler answers at {printable(scheduler)} "
            f"({printable(str(error).splitlines()[0])}). Start one with `dask scheduler`, or name "
            "the address that it shows: tcp://HOST:8786."
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=_CLOSING)
