"""What a stranger sees first: licence, version, citation, types, public names."""

import importlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import hmmdyn

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def cited(key):
    """The value of a key of the citation's top level."""
    return re.search(rf"^{key}: (.+)$", text("CITATION.cff"), re.MULTILINE).group(1).strip('"')


def test_the_licence_is_the_one_that_is_declared():
    assert PYPROJECT["project"]["license"] == cited("license") == "Apache-2.0"
    licence = text("LICENSE")
    assert re.match(r"\s+Apache License\n\s+Version 2\.0, January 2004\n", licence)
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_version_stands_in_one_place():
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "hmmdyn/version.py"
    assert cited("version") == hmmdyn.__version__


def test_the_changelog_has_what_comes_and_what_is():
    versions = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert versions[1] == (hmmdyn.__version__, cited("date-released"))


def test_the_citation_names_the_package_and_the_paper():
    assert cited("title") == PYPROJECT["project"]["name"]
    assert cited("abstract") == PYPROJECT["project"]["description"]
    assert "https://arxiv.org/abs/2308.09543" in text("CITATION.cff")


def test_types_go_along():
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["hmmdyn"]
    assert (files("hmmdyn") / "py.typed").is_file()


@pytest.mark.parametrize("path", PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
def test_the_source_archive_names_what_there_is(path):
    assert list(ROOT.glob(path.removeprefix("/")))


def test_dir_shows_the_public_names_alone():
    importlib.import_module("hmmdyn.options")  # imported modules become attributes of the package
    assert dir(hmmdyn) == sorted(hmmdyn.__all__)
