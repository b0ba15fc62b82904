"""What becomes of recordings, kept measurements and readers under attack, counted.

    python benchmarks/endurance.py [--scale 1.0] [-o endurance.md]

Everything is done to real files in a temporary folder: recorders are killed and opened twice, bits
are flipped in kept measurements, files of every format are damaged (``tests/test_fuzz.py``, which
needs the packages that tests need). ``--scale`` makes less, or more, of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hmmdyn import MetricRecorder, __version__  # noqa: E402
from hmmdyn.checkpoints.find.discover import discover  # noqa: E402
from hmmdyn.checkpoints.parameters import DEFAULT_RULES  # noqa: E402
from hmmdyn.errors import HmmdynError  # noqa: E402
from hmmdyn.locks import TakenError  # noqa: E402
from hmmdyn.metrics import cache  # noqa: E402
from hmmdyn.metrics.extract import extract  # noqa: E402
from hmmdyn.record.rows import RECORDING  # noqa: E402
from tests.make_runs import weights, write_runs  # noqa: E402
from tests.simulate import phased_table  # noqa: E402

HOLD = """
import sys
from hmmdyn import MetricRecorder
from tests.make_runs import weights
recorder = MetricRecorder(sys.argv[1])
print(recorder.last_step, flush=True)
for step in range((recorder.last_step or -1) + 1, 10**6):
    recorder.record(weights(0, step), step, train_loss=1.0)
    print(step, flush=True)
"""


# What tests try, each case once.
ATTACKS = {
    "hostile checkpoints, made by hand": "tests/checkpoints/hostile",
    "native readers that loop, swell or die": "tests/checkpoints/formats/test_native.py",
    "kept measurements: emptied, cut, replaced, written by two": "tests/metrics/test_cache.py",
    "training maps that cannot be": "tests/hmm/test_training_map.py -k malformed",
    "Ctrl-C in each stage, and two analyses of one folder": "tests/test_interrupted.py",
    "workers of a parent that is killed": "tests/test_workers.py -k killed",
    "two recorders, ranks and forks of one run": "tests/record/test_one_recorder.py",
    "formulas and control characters in CSV": "tests/report/test_page.py -k no_formula",
    "a write of a report that fails half way": "tests/report/test_export.py -k half_way",
    "hostile names, in a browser": "tests/report/test_browser_names.py",
}


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / RECORDING).read_text().splitlines()]


def killed_recorders(n: int, folder: Path) -> Counter[str]:
    """Kill a recorder after a few rows, and start it again in the same folder, n times."""
    run, found = folder / "seed0", Counter[str]()
    draw = random.Random(0)
    last = -1
    for _ in range(n):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        went_on = first == ("None" if last < 0 else str(last))
        said = [process.stdout.readline() for _ in range(draw.randrange(1, 12))]
        process.kill()
        said += process.communicate()[0].splitlines()
        whole = steps_of_whole_rows(run)
        went_on = went_on and int(said[-1]) <= whole[-1]
        found[
            "went on, no row lost" if went_on and whole == list(range(len(whole))) else "lost"
        ] += 1
        last = whole[-1]
    return found


def steps_of_whole_rows(run: Path) -> list[int]:
    rows = (run / RECORDING).read_bytes().split(b"\n")[:-1]
    return [json.loads(row)["step"] for row in rows]


def second_recorders(n: int, folder: Path) -> Counter[str]:
    """Open a second recorder beside one that records, n times."""
    run, found = folder / "seed1", Counter[str]()
    with MetricRecorder(run) as first:
        for step in range(n):
            first.record(weights(0, step), step)
            from hmmdyn import locks

            wait = locks.Lock.__init__.__kwdefaults__
            wait["wait"] = 0.0
            try:
                MetricRecorder(run).close()
                found["let in"] += 1
            except TakenError:
                found["told who records"] += 1
    assert steps(run) == list(range(n))
    return found


def flipped_bits(n: int, folder: Path) -> Counter[str]:
    """Flip one bit of the file of kept measurements, anywhere, n times."""
    index = discover(write_runs(folder / "runs", steps=range(0, 200, 10), outcomes=False))
    place = folder / "kept.parquet"
    cache._ROWS_AT_ONCE = 15
    extract(index, cache=place)

    def read() -> tuple[list[object], int | None]:
        with cache.MeasurementCache(place, index.root, DEFAULT_RULES) as store:
            store._probes = probes
            got = [store.get(file) for file in index.checkpoints]
            store._unsaved = False
            return got, store.n_damaged

    probes: dict[tuple[str, str], str] = {}
    right, _ = read()
    whole = place.read_bytes()
    draw, found = random.Random(0), Counter[str]()
    for _ in range(n):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        place.write_bytes(data)
        try:
            got, n_damaged = read()
        except HmmdynError:
            found["refused: not taken for a file of measurements"] += 1
            continue
        except Exception as error:
            found[f"traceback ({type(error).__name__})"] += 1
            continue
        if any(g is not None and g != r for g, r in zip(got, right, strict=True)):
            found["wrong metrics"] += 1
        elif None not in got:
            found["all read right"] += 1
        elif n_damaged == 0:
            found["measured again without a notice"] += 1
        elif any(got):
            found["what was damaged measured again, with a notice"] += 1
        else:
            found["all measured again, with a notice"] += 1
    return found


def stopped_analyses(how: signal.Signals, n: int, folder: Path) -> Counter[str]:
    """Stop an analysis at any moment, n times, each time beside the report of an earlier one."""
    source, report = folder / "runs.parquet", folder / "report"
    phased_table(n_runs=6).to_parquet(source)
    command = [sys.executable, "-m", "hmmdyn", "analyze", str(source), "-o", str(report)]
    command += ["--max-states", "3", "--restarts", "2", "--jobs", "1"]
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    usual = time.monotonic() - start
    whole = contents(report)
    draw, found = random.Random(0), Counter[str]()
    for _ in range(n):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        time.sleep(draw.uniform(0, usual))
        process.send_signal(how)
        said = process.communicate()[1]
        left = [path.name for path in report.glob(".*")]
        if "Traceback" in said:
            found["traceback"] += 1
        elif contents(report) != whole:
            found["report not as it was"] += 1
        elif how == signal.SIGINT and left:
            found["something unfinished left"] += 1
        elif process.returncode == 0:
            found["done before, report whole"] += 1
        else:
            found["ended, earlier report whole"] += 1
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    found["something unfinished left"] += bool(list(report.glob(".*")))
    return found


def contents(report: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in report.iterdir() if not p.name.startswith(".")}


def tests_of(place: str) -> Counter[str]:
    """Run tests that attack, a case each, and count those that hold."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *place.split(), "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = re.findall(r"(\d+) (passed|failed)", done.stdout.splitlines()[-1])
    names = {"passed": "held", "failed": "did not hold"}
    return Counter({names[what]: int(n) for n, what in counts})


def damaged_files(n: int) -> dict[str, Counter[str]]:
    """Damage files of every format, n of each; as the tests do."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/test_fuzz.py", "-qs", "-p", "no:cacheprovider"],
        env={**os.environ, "HMMDYN_FUZZ": str(n)}, cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    found = {}
    for name, _, *counts in re.findall(
        r"\| (.+?) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|", done.stdout
    ):
        read, refused, escaped = (int(count.replace(",", "")) for count in counts)
        found[f"{name}: damaged at random"] = Counter(
            {"read": read, "refused in words": refused, "traceback": escaped}
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    # Where a shell started this in the background, no child would hear of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def times(n: int) -> int:
        return max(1, round(n * given.scale))

    studies: list[tuple[str, Callable[[Path], Counter[str]]]] = [
        ("second recorder beside one that records", lambda f: second_recorders(times(100), f)),
        ("one bit flipped in kept measurements", lambda f: flipped_bits(times(2000), f)),
        ("recorder killed (SIGKILL) and started again", lambda f: killed_recorders(times(60), f)),
        (
            "analysis stopped by Ctrl-C at any moment",
            lambda f: stopped_analyses(signal.SIGINT, times(60), f),
        ),
        (
            "analysis killed (SIGKILL) at any moment",
            lambda f: stopped_analyses(signal.SIGKILL, times(60), f),
        ),
        *((what, lambda _, at=place: tests_of(at)) for what, place in ATTACKS.items()),
    ]
    rows: list[tuple[str, Counter[str]]] = []
    start = time.monotonic()
    for what, study in studies:
        with tempfile.TemporaryDirectory() as folder:
            rows.append((what, study(Path(folder))))
        print(*rows[-1], flush=True)
        write(rows, given, time.monotonic() - start)
    rows += damaged_files(times(500)).items()
    write(rows, given, time.monotonic() - start)


def write(rows: list[tuple[str, Counter[str]]], given: argparse.Namespace, seconds: float) -> None:
    lines = [
        f"| {what} | {sum(found.values()):,} | "
        + "; ".join(f"{k}: {n:,}" for k, n in found.most_common() if n)
        + " |"
        for what, found in rows
    ]
    given.output.write_text(
        f"""# What was tried, and what came of it

`python benchmarks/endurance.py --scale {given.scale:g}`, {datetime.now(UTC):%Y-%m-%d}

hmmdyn {__version__}, Python {platform.python_version()}, {platform.system()},
{seconds / 60:.0f} minutes on a machine that others used, too.

| what | times | what came of it |
|---|---|---|
{chr(10).join(lines)}

- A killed recorder is started again in the same folder at once; "no row lost" means that every row
  whose step it had printed is there, in order, and that it goes on after the last one.
- An analysis is stopped at a moment drawn evenly from how long one takes. What one that was killed
  had not finished stays until the next, which removes it.
- A bit is flipped anywhere in the file, Parquet's own lists included. Wrong metrics would be a
  measurement that is read and is not what was kept.
- Damaged files have bytes changed, dropped, repeated, cut off, or numbers put in the place of
  others, between one and sixteen times each. "Read" is not wrong: bytes may be of a tensor's
  numbers, which no format but those with checksums can tell; a log that cannot be read is a notice,
  and the checkpoints are read without it.
"""
    )


if __name__ == "__main__":
    main()
