"""Run notebooks from top to bottom and save them with their outputs.

python notebooks/execute.py [NOTEBOOK ...]      (all of them, unless some are named)
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from llvmlite.binding import get_host_cpu_name
from nbclient import NotebookClient

from hmmdyn.pipeline import PACKAGES

HERE = Path(__file__).resolve().parent


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook as a fresh kernel leaves it; the file stays as it is.

    It runs beside links to the rest of the project, in a temporary folder that goes with all that
    the notebook writes.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raised an exception.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        for sibling in HERE.parent.iterdir():
            if sibling != HERE:
                Path(folder, sibling.name).symlink_to(sibling)
        working = Path(folder, HERE.name)
        working.mkdir()
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            coalesce_streams=True,  # else how text is cut into outputs is a matter of timing
            record_timing=False,
            resources={"metadata": {"path": str(working)}},
        )
        # Nobody's own settings of IPython.
        client.execute(env={**os.environ, "IPYTHONDIR": str(Path(folder, ".ipython"))})
    notebook.metadata["executed_with"] = environment()
    return notebook


def environment() -> dict[str, str]:
    """Return what the last digits of a fit depend on: where all of it is equal, text is, too."""
    return {
        "cpu": get_host_cpu_name(),
        "platform": sys.platform,
        "python": ".".join(map(str, sys.version_info[:2])),
        **{package: version(package) for package in PACKAGES},
    }


def main(names: list[str]) -> None:
    """Execute the named notebooks, or all."""
    for path in map(Path, names) if names else sorted(HERE.glob("*.ipynb")):
        print(path)
        nbformat.write(executed(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
