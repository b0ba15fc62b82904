"""How far a long piece of work has come, told to whom it concerns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

# Called with (steps done, steps in all).
Progress = Callable[[int, int], None]


class Stages:
    """Progress through stages that count equally."""

    def __init__(self, progress: Progress | None, n_stages: int) -> None:
        self._progress = progress
        self._stages = count()
        self._n_stages = n_stages

    def of_next_stage(self) -> Progress:
        """Return what the next stage is to call with (done, in all)."""
        stage = next(self._stages)

        def tell(done: int, total: int) -> None:
            if self._progress:
                self._progress(round(100 * (stage + done / total)), 100 * self._n_stages)

        return tell
