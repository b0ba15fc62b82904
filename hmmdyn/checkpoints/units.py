"""What the plain numbers of checkpoints count, told by the logs beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hmmdyn.errors import LogError
from hmmdyn.logs import LogReader
from hmmdyn.logs.columns import understand
from hmmdyn.logs.files import is_event_file
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.names import some
from hmmdyn.places import Place
from hmmdyn.results.checkpoints import CheckpointIndex
from hmmdyn.results.notice import Notice


def counted_as_logged(index: CheckpointIndex, logs_of: LogReader) -> CheckpointIndex:
    """Let the logs say whether the plain numbers of checkpoints are steps or epochs.

    ``checkpoint_3.pt`` passes for step 3. Where the names say no more than that, and the numbers
    are the epochs of the logs, they are epochs. A notice says so.
    """
    if index.unit_is_told or index.step_unit != "step":
        return index
    logs = [log for log in index.logs or () if not is_event_file(log.path.name)]
    times: dict[str, set[float]] = {"step": set(), "epoch": set()}
    telling = []
    for log in logs:
        found = _times_in(log.path, logs_of)
        for unit, numbers in found.items():
            times[unit] |= numbers
        if found["epoch"]:
            telling.append(log.shown)
    counted = {file.step for file in index.checkpoints}
    if unit_of(counted, times["step"], times["epoch"]) == "step":
        return index
    message = (
        "The numbers in the names of the checkpoints are taken for epochs: they are the epochs of "
        f"{some(telling, 2)}."
    )
    notices = (*index.notices, Notice("discovery", "odd", "checkpoints", message))
    return replace(index, step_unit="epoch", notices=notices)


def unit_of(numbers: Iterable[float], steps: Iterable[float], epochs: Iterable[float]) -> str:
    """Say what numbers are: all steps that were logged, all epochs, some steps, some epochs.

    The first that is so counts; a step where none is. An untrained model, at 0, is hardly ever
    logged, and has no vote.
    """
    told, of_steps, of_epochs = (
        set(some_numbers) - {0} for some_numbers in (numbers, steps, epochs)
    )
    for unit, logged in (("step", of_steps), ("epoch", of_epochs)):
        if told == logged:
            return unit
    return "epoch" if told <= of_epochs and not told <= of_steps else "step"


def _times_in(path: Place, logs_of: LogReader) -> dict[str, set[float]]:
    """Return the steps and the epochs that a log tells; none where it is no log."""
    try:
        frame = logs_of.peek(path).frame
    except LogError:
        return {"step": set(), "epoch": set()}
    columns = understand(frame.loc[:, ~frame.columns.duplicated()])
    times = {"step": columns.steps, "epoch": columns.epochs}
    return {
        unit: {at for name in names for at in as_numbers(columns.frame[name]).values.dropna()}
        for unit, names in times.items()
    }
