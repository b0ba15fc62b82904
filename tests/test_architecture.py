"""The import rules of the design, checked from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hmmdyn"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Every stage may import what it stands on, and the ground floor, which imports no stage.
GROUND = {"", "errors", "results", "files", "names"}
TABLES = {"trajectories", "tables"}
ALLOWED = {
    "errors": set(),
    "results": set(),
    "files": {"errors"},
    "names": {"errors"},
    "options": GROUND,
    "trajectories": GROUND,
    "tables": GROUND | {"trajectories"},
    "standardise": GROUND | {"trajectories"},
    "simulate": GROUND,
    "checkpoints": GROUND,
    "metrics": GROUND | {"checkpoints"},
    "hmm": GROUND | {"trajectories"},
    "dynamics": GROUND | {"hmm"},
    "report": GROUND,
    "tasks": GROUND | {"record"},
    "record": GROUND | TABLES | {"checkpoints", "metrics"},
    "pipeline": GROUND
    | TABLES
    | {"options", "checkpoints", "metrics", "record", "hmm", "dynamics", "report"},
    "cli": GROUND | TABLES | {"options", "pipeline", "checkpoints", "report", "tasks"},
}
HOMES = {
    "isal": ("checkpoints/formats/checksums.py",),
    "plotly": ("report/",),
    "hmmlearn": ("hmm/gaussian.py",),
    "torch": ("tasks/",),
    "torchvision": ("tasks/",),
    "typer": ("cli.py",),
    "rich": ("cli.py",),
    "jinja2": ("report/",),
    "statsmodels": ("dynamics/",),
    "h5py": ("checkpoints/formats/keras_file.py",),
    "tensorstore": ("checkpoints/formats/orbax_folder.py",),
    "tensorboard": ("checkpoints/event_file.py",),
    "kaleido": ("report/export.py",),
    "transformers": ("record/transformers.py",),
    "lightning": ("record/lightning.py",),
    "pytorch_lightning": ("record/lightning.py",),
}
# Extras, imported only once they are needed.
OPTIONAL = {"torch", "torchvision", "h5py", "tensorstore", "tensorboard", "kaleido"}
# Modules that are themselves imported only once something is trained, and made of PyTorch.
ON_DEMAND = {
    f"hmmdyn.tasks.{name}": f"tasks/{name}.py"
    for name in ("networks", "resnet", "resume", "stack", "training")
}


def stage(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> list[tuple[str, bool]]:
    """(dotted name, whether at the top level of the module) of everything imported."""
    tree = ast.parse(module.read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute in this project"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, id(node) in top) for name in names]
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_run_one_way(module):
    mine = stage(module)
    if mine in ("__init__", "__main__"):
        return
    for name, _ in imports(module):
        package, *rest = name.split(".")
        if package == "hmmdyn" and rest:
            other = rest[0] if (PACKAGE / rest[0]).exists() or f"{rest[0]}.py" in {
                m.name for m in PACKAGE.glob("*.py")
            } else ""  # fmt: skip
            assert other == mine or other in ALLOWED[mine], f"{mine} must not import {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(module):
    path = str(module.relative_to(PACKAGE))
    for name, at_top in imports(module):
        library = name.split(".")[0]
        if library in HOMES:
            assert path.startswith(HOMES[library]), f"{path} must not import {library}"
        if library in OPTIONAL and path not in ON_DEMAND.values():
            assert not at_top, f"{path} must import {library} where it is used, not at the top"
        if ".".join(name.split(".")[:3]) in ON_DEMAND and path not in ON_DEMAND.values():
            assert not at_top, f"{path} must import {name} where something is trained"
        assert library not in {"pickle", "dill", "cloudpickle"}, f"{path} must not import pickle"


def test_importing_hmmdyn_loads_nothing_heavy():
    code = (
        "import sys, hmmdyn; "
        "heavy = {'numpy', 'pandas', 'plotly', 'torch', 'sklearn'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "assert all(hasattr(hmmdyn, name) for name in hmmdyn.__all__); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_knows_its_tasks_without_pytorch():
    code = (
        "import sys, hmmdyn.cli; "
        "heavy = {'torch', 'torchvision', 'transformers', 'lightning'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors():
    import hmmdyn

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hmmdyn.nothing
