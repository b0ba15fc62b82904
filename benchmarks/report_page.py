"""How large the report is, how soon it shows, and how quickly a choice is highlighted.

    python benchmarks/report_page.py [--chromium /usr/bin/chromium] [-o report_page.md]

Synthetic findings of several sizes, opened from disk in headless Chromium without a graphics card.
First paint, the first figure and its coming alive are times since navigation began; highlighting is
the time from a choice to the frame that shows it, over every run in turn, with the densest figures
in view. The processor time of the page's own thread stands beside it, because other programs cannot
lengthen it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, CDPSession, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from hmmdyn.report.export import write_report
from hmmdyn.report.report import Report
from tests.report.synthetic import make_findings

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# runs, checkpoints, states, metrics; the third is the size the page is built for.
SIZES = ((10, 42, 4, 8), (40, 300, 6, 14), (40, 1000, 6, 14), (40, 1000, 12, 14))
PAUSE = 150  # milliseconds between choices: a reader makes no more
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# The first figure's picture is in the page; it has been painted in the frame after it is there.
PICTURED = """new MutationObserver((_, observer) => {
  if (!document.querySelector(".preview")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => (window.pictured = performance.now())));
}).observe(document, { childList: true, subtree: true })"""
IS_DRAWN = "document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0"
CHOOSE = """(run) => new Promise((resolve) => {
  const start = performance.now();
  selection.pick.runs([run]);
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
})"""


@dataclass(frozen=True)
class Measured:
    megabytes: float
    render: float  # seconds
    first_paint: float  # milliseconds, as are the rest
    first_figure: float
    alive: float
    highlight: np.ndarray
    thread: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--chromium", default=os.environ.get("CHROMIUM") or shutil.which("chromium")
    )
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        rows = [(size, measure(browser, Path(folder), size, arguments.loads)) for size in SIZES]
        text = report(rows, browser.version)
        browser.close()
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


def measure(
    browser: Browser, folder: Path, size: tuple[int, int, int, int], n_loads: int
) -> Measured:
    findings = make_findings(*size)
    start = time.perf_counter()
    path = write_report(Report(findings), folder)
    render = time.perf_counter() - start
    loads = [load(browser, path) for _ in range(n_loads)]
    return Measured(
        path.stat().st_size / 1e6,
        render,
        *np.median(loads, axis=0),
        *highlight(browser, path, size[0]),
    )


def load(browser: Browser, path: Path) -> tuple[float, float, float]:
    """Return first paint, the first figure's picture, and when plotly.js has drawn that figure."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(PICTURED)
    page.goto(path.as_uri())
    figure = "document.querySelector('#timeline .plot.js-plotly-plot') && performance.now()"
    alive = _await(page, figure)
    pictured = _await(page, "window.pictured")
    first_paint = _await(page, FIRST_PAINT)
    page.close()
    return first_paint, pictured, alive


def highlight(browser: Browser, path: Path, n_runs: int) -> tuple[np.ndarray, float]:
    """Return the time until each run in turn is lit, and the mean time of the page's thread."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(path.as_uri())
    for plot in page.locator(".plot").all():
        plot.evaluate("(e) => e.scrollIntoView({ behavior: 'instant' })")
        page.wait_for_timeout(200)
    _await(page, IS_DRAWN)
    page.locator("#outcome_curves").evaluate("(e) => e.scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(500)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _thread_time(devtools)
    times = []
    for run in range(n_runs):
        page.wait_for_timeout(PAUSE)
        times.append(page.evaluate(CHOOSE, run))
    thread = (_thread_time(devtools) - before) / n_runs
    page.close()
    return np.array(times), 1000 * thread


def _thread_time(devtools: CDPSession) -> float:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def _await(page, expression: str):
    while not (value := page.evaluate(expression)):
        page.wait_for_timeout(20)
    return value


def report(rows: list[tuple[tuple[int, ...], Measured]], browser: str) -> str:
    lines = [
        "# The report page",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, plotly {version('plotly')}, Chromium {browser} (headless, "
        f"no graphics card), {os.cpu_count()} cores (load {os.getloadavg()[0]:.0f}), "
        f"{platform.system()}; `python benchmarks/report_page.py`.",
        "",
        "Reports of synthetic findings, opened from disk. *First paint*: something is seen; "
        "*first figure*: the picture of the timeline, which is in the page, is painted; *alive*: "
        "plotly.js is unpacked and has drawn it. *Highlight*: from the choice of a run to the "
        "frame in which all figures in view show it, over all runs in turn; *its thread*: "
        "processor time of the page's own thread meanwhile, which other programs cannot lengthen.",
        "",
        "| runs × checkpoints × metrics, states | file | written in | first paint | first figure |"
        " alive |"
        " highlight, median | 95 % | worst | its thread |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (n_runs, n_checkpoints, n_states, n_metrics), m in rows:
        median, high = np.quantile(m.highlight, [0.5, 0.95])
        lines.append(
            f"| {n_runs} × {n_checkpoints:,} × {n_metrics}, {n_states} | {m.megabytes:.1f} MB |"
            f" {m.render:.1f} s | {m.first_paint:.0f} ms | {m.first_figure:.0f} ms |"
            f" {m.alive:.0f} ms |"
            f" {median:.0f} ms | {high:.0f} ms | {m.highlight.max():.0f} ms | {m.thread:.0f} ms |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
