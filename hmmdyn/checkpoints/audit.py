"""Hold the checkpoints of an index against each other: copies, odd architectures, dead weights.

Public suites of checkpoints have shipped the same weights under two steps, and under two seeds;
whatever is computed from such runs is wrong without a sign of it. Weights are compared by content,
tensor by tensor, so that it does not matter how they were saved.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.checkpoints.find.schedules import Finding, RunKey, by_run, odd_schedules
from hmmdyn.checkpoints.matrices import Shape
from hmmdyn.checkpoints.modules import role_of, roles_of_parts
from hmmdyn.checkpoints.parameters import (
    DEFAULT_RULES,
    ParameterRules,
    Parameters,
    parts_of,
    rules_of_no_weight,
    select_parameters,
    shape_differences,
)
from hmmdyn.checkpoints.probe import told_digest
from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint
from hmmdyn.errors import HmmdynError, UsageError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import printable, some
from hmmdyn.places import RemotePath
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex
from hmmdyn.results.notice import Notice

_R = TypeVar("_R")
_Shapes = tuple[tuple[str, Shape], ...]

_STAGE = "reading"
_WARM_UP = 1000  # the first 1/1000 of a run's steps are its very beginning
_HARMLESS = ("warm-up twins", "copied files")
# It takes the first and the last checkpoint of each run, which a store charges for.
_NOT_LOOKED_FOR = Notice(
    _STAGE,
    "limit",
    "weights that never change",
    "They were not looked for, since these runs lie in a store: it would move the first and the "
    "last checkpoint of each run. Measuring the runs tells them.",
)


@dataclass(frozen=True)
class Audit:
    """What is odd about the checkpoints of an index.

    Attributes
    ----------
    findings : DataFrame
        ``kind, group, runs`` (tuple of str), ``steps`` (tuple of int, in the index's
        ``step_unit``), ``message``. Kinds:

        - ``copy``: the same weights, bit for bit, under two steps or in two runs;
        - ``same start``: several runs start from the same weights;
        - ``warm-up twins``: the first checkpoints of a run are equal, which is harmless;
        - ``architecture``: names or shapes of weights differ within a group;
        - ``never changes``: weights or biases that are the same at every checkpoint of a run; not
          looked for in a store;
        - ``times``: later steps were written before earlier ones;
        - ``copied files``: modification times have nothing to do with the steps;
        - ``gap``, ``short run``, ``single checkpoint``: as discovery tells them;
        - ``unreadable``: a checkpoint that cannot be read.
    notices : tuple of Notice
        The findings that discovery has not told yet, what was not looked for, and rules that are of
        no weight.
    tensors : DataFrame
        What each tensor counts as, and by which rule: one row per tensor of the most usual
        architecture of each group. ``group, tensor, shape`` (tuple of int), ``counts_as``
        (``weight``, ``bias`` or ``left out``), ``rule``, and for weights how many ``matrices`` they
        are, of how many ``rows`` and ``columns`` each (0 for others), and their ``role`` (empty for
        others; those of a split weight's parts between commas).
    """

    findings: pd.DataFrame
    notices: tuple[Notice, ...] = ()
    tensors: pd.DataFrame = field(default_factory=lambda: _tensors({}))


def audit(
    index: CheckpointIndex,
    *,
    rules: ParameterRules = DEFAULT_RULES,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Look for what is wrong with a set of runs before anything is computed from them.

    Where a store knows a hash of every file, as the Hugging Face Hub does, S3 and Google's, files
    of one hash are told as copies before a byte is read, and one of them is opened for all.

    Every checkpoint is opened once for the names and shapes of its tensors. Numbers are read only
    as far as two checkpoints are still equal: as a rule one small tensor of each checkpoint, and of
    runs on disks of this machine the first and last checkpoint of each. Floating-point tensors are
    compared, by their values (a bfloat16 tensor equals the float32 tensor of the same numbers);
    counters and masks are not.

    Parameters
    ----------
    index : CheckpointIndex
        The checkpoints of the runs.
    rules : ParameterRules
        Which tensors are weights and biases.
    n_jobs : int
        Threads; -1 for one per core.
    progress : callable, optional
        Called with (done, total) as files are looked at; the total grows as equal ones are found.

    Raises
    ------
    UsageError
        ``n_jobs`` is 0.
    """
    if n_jobs == 0:
        raise UsageError("'n_jobs' must be a number of threads, or -1 for all cores, got 0.")
    unit, files = index.step_unit, index.checkpoints
    reader = _Reader(n_jobs, progress)
    same = _told_equal(files)
    ones = [one for one in files if one not in same]
    headers = reader.headers(ones, rules)
    equal = _with_the_same(_identical(headers, reader), same)
    headers |= {one: headers[other] for one, other in same.items() if other in headers}
    here = {one: header for one, header in headers.items() if not isinstance(one.path, RemotePath)}
    schedules = list(odd_schedules(files, unit))
    seen = [
        *_architectures(headers),
        *_copies(equal, by_run(files), unit),
        *_never_changing(here, reader),
        *_times(files, unit),
        *_unreadable(reader.failures),
    ]
    told = [*seen, *schedules]
    findings = pd.DataFrame(told, columns=list(Finding._fields))
    # As they are: a column of text would lose the remedies in them.
    findings["message"] = pd.Series([finding.message for finding in told], dtype=object)
    tensors = _tensors(reader.decided)
    weights = tensors.loc[tensors["counts_as"] == "weight", "tensor"]
    notices = (
        *map(_notice, seen),
        *([] if len(here) == len(headers) else [_NOT_LOOKED_FOR]),
        *rules_of_no_weight(rules, set(weights)),
    )
    return Audit(findings, notices, tensors)


# -------------------------------------------------------------------------------------- reading


class _Header(NamedTuple):
    """Name and shape of the tensors to compare; ``weights`` are those that are trained.

    ``decided`` tells what every tensor counts as.
    """

    tensors: _Shapes
    weights: _Shapes
    decided: tuple[_Decided, ...]


class _Decided(NamedTuple):
    """What a tensor counts as, by which rule, and the matrices that a weight is, with its role."""

    tensor: str
    shape: Shape
    counts_as: str
    rule: str
    matrices: int = 0
    rows: int = 0
    columns: int = 0
    role: str = ""


class _Reader:
    """Reads headers and hashes of tensors, each once, and keeps account of what cannot be read."""

    def __init__(self, n_jobs: int, progress: Callable[[int, int], None] | None) -> None:
        self.failures: dict[CheckpointFile, str] = {}
        self.decided: dict[CheckpointFile, tuple[_Decided, ...]] = {}
        self._hashes: dict[CheckpointFile, dict[str, bytes]] = defaultdict(dict)
        self._n_jobs = n_jobs
        self._progress = progress
        self._n_done = self._n_total = 0

    def headers(
        self, files: Sequence[CheckpointFile], rules: ParameterRules = DEFAULT_RULES
    ) -> dict[CheckpointFile, _Header]:
        """Read the headers of all files that can be read."""
        found = {}
        first: dict[_Header, _Header] = {}  # most are equal: keep one of each
        for file, header in self._each(_header, [(file, rules) for file in files]):
            header = first.setdefault(header, header)
            self.decided[file] = header.decided
            # The same weights may be saved in another order, and beside other things.
            found[file] = header._replace(decided=())
        return found

    def hashes(
        self, wanted: Mapping[CheckpointFile, Sequence[str]]
    ) -> dict[CheckpointFile, tuple[bytes, ...]]:
        """Hash the named tensors of each file; files that cannot be read are missing."""
        tasks = [
            (file, [name for name in names if name not in self._hashes[file]])
            for file, names in wanted.items()
            if file not in self.failures
        ]
        for file, found in self._each(_hashes, [task for task in tasks if task[1]]):
            self._hashes[file] |= found
        return {
            file: tuple(self._hashes[file][name] for name in names)
            for file, names in wanted.items()
            if file not in self.failures
        }

    def _each(
        self, function: Callable[..., _R], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[CheckpointFile, _R]]:
        """Call a function for each task (file, …), and note the files for which it fails."""
        self._n_total += len(tasks)
        # Reading and hashing let go of the interpreter's lock, so threads are enough.
        parallel = joblib.Parallel(self._n_jobs, prefer="threads", return_as="generator")
        results = parallel(joblib.delayed(_or_error)(function, *task) for task in tasks)
        for (file, *_), result in zip(tasks, results, strict=True):
            self._n_done += 1
            if self._progress is not None:
                self._progress(self._n_done, self._n_total)
            if isinstance(result, HmmdynError):
                self.failures[file] = str(result)
            else:
                yield file, result


def _or_error(function: Callable[..., _R], *arguments: Any) -> _R | HmmdynError:
    try:
        return function(*arguments)
    except HmmdynError as error:
        return error


def _header(file: CheckpointFile, rules: ParameterRules) -> _Header:
    with open_checkpoint(file.path) as checkpoint:
        parameters = select_parameters(checkpoint, rules)
        trained = {*parameters.weights, *parameters.biases}
        tensors = tuple(
            (name, tensor.shape)
            for name, tensor in checkpoint.items()
            if name not in checkpoint.aliases
            and tensor.shape
            and tensor.dtype.startswith(("float", "bfloat", "complex"))
        )
        weights = tuple((name, checkpoint[name].shape) for name in sorted(trained))
        decided = tuple(_decided(checkpoint, parameters, rules))
    return _Header(tuple(sorted(tensors)), weights, decided)


def _decided(
    checkpoint: Checkpoint, parameters: Parameters, rules: ParameterRules
) -> Iterator[_Decided]:
    """Say of every tensor what it counts as, in the order of the checkpoint."""
    for name, tensor in checkpoint.items():
        shape = tensor.shape
        if name in parameters.axes:
            axes, parts = parameters.axes[name], parts_of(name, shape, rules)
            split = f", split in {len(parts)} by request" if len(parts) > 1 else ""
            one = axes.after_split(len(shape) != len(parts[0]))
            n, rows, columns = one.shapes(parts[0])
            roles = roles_of_parts(role_of(name, shape, rules.roles), len(parts))
            yield _Decided(
                name,
                shape,
                "weight",
                axes.rule + split,
                n * len(parts),
                rows,
                columns,
                ", ".join(dict.fromkeys(roles)),
            )
        elif name in parameters.left_out:
            yield _Decided(name, shape, "left out", parameters.left_out[name])
        else:
            yield _Decided(name, shape, "bias", "bias")
    for name, reason in parameters.left_out.items():
        if name not in checkpoint:
            yield _Decided(name, (), "left out", reason)


def _tensors(decided: Mapping[CheckpointFile, tuple[_Decided, ...]]) -> pd.DataFrame:
    """Return what each tensor counts as in the most usual architecture of each group."""
    groups: dict[str, Counter[tuple[_Decided, ...]]] = defaultdict(Counter)
    for file, tensors in decided.items():
        groups[file.group][tensors] += 1
    rows = [
        (group, *tensor) for group, found in groups.items() for tensor in found.most_common(1)[0][0]
    ]
    return pd.DataFrame(rows, columns=["group", *_Decided._fields])


def _hashes(file: CheckpointFile, names: Sequence[str]) -> dict[str, bytes]:
    with open_checkpoint(file.path) as checkpoint:
        return {name: _hash(checkpoint[name].read()) for name in names}


def _hash(values: NDArray[Any]) -> bytes:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return hashlib.blake2b(data.data, digest_size=16, salt=values.dtype.str.encode()).digest()


def _unreadable(failures: Mapping[CheckpointFile, str]) -> Iterator[Finding]:
    for file, reason in failures.items():
        yield Finding("unreadable", file.group, (file.run,), (file.step,), reason)


# --------------------------------------------------------------------------------- equal weights


def _identical(
    headers: Mapping[CheckpointFile, _Header], reader: _Reader
) -> list[list[CheckpointFile]]:
    """Find the checkpoints that hold the same numbers, reading only while some are still equal.

    Checkpoints of the same names and shapes are told apart by one tensor, those that are still
    equal by two more, then four, and so on, small tensors and trained ones first.
    """
    alike: dict[_Header, list[CheckpointFile]] = defaultdict(list)
    for file, header in headers.items():
        alike[header].append(file)
    equal = []
    for header, files in alike.items():
        names = _cheapest_first(header)
        parts, start, count = [files] if names else [], 0, 1
        while parts and start < len(names):
            some_names = names[start : start + count]
            hashes = reader.hashes({file: some_names for part in parts for file in part})
            parts = [finer for part in parts for finer in _split(part, hashes)]
            start, count = start + count, 2 * count
        equal += parts
    return equal


def _told_equal(files: Sequence[CheckpointFile]) -> dict[CheckpointFile, CheckpointFile]:
    """Map each file whose store says that it equals an earlier one to the first such one."""
    first: dict[str, CheckpointFile] = {}
    same = {}
    for file in files:
        told = told_digest(file.path)
        one = first.setdefault(told, file) if told else file
        if one != file:
            same[file] = one
    return same


def _with_the_same(
    equal: Iterable[Sequence[CheckpointFile]], same: Mapping[CheckpointFile, CheckpointFile]
) -> list[list[CheckpointFile]]:
    """Add what a store says is equal to the sets of equal checkpoints that reading has found."""
    sets: dict[CheckpointFile, list[CheckpointFile]] = {}
    for files in equal:
        together = list(files)
        sets.update((file, together) for file in files)
    for file, one in same.items():
        sets.setdefault(one, [one]).append(file)
    return [sorted(files) for files in {id(files): files for files in sets.values()}.values()]


def _cheapest_first(header: _Header) -> list[str]:
    trained = dict(header.weights)
    by_cost = sorted(header.tensors, key=lambda t: (t[0] not in trained, math.prod(t[1]), t[0]))
    return [name for name, _ in by_cost]


def _split(
    files: Sequence[CheckpointFile], hashes: Mapping[CheckpointFile, tuple[bytes, ...]]
) -> list[list[CheckpointFile]]:
    """Sort files by their hashes, and keep those that are not alone."""
    parts: dict[tuple[bytes, ...], list[CheckpointFile]] = defaultdict(list)
    for file in files:
        if file in hashes:
            parts[hashes[file]].append(file)
    return [part for part in parts.values() if len(part) > 1]


def _copies(
    equal: Iterable[Sequence[CheckpointFile]],
    runs: Mapping[RunKey, Sequence[CheckpointFile]],
    unit: str,
) -> Iterator[Finding]:
    """Say of each set of equal checkpoints whether it is a copy, or innocent."""
    copies: dict[tuple[RunKey, ...], list[Sequence[CheckpointFile]]] = defaultdict(list)
    for files in equal:
        members = by_run(files)
        starting = [run for run in members if _is_start(members[run], runs[run], unit)]
        for run in starting:
            if len(members[run]) > 1:
                yield _twins(members[run], unit)
        if len(starting) < len(members):
            copies[tuple(members)].append(files)
        elif len(members) > 1:
            yield _same_start(files)
    for of_runs, sets in copies.items():
        yield _copy(of_runs, sets, unit)


def _is_start(
    members: Sequence[CheckpointFile], of_run: Sequence[CheckpointFile], unit: str
) -> bool:
    """Tell whether these are the first checkpoints of a run, from its very beginning.

    While the learning rate warms up, the first update is zero, and the next ones may vanish when
    the weights are rounded to 16 bits for saving. A whole epoch changes them.
    """
    latest = max(1, of_run[-1].step // _WARM_UP) if unit == "step" else 0
    return list(members) == list(of_run[: len(members)]) and members[-1].step <= latest


def _twins(files: Sequence[CheckpointFile], unit: str) -> Finding:
    steps = tuple(file.step for file in files)
    message = (
        f"The same weights, bit for bit, at its first {unit}s ({_equal(steps)}): learning-rate "
        "warm-up had not changed them yet. That is harmless."
    )
    return Finding("warm-up twins", files[0].group, (files[0].run,), steps, message)


def _same_start(files: Sequence[CheckpointFile]) -> Finding:
    runs = tuple(by_run(files))
    message = (
        "They start from the same weights, bit for bit: they share their initialisation, and "
        "differ only in what came after it."
    )
    return _about(runs, "same start", files, message)


def _copy(runs: tuple[RunKey, ...], sets: Sequence[Sequence[CheckpointFile]], unit: str) -> Finding:
    files = [file for part in sets for file in part]
    if len(runs) == 1:
        where = some((_equal([file.step for file in part]) for part in sets), 3)
        message = (
            f"The same weights, bit for bit, at different {unit}s ({where}): a checkpoint was "
            f"saved or copied under a wrong {unit}, or training stood still."
        )
    else:
        label = dict(zip(runs, _labels(runs), strict=True))
        places = (
            " = ".join(f"{label[file.group, file.run]} at {file.step:,}" for file in part)
            for part in sets
        )
        message = Message(
            f"The same weights, bit for bit, in {len(runs)} runs ({some(places, 3)}): one is a "
            "copy of the other, or they were trained with one seed. Mend this, or keep one of "
            "them (",
            Remedy("exclude_runs"),
            "), before runs are compared.",
        )
    return _about(runs, "copy", files, message)


def _about(
    runs: Sequence[RunKey], kind: str, files: Iterable[CheckpointFile], message: str
) -> Finding:
    groups = dict.fromkeys(group for group, _ in runs)
    steps = tuple(sorted({file.step for file in files}))
    return Finding(kind, ", ".join(groups), tuple(_labels(runs)), steps, message)


def _labels(runs: Sequence[RunKey]) -> list[str]:
    """Name runs, with their group where they are of several."""
    several = len({group for group, _ in runs}) > 1
    return [f"{group}/{run}" if several else run for group, run in runs]


def _equal(steps: Iterable[int]) -> str:
    return " = ".join(f"{step:,}" for step in steps)


# ------------------------------------------------------------------------------ within one group


def _architectures(headers: Mapping[CheckpointFile, _Header]) -> Iterator[Finding]:
    """Find the runs whose weights have other names or shapes than most of their group."""
    groups: dict[str, dict[CheckpointFile, _Shapes]] = defaultdict(dict)
    for file, header in headers.items():
        groups[file.group][file] = header.weights
    for group, shapes in groups.items():
        usual, n_usual = Counter(shapes.values()).most_common(1)[0]
        odd = by_run(file for file in shapes if shapes[file] != usual)
        for (_, run), files in odd.items():
            message = (
                f"{len(files)} of its checkpoints hold other weights than {n_usual} of the group: "
                f"{shape_differences(dict(shapes[files[0]]), dict(usual))}."
            )
            yield Finding("architecture", group, (run,), _steps(files), message)


def _never_changing(
    headers: Mapping[CheckpointFile, _Header], reader: _Reader
) -> Iterator[Finding]:
    """Find weights that are the same at every checkpoint of a run, but not all of them."""
    runs = {
        run: files
        for run, files in by_run(headers).items()
        if len(files) > 1 and len({headers[file].weights for file in files}) == 1
    }
    # The first and last checkpoint rule out nearly every weight; only the others are read in all.
    trained = {run: [name for name, _ in headers[files[0]].weights] for run, files in runs.items()}
    ends = {run: [files[0], files[-1]] for run, files in runs.items()}
    candidates = _unchanged(ends, trained, reader)
    between = {run: runs[run] for run, names in candidates.items() if names}
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for run, names in _unchanged(between, candidates, reader).items():
        if 0 < len(names) < len(trained[run]):  # if all: copies, see _copies
            groups[run[0], tuple(names)].append(run[1])
    for (group, frozen), of_runs in groups.items():
        message = (
            f"The same, bit for bit, at every checkpoint: {some(frozen)}. Were they meant to be "
            "trained?"
        )
        yield Finding("never changes", group, tuple(of_runs), (), message)


def _unchanged(
    runs: Mapping[RunKey, Sequence[CheckpointFile]],
    names: Mapping[RunKey, Sequence[str]],
    reader: _Reader,
) -> dict[RunKey, list[str]]:
    """Keep, per run, the names whose tensors are equal in all of these files."""
    hashes = reader.hashes({file: names[run] for run, files in runs.items() for file in files})
    return {
        run: [
            name
            for name, *found in zip(
                names[run], *(hashes[file] for file in files if file in hashes), strict=True
            )
            if len(found) > 1 and len(set(found)) == 1
        ]
        for run, files in runs.items()
    }


def _times(files: Iterable[CheckpointFile], unit: str) -> Iterator[Finding]:
    """Find runs of which later checkpoints were written before earlier ones."""
    copied: dict[str, list[str]] = defaultdict(list)
    for (group, run), of_run in by_run(files).items():
        back = [after for before, after in pairwise(of_run) if after.mtime_ns < before.mtime_ns]
        if 4 * len(back) > len(of_run):
            copied[group].append(run)
        elif back:
            listed = some(f"{file.step:,}" for file in back)
            message = (
                f"Written before the checkpoint that precedes it: {unit} {listed}. Two runs may "
                f"have written into one folder, earlier {unit}s may have been trained again, or "
                "the files were copied one by one."
            )
            yield Finding("times", group, (run,), _steps(back), message)
    for group, runs in copied.items():
        message = (
            f"The times at which the files were written do not follow the {unit}s: they were "
            "probably copied, and nothing can be told from the times."
        )
        yield Finding("copied files", group, tuple(runs), (), message)


def _steps(files: Iterable[CheckpointFile]) -> tuple[int, ...]:
    return tuple(file.step for file in files)


def _notice(finding: Finding) -> Notice:
    runs = some(finding.runs, 3)
    subject = f"group {printable(finding.group)}, {'runs' if finding.runs[1:] else 'run'} {runs}"
    kind = "limit" if finding.kind in _HARMLESS else "odd"
    return Notice(_STAGE, kind, subject, finding.message)
