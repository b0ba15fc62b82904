"""An option is declared once: arguments, help, checks and documentation come from there."""

import inspect
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import hmmdyn
from hmmdyn import Options, TrainingMap, analyze, fit, read_runs
from hmmdyn.cli.arguments import ANALYZE, EXTRACT, FIT, SCAN, Given, takes
from hmmdyn.cli.main import app
from hmmdyn.declare import EFFORT, check, documented, option, options_of
from hmmdyn.errors import UsageError
from hmmdyn.options import OPTIONS
from hmmdyn.results.model import ModelOptions
from tests.make_runs import write_runs


@documented
@dataclass(frozen=True, kw_only=True)
class MoreOptions(Options):
    """Options, and one more."""

    colour: str = option(
        "red", "What runs are painted with.", panel=EFFORT, choices=("red", "green")
    )
    width: int | None = option(None, "How wide.", panel=EFFORT, least=1, more="In pixels.")


def test_a_new_option_is_one_declaration():
    """Argument, help, check, way back to the command line, report and documentation."""
    seen = []
    shown = typer.Typer()

    @shown.command()
    @takes(options_of(MoreOptions))
    def command(given: Given) -> None:
        seen.append(dict(given))

    helped = CliRunner().invoke(shown, ["--help"], env={"COLUMNS": "120"}).output
    assert "red|green" in helped
    assert "What runs are painted with. [default: red]" in helped
    assert CliRunner().invoke(shown, ["--colour", "green", "--width", "3"]).exit_code == 0
    assert CliRunner().invoke(shown, []).exit_code == 0
    assert seen == [{"colour": "green", "width": 3}, {}]
    with pytest.raises(UsageError, match=r"'colour' must be one of .* Did you mean 'green'"):
        MoreOptions(colour="greem")
    with pytest.raises(UsageError, match="'width' must be a whole number of at least 1, got 0"):
        MoreOptions(width=0)
    assert "colour : {'red', 'green'}, default 'red'" in MoreOptions.__doc__
    assert "How wide. In pixels." in MoreOptions.__doc__


def test_the_documentation_says_what_is_declared():
    text = " ".join(inspect.getdoc(Options).split())
    for one in OPTIONS:
        assert f"{one.name} : " in text
        assert one.help in text
    assert set(ModelOptions.__dataclass_fields__) <= {f.name for f in fields(Options)}
    assert Options.__doc__.index("layout : ") < Options.__doc__.index("stickiness : ")


@pytest.mark.parametrize(
    ("command", "taken"),
    [("scan", SCAN), ("extract", EXTRACT), ("fit", FIT), ("analyze", ANALYZE)],
)
def test_help_names_every_option_with_choices_and_default(command, taken):
    """At 120 columns no entry is broken within a word."""
    helped = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"}).output
    text = " ".join(helped.replace("│", " ").split())
    for one in OPTIONS:
        assert (f" {one.flag} " in text) == (one in taken), one.flag
    for one in taken:
        assert "|".join(one.choices) in text
        if one.default and not one.several:
            assert f"[default: {one.default}]" in text


def test_commands_take_the_options_of_their_stage():
    assert {one.name for one in FIT} >= {f.name for f in fields(ModelOptions)}
    assert not {"layout", "threshold", "map_per_group"} & {one.name for one in FIT}
    expected = ["layout", "include", "exclude", "tensors", "split", "roles"]
    assert [one.name for one in SCAN] == expected
    assert len(set(ANALYZE)) == len(fields(Options))


WRONG = [
    ({"metrics": "l1"}, r"'metrics' takes several values, got the text 'l1'\. .*\('l1',\)"),
    ({"exclude_runs": "seed0"}, r"Write exclude_runs=\('seed0',\)"),
    ({"split": "qkv=0:3"}, "'split' takes several values"),
    ({"split": (("qkv", 0),)}, r"'split' must be a tuple, each of it \(str, int, int\)"),
    ({"include": ("a", 3)}, "'include' must be a tuple, each of it str"),
    ({"include": 3}, "'include' must be a tuple"),
    ({"threshold": "0.9"}, "'threshold' must be a finite number, got '0.9'"),
    ({"threshold": "0.9"}, "'threshold' must be a finite number, got '0.9'. Write threshold=0.9"),
    ({"threshold": True}, "'threshold' must be a finite number, got True"),
    ({"threshold": float("inf")}, "'threshold' must be a finite number"),
    ({"stickiness": -1}, "'stickiness' must be a finite number of at least 0"),
    ({"max_states": True}, "'max_states' must be a whole number of at least 1, got True"),
    ({"seed": 1.5}, "'seed' must be a whole number of at least 0, got 1.5"),
    ({"seed": None}, "'seed' must be a whole number"),
    ({"quick": "yes"}, "'quick' must be True or False, got 'yes'"),
    ({"layout": 3}, "'layout' must be a text, got 3"),
    ({"outcomes_file": 3}, "'outcomes_file' must be a path, got 3"),
    ({"covariance": "ful"}, "'covariance' must be one of .*, got 'ful'. Did you mean 'full'"),
    ({"direction": ["above"]}, "'direction' must be one of"),
    ({"max_state": 3}, "no option 'max_state'. Did you mean 'max_states'"),
    ({"exclude_run": ("seed0",)}, "Did you mean 'exclude_runs'"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_values_are_refused_by_name_before_any_work(wrong, message):
    with pytest.raises(UsageError, match=message):
        Options(**wrong)
    with pytest.raises(UsageError, match=message):
        analyze("nowhere", **wrong)


def test_values_get_the_type_of_the_option():
    options = Options(
        metrics=["l1", "l2"], seed=np.int64(3), threshold=np.float32(0.5), outcomes_file="o.csv"
    )
    assert options.metrics == ("l1", "l2")
    assert options.outcomes_file == Path("o.csv")
    assert json.dumps(options.set_by_user())  # Python's own numbers
    assert options == Options(
        metrics=("l1", "l2"), seed=3, threshold=0.5, outcomes_file=Path("o.csv")
    )
    assert Options(threshold=1).command_line() == ["--threshold", "1"]


@pytest.mark.parametrize("function", [read_runs, fit, analyze])
def test_options_are_options(function):
    with pytest.raises(
        UsageError,
        match=r"must be hmmdyn\.Options, got \{'quick': True\}. .*hmmdyn\.Options\(quick=True\)",
    ):
        function("nowhere", {"quick": True})


WORK = [
    ({"jobs": 0}, "'jobs' must be a number of processes, or -1 for all cores, got 0. Write jobs=2"),
    ({"jobs": "2"}, "'jobs' must be a number of processes, .* got '2'"),
    ({"jobs": True}, "'jobs' must be a number of processes, .* got True"),
    ({"progress": 3}, "'progress' must be a function .* got 3. Write progress=print"),
]


@pytest.mark.parametrize(("wrong", "message"), WORK, ids=str)
def test_ways_of_working_are_checked_before_any_work(wrong, message):
    for function in (analyze, read_runs, fit):
        with pytest.raises(UsageError, match=message):
            function("nowhere", **wrong)


def test_a_misspelt_way_of_working_is_suggested_too():
    with pytest.raises(UsageError, match=r"no option 'job'\. Did you mean 'jobs'"):
        analyze("nowhere", job=2)


def test_a_metric_that_there_is_not_is_told_before_any_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("hmmdyn.metrics.extract.extract", None)
    root = write_runs(tmp_path / "runs", n_runs=1)
    for given in ({"metrics": ["l3"]}, {"drop_metrics": ["l3"]}):
        with pytest.raises(UsageError, match=r"There is no metric 'l3'\. There are: l1, l2"):
            analyze(root, **given)


def test_a_cache_is_a_path():
    for function in (analyze, read_runs):
        with pytest.raises(UsageError, match="'cache' must be the path of a Parquet file, got 3"):
            function("nowhere", cache=3)


def test_what_is_analysed_is_checked():
    with pytest.raises(UsageError, match=r"'source' must be a path, .*, got 3. Name a folder"):
        analyze(3)
    with pytest.raises(UsageError, match=r"'trajectories' must be hmmdyn\.Trajectories, got str"):
        fit("runs/")


def phased():
    import pandas as pd

    steps = np.arange(20)
    return pd.concat(
        pd.DataFrame(
            {"run": f"seed{i}", "step": steps, "norm": steps * (i + 1) % 7, "eval_loss": 20 - steps}
        )
        for i in range(3)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("nrm",)}, "no metric 'nrm'. Did you mean 'norm'"),
        ({"outcome": "eval_los"}, "no outcome 'eval_los'. Did you mean 'eval_loss'"),
        ({"exclude_runs": ("sed1",)}, "No run is called 'sed1'. Did you mean 'seed1'"),
    ],
    ids=str,
)
def test_names_of_the_data_are_suggested_too(changes, message):
    with pytest.raises(UsageError, match=message):
        analyze(phased(), **changes)


def test_a_preset_is_suggested_and_gives_way_to_what_is_given(tmp_path):
    told = CliRunner().invoke(app, ["fit", "t.csv", "-o", str(tmp_path), "--preset", "papr"])
    assert told.exit_code == 2
    assert "Did you mean 'paper'?" in told.stderr


def test_public_names_are_there():
    assert hmmdyn.Analysis.__module__ == "hmmdyn.analysis"
    assert TrainingMap.__name__ in hmmdyn.__all__


def test_checks_work_on_any_dataclass_of_options():
    @dataclass(frozen=True)
    class Own:
        n: int = option(1, "How many.", panel=EFFORT, least=1)

        def __post_init__(self):
            check(self)

    assert Own(n=np.int8(2)).n == 2
    with pytest.raises(UsageError, match="'n' must be a whole number of at least 1, got '2'"):
        Own(n="2")
