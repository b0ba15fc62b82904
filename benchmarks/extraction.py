"""What measuring a checkpoint costs, beside the paper's computation, and how right sketches are.

    python benchmarks/extraction.py [--parts network square memory] [--weights FOLDER] [-o FILE]

The paper's computation takes, of every weight matrix, ``torch.linalg.matrix_norm(ord=2)`` and
``torch.svd``, norms, moments and medians, in float32. Both run in one process on one thread;
processor seconds. *network*: the 85 M weights of a transformer of 12 layers, 768 wide. *square*:
one matrix of 4,096 by 4,096. *memory*: a sharded checkpoint of 20 GB, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.metrics.machine import Machine
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.sketch import LEAST_SIDE, sketched_spectrum
from hmmdyn.metrics.spectrum import Spectrum, singular_values

LAYERS, WIDTH = 12, 768
SHAPES = {
    "attn.c_attn": (WIDTH, 3 * WIDTH),
    "attn.c_proj": (WIDTH, WIDTH),
    "mlp.c_fc": (WIDTH, 4 * WIDTH),
    "mlp.c_proj": (4 * WIDTH, WIDTH),
}
SIDE = 4096
SHARDS, PER_SHARD = 20, 15  # of matrices of 4,096 by 4,096 in float32: 20 GB
MEASURE = """
import sys
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.metrics.machine import Machine
from hmmdyn.metrics.measure import measure
rules = ParameterRules(spectrum="sketch")
measure(sys.argv[1], sys.argv[2].split(","), rules, machine=Machine(room=int(sys.argv[3])))
# Of this program alone: ru_maxrss has what the process that started it had taken, too.
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(1024 * int(line.split()[1]))
"""


def random(shape: tuple[int, int], seed: int) -> np.ndarray:
    return 0.02 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def network() -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for layer in range(LAYERS):
        for name, shape in SHAPES.items():
            tensors[f"h.{layer}.{name}.weight"] = random(shape, len(tensors))
            tensors[f"h.{layer}.{name}.bias"] = random((1, shape[1]), len(tensors))[0]
    return tensors


def as_in_the_paper(path: Path) -> dict[str, float]:
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    tensors = load_file(path)
    weights = [t for name, t in tensors.items() if name.endswith("weight")]
    biases = torch.cat([t.flatten() for name, t in tensors.items() if name.endswith("bias")])
    entries = torch.cat([w.flatten() for w in weights])
    largest = [torch.linalg.matrix_norm(w, ord=2) for w in weights]
    singular = [torch.svd(w).S for w in weights]
    found = {
        "l1": [w.abs().sum() for w in weights],
        "l2": [torch.linalg.matrix_norm(w) for w in weights],
        "trace": [torch.diagonal(w).sum() for w in weights],
        "spectral_norm": largest,
        "mean_sv": [s.mean() for s in singular],
        "var_sv": [s.var(unbiased=False) for s in singular],
    }
    pooled = {
        f"{what}_{kind}": float(function(values))
        for kind, values in (("w", entries), ("b", biases))
        for what, function in (("mean", torch.mean), ("median", torch.median), ("var", torch.var))
    }
    return pooled | {name: float(torch.stack(values).mean()) for name, values in found.items()}


def seconds(run: Callable[[], object], rounds: int) -> float:
    return min(_once(run) for _ in range(rounds))


def _once(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compared(path: Path, rounds: int) -> dict[str, float]:
    """Seconds of the paper's computation and of ours, exact and sketched."""
    return {
        "as in the paper": seconds(lambda: as_in_the_paper(path), rounds),
        "exact": seconds(lambda: measure(path, None, ParameterRules()), rounds),
        "sketch": seconds(lambda: measure(path, None, ParameterRules(spectrum="sketch")), rounds),
    }


def table_of(measured: dict[str, float]) -> list[str]:
    base = measured["as in the paper"]
    rows = [f"| {what} | {s:.2f} | {base / s:.1f} |" for what, s in measured.items()]
    return ["| computation | processor s | times faster |", "| --- | --- | --- |", *rows]


def of_network(folder: Path) -> Iterator[str]:
    path = folder / "network.safetensors"
    save_file(network(), path)
    yield "## A network of 12 layers, 768 wide"
    yield ""
    yield "No matrix of it is large enough to be sketched."
    yield ""
    yield from table_of(compared(path, rounds=3))
    yield ""
    yield "Where the exact seconds go:"
    yield ""
    parts = {
        "reading, and pooled moments and medians": ["mean_w", "median_w", "var_w", "mean_b"],
        "and norms and traces": ["mean_w", "median_w", "var_w", "mean_b", "l1", "l2", "trace"],
        "and spectra: all": ["paper"],
    }
    yield "| metrics | processor s |"
    yield "| --- | --- |"
    for what, metrics in parts.items():
        taken = seconds(lambda chosen=metrics: measure(path, chosen, ParameterRules()), 3)
        yield f"| {what} | {taken:.2f} |"
    yield ""
    yield "What BLAS and LAPACK alone take for the exact spectra, in double precision:"
    yield ""
    yield "| kernel | processor s |"
    yield "| --- | --- |"
    for what, taken in kernels().items():
        yield f"| {what} | {taken:.2f} |"


def kernels() -> dict[str, float]:
    """Seconds that the network's spectra take at least, by the routines that NumPy calls."""
    products = eigenvalues = 0.0
    for shape in SHAPES.values():
        matrix = random(shape, 0).astype(np.float64)
        wide = matrix if shape[0] <= shape[1] else matrix.T
        gram = wide @ wide.T
        products += LAYERS * seconds(lambda wide=wide: wide @ wide.T, 5)
        eigenvalues += LAYERS * seconds(lambda gram=gram: np.linalg.eigvalsh(gram), 5)
    return {
        "Gram products (`dsyrk`)": products,
        "their eigenvalues (`dsyevd`)": eigenvalues,
        "both": products + eigenvalues,
    }


def of_square(folder: Path) -> Iterator[str]:
    path = folder / "square.safetensors"
    save_file({"fc.weight": random((SIDE, SIDE), 0), "fc.bias": random((1, SIDE), 1)[0]}, path)
    yield f"## A matrix of {SIDE:,} by {SIDE:,}"
    yield ""
    yield from table_of(compared(path, rounds=2))
    yield ""
    matrix = random((SIDE, SIDE), 0).astype(np.float64)
    exact = seconds(lambda: singular_values(matrix), 2)
    sketch = seconds(lambda: sketched_spectrum(matrix), 3)
    one_stage = seconds(lambda: np.linalg.eigvalsh(matrix @ matrix.T), 2)
    yield (
        f"The spectrum alone: exact {exact:.1f} s (by LAPACK's eigenvalues in one stage "
        f"{one_stage:.1f} s), sketched {sketch:.2f} s, {exact / sketch:.0f} times faster "
        f"({one_stage / sketch:.0f})."
    )
    yield ""
    largest, mean, variance, rank = errors(matrix)
    yield (
        f"Errors of its sketch, relative: largest value {largest:+.3%}, mean_sv {mean:+.3%}, "
        f"var_sv {variance:+.3%}, effective rank {rank:+.3%}."
    )
    yield ""
    yield f"Errors of sketches, relative, {LEAST_SIDE:,} by {LEAST_SIDE:,}:"
    yield ""
    yield from table_of_errors(spectra())


def of_weights(folder: Path) -> Iterator[str]:
    yield "## Trained weights"
    yield ""
    yield (
        "Errors of sketches, relative, of what `python benchmarks/wide_networks.py` has trained: a "
        "classifier of digits, and one block of a transformer on the bytes of Python's library."
    )
    yield ""
    yield from table_of_errors(
        (f"{path.stem}: {name} ({' × '.join(map(str, tensor.shape))})", tensor.astype(np.float64))
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
        if tensor.ndim == 2 and min(tensor.shape) >= LEAST_SIDE
    )


def table_of_errors(matrices: Iterable[tuple[str, np.ndarray]]) -> Iterator[str]:
    yield "| spectrum | largest value | mean_sv | var_sv | effective rank |"
    yield "| --- | --- | --- | --- | --- |"
    for name, matrix in matrices:
        yield f"| {name} | {' | '.join(f'{error:+.3%}' for error in errors(matrix))} |"


def spectra() -> Iterator[tuple[str, np.ndarray]]:
    rng, n = np.random.default_rng(0), LEAST_SIDE
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    noise = 0.02 * rng.normal(size=(n, n))
    yield "as initialised", noise
    yield "as initialised, four times as wide", rng.normal(size=(n, 4 * n))
    yield "one direction has grown", noise + 5 * np.outer(u[0], v[0])
    yield "a tenth of the directions have", noise + (u * (np.arange(n) < n / 10)) @ v
    for exponent in (0.5, 1, 2):
        yield f"power law, exponent {exponent:g}", (u * np.arange(1.0, n + 1) ** -exponent) @ v
    yield "every third unit is dead", noise * (np.arange(n) % 3 > 0)
    yield "exponential decay, e^(-i/100)", (u * np.exp(-np.arange(n) / 100)) @ v


def errors(matrix: np.ndarray) -> list[float]:
    exact, sketch = Spectrum(singular_values(matrix)), sketched_spectrum(matrix)
    pairs = [(float(s.values[0]), s.mean, s.variance, _rank(s)) for s in (sketch, exact)]
    return [got / true - 1 for got, true in zip(*pairs, strict=True)]


def _rank(spectrum: Spectrum) -> float:
    from hmmdyn.metrics.families.spectrum import effective_rank
    from hmmdyn.metrics.summary import Matrix

    matrix = Matrix(np.zeros((1, 1)))
    matrix.__dict__["spectrum"] = spectrum  # worked out already
    return float(effective_rank(matrix))


def of_memory(folder: Path) -> Iterator[str]:
    for shard in range(SHARDS):
        tensors = {
            f"layers.{shard * PER_SHARD + i}.weight": random((SIDE, SIDE), shard * PER_SHARD + i)
            for i in range(PER_SHARD)
        }
        save_file(tensors, folder / f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors")
    index = {
        f"layers.{shard * PER_SHARD + i}.weight": f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        for shard in range(SHARDS)
        for i in range(PER_SHARD)
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    metrics = "l1,l2,mean_w,median_w,var_w,trace"
    start = time.monotonic()
    room = Machine.shared(2 * 10**9, 1, "cpu").room
    command = [sys.executable, "-c", MEASURE, folder, metrics, str(room)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    gigabytes = int(told) / 1e9
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e9
    yield f"## A sharded checkpoint of {size:.0f} GB"
    yield ""
    yield (
        f"`{metrics}` of it, with `--max-memory 2GB`, in {gigabytes:.2f} GB of memory and "
        f"{time.monotonic() - start:.0f} s. "
        "Every tensor is read six times: once as it passes, for the sum, for the moments, twice "
        "for the median (and once more where it is not finite)."
    )


PARTS: dict[str, Callable[[Path], Iterator[str]]] = {
    "network": of_network,
    "square": of_square,
    "memory": of_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--weights", type=Path, help="folder of wide_networks.py: errors of these")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "torch", "hmmdyn"))
    lines = [
        "# What measuring a checkpoint costs",
        "",
        f"`python benchmarks/extraction.py` on {datetime.now(UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {packages}. Processor seconds on one thread, the least of "
        f"several rounds; the load was {os.getloadavg()[0]:.0f} over {os.cpu_count()} cores at the "
        "start. *As in the paper*: `torch.linalg.matrix_norm(ord=2)` and `torch.svd` of every "
        "matrix, norms, moments and medians, in float32.",
    ]
    with threadpool_limits(1):
        for part in options.parts:
            with tempfile.TemporaryDirectory() as folder:
                lines += ["", *PARTS[part](Path(folder))]
            options.output.write_text("\n".join([*lines, ""]), encoding="utf-8")
        if options.weights:
            lines += ["", *of_weights(options.weights)]
            options.output.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
