"""The report as files, in the formats asked for: page, JSON, CSV, pictures of the figures."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from hmmdyn.choices import DEFAULT_FORMATS, FORMATS
from hmmdyn.errors import MissingPackageError, NotEnoughDataError, OutputError, UsageError
from hmmdyn.files import replacing, staged
from hmmdyn.report import layout
from hmmdyn.report.document import to_json
from hmmdyn.report.figures import theme as themes
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.figures.replay import SHOWN, player, replay
from hmmdyn.report.lookup import title
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import to_csv
from hmmdyn.report.snippet import page_of
from hmmdyn.results.findings import Findings, OutcomeFindings

if TYPE_CHECKING:
    from kaleido import Kaleido
    from PIL.Image import Image

_STILL, _MOVING, _PLAYER = ("png", "svg", "pdf"), ("gif", "mp4"), "player"
_NAMED = ", ".join((*_STILL, *_MOVING))
# On a slide, this many pixels wide, the figures' letters can be read from the back of the room.
_ON_SLIDES = 960
# In a paper, 96 pixels to the inch: a text 5.5 inches wide, letters of 9 points. Of some figures
# there is one for a column of 3.3 inches, too, by the options that make it fit.
_IN_TEXT, _IN_COLUMN = 528, 320
_OF_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "training_map": {"orientation": "vertical"},
    "timeline": {},
}
_SCALE = 2  # png: pixels of the picture to each of those
_LAST_SHOWN = 2000  # milliseconds that the last picture of the replay is shown


@dataclass(frozen=True)
class _Job:
    """A figure, the format it is wanted in, and its width in pixels."""

    figure: go.Figure
    kind: str
    width: int = _ON_SLIDES


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
    if not _drawn_among(formats):
        return
    try:
        from kaleido import Kaleido
        from kaleido.errors import ChromeNotFoundError

        if any(kind in formats for kind in _MOVING):
            import PIL  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"Pictures ({_NAMED}) are drawn by the package Kaleido and a browser, moving ones "
            f"put together by Pillow; {error.name} is not installed.\n"
            "Install it with  pip install 'hmmdyn[export]'  or do without pictures."
        ) from error
    try:
        if "mp4" in formats:
            import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "Films (mp4) are made by ffmpeg, which the package imageio-ffmpeg brings; it is not "
            "installed.\nInstall it with  pip install 'hmmdyn[video]'  or take gif or player."
        ) from error
    try:
        Kaleido(mathjax=False)  # looks for the browser, but does not start it yet
    except ChromeNotFoundError as error:
        raise MissingPackageError(
            f"Pictures ({_NAMED}) are drawn by a browser, and there is neither Chrome nor "
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

    ``report.html``; ``report.json``; a CSV file per table that applies; the figures in the folder
    ``figures``: as ``png`` or ``svg`` as wide as a slide, as ``pdf`` as wide as the text of a paper
    (5.5 inches; map and timeline for a column of 3.3 inches, too). Figures that do not apply to the
    findings are left out; the page says why. As ``gif``, ``mp4`` or ``player`` (a page of its own)
    the replay of training over the map. Page, JSON and tables are replaced together, or all are
    left as they were, as are those of formats not asked for. The same findings give the same bytes;
    pictures, where the same browser with the same fonts draws them.

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
    if _drawn_among(formats):
        _write(_pictures(report.findings, formats, theme), folder / layout.FIGURES)
    if _PLAYER in formats and isinstance(report.findings, Findings):
        figure = player(report.findings).update_layout(template=themes.standalone(theme))
        page = page_of(figure, html.escape(title(report.findings)))
        file = layout.picture_file("training_map", _PLAYER)
        _write({file: page.encode("utf-8", errors="replace")}, folder / layout.FIGURES)
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


def _drawn_among(formats: Collection[str]) -> list[str]:
    """Return the formats that a browser draws."""
    return [name for name in (*_STILL, *_MOVING) if name in formats]


def _jobs(findings: OutcomeFindings, formats: Collection[str], theme: str) -> dict[str, _Job]:
    """Return every figure that applies, in each of the formats that do not move, by file name."""
    jobs: dict[str, _Job] = {}
    still = [kind for kind in _STILL if kind in formats]
    for name, draw in vars(Figures(findings)).items() if still else ():
        with suppress(NotEnoughDataError):
            figure = _for_pictures(draw(theme=theme))
            for kind in still:
                width = _IN_TEXT if kind == "pdf" else _ON_SLIDES
                jobs[layout.picture_file(name, kind)] = _Job(figure, kind, width)
            if "pdf" in still and name in _OF_COLUMNS:
                narrow = _for_pictures(draw(theme=theme, **_OF_COLUMNS[name]))
                file = layout.picture_file(f"{name}_column", "pdf")
                jobs[file] = _Job(narrow, "pdf", _IN_COLUMN)
    return jobs


def _for_pictures(figure: go.Figure) -> go.Figure:
    # A menu is of no use on a picture, which shows the first of its choices.
    figure.layout.updatemenus = ()
    for number, trace in enumerate(figure.data):
        trace.uid = str(number)  # or plotly.js takes random ones
    return figure


def _pictures(findings: OutcomeFindings, formats: Collection[str], theme: str) -> dict[str, bytes]:
    """Draw every figure that applies, in each of the formats, by file name."""
    jobs = _jobs(findings, formats, theme)
    frames: list[_Job] = []
    moving = [kind for kind in _MOVING if kind in formats]
    if moving and isinstance(findings, Findings):
        template = themes.standalone(theme)
        frames = [_Job(f.update_layout(template=template), "png") for f in replay(findings)]
    # In a thread of its own, because a notebook has an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        drawn = thread.submit(asyncio.run, _drawn([*jobs.values(), *frames])).result()
    pictures = dict(zip(jobs, drawn, strict=False))
    for kind in moving if frames else ():
        put_together = _gif if kind == "gif" else _mp4
        pictures[layout.picture_file("training_map", kind)] = put_together(drawn[len(jobs) :])
    return pictures


def _images(frames: Sequence[bytes], scale: int) -> list[Image]:
    import PIL.Image

    return [PIL.Image.open(BytesIO(frame)).convert("RGB").reduce(scale) for frame in frames]


def _mp4(frames: Sequence[bytes]) -> bytes:
    """Put pictures together to a film, its last one longer."""
    from imageio_ffmpeg import write_frames

    images = _images(frames, 1)
    # What players can show has even sides.
    width, height = (side - side % 2 for side in images[0].size)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        film = write_frames(
            path,
            (width, height),
            fps=1000 / SHOWN,
            macro_block_size=2,
            quality=8,
            ffmpeg_log_level="error",
            # Nothing of when and by which version it was made, and the same on any number of cores.
            output_params=["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"],
        )
        film.send(None)
        for image in [*images, *[images[-1]] * (_LAST_SHOWN // SHOWN)]:
            film.send(image.crop((0, 0, width, height)).tobytes())
        film.close()
        return path.read_bytes()


def _gif(frames: Sequence[bytes]) -> bytes:
    """Put pictures together to one that moves, over and over, its last one longer."""
    # Every colour is in the last picture, by which time all runs have gone through their states.
    images = _images(frames, _SCALE)
    palette = images[-1].quantize(256)
    first, *others = (image.quantize(palette=palette) for image in images)
    file = BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[SHOWN] * len(others) + [_LAST_SHOWN],
        loop=0,
    )
    return file.getvalue()


_DATE = re.compile(rb"\(D:\d{14}(?=[+-]\d\d'\d\d'\))")
_NO_DATE = b"(D:20000101000000"


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
            return [await _picture(browser, job) for job in jobs]
    except failures as error:
        raise OutputError(
            f"The browser that draws pictures ({_NAMED}) failed: "
            f"{error or type(error).__name__}.\nTry again, or do without pictures."
        ) from error


async def _picture(browser: Kaleido, job: _Job) -> bytes:
    options = {"format": job.kind, "width": job.width, "height": job.figure.layout.height}
    if job.kind == "png":
        options["scale"] = _SCALE
    picture: bytes = await browser.calc_fig(job.figure, opts=options)
    if job.kind == "svg":
        return _with_fixed_names(picture.decode("utf-8"), job.figure).encode("utf-8")
    # The browser writes into a PDF when it was made; places in the file are counted by bytes.
    return _DATE.sub(_NO_DATE, picture) if job.kind == "pdf" else picture


def _with_fixed_names(svg: str, figure: go.Figure) -> str:
    """Replace the random number in the names of an SVG's parts by one that goes with the figure.

    Other figures get other numbers, so that several can be put into one document.
    """
    (random,) = re.findall(r'<defs id="defs-([0-9a-f]+)"', svg)
    fixed = sha256(figure.to_json(engine="json").encode("utf-8")).hexdigest()[: len(random)]
    return re.sub(rf'(\bid="[^"]*?|url\([^)]*?){random}', rf"\g<1>{fixed}", svg)
