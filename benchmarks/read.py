"""Reading weights: hmmdyn beside ``torch.load(mmap=True, weights_only=True)``, as ratios.

Both read every tensor once into memory of their own, in one process, in turns, on the same files:
one large file and many small ones, as ``torch.save`` writes them. hmmdyn verifies the checksums,
which PyTorch does not; the first line shows what is left without them. hmmdyn reads with one
thread, PyTorch copies with one for each processor: it is measured with a single one, too. Peak
memory is measured in fresh processes. Run from the repository:

    python benchmarks/read.py [--gigabytes 1] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hmmdyn import open_checkpoint

ROUNDS = 9
SMALL_FILES = 200


def read_with_hmmdyn(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        for tensor in checkpoint.values():
            tensor.read()


def read_with_torch(path: Path) -> None:
    import torch

    for tensor in torch.load(path, mmap=True, weights_only=True).values():
        tensor.float() if tensor.dtype == torch.bfloat16 else tensor.clone()


def write_large(path: Path, gigabytes: float, checksums: bool) -> int:
    """A file of square float32 matrices and one bfloat16 matrix; returns the largest's bytes."""
    import torch

    count = max(1, round(gigabytes * 1e9 / (4 * 2048**2)))
    saved = {f"layers.{i}.weight": torch.randn(2048, 2048) for i in range(count)}
    torch.serialization.set_crc32_options(checksums)
    torch.save({**saved, "head.weight": torch.randn(4096, 2048).bfloat16()}, path)
    torch.serialization.set_crc32_options(True)
    return 4 * 4096 * 2048


def write_small(folder: Path) -> list[Path]:
    """Checkpoints of a small network: 12 tensors, about 0.4 MB."""
    import torch

    layers = [layer for _ in range(6) for layer in (torch.nn.Linear(128, 128), torch.nn.ReLU())]
    state = torch.nn.Sequential(*layers).state_dict()
    paths = [folder / f"step_{i}.pt" for i in range(SMALL_FILES)]
    for path in paths:
        torch.save(state, path)
    return paths


def forget(paths: list[Path]) -> None:
    """Ask the system to drop the files from its cache, so that they are read from disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def seconds(read: Callable[[Path], None], paths: list[Path], cold: bool) -> float:
    if cold:
        forget(paths)
    start = time.perf_counter()
    for path in paths:
        read(path)
    return time.perf_counter() - start


def compare(title: str, paths: list[Path], cold: bool) -> None:
    """Print medians over rounds, in each of which hmmdyn is followed by PyTorch in both ways."""
    import torch

    n_threads = torch.get_num_threads()
    ours: list[float] = []
    theirs: dict[int, list[float]] = {n_threads: [], 1: []}
    for _ in range(ROUNDS):
        ours.append(seconds(read_with_hmmdyn, paths, cold))
        for n, times in theirs.items():
            torch.set_num_threads(n)
            times.append(seconds(read_with_torch, paths, cold))
    torch.set_num_threads(n_threads)
    print(f"{title:32} {statistics.median(ours):6.3f} s", end="")
    for times in theirs.values():
        ratios = [a / b for a, b in zip(ours, times, strict=True)]
        print(
            f"   {statistics.median(times):6.3f} s {statistics.median(ratios):5.2f}"
            f" ({min(ratios):4.2f} to {max(ratios):4.2f})",
            end="",
        )
    print(flush=True)


def peak_megabytes(code: str) -> float:
    """Peak memory of a fresh process that runs this."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", code], capture_output=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where to write the files (default: temporary)")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        if options.peak:
            read_with_hmmdyn(Path(options.peak))
        else:
            import hmmdyn.checkpoints.read  # noqa: F401 - what reading nothing takes
        # Not ru_maxrss: it starts from the peak of the process that started this one.
        status = Path("/proc/self/status").read_text()
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        return
    import torch

    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        large = folder / "large.pt"
        largest = write_large(large, options.gigabytes, checksums=False)
        size = large.stat().st_size / 1e9
        print(
            f"Medians of {ROUNDS} rounds; behind PyTorch's times, hmmdyn's as multiples of them.\n"
            f"{'':34}hmmdyn   PyTorch, {torch.get_num_threads()} threads"
            "           PyTorch, 1 thread"
        )
        compare(f"{size:.2f} GB without checksums, warm", [large], cold=False)
        write_large(large, options.gigabytes, checksums=True)
        small = write_small(folder)
        compare(f"one file of {size:.2f} GB, warm", [large], cold=False)
        compare(f"one file of {size:.2f} GB, cold", [large], cold=True)
        compare(f"{SMALL_FILES} small files, warm", small, cold=False)
        compare(f"{SMALL_FILES} small files, cold", small, cold=True)
        idle, peak = peak_megabytes(""), peak_megabytes(str(large))
        print(
            f"peak memory of hmmdyn: {peak - idle:.0f} MB above the {idle:.0f} MB of its imports "
            f"(largest tensor {largest / 2**20:.0f} MB)"
        )


if __name__ == "__main__":
    main()
