"""An analysis in a real JupyterLab, and in what nbconvert makes of its notebook.

    pytest -m jupyterlab

Skipped where neither is installed: the variable JUPYTER_LAB, or the PATH, names ``jupyter-lab``.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest

from hmmdyn.report.figures import theme
from tests.report.browsing import in_browser, settles

LAB = os.environ.get("JUPYTER_LAB") or shutil.which("jupyter-lab")
ROOT = Path(__file__).parents[2]
pytestmark = [
    *in_browser,
    pytest.mark.jupyterlab,
    pytest.mark.skipif(LAB is None, reason="no JupyterLab"),
]
FIRST = (
    "from tests.report.synthetic import analysis_of, make_findings\nanalysis_of(make_findings())"
)
CELLS = (FIRST, "analysis_of(make_findings(4))")
DRAWN = "[...document.querySelectorAll('.hmmdyn iframe')].length"
KERNEL = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
INK = "document.getElementById('figure')._fullLayout?.font.color"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in CELLS],
        # Else JupyterLab asks which kernel is meant, and waits for an answer.
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path / "analysis.ipynb")
    return path


def environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture(scope="module")
def lab(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [LAB, "--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root",
         f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(300):
        try:
            urlopen(f"{place}/api")
            break
        except (URLError, OSError):
            time.sleep(0.2)
    yield place
    server.terminate()
    server.wait()


def test_two_cells_share_plotly_and_follow_the_theme_of_jupyterlab(browser, lab):
    page = browser.new_page(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page.goto(f"{lab}/lab/tree/analysis.ipynb")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    assert settles(page, KERNEL, "idle")  # before that, JupyterLab runs nothing and says nothing
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".hmmdyn iframe").nth(1).wait_for(timeout=120_000)
    frames = [frame for frame in page.frames if frame != page.main_frame]
    assert len(frames) == 2
    for frame in frames:
        assert settles(frame, INK, theme.LIGHT.layout.font.color)
    assert sum(frame.locator("#plotly").count() for frame in frames) == 1
    page.evaluate(
        "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    for frame in frames:
        assert settles(frame, INK, theme.DARK.layout.font.color)
    page.close()


def test_what_nbconvert_makes_of_it_draws_without_a_network(browser, folder):
    subprocess.run(
        [Path(LAB).with_name("jupyter-nbconvert"), "--to", "html", "--execute", "analysis.ipynb"],
        cwd=folder, env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    made = folder / "analysis.html"
    assert made.stat().st_size < 4e6
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(made.as_uri())
    frames = [frame for frame in page.frames if frame != page.main_frame]
    assert len(frames) == 2
    for frame in frames:
        assert settles(frame, "document.querySelectorAll('.main-svg').length > 0", True)
    context.close()
