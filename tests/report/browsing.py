"""What the tests in a real browser share; they are skipped without playwright or a Chromium."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
SCRIPT = Path(__file__).parents[2] / ".ci" / "open_report.py"
in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not SCRIPT.exists(), reason="not in a checkout"),
]


def ci_script():
    """The script of the continuous integration that opens a report."""
    spec = importlib.util.spec_from_file_location("open_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def opened(browser, report, fragment="", *, draw=True, **options) -> Iterator:
    """Open a report in a window of its own; fail if the page complains."""
    viewport = {"width": options.pop("width", 1440), "height": 900}
    context = browser.new_context(viewport=viewport, offline=True, **options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    page.goto(report.as_uri() + fragment)
    assert settles(page, "typeof selection", "object")  # its scripts are unpacked
    if draw:
        draw_all(page)
    yield page
    context.close()
    assert complaints == []


def draw_all(page) -> None:
    """Bring every figure into view, which is when it is drawn."""
    for plot in page.locator(".plot").all():
        plot.evaluate("(e) => e.scrollIntoView({ behavior: 'instant' })")
        page.wait_for_timeout(30)
    undrawn = "document.querySelectorAll('.plot:not(.js-plotly-plot)').length"
    assert settles(page, undrawn, 0)
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")


def settles(page, expression, value) -> bool:
    """Wait until a JavaScript expression has the value (Playwright's own way needs eval)."""
    for _ in range(200):
        if page.evaluate(expression) == value:
            return True
        page.wait_for_timeout(50)
    return False


def open_table(page, title):
    """Return the box of the table with this title, opened."""
    starts = re.compile(rf"^{re.escape(title)} \(")
    found = page.locator("details.data", has=page.locator("summary", has_text=starts))
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    return found
