"""Names of the files and folders in a report folder, and the links between its pages.

report.html  report.json  TABLE.csv …  metrics.parquet  states.parquet  training_map.json
figures/FIGURE.png …
recommended/        the same for the recommended number of states
groups/1-NAME/ …    the same for each group by itself
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hmmdyn.names import file_stem

PAGE, DOCUMENT = "report.html", "report.json"
METRICS, STATES, TRAINING_MAP = "metrics.parquet", "states.parquet", "training_map.json"
PARTS = "metrics-parts.parquet"  # of layers and roles, beside the metrics
FIGURES = "figures"
RECOMMENDED, GROUPS = "recommended", "groups"

# Links to pages: from the chosen map's to the recommended one's and back, and from a group's.
TO_RECOMMENDED, FROM_RECOMMENDED = f"{RECOMMENDED}/{PAGE}", f"../{PAGE}"
FROM_GROUP = f"../../{PAGE}"


def table_file(name: str) -> str:
    """Name the file of a table."""
    return f"{name}.csv"


def picture_file(figure: str, kind: str) -> str:
    """Name the file of a figure's picture, such as a ``png``; the ``player`` is a page."""
    return f"{figure}.{'html' if kind == 'player' else kind}"


def group_folders(groups: Iterable[str]) -> list[str]:
    """Name the folders of groups' reports: names may be anything, so they are numbered, too."""
    return [f"{GROUPS}/{i}-{file_stem(group)}" for i, group in enumerate(groups, 1)]


def to_page_in(folder: str) -> str:
    """Link from a page to the one in a folder below."""
    return f"{folder}/{PAGE}"


def places_of_reports(folder: Path) -> Iterator[str]:
    """Go through the folders below where reports of other maps may be, as paths from it."""
    yield RECOMMENDED
    yield from (f"{GROUPS}/{path.name}" for path in (folder / GROUPS).glob("*"))


def files_of_report(folder: Path, tables: Iterable[str]) -> list[str]:
    """Name the files that a report with these tables may have in a folder, its JSON last.

    ``tables`` may come from a file that anyone could have written: what is no name of a table
    leads nowhere.
    """
    pictures = [] if (folder / FIGURES).is_symlink() else (folder / FIGURES).glob("*")
    return [
        *(PAGE, METRICS, PARTS, STATES, TRAINING_MAP),
        *(
            f"{FIGURES}/{p.name}"
            for p in pictures
            if re.fullmatch(r"[a-z_]+\.(png|svg|pdf|gif|mp4|html)", p.name)
        ),
        *(table_file(name) for name in tables if re.fullmatch("[a-z_]+", name)),
        DOCUMENT,
    ]
