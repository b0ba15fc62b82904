"""Where it pays to train seeds as one stack of networks on a CPU: seconds per seed, by task.

    python benchmarks/stacked_seeds.py [--repeats N] [-o FILE]

Every task is trained for a few epochs as `hmmdyn reproduce` does it, with its own intervals of
evaluation and recording, on one thread. Times are processor time of this process, which other
programs leave alone as far as they share neither caches nor memory's bandwidth; the sizes of stacks
take turns, and the least time of each counts.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from markdown_table import table

from hmmdyn import __version__
from hmmdyn.tasks.catalogue import TASKS
from hmmdyn.tasks.runs import NO_CHECKPOINTS
from hmmdyn.tasks.task import Task
from hmmdyn.tasks.training import train_networks

SIZES = (1, 5, 20, 40)
# Epochs trained; the images of the other tasks are not everywhere.
EPOCHS = {
    "parity": 10,
    "modular-addition": 3,
    "modular-addition-stabilised": 1,
    "digits": 4,
    "digits-deep": 4,
    "digits-destabilised": 4,
}


def seconds_per_seed(task: Task, n_seeds: int) -> float:
    """Processor time of training so many seeds as one stack, divided by their number."""
    with tempfile.TemporaryDirectory() as out:
        folders = [Path(out) / f"seed{seed}" for seed in range(n_seeds)]
        for folder in folders:
            folder.mkdir()
        start = time.process_time()
        train_networks(task, range(n_seeds), folders, keep=NO_CHECKPOINTS, device="cpu")
        return (time.process_time() - start) / n_seeds


def measure(n_repeats: int) -> pd.DataFrame:
    """Seconds per seed: a row per task, a column per size of the stack."""
    rows = []
    for name, n_epochs in EPOCHS.items():
        task = replace(TASKS[name], recipe=replace(TASKS[name].recipe, n_epochs=n_epochs))
        seconds_per_seed(task, 1)  # what is done once, such as loading the data's library
        rounds = [[seconds_per_seed(task, size) for size in SIZES] for _ in range(n_repeats)]
        rows.append(pd.DataFrame(rounds, columns=SIZES).min())
    index = pd.MultiIndex.from_tuples(EPOCHS.items(), names=["task", "epochs"])
    return pd.DataFrame(rows).set_index(index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2, help="times each is measured")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(arguments.repeats)
    text = "\n".join(
        [
            f"One thread of a CPU, hmmdyn {__version__}, torch {torch.__version__}, Python "
            f"{platform.python_version()}; least of {arguments.repeats}",
            "",
            "Seconds per seed, by the number of networks in the stack:",
            "",
            table(seconds, ".3f"),
            "",
            "Times faster than one network after the other:",
            "",
            table(1 / seconds.div(seconds[1], axis=0), ".2f"),
            "",
        ]
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
