"""Work done by the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from hmmdyn.errors import HmmdynError, MissingPackageError, UsageError
from hmmdyn.metrics.clusters.work import KILLED, Item, Result, checked, failed, lost
from hmmdyn.names import printable
from hmmdyn.version import __version__

_RETRIES = 3  # times that a task is given to another worker, as Dask does
_AT_ONCE = 1_000  # tasks that the cluster knows of; further ones follow as these are done


def on_ray(
    scheduler: str,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    died: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """As `hmmdyn.metrics.clusters.cluster.on_cluster`, on a Ray cluster."""
    with _connected(scheduler) as ray:
        from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

        work = ray.remote(num_cpus=1, max_retries=_RETRIES)(checked)
        rest = iter(items)
        of_result: dict[Any, Item] = {}

        def submit(items: Iterator[Item]) -> None:
            of_result.update({work.remote(function, item, __version__): item for item in items})

        try:
            submit(islice(rest, _AT_ONCE))
            while of_result:
                (result,), _ = ray.wait(list(of_result), num_returns=1)
                item = of_result.pop(result)
                try:
                    found = ray.get(result)
                except (WorkerCrashedError, OutOfMemoryError):
                    found = died(item, KILLED)
                submit(islice(rest, 1))
                yield found
        except RayTaskError as error:
            if isinstance(error.cause, HmmdynError):
                raise error.cause from None
            raise failed(scheduler, error.cause) from error
        except (ConnectionError, RayError) as error:
            raise lost(scheduler) from error


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError:
        raise MissingPackageError(
            "Work on a Ray cluster needs the package ray, which is not installed. Install it with: "
            "pip install 'hmmdyn[ray]'"
        ) from None
    try:
        ray.init(scheduler, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"No Ray cluster of the same versions answers at {printable(scheduler)} "
            f"({printable(' '.join(str(error).split())[:300])}). Start one with `ray start --head "
            "--ray-client-server-port 10001`, and name it as ray://HOST:10001."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()
