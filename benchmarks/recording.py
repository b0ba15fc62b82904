"""What recording costs: the share of a transformer's training time, by how often it is done.

    python benchmarks/recording.py [--device cuda] [-o FILE]

Timed are steps of training (AdamW, next-word prediction on random words) and calls of the recorder;
from their medians follows the share of time at any interval, and one interval is then trained with
and without the recorder as a check.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from hmmdyn import MetricRecorder, __version__
from hmmdyn.metrics.registry import all_metrics
from hmmdyn.record.rows import RECORDING

INTERVALS = (10, 100, 1000)
SPECTRAL = {"spectral_norm", "trace_over_spectral", "mean_sv", "var_sv"}
METRICS = {
    "all fourteen": tuple(m.name for m in all_metrics()),
    "ten without singular values": tuple(m.name for m in all_metrics() if m.name not in SPECTRAL),
    "l2": ("l2",),
}


class Size(NamedTuple):
    """A transformer and its batches."""

    depth: int
    width: int
    n_words: int
    context: int
    batch: int


SIZES = {
    "cpu": (Size(2, 64, 256, 32, 32), Size(4, 128, 1000, 64, 16), Size(4, 512, 1000, 64, 8)),
    "cuda": (Size(6, 256, 2000, 256, 32), Size(12, 768, 50_000, 512, 16)),
}


class Transformer(nn.Module):
    """Decoder with learned positions and an untied head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed = nn.Embedding(size.n_words, size.width)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(size.context, size.width))
        layer = nn.TransformerEncoderLayer(
            size.width, max(2, size.width // 64), 4 * size.width, 0.0, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.blocks = nn.TransformerEncoder(layer, size.depth, enable_nested_tensor=False)
        self.head = nn.Linear(size.width, size.n_words)
        mask = nn.Transformer.generate_square_subsequent_mask(size.context)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(words) + self.pos_embed, self.mask, is_causal=True))


class Training:
    """A model, and one step of training at a time."""

    def __init__(self, size: Size, device: str) -> None:
        torch.manual_seed(0)
        self.size, self.device = size, device
        self.model = Transformer(size).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    @property
    def n_weights(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def step(self) -> torch.Tensor:
        words = torch.randint(
            self.size.n_words, (self.size.batch, self.size.context), device=self.device
        )
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = nn.functional.cross_entropy(
                self.model(words)[:, :-1].flatten(0, 1), words[:, 1:].flatten()
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def seconds(work: Callable[[], object], device: str) -> float:
    """Time one call: on the CPU its own time, which other programs leave alone.

    On an accelerator, the time until all that it started is done.
    """
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def train(training: Training, n_steps: int, recorder: MetricRecorder | None) -> None:
    for step in range(1, n_steps + 1):
        loss = training.step()
        if recorder is not None:
            recorder.step(training.model, step, train_loss=loss)


def rows_of(size: Size, device: str, n_repeats: int) -> list[str]:
    """Time steps and records by turns, so that weights have changed in every row."""
    training = Training(size, device)
    name = f"{size.depth} layers of width {size.width}, {training.n_weights / 1e6:.1f} M weights"
    lines = []
    for metrics, names in METRICS.items():
        steps, records = [], []
        with tempfile.TemporaryDirectory() as run, MetricRecorder(run, metrics=names) as recorder:
            for count in range(n_repeats + 2):
                steps.append(seconds(training.step, device))
                work = partial(recorder.record, training.model, count, train_loss=0.123456789)
                records.append(seconds(work, device))
            last_row = (Path(run) / RECORDING).read_bytes().splitlines()[-1]
        # The first two rows differ: a copy is kept, fingerprints are made and compared.
        step, record = statistics.median(steps[2:]), statistics.median(records[2:])
        shares = " | ".join(f"{record / (record + every * step):.2%}" for every in INTERVALS)
        lines.append(
            f"| {name} | {step * 1e3:,.1f} | {metrics} | {record * 1e3:,.1f} | {shares} | "
            f"{len(last_row):,} |"
        )
    return lines


def check(size: Size, device: str, n_steps: int) -> str:
    """Train with and without the recorder, by turns, and compare the medians of three each."""
    every = 10
    with_it, without = [], []
    for _ in range(3):
        without.append(seconds(partial(train, Training(size, device), n_steps, None), device))
        with tempfile.TemporaryDirectory() as folder, MetricRecorder(folder, every=every) as it:
            with_it.append(seconds(partial(train, Training(size, device), n_steps, it), device))
    a, b = statistics.median(with_it), statistics.median(without)
    return (
        f"Check: {n_steps} steps of the smallest model take {b:.2f} s without and {a:.2f} s with "
        f"all metrics every {every} steps, of which recording is {1 - b / a:.1%} "
        "(medians of three)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=tuple(SIZES), default="cpu")
    parser.add_argument("--repeats", type=int, default=10, help="steps and records timed")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cpu":
        torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device == "cuda" else "One thread of a CPU"
    heads = " | ".join(f"every {n:,}" for n in INTERVALS)
    lines = [
        f"{where}, hmmdyn {__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}",
        "",
        f"| transformer | step, ms | metrics | record, ms | {heads} | bytes per row |",
        "|---|---|---|---|" + "---|" * len(INTERVALS) + "---|",
        *(line for size in SIZES[device] for line in rows_of(size, device, arguments.repeats)),
        "",
        check(SIZES[device][0], device, 200),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
