"""The command line: what it prints, writes and returns."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from hmmdyn import __version__, read_runs
from hmmdyn.cli.found import number_ranges
from hmmdyn.cli.main import app
from hmmdyn.hmm import TrainingMap
from hmmdyn.names import printable
from hmmdyn.tasks.catalogue import TASKS
from hmmdyn.tasks.runs import Keep
from tests.make_runs import write_runs

QUICK = ["--max-states", "2", "--restarts", "2", "--jobs", "1", "--quick"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("cli") / "runs")


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def one_line(text):
    return " ".join(text.split())


def test_version_and_help():
    assert __version__ in run("--version").output
    for command in ("scan", "extract", "fit", "analyze", "reproduce"):
        assert "hmmdyn" in run(command, "--help").output


def test_scan_shows_what_is_there_and_measures_nothing(runs):
    output = one_line(run("scan", runs).output)
    assert "seed2" in output
    assert "Read as: seed2/step_150.safetensors → group runs, run seed2, step 150" in output
    assert "train_accuracy, eval_accuracy" in output
    assert "0–2" in output


def test_scan_as_json(runs):
    document = json.loads(run("scan", runs, "--json").stdout)
    assert len(document["checkpoints"]) == 48
    assert document["checkpoints"][0]["run"] == "seed0"
    assert document["outcomes"] == ["train_accuracy", "eval_accuracy"]


def test_extract_then_fit_then_analyze(runs, tmp_path):
    table, training_map, report = (tmp_path / n for n in ("t.parquet", "map.json", "report"))
    assert "48 checkpoints × 14 metrics" in run("extract", runs, "-o", table, "-j", 1).output
    assert len(read_runs(table).table) == 48
    assert "Chose" in run("fit", table, "-o", training_map, *QUICK).output
    assert TrainingMap.load(training_map).parameters.n_states <= 2
    output = one_line(run("analyze", table, "-o", report, *QUICK).output)
    assert "report.html" in output
    assert (report / "report.html").exists()


def test_analyze_ends_with_the_answers_and_the_place_of_the_report(runs, tmp_path):
    output = run("analyze", runs, "-o", tmp_path, *QUICK).stdout
    answer, table, place = output[output.index("Training map of") :].rstrip().split("\n\n")
    lines = answer.splitlines()
    assert max(map(len, [*lines[1:], *table.splitlines()])) <= 80
    assert len(lines) <= 12
    for topic in ("Runs ", "Phases ", "Slow ", "Chance "):
        assert any(line.startswith(topic) for line in lines)
    assert "3 of 3 runs converged (eval_accuracy ≥" in one_line(answer)
    assert table.startswith("Slowest run")
    assert place.endswith(str(tmp_path / "report.html"))


def test_open_shows_the_page_in_a_browser_or_says_that_there_is_none(runs, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda url: shown.append(url) or len(shown) == 1)
    given = ["analyze", runs, "-o", tmp_path, *QUICK, "--open"]
    assert "no browser" not in run(*given).stderr
    assert shown == [(tmp_path / "report.html").as_uri()]
    assert "There is no browser to open" in one_line(run(*given).stderr)


def test_open_without_a_page_is_wrong_usage(runs, tmp_path):
    result = run("analyze", runs, "-o", tmp_path, "--open", "--format", "csv", code=2)
    assert "leave out --open" in one_line(result.stderr)


def test_verbose_prints_all_that_was_found_in_brief(runs, tmp_path):
    output = run("analyze", runs, "-o", tmp_path, *QUICK, "--verbose").stdout
    summary = output[output.index("Training map of") :]
    assert max(map(len, summary.splitlines()[:-1])) <= 80
    for topic in ("What was", "Where runs fork", "converged when", "How sure this is"):
        assert topic in summary


def test_quiet_prints_the_path_alone_and_warnings_on_stderr(runs, tmp_path):
    given = ["-o", tmp_path, *QUICK, "--exclude-run", "seed0"]
    result = run("analyze", runs, *given, "--quiet")
    assert result.stdout == f"{tmp_path / 'report.html'}\n"
    assert "left out  run seed0: Left out by request." in result.stderr
    assert "Fitting" not in result.stderr
    assert "standardised" not in result.stderr  # a limit of the statements is no warning
    assert run("analyze", runs, *given, "-q", "--format", "csv").stdout == f"{tmp_path}\n"


def test_json_prints_the_report_and_nothing_else_on_stdout(runs, tmp_path):
    result = run("analyze", runs, "-o", tmp_path, *QUICK, "--json")
    assert result.stdout == (tmp_path / "report.json").read_text("utf-8")
    assert len(json.loads(result.stdout)["tables"]["convergence"]) == 3
    assert "Phases " in result.stderr
    quiet = run("analyze", runs, "-o", tmp_path, *QUICK, "--json", "--quiet")
    assert quiet.stdout == result.stdout
    assert "Phases " not in quiet.stderr


def test_fit_as_json(runs, tmp_path):
    table = tmp_path / "t.parquet"
    run("extract", runs, "-o", table, "-j", 1)
    result = run("fit", table, "-o", tmp_path / "map.json", *QUICK, "--json")
    document = json.loads(result.stdout)
    assert document["n_states"] == TrainingMap.load(document["training_map"]).parameters.n_states
    assert [row["n_states"] for row in document["criteria"]] == [1, 2]
    best = min(document["criteria"], key=lambda row: row["bic"])
    assert best["n_states"] == document["n_states"]
    assert document["criteria"][0]["held_out_bic"] is None  # not NaN, which is no JSON
    assert document["recommendation"] is None


def test_formats_choose_what_is_written(runs, tmp_path):
    output = run("analyze", runs, "-o", tmp_path, *QUICK, "--format", "json,csv").stdout
    assert output.rstrip().endswith(str(tmp_path))
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "report.json").exists()
    assert (tmp_path / "convergence.csv").exists()
    assert (tmp_path / "training_map.json").exists()  # the result itself is always written


@pytest.mark.parametrize("flags", [["--format", "bmp"], ["--format", ""], ["--theme", "sepia"]])
def test_unknown_formats_stop_before_any_work(runs, tmp_path, flags):
    result = run("analyze", runs, "-o", tmp_path / "r", *flags, code=2)
    assert "Wrong usage" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "r").exists()


def test_pictures_without_kaleido_stop_before_any_work(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    result = run("analyze", runs, "-o", tmp_path / "r", "--format", "html,png", code=1)
    assert "pip install 'hmmdyn[export]'" in result.stderr
    assert not (tmp_path / "r").exists()


def test_hostile_names_are_harmless_in_terminal_and_json(tmp_path):
    names = ["a\x1b[31mred", "b\u202etxt.exe", "c\nd", "[bold]e[/bold]"]
    rows = [
        {"run": name, "step": step, "m\x07": step**0.5 + i, "n": (step > 5) * 1.0 + i * step}
        for i, name in enumerate(names)
        for step in range(12)
    ]
    table = tmp_path / "t.csv"
    pd.DataFrame(rows).assign(eval_accuracy=[r["step"] > 6 for r in rows]).astype(
        {"eval_accuracy": float}
    ).to_csv(table, index=False)
    result = run("analyze", table, "-o", tmp_path / "r", *QUICK)
    for text in (result.stdout, result.stderr):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]e[/bold]" in result.stdout
    printed = run("analyze", table, "-o", tmp_path / "r", *QUICK, "--json").stdout
    assert printed.isascii()
    assert not set(printed) & {"\x1b", "\x07"}
    assert {row["run"] for row in json.loads(printed)["tables"]["convergence"]} == set(names)


def test_analyze_twice_measures_once_wherever_the_report_goes(runs, tmp_path):
    from hmmdyn.checkpoints.find.discover import discover
    from hmmdyn.metrics.cache import place_for
    from hmmdyn.metrics.extract import extract

    first, second = tmp_path / "first", tmp_path / "second"
    assert "measured before" not in run("analyze", runs, "-o", first, *QUICK).output
    assert extract(discover(runs), cache=place_for(runs)).n_computed == 0
    before = {p.name: p.read_bytes() for p in first.iterdir() if p.is_file()}
    for output in (first, second):
        again = run("analyze", runs, "-o", output, *QUICK)
        assert "48 of 48 checkpoints had been measured before" in again.output
        assert {p.name: p.read_bytes() for p in output.iterdir() if p.is_file()} == before
    assert not list(first.glob(".*"))


def test_where_nothing_can_be_kept_for_the_user_it_is_beside_the_report(
    runs, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    run("extract", runs, "-o", tmp_path / "t.parquet")
    assert (tmp_path / ".metrics-cache.parquet").exists()


def test_a_second_analysis_into_one_folder_is_told(runs, tmp_path):
    from hmmdyn.locks import Lock

    with Lock(tmp_path / ".hmmdyn.lock", "it is written", ""):
        refused = run("analyze", runs, "-o", tmp_path, *QUICK, code=1)
    assert f"is being written by another: the lock {tmp_path}/.hmmdyn.lock is held by" in one_line(
        refused.stderr
    )
    assert f"process {os.getpid()}" in one_line(refused.stderr)
    assert not list(tmp_path.iterdir())


def test_preset_paper_and_options_over_it(runs, tmp_path):
    run("analyze", runs, "-o", tmp_path, "--preset", "paper", "--standardise-first", 10, *QUICK)
    saved = json.loads((tmp_path / "training_map.json").read_text())
    assert saved["options"]["protocol"] == "paper"
    assert saved["standardisation"]["first"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "house"], "no preset 'house'"),
        (["--covariance", "round"], "'covariance' must be one of"),
        (["--split", "nonsense"], "REGEX=AXIS:PARTS"),
        (["--outcome", "f1"], "no outcome 'f1'"),
        (["--drop-metric", "x"], "no metric 'x'"),
    ],
)
def test_wrong_usage_is_exit_code_2(runs, tmp_path, arguments, message):
    result = run("analyze", runs, "-o", tmp_path / "r", *QUICK, *arguments, code=2)
    assert message in one_line(result.stderr)
    assert "Traceback" not in result.output


def test_failed_work_is_exit_code_1_with_a_message(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("analyze", tmp_path / "empty", "-o", tmp_path / "r", code=1)
    assert "Error:" in result.stderr
    assert "empty" in result.stderr
    assert run("scan", tmp_path / "gone", code=1).stderr.startswith("Error:")


def test_an_output_that_cannot_be_written_stops_before_any_work(runs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("analyze", runs, "-o", tmp_path / "file" / "report", code=1)
    assert "Cannot write" in result.stderr
    assert "Measuring" not in result.output


def test_a_bad_checkpoint_is_named_and_skipped_only_on_request(runs, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(runs, root)
    bad = root / "seed1" / "step_70.safetensors"
    bad.write_bytes(bad.read_bytes()[:100])
    result = run("analyze", root, "-o", tmp_path / "r", *QUICK, code=1)
    assert "seed1/step_70.safetensors" in one_line(result.stderr).replace(" ", "")
    assert "--skip-bad" in result.stderr
    output = run("analyze", root, "-o", tmp_path / "r", *QUICK, "--skip-bad").output
    assert "step_70" in output.replace("\n", "")
    states = pd.read_parquet(tmp_path / "r" / "states.parquet")
    assert len(states) == 47


def test_stopped_extraction_goes_on_where_it_was(tmp_path):
    """Ctrl-C during extraction: a clear message, and the table comes out the same after it."""
    root = write_runs(tmp_path / "runs", n_runs=6, steps=range(0, 1500, 10), shape=(300, 200))
    arguments = ["extract", root, "-j", "1", "-o"]
    command = [sys.executable, "-m", "hmmdyn", *arguments]
    # What was measured is saved at once: a fast machine may be done before the usual first time.
    saving_early = (
        "from hmmdyn.metrics import cache; cache._FLUSH_SECONDS = 0.1; "
        "from hmmdyn.__main__ import main; main()"
    )
    kept = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "kept")}
    process = subprocess.Popen(
        [sys.executable, "-c", saving_early, *arguments, tmp_path / "t.parquet"],
        stderr=subprocess.PIPE,
        env=kept,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("kept/hmmdyn/*/*.parquet")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert not (tmp_path / "t.parquet").exists()
    subprocess.run([*command, tmp_path / "t.parquet"], check=True, capture_output=True, env=kept)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    subprocess.run([*command, fresh / "t.parquet"], check=True, capture_output=True)
    assert (tmp_path / "t.parquet").read_bytes() == (fresh / "t.parquet").read_bytes()


def test_the_command_in_the_report_gives_the_same_options(runs, tmp_path, monkeypatch):
    """Every option survives the way to the command line and back."""
    from hmmdyn import Options, pipeline

    options = Options(
        layout="seed{seed}/step_{step}.safetensors",
        outcomes_file=runs / "seed0" / "metrics.csv",
        skip_bad=True,
        include=("a b", "c"),
        exclude=("d",),
        tensors=("weight$",),
        split=(("attn=x", 1, 3),),
        heads=4,
        roles=runs / "roles.toml",
        cyclic=7,
        spectrum="sketch",
        metrics=("l1", "l2"),
        metrics_from=runs / "my_metrics.py",
        metrics_table=runs / "llc.csv",
        by=("layer", "role"),
        drop_metrics=("l1",),
        keep_metrics=("l2",),
        exclude_runs=("seed0", "runs/seed1"),
        outcome_columns=("z",),
        step_column="x",
        max_states=3,
        n_states=2,
        covariance="full",
        standardise="run",
        standardise_first=5,
        log_metrics=("l2",),
        protocol="paper",
        restarts=3,
        stickiness=2.0,
        left_right=True,
        minimum_dwell=2,
        clock="step",
        autoregressive=True,
        quick=True,
        map_per_group=True,
        seed=7,
        outcome="eval_accuracy",
        threshold=0.0,
        direction="below",
        sustained=2,
        margin=0.1,
    )
    changed = {k for k in vars(options) if getattr(options, k) != getattr(Options(), k)}
    assert changed == set(vars(options))  # a new option is not forgotten here
    seen = []

    def stop(found, given, **_):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "analyze", stop)
    run("analyze", runs, "-o", tmp_path, *options.command_line(), code=130)
    assert seen == [options]


def test_a_threshold_of_zero_is_a_threshold(runs, tmp_path):
    run("analyze", runs, "-o", tmp_path, *QUICK, "--threshold", "0")
    assert json.loads((tmp_path / "report.json").read_text())["convergence"]["threshold"] == 0


def test_fit_takes_a_table(runs, tmp_path):
    result = run("fit", runs, "-o", tmp_path / "m.json", code=2)
    assert "hmmdyn extract" in result.stderr


def test_a_table_can_leave_runs_out(runs, tmp_path):
    run("extract", runs, "-o", tmp_path / "t.parquet", "-j", 1)
    output = run(
        "analyze", tmp_path / "t.parquet", "-o", tmp_path, *QUICK, "--exclude-run", "seed0"
    ).output
    assert "Read 48 checkpoints of 3 runs" in output
    assert len(pd.read_parquet(tmp_path / "states.parquet")) == 32


def test_reproduce_names_the_tasks(tmp_path):
    assert "No such command 'chess'" in run("reproduce", "chess", "-o", tmp_path, code=2).stderr
    output = run("reproduce", "--help").output
    assert all(task in output for task in TASKS)


@pytest.fixture
def trained(monkeypatch):
    """What `reproduce` asks for: the arguments of every call of `train`, which trains nothing."""
    calls = []
    monkeypatch.setattr(
        "hmmdyn.tasks.catalogue.train", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    return calls


def flags(recipe):
    """(field, a value that is not the default, the option that asks for it)."""
    for declared in fields(recipe):
        name, default = declared.name, getattr(recipe, declared.name)
        flag = name.replace("_", "-")
        if isinstance(default, bool):
            yield name, not default, [f"--{'no-' * default}{flag}"]
        else:
            value = default + "x" if isinstance(default, str) else default / 2
            value = default + 1 if isinstance(default, int) else value
            yield name, value, [f"--{flag}", value]


@pytest.mark.parametrize("task", TASKS)
def test_reproduce_takes_every_option_of_a_recipe(task, tmp_path, trained):
    recipe = TASKS[task].recipe
    for name, value, option in flags(recipe):
        run("reproduce", task, "-o", tmp_path, *option)
        (called, out, _), options = trained.pop()
        assert (called, out) == (task, tmp_path)
        assert options["recipe"] == replace(recipe, **{name: value}) != recipe


def test_reproduce_trains_forty_seeds_by_the_tasks_recipe_unless_told(tmp_path, trained):
    assert "40 seeds are complete" in run("reproduce", "digits-deep", "-o", tmp_path).output
    ((_, _, seeds), options) = trained[0]
    assert list(seeds) == list(range(40))
    assert options["recipe"] == TASKS["digits-deep"].recipe
    assert options["keep"] == Keep.parse("none")
    assert (options["device"], options["at_once"]) == ("cpu", None)
    assert options["n_jobs"] >= 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seeds", 3, "--first-seed", 7], {"seeds": [7, 8, 9]}),
        (["--keep-checkpoints", "every:5"], {"keep": Keep(5)}),
        (["--keep-checkpoints", "all"], {"keep": Keep(1)}),
        (["--jobs", 3], {"n_jobs": 3}),
        (["--seeds-at-once", 6], {"at_once": 6, "device": "cpu"}),
        # An accelerator trains all seeds at once, in one process.
        (["--device", "cuda", "--seeds", 5], {"device": "cuda", "at_once": None, "n_jobs": 1}),
        (["--device", "cuda", "--seeds-at-once", 2], {"at_once": 2, "n_jobs": 1}),
        (["--device", "cuda", "--jobs", 2], {"at_once": None, "n_jobs": 2}),
    ],
    ids=str,
)
def test_reproduce_passes_on_what_every_task_has(arguments, expected, tmp_path, trained):
    run("reproduce", "parity", "-o", tmp_path, *arguments)
    ((_, _, seeds), options) = trained[0]
    found = {"seeds": list(seeds), **options}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep-checkpoints", "some"], "must be 'all', 'none' or 'every:N', got 'some'"),
        (["--learning-rate", "nan"], "'learning_rate' must be at least 0, got nan"),
        (["--n-heads", 0], "'n_heads' must be at least 1, got 0"),
        (["--train-share", 1], "'train_share' must leave samples to train on"),
        (["--seeds", 0], "Invalid value for '--seeds'"),
        (["--n-epochs", "many"], "Invalid value for '--n-epochs'"),
    ],
    ids=str,
)
def test_reproduce_tells_wrong_usage(arguments, message, tmp_path, trained):
    stderr = run("reproduce", "modular-addition", "-o", tmp_path, *arguments, code=2).stderr
    assert message in one_line(stderr.replace("│", ""))
    assert not trained


def test_reproduce_tells_a_device_that_is_not_there(tmp_path):
    pytest.importorskip("torch")
    stderr = run("reproduce", "parity", "-o", tmp_path, "--device", "toaster", code=2).stderr
    assert "Training cannot run on the device 'toaster'" in one_line(stderr)
    assert not any(tmp_path.iterdir())


def test_reproduce_trains_what_analyze_reads(tmp_path):
    pytest.importorskip("torch")
    runs = tmp_path / "runs"
    small = {"n-epochs": 12, "n-train": 64, "n-hidden": 8, "checkpoint-every": 2, "jobs": 1}
    options = [f"--{name}={value}" for name, value in small.items()]
    output = run("reproduce", "parity", "-o", runs, "--seeds", 2, *options).output
    assert f"hmmdyn analyze {runs}" in one_line(output)
    assert sorted(p.name for p in runs.iterdir()) == ["recipe.json", "seed0", "seed1"]
    run("analyze", runs, "-o", tmp_path / "report", *QUICK)
    table = pd.read_parquet(tmp_path / "report" / "metrics.parquet")
    assert table["step"].tolist() == [*range(0, 25, 2)] * 2


def test_control_characters_are_shown_not_obeyed():
    assert printable("a\x1b[31mb\tc\nd\u202e") == "a\\x1b[31mb\\tc\\nd\\u202e"


def testnumber_ranges():
    assert number_ranges([0, 1, 2, 3, 7, 9, 10]) == "0–3, 7, 9–10"
    assert number_ranges([]) == ""
