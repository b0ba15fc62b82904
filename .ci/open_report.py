"""Open a report in headless Chromium, offline, and fail on anything a reader should not meet.

    python .ci/open_report.py hmmdyn-report/report.html [--screenshots DIR]

At 1400 and at 420 pixels width: no console message above "info", no exception, no request for
anything but the file itself, every figure drawn, nothing wider than the window. Needs playwright
and a Chromium (CHROMIUM names it, else the one on the PATH).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

WIDTHS = (1400, 420)
PATIENCE = 10_000  # milliseconds until a figure must be drawn
# Chromium's sandbox needs privileges that containers do not give; the page comes from this machine.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

UNDRAWN = """() => [...document.querySelectorAll(".plot")].filter((plot) => {
  const drawing = plot.querySelector(".main-svg");
  const box = drawing && drawing.getBoundingClientRect();
  return !plot.classList.contains("js-plotly-plot") || !box || box.width < 100 || box.height < 50;
}).map((plot) => plot.dataset.spec)"""
TO_VIEW = "(plot) => plot.scrollIntoView({ behavior: 'instant' })"
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--screenshots", type=Path, help="folder for full-page screenshots")
    arguments = parser.parse_args()
    with chromium() as browser:
        problems = check(browser, arguments.report.resolve(), arguments.screenshots)
    for problem in problems:
        print(f"{arguments.report}: {problem}", file=sys.stderr)
    return 1 if problems else 0


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium: the one CHROMIUM names, or the one on the PATH."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def check(browser: Browser, report: Path, screenshots: Path | None = None) -> list[str]:
    """Return what is wrong with the page, one line each; an empty list if nothing is."""
    return [
        f"at {width} px: {problem}"
        for width in WIDTHS
        for problem in _check_at(browser, report, width, screenshots)
    ]


def _check_at(browser: Browser, report: Path, width: int, screenshots: Path | None) -> list[str]:
    problems: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.on(
        "console",
        lambda message: (
            problems.append(f"console {message.type}: {message.text}")
            if message.type in {"error", "warning", "assert"}
            else None
        ),
    )
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("dialog", lambda dialog: (problems.append("a dialog opened"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            problems.append(f"request: {request.url[:200]}")
            if request.url != report.as_uri()
            else None
        ),
    )
    page.goto(report.as_uri(), wait_until="load")
    plots = page.locator(".plot").all()
    if not plots:
        problems.append("there is no figure")
    problems += [f"figure {name} was not drawn" for name in _undrawn(page, plots)]
    page.wait_for_timeout(300)  # a late request or warning has time to show itself
    excess = page.evaluate(TOO_WIDE)
    if excess > 0:
        problems.append(f"the page is {excess} px wider than the window")
    if screenshots is not None:
        screenshots.mkdir(parents=True, exist_ok=True)
        # What is out of view is not painted otherwise.
        page.add_style_tag(content=".plot { content-visibility: visible !important; }")
        page.wait_for_timeout(1000)
        page.screenshot(path=screenshots / f"{report.stem}-{width}.png", full_page=True)
    context.close()
    return problems


def _undrawn(page: Page, plots: list[Locator]) -> list[str]:
    """Bring every figure into view, which is when it is drawn, and name those that are not."""
    for plot in plots:
        plot.evaluate(TO_VIEW)
        page.wait_for_timeout(50)
    waited = 0
    while (names := page.evaluate(UNDRAWN)) and waited < PATIENCE:
        page.wait_for_timeout(100)
        waited += 100
    page.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")
    return names


if __name__ == "__main__":
    sys.exit(main())
