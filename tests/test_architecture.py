"""The import rules of the design, checked from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hmmdyn"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Every stage may import what it stands on, and the ground floor, which imports no stage.
GROUND = {
    "version",
    "choices",
    "errors",
    "messages",
    "declare",
    "results",
    "files",
    "names",
    "locks",
    "workers",
    "roles",
    "places",
}
ALLOWED = {
    "version": set(),
    "choices": set(),
    "messages": set(),
    "errors": {"messages"},
    "declare": {"errors", "names"},
    "places": {"errors", "messages", "names"},
    "results": {"choices", "declare", "places"},
    "files": {"errors", "messages"},
    "workers": set(),
    "names": {"errors"},
    "locks": {"errors", "files", "messages", "names"},
    "roles": {"names"},
    "options": GROUND,
    "logs": GROUND,
    "tables": GROUND | {"logs"},
    "checkpoints": GROUND | {"logs"},
    "metrics": GROUND | {"checkpoints"},
    "hmm": GROUND | {"tables"},
    "dynamics": GROUND | {"hmm"},
    "simulate": GROUND,
    "report": GROUND | {"options"},
    "tasks": GROUND | {"record"},
    "stores": GROUND | {"logs", "tables", "checkpoints"},
    "record": GROUND | {"tables", "checkpoints", "metrics"},
    "analysis": GROUND | {"tables", "hmm", "report"},
    "sources": GROUND | {"logs", "tables", "options", "checkpoints", "stores", "metrics", "record"},
    "pipeline": GROUND
    | {"sources", "analysis", "tables", "options", "metrics", "hmm", "dynamics", "report"},
    "cli": GROUND
    | {"tables", "options", "sources", "pipeline", "analysis", "checkpoints", "metrics", "report"}
    | {"tasks"},
}
# Within checkpoints/: finding opens files only to tell their format, and logs are read without the
# readers of weights.
ROOMS = {
    "find": {"find", "formats"},
    "logs": {"find", "logs"},
    "formats": {"formats", "state_dict", "tensor"},
}
HOMES = {
    "platformdirs": ("metrics/cache.py",),
    "filelock": ("locks.py",),
    "distributed": ("metrics/clusters/",),
    "ray": ("metrics/clusters/",),
    "fsspec": ("places/",),
    "s3fs": ("places/",),
    "gcsfs": ("places/",),
    "adlfs": ("places/",),
    "aiohttp": ("places/",),
    "huggingface_hub": ("places/",),
    "isal": ("checkpoints/formats/checksums.py",),
    "plotly": ("report/",),
    "hmmlearn": ("hmm/conversion.py",),
    "torch": ("tasks/", "metrics/linear_algebra.py"),
    "torchvision": ("tasks/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "jinja2": ("report/",),
    "statsmodels": ("dynamics/",),
    "h5py": ("checkpoints/formats/keras_file.py",),
    "tensorstore": ("checkpoints/formats/orbax_folder.py",),
    "tensorboard": ("logs/event_file.py",),
    "kaleido": ("report/export.py",),
    "PIL": ("report/export.py",),
    "transformers": ("record/transformers.py",),
    "lightning": ("record/lightning.py",),
    "pytorch_lightning": ("record/lightning.py",),
}
# The report renders what was found: it works out no statistics, and its sentences and tables none
# of the summaries that pandas and NumPy offer.
STATISTICS = {"scipy", "sklearn", "statsmodels", "hmmlearn"}
SUMMARIES = {"mean", "median", "std", "var", "sem", "quantile", "percentile", "corr", "cov"}
# Imported only once they are needed: extras, and what computes nothing here.
OPTIONAL = {
    "distributed",
    "ray",
    "fsspec",
    "s3fs",
    "gcsfs",
    "adlfs",
    "aiohttp",
    "huggingface_hub",
    "torch",
    "torchvision",
    "h5py",
    "tensorstore",
    "tensorboard",
    "kaleido",
    "PIL",
    "hmmlearn",
}
# Inside hmm/, from the ground up; the modules beside these folders stand on all of them.
HMM_FLOORS = ("model", "fit", "choose")
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
            other = rest[0]
            assert other == mine or other in ALLOWED[mine], f"{mine} must not import {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_checkpoints_open_one_way(room):
    for module in (PACKAGE / "checkpoints" / room).glob("*.py"):
        for name, _ in imports(module):
            if name.startswith("hmmdyn.checkpoints."):
                assert name.split(".")[2] in ROOMS[room], f"{module} must not import {name}"


def hmm_floor(names: list[str]) -> int:
    """Which floor of hmm/ a module is on, by its path below it."""
    return HMM_FLOORS.index(names[0]) if names[0] in HMM_FLOORS else len(HMM_FLOORS)


@pytest.mark.parametrize(
    "module", sorted((PACKAGE / "hmm").rglob("*.py")), ids=lambda m: str(m.relative_to(PACKAGE))
)
def test_the_floors_of_hmm_import_those_below(module):
    path = [part.removesuffix(".py") for part in module.relative_to(PACKAGE / "hmm").parts]
    if path == ["__init__"]:
        return  # the face
    for name, _ in imports(module):
        package, *rest = name.split(".")
        if package == "hmmdyn" and rest[0] == "hmm":
            assert hmm_floor(rest[1:]) <= hmm_floor(path), (
                f"{'/'.join(path)} must not import {name}"
            )


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_others_see_the_face_of_hmm_or_its_model(module):
    import hmmdyn.hmm

    if stage(module) == "hmm":
        return
    for name, _ in imports(module):
        package, *rest = name.split(".")
        if package == "hmmdyn" and rest and rest[0] == "hmm":
            asks_a_model = rest[1] == "model" and stage(module) == "dynamics"
            assert rest[1] in hmmdyn.hmm.__all__ or asks_a_model, f"{module} must not import {name}"


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


REPORT = [m for m in MODULES if stage(m) == "report"]


@pytest.mark.parametrize("module", REPORT, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_the_report_imports_no_statistics(module):
    libraries = {name.split(".")[0] for name, _ in imports(module)}
    assert not libraries & STATISTICS


@pytest.mark.parametrize(
    "module",
    [m for m in REPORT if "figures" not in m.relative_to(PACKAGE).parts[:-1]],
    ids=lambda m: str(m.relative_to(PACKAGE)),
)
def test_sentences_and_tables_summarise_nothing_themselves(module):
    """Figures lay out what they draw; the rest counts rows, and takes other numbers as found."""
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & SUMMARIES


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
