"""The report as files, in the formats asked for: page, JSON, CSV, pictures of the figures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from hmmdyn.choices import DEFAULT_FORMATS, FORMATS
from hmmdyn.errors import MissingPackageError, NotEnoughDataError, OutputError, UsageError
from hmmdyn.files import replacing, staged
from hmmdyn.report import layout
from hmmdyn.report.document import to_json
from hmmdyn.report.figures import theme as themes
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.figures.replay import replay
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import to_csv
from hmmdyn.results.findings import Findings, OutcomeFindings

if TYPE_CHECKING:
    from kaleido import Kaleido

_PICTURES = ("png", "svg", "gif")
_MOVING = "gif"
# On a slide, this many pixels wide, the figures' letters can be read from the back of the room.
_WIDTH = 960
_SCALE = 2  # png: pixels of the picture to each of those
# Milliseconds that a picture of the replay is shown, and the last one.
_SHOWN, _LAST_SHOWN = 120, 2000

_Job = tuple[go.Figure, str]  # a figure, and the format it is wanted in


def require_formats(formats: Collection[str], theme: str = "light") -> None:
    """Check that these formats can be written here, before long work is done for them.

    Raises
    ------
    UsageError
        There is no such format or theme, or none was given.
    MissingPackageError
        Pictures need Kaleido and a browser, and one of the two is not there.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        got = ", ".join(map(repr, unknown)) or "none"
        raise UsageError(f"The formats of a report are {', '.join(FORMATS)}; got {got}.")
    themes.standalone(theme)
    if not _pictures_among(formats):
        return
    try:
        from kaleido import Kaleido
        from kaleido.errors import ChromeNotFoundError

        if _MOVING in formats:
            import PIL  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "Pictures (png, svg, gif) are drawn by the package Kaleido and a browser, moving ones "
            f"put together by Pillow; {error.name} is not installed.\n"
            "Install it with  pip install 'hmmdyn[export]'  or do without pictures."
        ) from error
    try:
        Kaleido(mathjax=False)  # looks for the browser, but does not start it yet
    except ChromeNotFoundError as error:
        raise MissingPackageError(
            "Pictures (png, svg, gif) are drawn by a browser, and there is neither Chrome nor "
            "Chromium nor Edge where programs are (or where BROWSER_PATH points).\nInstall one, "
            "for instance with  kaleido_get_chrome  or do without pictures."
        ) from error


def write_report(
    report: Report,
    folder: Path,
    formats: Collection[str] = DEFAULT_FORMATS,
    theme: str = "light",
) -> Path:
    """Write the report into ``folder``, in some of :data:`hmmdyn.choices.FORMATS`.

    ``report.html``; ``report.json``; a CSV file per table that applies; as ``png`` or ``svg`` the
    figures, in the folder ``figures``, as wide as a slide (figures that do not apply to the
    findings are left out; the page says why); as ``gif`` the replay of training over the map. Page,
    JSON and tables are replaced together, or all are left as they were, as are those of formats not
    asked for. The same findings give the same bytes; pictures, where the same browser with the same
    fonts draws them.

    Parameters
    ----------
    report : Report
        What to write.
    folder : Path
        Where to write it; made if it is not there.
    formats : collection of str
        Which of the formats to write.
    theme : str
        ``light`` or ``dark``, of the pictures; the page follows its reader's.

    Returns
    -------
    Path
        The HTML file, or the folder where there is none.

    Raises
    ------
    UsageError, MissingPackageError
        As :func:`require_formats`.
    OutputError
        The folder cannot be written, or the browser failed to draw.
    """
    require_formats(formats, theme)
    folder = Path(folder)
    contents: dict[str, bytes] = {}
    if "csv" in formats:
        for name, sheet in report.sheets.items():
            if len(sheet.frame.columns):
                contents[layout.table_file(name)] = to_csv(sheet)
    if "json" in formats:
        contents[layout.DOCUMENT] = to_json(report).encode("utf-8")
    if "html" in formats:
        contents[layout.PAGE] = render(report).encode("utf-8", errors="replace")
    with staged(folder) as place:
        _write(contents, place)
    if "csv" in formats:
        remove_tables(report, folder)
    pictures = _pictures_among(formats)
    if pictures:
        _write(_pictures(report.findings, pictures, theme), folder / layout.FIGURES)
    return folder / layout.PAGE if "html" in formats else folder


def remove_tables(report: Report, folder: Path) -> None:
    """Remove tables that an earlier analysis left there and that do not apply to this one."""
    for name, sheet in report.sheets.items():
        if not len(sheet.frame.columns):
            (folder / layout.table_file(name)).unlink(missing_ok=True)


def _write(contents: Mapping[str, bytes], folder: Path) -> None:
    for name, content in contents.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)


def _pictures_among(formats: Collection[str]) -> list[str]:
    return [name for name in _PICTURES if name in formats]


def _pictures(findings: OutcomeFindings, formats: Sequence[str], theme: str) -> dict[str, bytes]:
    """Draw every figure that applies, in each of the formats, by file name."""
    jobs: dict[str, _Job] = {}
    still = [kind for kind in formats if kind != _MOVING]
    for name, draw in vars(Figures(findings)).items():
        with suppress(NotEnoughDataError):
            figure = draw(theme=theme)
            # A menu is of no use on a picture, which shows the first of its choices.
            figure.layout.updatemenus = ()
            for number, trace in enumerate(figure.data):
                trace.uid = str(number)  # or plotly.js takes random ones
            jobs |= {layout.picture_file(name, kind): (figure, kind) for kind in still}
    frames: list[_Job] = []
    if _MOVING in formats and isinstance(findings, Findings):
        template = themes.standalone(theme)
        frames = [(f.update_layout(template=template), "png") for f in replay(findings)]
    # In a thread of its own, because a notebook has an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        drawn = thread.submit(asyncio.run, _drawn([*jobs.values(), *frames])).result()
    pictures = dict(zip(jobs, drawn, strict=False))
    if frames:
        pictures[layout.picture_file("training_map", _MOVING)] = _moving(drawn[len(jobs) :])
    return pictures


def _moving(frames: Sequence[bytes]) -> bytes:
    """Put pictures together to one that moves, over and over, its last one longer."""
    from PIL import Image

    # Every colour is in the last picture, by which time all runs have gone through their states.
    images = [Image.open(BytesIO(frame)).convert("RGB").reduce(_SCALE) for frame in frames]
    palette = images[-1].quantize(256)
    first, *others = (image.quantize(palette=palette) for image in images)
    file = BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[_SHOWN] * len(others) + [_LAST_SHOWN],
        loop=0,
    )
    return file.getvalue()


async def _drawn(jobs: Sequence[_Job]) -> list[bytes]:
    from kaleido import Kaleido
    from kaleido.errors import (
        BrowserClosedError,
        BrowserFailedError,
        JavascriptError,
        KaleidoError,
    )

    failures = (BrowserClosedError, BrowserFailedError, JavascriptError, KaleidoError, TimeoutError)
    try:
        # MathJax would be fetched from the network, and would read a name with $ in it as formula.
        async with Kaleido(mathjax=False) as browser:
            return [await _picture(browser, figure, kind) for figure, kind in jobs]
    except failures as error:
        raise OutputError(
            "The browser that draws pictures (png, svg, gif) failed: "
            f"{error or type(error).__name__}.\nTry again, or do without pictures."
        ) from error


async def _picture(browser: Kaleido, figure: go.Figure, kind: str) -> bytes:
    options = {"format": kind, "width": _WIDTH, "height": figure.layout.height}
    if kind == "png":
        options["scale"] = _SCALE
    picture: bytes = await browser.calc_fig(figure, opts=options)
    if kind == "png":
        return picture
    return _with_fixed_names(picture.decode("utf-8"), figure).encode("utf-8")


def _with_fixed_names(svg: str, figure: go.Figure) -> str:
    """Replace the random number in the names of an SVG's parts by one that goes with the figure.

    Other figures get other numbers, so that several can be put into one document.
    """
    (random,) = re.findall(r'<defs id="defs-([0-9a-f]+)"', svg)
    fixed = sha256(figure.to_json(engine="json").encode("utf-8")).hexdigest()[: len(random)]
    return re.sub(rf'(\bid="[^"]*?|url\([^)]*?){random}', rf"\g<1>{fixed}", svg)
