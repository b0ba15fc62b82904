"""Code in the README and the documentation runs as it stands there.

The pieces of a page run in order, in a folder of their own with a few small runs in it. A comment
in the page says what a piece needs beyond that, or why it is not run: see :mod:`tests.snippets`.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer import Context
from typer.main import get_command

from hmmdyn import MetricRecorder
from hmmdyn.__main__ import main
from hmmdyn.cli.main import app
from hmmdyn.errors import MissingPackageError
from hmmdyn.metrics import registry
from hmmdyn.report.export import require_formats
from tests.snippets import snippets

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
    if snippets(page)
]


# --- what every page finds in its folder ---


def lay_out(folder):
    """Data of the project, two runs of a few checkpoints, a table of two, a single checkpoint."""
    (folder / "data").symlink_to(ROOT / "data")
    parity = ROOT / "data" / "parity"
    for seed in range(2):
        run = folder / "runs" / "adamw" / f"seed{seed}"
        run.mkdir(parents=True)
        shutil.copy(parity / f"seed{seed}" / "metrics.csv", run)
        for file in sorted((parity / f"seed{seed}").glob("*.safetensors"))[::10]:
            shutil.copy(file, run / f"{file.stem}.pt")  # the format is told by content
    shutil.copy(parity / "seed0" / "step_000320.safetensors", folder / "step_100.pt")
    few_runs(2).to_csv(folder / "metrics.csv", index=False)


def few_runs(n):
    table = pd.read_parquet(ROOT / "data" / "parity" / "metrics.parquet")
    columns = ["seed", "step", "l1", "l2", "spectral_norm", "eval_loss", "eval_accuracy"]
    few = (table["seed"] < n) & (table["step"] % 3200 == 0)
    return table.loc[few, columns]


# --- what a piece may need beside ---


def a_training_loop(folder, monkeypatch):
    """Keep no checkpoints; a model, and what the loop calls."""
    torch = pytest.importorskip("torch")
    shutil.rmtree(folder / "runs", ignore_errors=True)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())

    def update(model, loss):
        model.weight.grad = model.weight.detach() - 1
        optimizer.step()

    return {
        "model": model,
        "optimizer": optimizer,
        "first_step": 0,
        "n_steps": 300,
        "loss_of": lambda model, step: float(model.weight.detach().norm()),
        "update": update,
        "evaluate": lambda model: 0.5,
        "Trainer": lambda *arguments, callbacks: callbacks,
    }


def recorded_runs(folder, monkeypatch):
    """Two runs that were recorded while they trained."""
    torch = pytest.importorskip("torch")
    shutil.rmtree(folder / "runs", ignore_errors=True)
    for seed in range(2):
        torch.manual_seed(seed)
        model = torch.nn.Linear(4, 3)
        with MetricRecorder(folder / "runs" / "adamw" / f"seed{seed}") as recorder:
            for step in range(15):
                recorder.step(model, step, train_loss=1 / (1 + step))
                with torch.no_grad():
                    model.weight.add_(0.1 * torch.randn(3, 4)).mul_(0.9 if step > 7 else 1.1)
                    model.bias.add_(0.1 * torch.randn(3))


def two_recipes(folder, monkeypatch):
    runs = few_runs(6)
    table = runs.assign(group=runs["seed"].lt(3).map({True: "adamw", False: "sgd"}))
    table.to_csv(folder / "two-recipes.csv", index=False)
    return {"two_recipes": table}


def logs_of_runs(folder, monkeypatch):
    """A folder with a log per run, and outcomes of the runs in a table of its own."""
    runs = few_runs(2)
    (folder / "logs").mkdir()
    for seed, log in runs.groupby("seed"):
        log.drop(columns="seed").to_csv(folder / "logs" / f"seed{seed}.csv", index=False)
    panel = runs[["seed", "step", "eval_loss"]]
    panel.to_csv(folder / "panel.csv", index=False)


def a_registry(folder, monkeypatch):
    """Keep the metrics of the other tests as they are."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def pictures(folder, monkeypatch):
    try:
        require_formats(["svg"])
    except MissingPackageError as error:
        pytest.skip(str(error))


def a_validator(folder, monkeypatch):
    pytest.importorskip("jsonschema")


NEEDS = {
    "a training loop": a_training_loop,
    "recorded runs": recorded_runs,
    "two recipes in a table": two_recipes,
    "logs of runs": logs_of_runs,
    "a registry to write to": a_registry,
    "what draws pictures": pictures,
    "a validator of JSON": a_validator,
}


# --- running ---


def run_python(snippet, page, names):
    code = "\n" * (snippet.line - 1) + snippet.code  # so that errors name the page's line
    exec(compile(code, page, "exec"), names)


def run_commands(snippet, monkeypatch, capsys):
    for command in snippet.commands:
        words, _, jq = command.partition(" | ")
        program, *arguments = shlex.split(words)
        assert program == "hmmdyn", f"{command}: only hmmdyn's own commands are run"
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert not end.value.code, f"{command}: {said.err}"
        if jq:
            assert filtered(jq, said.out), command


def filtered(jq, text):
    """What jq makes of JSON; where it is not installed, the JSON."""
    if shutil.which("jq") is None:
        return json.loads(text)
    out = subprocess.run(shlex.split(jq), input=text, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def of_page(page):
    """The case of a page; the README analyses all that data/parity holds, by default options."""
    marks = [pytest.mark.slow] if page.name == "README.md" else []
    return pytest.param(page, marks=marks, id=page.relative_to(ROOT).as_posix())


def options_of(words):
    """Options of the command that these words call, with those that all commands have."""
    command, known = get_command(app), {"--help"}
    for word in words:
        if hasattr(command, "get_command"):  # a group, whose commands may be loaded only now
            command = command.get_command(Context(command), word) or command
        known |= {name for parameter in command.params for name in parameter.opts}
    return known


@pytest.mark.parametrize("page", [of_page(page) for page in PAGES])
def test_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    names, left_out = {"__name__": "__main__"}, []
    for snippet in snippets(page):
        if snippet.why_not:
            continue
        try:
            if snippet.needs:
                names |= NEEDS[snippet.needs](tmp_path, monkeypatch) or {}
        except pytest.skip.Exception as missing:
            left_out.append(f"line {snippet.line}: {missing}")
            continue
        if snippet.language == "python":
            run_python(snippet, str(page), names)
        else:
            run_commands(snippet, monkeypatch, capsys)
    if left_out:
        pytest.skip(f"All ran but what lacks a package: {'; '.join(left_out)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_not_run_have_the_options_they_name(page):
    for snippet in snippets(page):
        for command in snippet.commands if snippet.why_not else []:
            words = shlex.split(command)
            if words[0] == "hmmdyn":
                given = {word.partition("=")[0] for word in words if word.startswith("-")}
                assert given <= options_of(words), command


def test_every_piece_for_the_shell_says_its_language():
    for page in PAGES:
        for code in page.read_text(encoding="utf-8").split("\n```\n")[1::2]:
            assert not code.startswith("hmmdyn "), f"{page.name}: {code.splitlines()[0]}"


def test_a_comment_before_a_piece_says_how_it_runs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- runs with: bread -->\n```python\neat()\n```\n\n"
        "```text\nnothing\n```\n<!-- not run: it is late -->\n\n```bash\nhmmdyn a # b\n\n# c\n```\n"
    )
    eat, go = snippets(page)
    assert (eat.line, eat.code, eat.needs, eat.why_not) == (3, "eat()\n", "bread", "")
    assert (go.commands, go.needs, go.why_not) == (["hmmdyn a"], "", "it is late")
