"""Earlier weights of the run, for the metrics that compare with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors.numpy import save_file

from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.files import replacing
from hmmdyn.metrics.registry import Metric
from hmmdyn.metrics.tally import Reference, References
from hmmdyn.record.live import copied

# In the folder of the run. The name is hidden: it is no checkpoint to be analysed.
FIRST_WEIGHTS = ".hmmdyn-first-weights.safetensors"
_UNKNOWN = "the weights of the row before are not known after a restart, or after going back"


class EarlierWeights:
    """The weights of a run's first row, and those of the row before the next.

    Those of the first row are kept in a file in the folder of the run, so that a recording that
    goes on has them; those of the row before in main memory. Neither is kept where no metric needs
    it.

    Parameters
    ----------
    run_dir : Path
        Folder of the run.
    metrics : sequence of Metric
        Those that are recorded.
    """

    def __init__(self, run_dir: Path, metrics: Sequence[Metric]) -> None:
        self._path = run_dir / FIRST_WEIGHTS
        self._of_first = [metric.name for metric in metrics if metric.needs == "initial"]
        self._of_previous = [metric.name for metric in metrics if metric.needs == "previous"]
        self._previous: Checkpoint | None = None

    def begin(self, first: Checkpoint, weights: Iterable[str]) -> None:
        """Take the weights of the first row, which are its own earlier ones."""
        self._previous = None
        if self._of_first:
            with replacing(self._path) as temporary:
                save_file({name: first[name].read() for name in weights}, temporary)

    def references(self) -> References:
        """What the next row is compared with."""
        found: dict[Reference, Path | Checkpoint] = {}
        if self._of_first:
            found["initial"] = self._path
        if self._previous is not None:
            found["previous"] = self._previous
        return found

    def problems(self) -> dict[str, str]:
        """Metric -> why there is nothing to compare the next row with, after the first one."""
        return dict.fromkeys(self._of_previous if self._previous is None else (), _UNKNOWN)

    def keep(self, weights: Checkpoint, names: Iterable[str]) -> None:
        """Take the weights of the row that was recorded."""
        if self._of_previous:
            self._previous = copied(weights, frozenset(names))

    def forget(self) -> None:
        """Training goes back: the weights of the row before the next are not known."""
        self._previous = None
