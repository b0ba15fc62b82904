"""What the documentation takes from the project itself, so that it cannot say otherwise.

MkDocs calls the ``on_…`` functions. A line ``<!-- generated: NAME -->`` in a page stands for what
the function of that name in ``GENERATED`` returns; the studies, the changelog and the guide for
contributors are pages as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from hmmdyn.metrics.registry import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hmmdyn"
_PLACE = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


# --- what MkDocs calls ---


def on_config(config: Any) -> None:
    """Let fences of the language ``math`` become MathML, which needs no script to be drawn."""
    fences = {"custom_fences": [{"name": "math", "class": "math", "format": _math}]}
    config.mdx_configs["pymdownx.superfences"] = fences


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere in the project, and the schema that one of them links."""
    from mkdocs.structure.files import File

    for uri, source in pages_from_elsewhere().items():
        content = _with_links_of_the_site(source.read_text("utf-8"))
        files.append(File.generated(config, uri, content=content))
    schema = PACKAGE / "report" / "report.schema.json"
    files.append(File.generated(config, f"reference/{schema.name}", content=schema.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places of a page that are generated."""
    return _PLACE.sub(lambda place: GENERATED[place[1]](), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show the roles of docstrings, such as :func:`~.sources.scan`, as what they name."""
    return re.sub(
        r":(?:func|class|meth|mod|data):<code>~?\.?([^<]+)</code>", r"<code>\1</code>", html
    )


# --- pages from elsewhere ---


def pages_from_elsewhere() -> dict[str, Path]:
    """Pages of the site by name -> the files of the project they are."""
    studies = {f"evidence/{file.name}": file for file in sorted(ROOT.glob("benchmarks/*.md"))}
    return {
        **studies,
        "changelog.md": ROOT / "CHANGELOG.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
    }


def _with_links_of_the_site(text: str) -> str:
    """Let links between files of the project lead to their pages."""
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(benchmarks/", "](evidence/", text)


def _math(source: str, *_: Any, **__: Any) -> str:
    from latex2mathml.converter import convert

    return convert(source, display="block")


# --- what is generated ---


def tree() -> str:
    """The modules of the ground floor and the folders of the package, with what each holds."""
    floor = [m for m in sorted(PACKAGE.glob("*.py")) if not m.name.startswith("__")]
    rooms = sorted(PACKAGE.rglob("__init__.py"))[1:]
    rows = ["| in `hmmdyn/` | what it holds |", "|---|---|"]
    for module in [*floor, *rooms]:
        path = module.relative_to(PACKAGE).as_posix().removesuffix("__init__.py")
        rows.append(f"| `{path}` | {_cell(summary(module))} |")
    return "\n".join(rows)


def rooms() -> str:
    """The modules of each folder, to be unfolded."""
    parts = []
    for face in sorted(PACKAGE.rglob("__init__.py"))[1:]:
        modules = [m for m in sorted(face.parent.glob("*.py")) if m != face]
        lines = [f"    - `{m.name}`: {summary(m)}" for m in modules]
        folder = face.parent.relative_to(PACKAGE).as_posix()
        parts.append("\n".join([f'??? abstract "{folder}/"', "", *lines]))
    return "\n\n".join(parts)


def summary(module: Path) -> str:
    """First line of a module's documentation."""
    documentation = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    return (documentation or "").partition("\n")[0].rstrip(".")


def imports() -> str:
    """Which stage may import which, from the test that holds it."""
    allowed, ground = _constant("ALLOWED"), _constant("GROUND")
    rows = ["| stage | may import, beside the ground floor |", "|---|---|"]
    for stage in sorted(set(allowed) - ground, key=lambda s: (len(allowed[s] - ground), s)):
        others = ", ".join(f"`{name}`" for name in sorted(allowed[stage] - ground))
        rows.append(f"| `{stage}` | {others or '–'} |")
    floor = ", ".join(f"`{name}`" for name in sorted(ground))
    return "\n".join([f"The ground floor is {floor}.", "", *rows])


def floors() -> str:
    """Which folder of a stage may import which other of it, from the test that holds it."""
    rows = ["| folder | may import, in its stage |", "|---|---|"]
    for room, others in _constant("ROOMS").items():
        below = ", ".join(f"`{name}`" for name in sorted(others - {room}))
        rows.append(f"| `checkpoints/{room}` | {below or '–'} |")
    below = []
    for floor in _constant("HMM_FLOORS"):
        rows.append(f"| `hmm/{floor}` | {', '.join(below) or '–'} |")
        below.append(f"`{floor}`")
    return "\n".join(rows)


def libraries() -> str:
    """Where libraries may be imported, from the test that holds it."""
    rows = ["| library | imported only in |", "|---|---|"]
    for library, homes in _constant("HOMES").items():
        rows.append(f"| `{library}` | {', '.join(f'`{home}`' for home in homes)} |")
    return "\n".join(rows)


def _constant(name: str) -> Any:
    """Value of a constant of the architecture's test, without importing it (it needs pytest)."""
    source = (ROOT / "tests" / "test_architecture.py").read_text("utf-8")
    known: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _RULES:
            known[ast.unparse(node.targets[0])] = eval(ast.unparse(node.value), dict(known))
    return known[name]


_RULES = ("GROUND", "ALLOWED", "ROOMS", "HOMES", "HMM_FLOORS")


def logs() -> str:
    """The forms of logs that are read, by the tests that read each of them."""
    rows = ["| | read the same as the plain form |", "|---|---|"]
    for what, (module, name) in _FORMS.items():
        source = (ROOT / "tests" / module).read_text("utf-8")
        (forms,) = (
            node.value
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
        )
        assert isinstance(forms, ast.Dict)
        keys = [key.value for key in forms.keys if isinstance(key, ast.Constant)]
        rows.append(f"| {what} | {'; '.join(map(str, keys))} |")
    return "\n".join(rows)


_FORMS = {
    "Tables of text (packed as gz, zst, bz2, lz4, xz or zip, too)": (
        "logs/test_separated.py",
        "FORMS",
    ),
    "JSON": ("logs/test_records.py", "DOCUMENTS"),
    "Lines of text": ("logs/test_records.py", "LINES"),
    "Other files": ("logs/test_records.py", "OTHERS"),
    "Folders": ("stores/test_folder.py", "FORMATS"),
    "From Python": ("stores/test_frames.py", "FRAMES"),
}


def metrics(family: str) -> str:
    """The metrics of a family."""
    from hmmdyn.metrics.registry import select_metrics

    rows = ["| column | what it is | computed of | source |", "|---|---|---|---|"]
    rows += [
        f"| `{m.name}` | {_cell(m.description)} | {_OF[m.needs]} | {m.source} |"
        for m in select_metrics([family])
    ]
    return "\n".join(rows)


_OF = {
    "matrix": "each weight matrix; their mean",
    "weights": "all entries of the weight matrices",
    "biases": "all entries of the biases",
    "attention": "queries and keys of all heads",
    "embedding": "the embedding of numbers",
    "optimizer": "the moments of all parameters",
    "initial": "all weights, and those of the run's first checkpoint",
    "previous": "all weights, and those of the checkpoint before",
    "run": "the run's checkpoints up to here",
}


def options() -> str:
    """The options of an analysis, by the heading under which the command line has them."""
    from hmmdyn.options import OPTIONS

    parts = []
    for panel, declared in groupby(OPTIONS, key=lambda one: one.panel):
        parts += [f"**{panel}**\n", "| option | default | what it means |", "|---|---|---|"]
        for one in declared:
            limits = [f"`{choice!r}`" for choice in one.choices]
            limits += [f"at least {one.least:g}"] if one.least is not None else []
            means = " ".join([one.help, one.more]).strip()
            may_be = f" ({', '.join(limits)})" if limits else ""
            parts.append(f"| `{one.name}` | `{one.default!r}` | {_cell(means)}{_cell(may_be)} |")
        parts.append("")
    return "\n".join(parts)


def command_line() -> str:
    """Every command with its arguments and options, as its ``--help`` says them."""
    from typer import Context
    from typer.main import get_command

    from hmmdyn.cli.main import app

    command = get_command(app)
    return "\n\n".join(_commands(command, Context(command, info_name="hmmdyn")))


def _commands(command: Any, context: Any) -> Iterator[str]:
    path = context.command_path
    yield f"{'#' * (1 + len(path.split()))} `{path}`"
    yield _plain(command.help or "")
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```"
    for panel, parameters in _panels(command, context).items():
        yield "\n".join([f"| {panel} | |", "|---|---|", *parameters])
    for name in getattr(command, "list_commands", lambda _: [])(context):
        child = command.get_command(context, name)
        yield from _commands(child, type(context)(child, parent=context, info_name=name))


def _panels(command: Any, context: Any) -> dict[str, list[str]]:
    """Rows of arguments and options, by the panel of the help they stand in."""
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        names, meaning = record
        row = f"| `{_cell(names)}` | {_cell(_plain(meaning))} |"
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(row)
    return panels


def _plain(text: str) -> str:
    """Help without the terminal's markup: what is bold there is code here, a line each."""
    text = re.sub(r"\[bold\](.+?)\[/bold\](\n(?=\[bold\]))?", r"`\1`  \2", text)
    return text.replace("\\[", "[").strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def tables() -> str:
    """The tables of a report and their columns."""
    from hmmdyn.results.schema import describe_tables

    return describe_tables()


GENERATED: dict[str, Callable[[], str]] = {
    "tree": tree,
    "rooms": rooms,
    "imports": imports,
    "floors": floors,
    "libraries": libraries,
    "logs": logs,
    **{f"metrics {family}": partial(metrics, family) for family in FAMILIES},
    "options": options,
    "command line": command_line,
    "tables": tables,
}
