"""What the paths of candidates claim: each is understood, or it is said why it cannot be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.candidates import Candidate, beside_the_model
from hmmdyn.checkpoints.find.layouts import Layout, Reading
from hmmdyn.errors import LayoutError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import natural_key, printable, some
from hmmdyn.results.notice import Notice

# Why a path may be left out, when there are checkpoints enough beside it.
_HARMLESS = (layouts.NO_STEP, layouts.ONLY_ALIAS, layouts.TEMPORARY)

EXAMPLE = "{group}/seed{seed}/step_{step}.pt"


def say_how(layout: str = EXAMPLE) -> Message:
    """Return what to do where paths are not understood, with a layout for an example."""
    return Message(
        "Say how the paths are to be read, for example\n  ",
        Remedy("layout", layout),
        "\nwhere {group}, {run}, {seed}, {step} and {epoch} stand for what they name and * for "
        "anything.",
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
    root: Path, name: str, candidates: Iterable[Candidate], notices: list[Notice]
) -> list[Claim]:
    """Understand every path by its names, or say which cannot be.

    Parameters
    ----------
    root : Path
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
            say_how(),
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
    return understood


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
    root: Path, name: str, candidates: Sequence[Candidate], rule: Layout, notices: list[Notice]
) -> list[Claim]:
    """Understand paths by the user's layout: that of the file, or of the folder it is in.

    Parameters
    ----------
    root : Path
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


def _not_understood(root: Path, claims: Sequence[Claim], n_found: int) -> Message:
    lines = "\n".join(
        f"  {printable(claim.file.path)}: {claim.reading.problem}" for claim in claims[:5]
    )
    more = "\n  …" if len(claims) > 5 else ""
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
        say_how(_suggested_layout(claims[0].file.path) or EXAMPLE),
    )


def _suggested_layout(path: str) -> str | None:
    """Guess what may be meant: the last number is the step, the folders above run and group.

    ``a/seed3/model_0009999.pth`` gives ``{group}/seed{seed}/model_{step}.pth``; None where there is
    no number, or nothing that is sure to fit.
    """
    fields = ["{group}", "{run}", "{step}"]
    names = []
    for name in reversed(path.split("/")):
        stem, dot, suffix = name.partition(".")
        numbered = re.fullmatch(r"(.*?)[0-9]+([^0-9]*)", stem)
        if layouts.parse(name).has("seed") and "{run}" in fields:
            fields.remove("{run}")
            name = re.sub(r"(seed[-_= ]?)[0-9]+", r"\1{seed}", name, flags=re.IGNORECASE)
        elif numbered and "{step}" in fields:
            fields.remove("{step}")
            name = f"{numbered[1]}{{step}}{numbered[2]}{dot}{suffix}"
        elif "{step}" not in fields and fields and not layouts.is_neutral(name):
            name = fields.pop()
        names.append(name)
    pattern = "/".join(reversed(names))
    fits = "{step}" not in fields and not set(path) & set("{}*") and Layout(pattern).read(path, "")
    return pattern if fits else None


def paths_left_out(paths: Sequence[str], reason: str) -> Notice:
    """Say how many paths are left out, which the first of them are, and why."""
    number = "1 path" if len(paths) == 1 else f"{len(paths)} paths"
    message = Message(f"{number} left out ({some(sorted(paths, key=natural_key))}): ", reason)
    return Notice("discovery", "left out", "paths", message)
