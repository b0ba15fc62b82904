"""What it costs to measure one matrix of a size, for the arithmetic of docs/how-to/cluster.md.

Processor seconds of one thread, for bfloat16 matrices in a safetensors file, each in a process of
its own: ``measured`` with the paper's metrics, and ``looked into``, as shards look into checkpoints
of others. Rows are printed as they are known. Run from the repository:

    python benchmarks/cost.py [4096x4096 4096x11008 …]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from hmmdyn.checkpoints.parameters import DEFAULT_RULES
from hmmdyn.metrics.measure import measure

SHAPES = ("1024x1024", "2048x2048", "4096x4096", "4096x11008")


def one(path: Path, *, measured: bool) -> float:
    """Processor seconds of a fresh process, beyond those of loading libraries."""
    start = time.process_time()
    measure(path, None if measured else (), DEFAULT_RULES, fingerprint=not measured)
    return time.process_time() - start


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(one(Path(sys.argv[2]), measured=sys.argv[3] == "measured"))
        return
    print("| matrix | measured, s | looked into, s |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for shape in sys.argv[1:] or SHAPES:
            rows, columns = map(int, shape.split("x"))
            values = np.random.default_rng(0).normal(0, 0.02, (rows, columns))
            path = Path(folder) / "model.safetensors"
            save_file({"mlp.weight": values.astype(ml_dtypes.bfloat16)}, path)
            seconds = [
                float(
                    subprocess.run(
                        [sys.executable, __file__, "--one", path, how],
                        check=True,
                        capture_output=True,
                    ).stdout
                )
                for how in ("measured", "looked into")
            ]
            print(f"| {rows} × {columns} | {seconds[0]:.2f} | {seconds[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
