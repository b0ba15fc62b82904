"""The notebooks run, show what is committed, and can be read where they are committed."""

import ast
import json
import re
from pathlib import Path

import pytest

from hmmdyn.errors import MissingPackageError
from hmmdyn.report.export import require_formats

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes; GitHub shows no notebook that is much larger
# After a blank, a quote, a bracket: not the slash of a tag, a fraction or an address.
ABSOLUTE_PATH = re.compile(
    r"(?:^|[\s'\"(\[=>])(?:/[\w.~-]+){2,}|\b[A-Z]:\\\w|file://", re.MULTILINE
)
MEMORY_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")

# Studies: of all tasks in every way that is compared, and of simulations.
STUDIES = {"paper_tables", "forks_from_preprocessing", "where_statistics_mislead"}
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# --- what is committed ---


def code_cells(notebook):
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and joined(c["source"])]


def joined(text):
    """Text of a notebook, which may be a list of lines."""
    return "".join(text)


def texts(output):
    """Everything in an output that is read as text, by kind."""
    if output["output_type"] == "stream":
        return {output["name"]: joined(output["text"])}
    data = output.get("data", {})
    return {kind: joined(data[kind]) for kind in data if kind.startswith("text/")}


def shows(source):
    """Whether a cell must have an output: it prints, shows, or ends with a bare name or element."""
    body = ast.parse(source).body
    named = (ast.Name, ast.Attribute, ast.Subscript)
    if isinstance(body[-1], ast.Expr) and isinstance(body[-1].value, named):
        return True
    calls = [
        node.func
        for statement in body
        if isinstance(statement, ast.Expr)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    ]
    return any(
        getattr(f, "id", getattr(f, "attr", "")) in {"print", "display", "show"} for f in calls
    )


def defects(notebook):
    """What is wrong with a committed notebook, a line each."""
    found = []
    cells = code_cells(notebook)
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("it was not executed from top to bottom")
    for number, cell in enumerate(cells, 1):
        outputs = cell["outputs"]
        if shows(joined(cell["source"])) and not outputs:
            found.append(f"cell {number} shows something, and has no output")
        if any(output["output_type"] == "error" for output in outputs):
            found.append(f"cell {number} raised an exception")
        for kind, text in (item for output in outputs for item in texts(output).items()):
            if kind == "stderr":
                found.append(f"cell {number} warned: {text}")
            if match := ABSOLUTE_PATH.search(text) or MEMORY_ADDRESS.search(text):
                found.append(f"cell {number} shows {match[0]!r}, which is of one machine only")
    return found


@each_notebook
def test_a_committed_notebook_is_complete(path):
    assert defects(json.loads(path.read_text("utf-8"))) == []


@each_notebook
def test_a_notebook_is_small_enough_to_be_shown(path):
    assert path.stat().st_size < LARGEST


@each_notebook
def test_every_notebook_is_listed(path):
    assert f"({path.name})" in (FOLDER / "README.md").read_text("utf-8")


def cell(source, *outputs, count=1):
    return {
        "cell_type": "code",
        "source": source,
        "outputs": list(outputs),
        "execution_count": count,
    }


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.parametrize(
    ("made", "defect"),
    [
        (cell("print(1)"), "has no output"),
        (cell("for i in x:\n    y = i\nfigure.show()"), "has no output"),
        (cell("a = 1\na"), "has no output"),
        (cell("table[['a']]"), "has no output"),
        (cell("a = 1", count=2), "top to bottom"),
        (cell("a = 1", count=None), "top to bottom"),
        (cell("f()", printed("old\n", "stderr")), "warned: old"),
        (cell("f()", {"output_type": "error"}), "exception"),
        (cell("f()", printed("in /home/me/runs")), "/home/me"),
        (cell("f()", printed("PosixPath('/tmp/a1/b')")), "/tmp/a1/b"),
        (cell("f()", printed(["C:\\Users"])), "machine"),
        (cell("f()", {"output_type": "display_data", "data": {"text/html": "<td>/a/b"}}), "/a/b"),
        (cell("f()", printed("<object at 0x7f01ab>")), "0x7f01ab"),
    ],
)
def test_defects_are_found(made, defect):
    (found,) = defects({"cells": [{"cell_type": "markdown", "source": "print(1)"}, made]})
    assert defect in found


def test_what_is_no_defect():
    said = printed("../data/parity, 1/2/3, train/eval/loss, https://arxiv.org/abs/2308.09543")
    html = {"output_type": "execute_result", "data": {"text/html": "<td>a</td>\n<br/>"}}
    cells = [cell("print(1)", said), cell("a = 1", count=2), cell("a", html, count=3)]
    assert defects({"cells": cells}) == []


# --- what they do when they run ---


@pytest.fixture(scope="module")
def execute():
    """The script that executes notebooks, where there is a kernel, and a browser to draw with."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("kaleido")
    execute = pytest.importorskip("notebooks.execute")
    try:
        require_formats(["png"])
    except MissingPackageError as error:
        pytest.skip(str(error))
    return execute


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            path,
            marks=[pytest.mark.long, pytest.mark.timeout(0)] if path.stem in STUDIES else (),
            id=path.stem,
        )
        for path in NOTEBOOKS
    ],
)
def both(request, execute):
    """A notebook as it is committed, and as it comes out now."""
    return json.loads(request.param.read_text("utf-8")), execute.executed(request.param)


def all_outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def kinds(notebook):
    """What kinds of output each cell has."""
    return [
        [sorted(output.get("data", texts(output))) for output in cell["outputs"]]
        for cell in code_cells(notebook)
    ]


@pytest.mark.slow
def test_a_notebook_runs_and_shows_outputs_of_the_same_kinds(both):
    committed, now = both  # an exception has ended the execution
    assert defects(now) == []
    assert kinds(now) == kinds(committed)


@pytest.mark.slow
def test_a_notebook_says_the_same(both, execute):
    """To the last letter, by the same versions on the same kind of processor."""
    with_what = both[0]["metadata"]["executed_with"]
    if with_what != execute.environment():
        pytest.skip(f"It was executed with {with_what}.")
    said, says = ([texts(output) for output in all_outputs(notebook)] for notebook in both)
    assert says == said, "If that is meant: python notebooks/execute.py"


def write_notebook(path, *sources):
    cells = [
        {**cell(source, count=None), "metadata": {}, "id": f"c{i}"}
        for i, source in enumerate(sources)
    ]
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def test_an_exception_is_not_hidden(execute, tmp_path):
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="a division"):
        execute.executed(
            write_notebook(tmp_path / "a.ipynb", "raise ArithmeticError('a division')")
        )


def test_a_notebook_finds_the_data_and_leaves_nothing_behind(execute, tmp_path):
    before = sorted(FOLDER.iterdir())
    source = (
        "import warnings\nfrom pathlib import Path\n"
        "print(Path('../data/parity/recipe.json').exists())\n"
        "Path('left').mkdir()\nwarnings.warn('beware')"
    )
    path = write_notebook(tmp_path / "a.ipynb", source)
    text = path.read_text()
    (stdout, stderr) = all_outputs(execute.executed(path))
    assert stdout["text"] == "True\n"
    assert "beware" in stderr["text"]
    assert sorted(FOLDER.iterdir()) == before
    assert path.read_text() == text
