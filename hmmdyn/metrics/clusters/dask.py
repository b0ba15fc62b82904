"""Work done by the workers of a Dask cluster.

Dask's own futures are used and not joblib's backend for Dask: of a task whose workers die again and
again (memory runs out) joblib never hears, and waits for ever (joblib 1.6.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from hmmdyn.errors import HmmdynError, MissingPackageError, UsageError
from hmmdyn.metrics.clusters.work import KILLED, Item, Result, checked, failed, lost
from hmmdyn.names import printable
from hmmdyn.version import __version__

if TYPE_CHECKING:
    from distributed import Client

_WAITING = 20  # seconds for the scheduler to answer
_CLOSING = 2  # seconds for it to hear that nothing more is wanted
_AT_ONCE = 10_000  # tasks that the scheduler knows of; further ones follow as these are done


def on_dask(
    scheduler: str,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    died: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """As `hmmdyn.metrics.clusters.cluster.on_cluster`, on a Dask cluster."""
    with _connected(scheduler) as client:
        from distributed import KilledWorker, as_completed

        rest = iter(items)
        of_future = {}

        def submitted(item: Item) -> Any:
            future = client.submit(checked, function, item, __version__, pure=False)
            of_future[future] = item
            return future

        first = [submitted(item) for item in islice(rest, _AT_ONCE)]
        running = as_completed(first, loop=client.loop)
        for future in running:
            item = of_future.pop(future)
            if future.status == "cancelled":
                raise lost(scheduler)
            error = future.exception() if future.status == "error" else None
            if isinstance(error, HmmdynError):
                raise error
            if isinstance(error, KilledWorker):
                yield died(item, KILLED)
            elif error is not None:
                raise failed(scheduler, error) from error
            else:
                yield future.result()
            for following in islice(rest, 1):
                running.add(submitted(following))


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
