"""What the documentation takes from the project is whole; mkdocs itself runs in .ci/run."""

import importlib.util
import re
from pathlib import Path

import pytest

import hmmdyn
from hmmdyn.options import OPTIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def load_hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_place_that_is_generated_has_its_function():
    places = {
        place for p in PAGES for place in re.findall(r"<!-- generated: (.+) -->", p.read_text())
    }
    assert places == set(hooks.GENERATED)


def test_every_page_is_in_the_menu():
    menu = set(re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert menu == {p.relative_to(DOCS).as_posix() for p in PAGES} | set(
        hooks.pages_from_elsewhere()
    )


def test_the_reference_has_every_public_name():
    documented = re.findall(r"^::: hmmdyn\.(\w+)$", page("reference/python.md"), re.MULTILINE)
    assert sorted(documented) == sorted(set(hmmdyn.__all__) - {"__version__"})


def test_every_folder_and_module_of_the_ground_floor_says_what_it_holds():
    rows = hooks.tree().splitlines()
    folders = {p.parent.relative_to(hooks.PACKAGE).as_posix() for p in hooks.PACKAGE.rglob("*.py")}
    assert {f"`{folder}/`" for folder in folders - {"."}} < {
        row.split(" | ")[0][2:] for row in rows
    }
    assert not [row for row in rows if row.endswith("|  |")]


def test_import_rules_are_those_of_the_test():
    from tests.test_architecture import ALLOWED, GROUND, HOMES

    for stage in set(ALLOWED) - GROUND:
        assert f"| `{stage}` |" in hooks.imports()
    for library in HOMES:
        assert f"| `{library}` |" in hooks.libraries()


def test_the_architecture_has_every_module_and_the_floors():
    rooms = hooks.rooms()
    for module in hooks.PACKAGE.rglob("*/*.py"):
        if module.name != "__init__.py":
            assert f"    - `{module.name}`: " in rooms
    assert "| `hmm/choose` | `model`, `fit` |" in hooks.floors()
    assert "| `checkpoints/logs` | `find` |" in hooks.floors()


def test_the_reference_has_every_option_of_python():
    reference = hooks.options()
    for option in OPTIONS:
        assert f"| `{option.name}` | `{option.default!r}` | {option.help}" in reference


def test_the_reference_has_every_command_and_option():
    reference = hooks.command_line()
    for command in ("scan", "extract", "fit", "analyze", "reproduce parity"):
        assert f"# `hmmdyn {command}`\n" in reference
    for option in ("--layout", "--minimum-dwell", "--threshold", "--theme", "--json"):
        assert option in reference
    assert "[bold]" not in reference


@pytest.mark.parametrize("name", hooks.GENERATED)
def test_what_is_generated_is_a_page_without_gaps(name):
    assert hooks.GENERATED[name]().strip()


def test_roles_of_docstrings_are_shown_as_what_they_name():
    html = ":func:<code>~.sources.scan</code> and :class:<code>hmmdyn.Options</code>"
    shown = hooks.on_page_content(html)
    assert shown == "<code>sources.scan</code> and <code>hmmdyn.Options</code>"


def test_links_between_files_of_the_project_lead_to_their_pages():
    text = hooks._with_links_of_the_site("[a](docs/architecture.md), [b](benchmarks/speed.md)")
    assert text == "[a](architecture.md), [b](evidence/speed.md)"
