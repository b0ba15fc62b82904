"""What each metric costs, as a share of one pass over a checkpoint's bytes.

python benchmarks/metric_cost.py [--width 256] [--repeats 5] [-o metric_cost.md]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from markdown_table import table
from safetensors.numpy import save_file

from hmmdyn import open_checkpoint
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import all_metrics, families

BLOCKS, HEADS, NUMBERS = 4, 8, 113


def transformer(width: int, seed: int) -> dict[str, np.ndarray]:
    """A transformer of four blocks, and the state of Adam beside it."""
    rng = np.random.default_rng(seed)
    shapes = {"wte.weight": (NUMBERS, width)}
    for block in range(BLOCKS):
        shapes |= {
            f"h.{block}.attn.{name}.weight": (width, width)
            for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        }
        shapes[f"h.{block}.mlp.fc1.weight"] = (4 * width, width)
        shapes[f"h.{block}.mlp.fc1.bias"] = (4 * width,)
        shapes[f"h.{block}.mlp.fc2.weight"] = (width, 4 * width)
    tensors = {name: rng.normal(0, 0.02, shape) for name, shape in shapes.items()}
    for moment in ("mu", "nu"):
        tensors |= {
            f"opt_state.0.{moment}.{name}": np.abs(rng.normal(0, 1e-3, shape))
            for name, shape in shapes.items()
        }
    return {name: values.astype(np.float32) for name, values in tensors.items()}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of some repeats: others' work on the machine does not count."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def one_pass(path: Path) -> None:
    """Read every weight and bias once, and look at each entry."""
    with open_checkpoint(path) as checkpoint:
        for name in checkpoint:
            if not name.startswith("opt_state"):
                np.isfinite(checkpoint[name].read()).all()


def study(folder: Path, width: int, repeats: int) -> tuple[pd.DataFrame, float, float]:
    paths = [folder / f"step_{step}.safetensors" for step in (0, 1, 2)]
    for step, path in enumerate(paths):
        save_file(transformer(width, step), path)
    references = {"initial": paths[0], "previous": paths[1]}
    rules = ParameterRules(heads=HEADS, cyclic=NUMBERS)

    def cost(names: Iterable[str]) -> float:
        def work() -> None:
            found = measure(paths[2], names, rules, references=references)
            assert not found.problems

        return seconds(work, repeats)

    base = seconds(lambda: one_pass(paths[2]), repeats)
    rows = {}
    for family in families():
        rows[family, "all together"] = cost([family])
        for metric in all_metrics():
            if metric.family == family and metric.needs != "run":
                rows[family, metric.name] = cost([metric.name])
    rows["all", "all together"] = cost(["all"])
    frame = pd.DataFrame({"passes": pd.Series(rows) / base})
    frame.index.names = ["family", "metric"]
    n_bytes = sum(v.nbytes for n, v in transformer(width, 0).items() if "opt_state" not in n)
    return frame, base, n_bytes / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        found, base, size = study(Path(folder), given.width, given.repeats)
    text = f"""# What a metric costs

    python benchmarks/metric_cost.py --width {given.width} --repeats {given.repeats} \
-o benchmarks/metric_cost.md

{datetime.now(UTC):%Y-%m-%d}, hmmdyn {version("hmmdyn")}. A transformer of {BLOCKS} blocks of \
width {given.width} ({size:.0f} MB of weights and biases in float32, from the system's cache), \
one thread, processor time, the least of {given.repeats}.

How many passes over the bytes of weights and biases each metric takes when it is measured alone: a
pass reads every tensor and asks whether its entries are finite, which takes {base:.3f} s here. All
metrics have to open the file, to tell weights by their names and to read them. What families, and
all metrics, take together is less than the sum, since spectra, norms and changes are computed once.
*Movement* reads two more checkpoints, *optimizer* the moments, which are twice as many bytes, and
*attention* the queries and keys once more.

{table(found, ".1f")}

Other work went on on the machine: the same spectra, measured for one metric or for all of a family,
can differ by a fifth.
"""
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
