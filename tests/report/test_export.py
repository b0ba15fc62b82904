import asyncio
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from hmmdyn.choices import FORMATS
from hmmdyn.errors import MissingPackageError, OutputError, UsageError
from hmmdyn.files import remove_unfinished, staged
from hmmdyn.report import export
from hmmdyn.report.export import require_formats, write_report
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.folder import remove_other_reports
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import sheets
from tests.report.synthetic import analysis_of, make_findings, make_hostile_findings

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def painter():
    """Skip where pictures cannot be drawn."""
    pytest.importorskip("kaleido")
    try:
        require_formats(["svg"])
    except MissingPackageError as error:
        pytest.skip(str(error))


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


# --- what is written ---


def test_each_format_writes_its_files_and_no_other(findings, tmp_path):
    applying = [name for name, table in sheets(findings).items() if len(table.frame.columns)]
    csv = sorted(f"{name}.csv" for name in applying)
    for formats, expected in (
        (["html"], ["report.html"]),
        (["json"], ["report.json"]),
        (["csv"], csv),
        (["csv", "html"], sorted([*csv, "report.html"])),
    ):
        folder = tmp_path / "-".join(formats)
        path = write_report(Report(findings), folder, formats)
        assert files(folder) == expected
        assert path == (folder / "report.html" if "html" in formats else folder)


def test_unless_told_otherwise_page_numbers_and_tables_are_written(findings, tmp_path):
    write_report(Report(findings), tmp_path)
    assert {name.rpartition(".")[2] for name in files(tmp_path)} == {"html", "json", "csv"}


def test_the_same_findings_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_report(Report(make_hostile_findings()), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_names_are_data_in_json(hostile, tmp_path):
    write_report(Report(hostile), tmp_path, ["json"])
    text = (tmp_path / "report.json").read_bytes()
    assert text.isascii()
    assert not set(text) & set(range(0x20)) - {ord("\n")}  # no control character but line ends
    runs = {row["run"] for row in json.loads(text)["tables"]["convergence"]}
    assert runs <= set(hostile.table["run"])


def test_pictures_of_an_earlier_map_go_with_its_report(findings, tmp_path):
    earlier = tmp_path / "recommended"
    write_report(Report(findings), earlier, ["json"])
    (earlier / "figures").mkdir()
    for name in ("timeline.svg", "timeline.png", "My own.svg"):
        (earlier / "figures" / name).write_text("")
    remove_other_reports(tmp_path, kept=())
    assert files(tmp_path) == ["recommended/figures/My own.svg"]


# --- what cannot be written is said before any work ---


@pytest.mark.parametrize("formats", [["eps"], ["html", "docx"], [""], [], ["HTML"]])
def test_an_unknown_format_is_named_with_those_there_are(formats, findings, tmp_path):
    with pytest.raises(UsageError, match=", ".join(FORMATS)):
        write_report(Report(findings), tmp_path / "new", formats)
    assert not (tmp_path / "new").exists()


def test_an_unknown_theme_is_named(findings, tmp_path):
    with pytest.raises(UsageError, match=r"\('light', 'dark'\), got 'blue'"):
        write_report(Report(findings), tmp_path / "new", ["html"], theme="blue")
    assert not (tmp_path / "new").exists()


def test_without_kaleido_pictures_name_what_to_install(findings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    require_formats(["html", "json", "csv"])
    with pytest.raises(MissingPackageError, match=r"pip install 'hmmdyn\[export\]'"):
        write_report(Report(findings), tmp_path / "new", ["html", "svg"])
    assert not (tmp_path / "new").exists()


def test_without_a_browser_pictures_name_what_to_install(monkeypatch, tmp_path):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no browser"))
    with pytest.raises(MissingPackageError, match="Chromium"):
        require_formats(["png"])


# --- pictures ---


class OnlyTheMap:
    def __init__(self, findings):
        self.training_map = Figures(findings).training_map


class TheMapAndConvergence(OnlyTheMap):
    def __init__(self, findings):
        super().__init__(findings)
        self.convergence = Figures(findings).convergence


@pytest.fixture(scope="module")
def pictures(painter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = make_hostile_findings()
    write_report(Report(made), folder / "light", ["png", "svg"])
    write_report(Report(made), folder / "again", ["svg"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "Figures", OnlyTheMap)
        write_report(Report(made), folder / "dark", ["svg"], theme="dark")
    return {name: contents(folder / name) for name in ("light", "again", "dark")}


def test_every_figure_is_a_picture_in_both_formats(pictures):
    names = vars(Figures(make_hostile_findings()))
    expected = sorted(f"figures/{name}.{kind}" for name in names for kind in ("png", "svg"))
    assert sorted(pictures["light"]) == expected


def test_a_png_is_as_wide_as_a_slide(pictures):
    for name, content in pictures["light"].items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
            assert int.from_bytes(content[16:20]) == 1920


def test_an_svg_shows_names_as_text_and_runs_nothing(pictures):
    for name, content in pictures["light"].items():
        if name.endswith(".svg"):
            root = ET.fromstring(content)
            assert root.get("width") == "960"
            tags = {element.tag.removeprefix(SVG) for element in root.iter()}
            assert not tags & {"script", "foreignObject", "a", "iframe"}
            assert not [a for e in root.iter() for a in e.attrib if a.startswith("on")]
    timeline = "".join(ET.fromstring(pictures["light"]["figures/timeline.svg"]).itertext())
    assert "<img src=x onerror=a()>" in timeline


def test_the_same_findings_give_the_same_svg(pictures):
    assert pictures["again"] == {k: v for k, v in pictures["light"].items() if k.endswith("svg")}


def test_parts_of_different_pictures_have_different_names(pictures):
    """So that several can stand in one document."""
    svgs = [*pictures["again"].values(), *pictures["dark"].values()]
    seen = [set(re.findall(rb'\bid="([^"]+)"', svg)) for svg in svgs]
    assert all(seen)
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_the_theme_is_that_of_the_ground(pictures):
    for theme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(27, 31, 38)")):
        svg = ET.fromstring(pictures[theme]["figures/training_map.svg"])
        first = next(svg.iter(f"{SVG}rect"))
        assert ground in first.get("style")


def test_a_menu_is_not_in_a_picture(pictures):
    assert b"updatemenu" not in pictures["light"]["figures/outcome_curves.svg"]
    with_menu = Figures(make_hostile_findings()).outcome_curves()
    assert with_menu.layout.updatemenus


def test_a_gif_replays_training_over_the_map(painter, monkeypatch, tmp_path):
    from PIL import Image

    monkeypatch.setattr(export, "replay", partial(export.replay, n_frames=4))
    write_report(Report(make_findings(5)), tmp_path, ["gif"])
    assert files(tmp_path) == ["figures/training_map.gif"]
    with Image.open(tmp_path / "figures" / "training_map.gif") as picture:
        assert (picture.n_frames, picture.width) == (4, 960)
        seen = [np.asarray(picture.convert("RGB")) for _ in frames_of(picture)]
    assert all((a != b).any() for a, b in pairwise(seen))


def test_a_pdf_is_as_wide_as_a_papers_text_and_has_its_names_as_text(
    painter, monkeypatch, tmp_path
):
    monkeypatch.setattr(export, "Figures", OnlyTheMap)
    for name in "ab":
        write_report(Report(make_findings(5)), tmp_path / name, ["pdf"])
    written = contents(tmp_path / "a")
    assert {name: re.findall(rb"/MediaBox \[0 0 (\d+) ", pdf) for name, pdf in written.items()} == {
        "figures/training_map.pdf": [b"396"],
        "figures/training_map_column.pdf": [b"240"],
    }
    for pdf in written.values():
        assert b"/FontFile2" in pdf  # letters, not their pictures
        assert b"/Subtype /Image" not in pdf
    assert written == contents(tmp_path / "b")


def test_an_mp4_replays_training_over_the_map(painter, monkeypatch, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(export, "replay", partial(export.replay, n_frames=3))
    write_report(Report(make_findings(5)), tmp_path, ["mp4"])
    assert files(tmp_path) == ["figures/training_map.mp4"]
    film = tmp_path / "figures" / "training_map.mp4"
    n_frames, _ = imageio_ffmpeg.count_frames_and_secs(film)
    assert n_frames == 3 + 16  # the last one stays for two seconds
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film]
    about = subprocess.run(ffmpeg, capture_output=True, text=True, check=False).stderr
    assert "Video: h264" in about
    assert " 1920x" in about
    raw = [*ffmpeg, "-f", "rawvideo", "-"]
    decoded = subprocess.run(raw, capture_output=True, check=True).stdout
    first, second, third = (decoded[i * len(decoded) // n_frames :][:1_000_000] for i in range(3))
    assert first != second != third


def test_without_ffmpeg_an_mp4_names_what_to_install(painter, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hmmdyn\[video\]'.*player"):
        require_formats(["mp4"])


def test_a_player_is_a_page_of_its_own_and_needs_no_browser_to_be_made(
    hostile, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    monkeypatch.setattr(export, "player", partial(export.player, n_frames=3))
    write_report(Report(hostile), tmp_path, ["player"], theme="dark")
    assert files(tmp_path) == ["figures/training_map.html"]
    page = (tmp_path / "figures" / "training_map.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert " src=" not in page.split("<script", 1)[0]
    assert "background: #1b1f26" in page


def frames_of(picture):
    for number in range(picture.n_frames):
        picture.seek(number)
        yield number


def test_without_pillow_a_gif_names_what_to_install(monkeypatch):
    pytest.importorskip("kaleido")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match=r"PIL[\s\S]*pip install 'hmmdyn\[export\]'"):
        require_formats(["gif"])


def test_figures_that_do_not_apply_are_left_out(painter, bare, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "Figures", TheMapAndConvergence)
    write_report(Report(bare), tmp_path, ["svg"])
    assert files(tmp_path) == ["figures/training_map.svg"]


def test_pictures_are_drawn_within_a_running_event_loop(painter, monkeypatch, tmp_path):
    """As in a notebook."""
    monkeypatch.setattr(export, "Figures", OnlyTheMap)

    async def cell():
        write_report(Report(make_findings(2, n_censored=0)), tmp_path, ["svg"])

    asyncio.run(cell())
    assert files(tmp_path) == ["figures/training_map.svg"]


def test_a_browser_that_fails_is_an_error_with_a_remedy_and_keeps_the_rest(
    painter, monkeypatch, tmp_path
):
    import kaleido
    from kaleido.errors import KaleidoError

    async def fail(*_, **__):
        raise KaleidoError(1, "out of paint")

    monkeypatch.setattr(kaleido.Kaleido, "calc_fig", fail)
    with pytest.raises(export.OutputError, match=r"out of paint[\s\S]*do without"):
        write_report(Report(make_findings(2, n_censored=0)), tmp_path, ["json", "png"])
    assert files(tmp_path) == ["report.json"]


@pytest.mark.parametrize("fails_at", [0, 5])
def test_a_write_that_fails_half_way_leaves_all_as_it_was(
    findings, tmp_path, monkeypatch, fails_at
):
    """As on a disk that is full: the old report, and no mixture of two."""
    analysis = analysis_of(findings)
    analysis.export(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > fails_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("hmmdyn.files.os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        replace(analysis, source="another").export(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    with staged(tmp_path) as place:
        (place / "a.txt").write_text("a")
        (tmp_path / f"{place.name}0").mkdir()
    (tmp_path / ".hidden").mkdir()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.txt"]
