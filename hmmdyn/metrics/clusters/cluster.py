"""Work done by the workers of a cluster, which somebody else starts, and may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hmmdyn.metrics.clusters.work import Item, Result

RAY = "ray://"


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
