"""Worker processes end with the process they work for, also where that one is killed."""

from __future__ import annotations

import os
from functools import cache
from threading import Thread
from time import sleep

_EVERY = 1.0  # seconds


@cache
def end_with_parent(parent: int) -> None:
    """Watch, from now on and in a thread, whether the parent is still there; called in workers.

    A killed parent cannot stop its workers, and joblib's wait five minutes for more work.
    """
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another one
        sleep(_EVERY)
    os._exit(1)
