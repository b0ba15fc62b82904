"""Whose log is it: the group, run and seed of each, from the names of its folders and file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.seeds import seeds_by_number
from hmmdyn.errors import LayoutError
from hmmdyn.logs.columns import split_of_path
from hmmdyn.names import printable
from hmmdyn.places import Place
from hmmdyn.roles import is_clock
from hmmdyn.stores.pieces import Piece

# Names of files and folders that say what a log holds, or who wrote it, not which run it is of.
_OF_LOGS = re.compile(
    r"(?:[0-9]+[-_.])?(?:logs?|metrics?|results?|history|histories|training(?:_log)?|train_log"
    r"|progress|monitor|evaluations?|eval_measurements|measurements|scalars|events|trainer_state"
    r"|curves?|stats|summar(?:y|ies)|plots|csv|csv_logs?|tensorboard(?:_logs?)?|tb(?:_logs?)?|output"
    r"|vis_data|files|dvclive|data|debug|stdout|raw|evals?|loss(?:es)?|acc(?:uracy)?|outcomes?|table"
    r"|rewards?|returns?|wandb|(?:offline-)?run-[0-9]{8}_[0-9]{6}-[a-z0-9]+)(?:[-_.](?:log|logs|history|metrics|data|v?[0-9]+))?",
    re.IGNORECASE,
)


class Identity(NamedTuple):
    """Who the run of a log is; ``occasions`` are folders that tell when it was started."""

    group: str
    run: str
    seed: int | None
    occasions: tuple[str, ...]


def identify(root: Place, pieces: Sequence[Piece]) -> list[Identity]:
    """Say for each log which run it is of.

    A file's own name counts where several logs with the same columns lie in one folder; logs with
    different columns there are of one run. Runs whose names differ in one number are seeds where
    nothing else could be, as for checkpoints.

    Raises
    ------
    LayoutError
        Paths do not say it for certain.
    """
    kept = _names(pieces)
    name = root.resolve().name or "runs"
    for keep_occasions in (False, True):
        readings = [
            layouts.read_path((*parts, "step_0"), name, keep_occasions=keep_occasions)
            for parts in kept
        ]
        found = [Identity(r.group, r.run, r.seed, r.occasions) for r in readings]
        if not _contradict(pieces, found):
            break
    for piece, reading in zip(pieces, readings, strict=True):
        if reading.problem and not piece.names_runs:
            raise LayoutError(
                f"{piece.shown} under {printable(str(root))} does not say for certain which run it "
                f"is of: {reading.problem}.\nRename the folders, for example to recipe/seed3, or "
                "give one table with the columns run (or seed) and group."
            )
    told = [r for p, r in zip(pieces, readings, strict=True) if not p.names_runs]
    seeds = seeds_by_number(told, printable(name))
    numbered = [(one, seeds.get((one.group, one.run))) for one in found]
    return [one._replace(group=n.group, seed=n.seed) if n else one for one, n in numbered]


def _names(pieces: Sequence[Piece]) -> list[tuple[str, ...]]:
    """Names of each log's path that may say which run it is of."""
    folders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    kept = []
    for at, piece in enumerate(pieces):
        names = _spelled_out(piece.parts)
        folders[names[:-1]].append(at)
        kept.append(names)
    stems = Counter(stem for folder in folders.values() for stem in {kept[at][-1] for at in folder})
    for here in folders.values():
        columns = [{n for n in pieces[at].columns.values if not is_clock(n)} for at in here]
        apart = len(here) > 1 and not any(a & b for a, b in combinations(columns, 2))
        for at in here:
            *above, stem = kept[at]
            has_seed = layouts.parse(stem).has("seed")
            repeated = len(here) == 1 and above and stems[stem] > 1
            if not stem or ((apart or repeated) and not has_seed and above):
                kept[at] = (*above, "")
    return [tuple(name for name in names if name) for names in kept]


def _spelled_out(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out names that say what a log holds; the last is the file's own, or empty."""
    *folders, stem = parts
    lower = [name.lower() for name in folders]
    if "dvclive" in lower:  # below it, names are those of the metrics
        folders, stem = folders[: lower.index("dvclive")], ""
    says_nothing = _OF_LOGS.fullmatch(stem) or split_of_path([stem])
    names = [f for f in folders if not _OF_LOGS.fullmatch(f) and not split_of_path([f])]
    return (*names, "" if says_nothing else stem)


def _contradict(pieces: Sequence[Piece], found: Sequence[Identity]) -> bool:
    """Whether logs of different occasions would be of one run."""
    first: dict[tuple[str, str], Identity] = {}
    for piece, one in zip(pieces, found, strict=True):
        if not piece.names_runs:
            other = first.setdefault((one.group, one.run), one)
            if other.occasions != one.occasions:
                return True
    return False
