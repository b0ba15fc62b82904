"""Which runs are fitted to, and which are held out from the fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmmdyn.results.arrays import IntArray
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Sequences

# Every run is held out alone up to so many runs; beyond, so many folds.
MAX_FOLDS = 10
# With two runs every fit sees a single one, and one difference has no spread.
MIN_RUNS = 3


@dataclass(frozen=True)
class Split:
    """Runs by which a number of states is judged.

    ``fitted`` are the runs that models are fitted to, and ``unseen`` those held out from them: no
    runs where all are fitted to. ``left_out`` are the positions of metrics that neither has.
    """

    fitted: Sequences
    unseen: Sequences
    left_out: tuple[int, ...] = ()

    @classmethod
    def of_none(cls, data: Sequences) -> Split:
        """Hold out none of the runs."""
        return cls(data, data.of(np.zeros(len(data.lengths), dtype=bool)))

    @property
    def holds_out(self) -> bool:
        """Whether any run is held out."""
        return len(self.unseen.lengths) > 0


def folds(n_runs: int, random_state: int) -> list[IntArray]:
    """Deal runs to folds at random; positions of the runs of each."""
    order = np.random.default_rng(random_state).permutation(n_runs)
    return np.array_split(order, min(n_runs, MAX_FOLDS))


def split_runs(data: Sequences, held: NDArray[np.bool_]) -> Split:
    """Split data into the runs to fit to and those held out, by a mask of the latter, shape (R,).

    Both are left without the metrics that no run to fit to knows: a map says nothing of them, and
    their scores would drown the others.
    """
    known = ~np.all(np.isnan(data.of(~held).values), axis=0)
    rest = data.with_metrics(np.asarray(known))
    return Split(rest.of(~held), rest.of(held), tuple(np.flatnonzero(~known).tolist()))


def about_metrics_left_out(positions: Iterable[int], features: Sequence[str]) -> list[Notice]:
    """Name the metrics that runs held out are scored without: see :func:`split_runs`."""
    message = (
        "Runs held out are scored without it where no run that the map was fitted to knows it, "
        "because the map then says nothing of it."
    )
    return [Notice("model", "left out", f"metric {features[i]}", message) for i in positions]
