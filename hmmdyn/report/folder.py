"""What earlier analyses left in a report folder: the reports below it that no page links to now."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from hmmdyn.errors import OutputError
from hmmdyn.messages import Either
from hmmdyn.report.tables import FORMAT

# Where an analysis keeps the reports of its other maps.
RECOMMENDED, GROUPS = "recommended", "groups"
# Where a report keeps pictures of its figures.
PICTURES = "figures"
_FILES = ("report.html", "metrics.parquet", "states.parquet", "training_map.json")


def remove_other_reports(folder: Path, kept: Collection[str]) -> None:
    """Remove the reports below a report folder that the present analysis does not write.

    ``kept`` names those that it writes, as paths from ``folder``. Only files that hmmdyn writes go,
    and only from folders whose ``report.json`` says that they are hmmdyn's; whatever else lies
    there stays.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    for place in (RECOMMENDED, *(f"{GROUPS}/{path.name}" for path in (folder / GROUPS).glob("*"))):
        if place not in kept:
            _remove(folder / place / RECOMMENDED)
            _remove(folder / place)
    with suppress(OSError):  # not there, or not empty
        (folder / GROUPS).rmdir()


def _remove(folder: Path) -> None:
    names = _names_of_files(folder)
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} holds the report of an earlier analysis, which cannot be removed: "
            f"{error.strerror or error}. Remove it, or choose another folder",
            Either(typed=" with -o DIR.", called="."),
        ) from error
    if names:
        with suppress(OSError):  # not there, or something of the user's lies there
            (folder / PICTURES).rmdir()
        with suppress(OSError):
            folder.rmdir()


def _names_of_files(folder: Path) -> list[str]:
    """Name what hmmdyn wrote to a folder, ``report.json`` last; nothing where it did not."""
    if folder.is_symlink():
        return []
    try:
        document = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return []
    tables = document.get("tables")
    names = tables if isinstance(tables, dict) else {}
    pictures = [] if (folder / PICTURES).is_symlink() else (folder / PICTURES).glob("*")
    return [
        *_FILES,
        *(f"{PICTURES}/{p.name}" for p in pictures if re.fullmatch(r"[a-z_]+\.(png|svg)", p.name)),
        *(f"{name}.csv" for name in names if re.fullmatch("[a-z_]+", name)),
        "report.json",
    ]
