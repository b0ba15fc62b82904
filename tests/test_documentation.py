"""Public functions of many parameters say what each of them is."""

import ast
import inspect
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hmmdyn"
MODULES = sorted(PACKAGE.rglob("*.py"))
MANY = 4


def public_functions(module):
    """(name, node) of functions and methods whose names, and classes' names, are public."""
    tree = ast.parse(module.read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
            yield from ((f"{node.name}.{method.name}", method) for method in methods)


def is_command(node):
    """Whether it is a command of the command line: its options have help texts of their own."""
    calls = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "takes" for call in calls)


def is_hook(node):
    """Whether a trainer calls it: what it is called with stands in the trainer's documentation."""
    return node.name.startswith("on_")


def parameters(node):
    """Names of a function's parameters, without the object itself."""
    given = node.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [a.arg for a in (given.vararg, given.kwarg) if a]
    return [name for name in names if name not in ("self", "cls")]


def section(docstring):
    """The section ``Parameters`` of a numpydoc docstring; empty where there is none."""
    found = re.search(
        r"^Parameters\n-{10}\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)",
        inspect.cleandoc(docstring or ""),
        re.DOTALL | re.MULTILINE,
    )
    return found[1] if found else ""


def documented(docstring):
    """Names that the section ``Parameters`` of a numpydoc docstring has."""
    entries = re.findall(r"^\S.*$", section(docstring), re.MULTILINE)
    names = [name for entry in entries for name in entry.split(" : ")[0].split(", ")]
    return {name.lstrip("*") for name in names}


def undescribed(docstring):
    """Parameters of a numpydoc docstring of which it says no more than their type."""
    lines = section(docstring).splitlines()
    after = [*lines, ""][1:]
    return [
        line
        for line, following in zip(lines, after, strict=True)
        if line.strip() and not line.startswith(" ") and not following.startswith(" ")
    ]


def undocumented():
    """(function, parameters that its docstring does not name) wherever there are some."""
    for module in MODULES:
        for name, node in public_functions(module):
            if node.name.startswith("_") or is_command(node) or is_hook(node):
                continue
            names = parameters(node)
            missing = [n for n in names if n not in documented(ast.get_docstring(node))]
            if len(names) >= MANY and missing:
                path = module.relative_to(PACKAGE).with_suffix("")
                yield ".".join((*path.parts, name)), missing


def test_functions_of_many_parameters_document_each():
    assert dict(undocumented()) == {}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_parameters_that_are_named_are_described(module):
    functions = public_functions(module)
    found = {name: undescribed(ast.get_docstring(node)) for name, node in functions}
    assert not {name: entries for name, entries in found.items() if entries}


@pytest.mark.parametrize(
    ("docstring", "entries"),
    [
        ("Do it.", []),
        ("Do it.\n\nParameters\n----------\na : int\n    One.\nb : int\n", ["b : int"]),
        ("Do it.\n\nParameters\n----------\na : int\nb : int\n    Two.\n", ["a : int"]),
    ],
)
def test_a_type_alone_is_no_description(docstring, entries):
    assert undescribed(docstring) == entries


@pytest.mark.parametrize(
    ("docstring", "names"),
    [
        ("Do it.", set()),
        ("Do it.\n\nParameters\n----------\na, b : int\n    Two.\n**c\n", {"a", "b", "c"}),
        ("Do it.\n\nParameters\n----------\na : int\n\nReturns\n-------\nb : int\n", {"a"}),
    ],
)  # fmt: skip
def test_sections_are_read_as_numpydoc_reads_them(docstring, names):
    assert documented(docstring) == names
