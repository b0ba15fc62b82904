"""What it costs to read HDF5 and Orbax checkpoints in a process of their own.

    python benchmarks/native_readers.py [-o native_readers.md]

The same files are read in this process and in one that can be stopped, by turns, in a fresh Python
each. Processor time counts that of both processes; other programs lengthen the time that passes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from markdown_table import table

KINDS = {  # files, tensors of each, their side
    "Keras, 6 tensors of 64 × 64": (300, 6, 64),
    "Keras, 60 tensors of 64 × 64": (30, 60, 64),
    "Keras, 6 tensors of 2,048 × 2,048": (3, 6, 2048),
}
PASSES = 2


def write(folder: Path, n_files: int, n_tensors: int, side: int) -> None:
    values = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    for i in range(n_files):
        with h5py.File(folder / f"step_{i}.weights.h5", "w") as file:
            for k in range(n_tensors):
                file[f"layers/dense_{k}/vars/0"] = values + i


def read_here(path: Path) -> int:
    from hmmdyn.checkpoints.formats.byte_ranges import FileBytes
    from hmmdyn.checkpoints.formats.keras_file import open_hdf5

    with closing(FileBytes(path)) as file:
        contents = open_hdf5(file)
        n = sum(tensor.read().nbytes for tensor in contents.tensors.values())
        contents.close()
    return n


def read_apart(path: Path) -> int:
    from hmmdyn.checkpoints.formats.native import open_natively

    contents = open_natively("hdf5", path)
    n = sum(tensor.read().nbytes for tensor in contents.tensors.values())
    contents.close()
    return n


def measure(folder: Path, where: str) -> float:
    """Read all files in a fresh Python: seconds of processor time, also of what it starts."""
    before = os.times()
    subprocess.run([sys.executable, __file__, "--read", where, str(folder)], check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    if given.read:
        where, folder = given.read
        read = {"here": read_here, "apart": read_apart}[where]
        for path in sorted(Path(folder).iterdir()):
            read(path)
        return
    rows = []
    for kind, (n_files, *sizes) in KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), n_files, *sizes)
            found = {where: [] for where in ("here", "apart")}
            for _ in range(PASSES):
                for where in found:
                    found[where].append(measure(Path(name), where))
        cpu = {where: min(passes) for where, passes in found.items()}
        rows.append(
            {
                "files": f"{n_files:,} × {kind}",
                "in this process, s": cpu["here"],
                "in one that can be stopped, s": cpu["apart"],
                "more per file, ms": 1000 * (cpu["apart"] - cpu["here"]) / n_files,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    given.output.write_text(
        f"""# What it costs to read in a process that can be stopped

`python benchmarks/native_readers.py`, {datetime.now(UTC):%Y-%m-%d}

Python {platform.python_version()}, h5py {h5py.__version__}

{table(pd.DataFrame(rows).set_index("files"), ".2f")}

Processor time of all processes, start of Python included, the least of {PASSES} passes by turns.
Starting the second process is the most of what small files pay; it serves all of them.
"""
    )


if __name__ == "__main__":
    main()
