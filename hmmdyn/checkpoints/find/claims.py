"""What the paths of candidates claim: each is understood, or it is said why it cannot be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.candidates import Candidate, beside_the_model
from hmmdyn.checkpoints.find.layouts import Layout, Reading
from hmmdyn.checkpoints.find.seeds import seeds_by_number
from hmmdyn.checkpoints.find.suggest import layout_for
from hmmdyn.errors import LayoutError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import natural_key, printable, some
from hmmdyn.places import Place
from hmmdyn.results.notice import Notice

# Why a path may be left out, when there are checkpoints enough beside it.
_HARMLESS = (layouts.NO_STEP, layouts.ONLY_ALIAS, layouts.TEMPORARY)

_MOST_LISTED = 5
_NO_TIME = re.compile(r"seed[-_= ]?[0-9]+", re.IGNORECASE)


def say_how(*paths: Sequence[str]) -> Message:
    """Return what to do where paths are not understood, with a layout that fits them.

    Parameters
    ----------
    *paths : sequences of str
        All the paths that are not understood; then fewer of them. The first that one layout fits
        are spoken of; where there is none, the message only says what a layout is.
    """
    return say_which(next(filter(None, map(layout_for, paths)), None))


def say_which(layout: str | None) -> Message:
    """Return how a layout is given, and what stands in it."""
    if layout is None:
        how = Message(
            "Say how the paths are to be read with ", Remedy("layout"), ": a path in which "
        )
    else:
        proposal = Remedy("layout", layout)
        how = Message("Say how the paths are to be read, for example\n  ", proposal, "\nwhere ")
    return Message(
        how,
        "{group}, {run}, {seed}, {step} and {epoch} stand for what they name and * for anything.",
    )


class Claim(NamedTuple):
    """A candidate and what its path says."""

    file: Candidate
    reading: Reading

    @property
    def run(self) -> tuple[str, str]:
        """Group and run."""
        return self.reading.group, self.reading.run

    def time(self, unit: str) -> int | None:
        """Step or epoch, in this unit."""
        return self.reading.step if unit == "step" else self.reading.epoch


def read_names(
    root: Place, name: str, candidates: Iterable[Candidate], notices: list[Notice]
) -> list[Claim]:
    """Understand every path by its names, or say which cannot be.

    Parameters
    ----------
    root : Place
        The folder looked through, for messages.
    name : str
        What the root folder is called: it names the group, and the run, where nothing below does.
    candidates : iterable of Candidate
        The files and folders that may be checkpoints.
    notices : list of Notice
        Added to: what is left out, and why.

    Raises
    ------
    LayoutError
        Paths that are not understood for certain and whose loss would matter.
    """
    candidates = list(candidates)
    beside = beside_the_model(candidates)
    if beside:
        reason = "beside the model, in the folder of a checkpoint."
        notices.append(paths_left_out([file.path for file in beside], reason))
    claims = [
        Claim(file, layouts.read_path(file.parts, name, file.format))
        for file in candidates
        if file not in beside
    ]
    if _started_twice(claims):
        claims = [
            Claim(file, layouts.read_path(file.parts, name, file.format, keep_occasions=True))
            for file, _ in claims
        ]
    twice = _started_twice(claims)
    if twice:
        claim, other = twice[0]
        raise LayoutError(
            f"run {claim.reading.run} of group {claim.reading.group} was started more than once: "
            f"{printable(claim.file.path)} and {printable(other.file.path)} may be one run "
            "resumed or two runs.\n",
            _resumed_or_two(claims, twice[0]),
        )
    understood = [claim for claim in claims if not claim.reading.problem]
    runs = {claim.run for claim in understood}
    harmless: dict[str, list[str]] = defaultdict(list)
    uncertain = []
    for claim in claims:
        problem, seed = claim.reading.problem, claim.reading.seed
        if not problem:
            continue
        # Without a file that tells no step, a run keeps its other checkpoints; but a seed of which
        # no file tells a step would be lost as a whole.
        lost_seed = problem == layouts.NO_STEP and seed is not None and claim.run not in runs
        if lost_seed or problem not in _HARMLESS:
            uncertain.append(claim)
        else:
            harmless[problem].append(claim.file.path)
    if uncertain or not understood:
        raise LayoutError(_not_understood(root, uncertain or claims, len(claims)))
    for problem, paths in harmless.items():
        reason = Message(f"{problem}.")
        if problem == layouts.NO_STEP:
            reason = Message(
                reason, " If they are checkpoints, ", Remedy("layout"), " can say which."
            )
        notices.append(paths_left_out(paths, reason))
    return _with_seeds(understood, name)


def _with_seeds(claims: Sequence[Claim], root: str) -> list[Claim]:
    """Give runs whose names differ in a number alone their seed, and the recipe as their group."""
    seeds = seeds_by_number([claim.reading for claim in claims], printable(root))
    found = [(claim, seeds.get(claim.run)) for claim in claims]
    return [
        claim._replace(reading=claim.reading._replace(group=run.group, seed=run.seed))
        if run
        else claim
        for claim, run in found
    ]


def _started_twice(claims: Iterable[Claim]) -> list[tuple[Claim, Claim]]:
    """Return pairs of claims on one run that lie under different dates or versions."""
    first: dict[tuple[str, str], Claim] = {}
    pairs = []
    for claim in claims:
        if not claim.reading.problem:
            other = first.setdefault(claim.run, claim)
            if other.reading.occasions != claim.reading.occasions:
                pairs.append((other, claim))
    return pairs


def read_by_rule(
    root: Place, name: str, candidates: Sequence[Candidate], rule: Layout, notices: list[Notice]
) -> list[Claim]:
    """Understand paths by the user's layout: that of the file, or of the folder it is in.

    Parameters
    ----------
    root : Place
        The folder looked through, for messages.
    name : str
        What the root folder is called, as in :func:`read_names`.
    candidates : sequence of Candidate
        The files and folders that may be checkpoints.
    rule : Layout
        The user's layout.
    notices : list of Notice
        Added to: what is left out, and why.

    Raises
    ------
    LayoutError
        The layout fits none of the paths.
    """
    claims = []
    others = []
    beside = beside_the_model(candidates)
    for file in candidates:
        reading = rule.read(file.path, name)
        if reading is None and file not in beside:
            reading = rule.read("/".join(file.folder), name)
        if reading is None:
            others.append(file.path)
        else:
            claims.append(Claim(file, reading))
    if not claims:
        paths = "\n".join(f"  {printable(path)}" for path in sorted(others)[:5])
        raise LayoutError(
            Remedy("layout", rule.pattern),
            f" fits none of the {len(others)} checkpoint files under "
            f"{printable(str(root))}, among them\n{paths}\n"
            "A layout describes the whole path, relative to that folder.",
        )
    if others:
        reason = Message(Remedy("layout", rule.pattern), " does not fit.")
        notices.append(paths_left_out(others, reason))
    return claims


def _resumed_or_two(claims: Sequence[Claim], pair: tuple[Claim, Claim]) -> Message:
    """Return the layout that reads over the dates and versions, and the one by which they name."""
    has_seed = any(claim.reading.seed is not None for claim in claims)
    named = "{group}" if has_seed else "{run}"
    listed = [claim.file.path for claim in pair]
    every = [claim.file.path for claim in claims if not claim.reading.problem]
    layouts_for = [
        next(filter(None, (layout_for(paths, occasion=put) for paths in (every, listed))), None)
        for put in ("*", named)
    ]
    resumed, two = layouts_for
    if resumed is None or two is None:
        return say_which(resumed or two)
    return Message(
        "If it is one run resumed:\n  ",
        Remedy("layout", resumed),
        "\nIf they are two runs:\n  ",
        Remedy("layout", two),
    )


def _not_understood(root: Place, claims: Sequence[Claim], n_found: int) -> Message:
    # The last or best model may have no step at all: it is no reason to propose nothing.
    with_numbers = [c for c in claims if re.search("[0-9]", _NO_TIME.sub("", c.file.path))]
    paths = [claim.file.path for claim in with_numbers or claims]
    lines = "\n".join(
        f"  {printable(claim.file.path)}: {claim.reading.problem}"
        for claim in claims[:_MOST_LISTED]
    )
    more = "\n  …" if len(claims) > _MOST_LISTED else ""
    overwritten = ""
    if len({claim.file.folder for claim in claims}) == n_found and all(
        claim.reading.problem == layouts.NO_STEP for claim in claims
    ):
        overwritten = (
            "There is one file per folder: if training overwrites it, only the last state is left, "
            "and a training map needs\nmany. Save each under a name of its own, such as "
            "ckpt_{step}.pt.\n"
        )
    return Message(
        f"{len(claims)} of the {n_found} checkpoint files under {printable(str(root))} do not say "
        f"for certain which run and step they are:\n{lines}{more}\n{overwritten}",
        say_how(paths, paths[:_MOST_LISTED]),
    )


def paths_left_out(paths: Sequence[str], reason: str) -> Notice:
    """Say how many paths are left out, which the first of them are, and why."""
    number = "1 path" if len(paths) == 1 else f"{len(paths)} paths"
    message = Message(f"{number} left out ({some(sorted(paths, key=natural_key))}): ", reason)
    return Notice("discovery", "left out", "paths", message)
