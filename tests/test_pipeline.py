"""The whole walk as library calls, on small runs on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import hmmdyn
from hmmdyn import Options, TrainingMap, analyze, read_runs, scan
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.metrics import extract as extraction
from hmmdyn.report.folder import remove_other_reports
from hmmdyn.simulate.trajectories import simulate
from tests.make_runs import write_runs
from tests.simulate import PYTHIA, phased_table

PARITY = Path(__file__).parents[1] / "data" / "parity"
QUICK = {"max_states": 3, "restarts": 2, "quick": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("walk") / "runs")


@pytest.fixture(scope="module")
def analysis(runs):
    return analyze(runs, **QUICK)


def test_folder_to_statements(analysis):
    assert len(analysis.metrics) == 14
    assert analysis.outcomes == ("train_accuracy", "eval_accuracy")
    assert analysis.convergence.outcome == "eval_accuracy"
    assert analysis.convergence.table["step"].tolist() == [60, 70, 80]
    # The weights jump where the accuracy does: some state begins exactly there in every run.
    for run in analysis.convergence.table.itertuples():
        entered = analysis.change_points.query("run == @run.run")["step"].tolist()
        assert run.step in entered
    assert len(analysis.states) == len(analysis.table) == 48
    assert analysis.source.endswith("runs")


def test_report_folder_holds_every_result(analysis, tmp_path):
    page = analysis.write(tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    states = pd.read_parquet(tmp_path / "report" / "states.parquet")
    pd.testing.assert_frame_equal(states, analysis.states, check_dtype=False)
    table = read_runs(tmp_path / "report" / "metrics.parquet")
    assert table.metrics == analysis.metrics
    assert {"path", "size", "mtime_ns"} <= set(table.table)
    training_map = TrainingMap.load(tmp_path / "report" / "training_map.json")
    again = training_map.apply(table).states
    np.testing.assert_array_equal(again["state"], analysis.states["state"])
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["source"] == analysis.source


def test_an_analysis_has_the_tables_that_are_declared(analysis):
    with pytest.raises(ValueError, match="Table 'detours' must have the columns state, optional"):
        replace(analysis, detours=analysis.detours.drop(columns="flag"))


def test_same_input_same_bytes(runs, tmp_path):
    for name, jobs in (("a", 1), ("b", 2)):
        analyze(runs, jobs=jobs, **QUICK).write(tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_written_table_gives_the_same_map(analysis, tmp_path):
    analysis.write(tmp_path)
    again = analyze(tmp_path / "metrics.parquet", **QUICK)
    pd.testing.assert_frame_equal(again.states, analysis.states)
    assert again.outcomes == analysis.outcomes


def test_no_metric_is_computed_twice(runs, tmp_path):
    cache = tmp_path / "cache.parquet"
    first = read_runs(runs, cache=cache)
    found = scan(runs)
    again = extraction.extract(found, cache=cache)
    assert (again.n_computed, again.n_reused) == (0, 48)
    pd.testing.assert_frame_equal(read_runs(runs, cache=cache).table, first.table)


def test_stages_by_hand_equal_analyze(runs, analysis):
    trajectories = read_runs(runs)
    fitted = hmmdyn.fit(trajectories, Options(**QUICK))
    pd.testing.assert_frame_equal(fitted.decoding.states, analysis.states)


def test_without_outcomes_everything_but_convergence_works(tmp_path):
    result = analyze(write_runs(tmp_path / "runs", outcomes=False), **QUICK)
    assert result.outcomes == ()
    assert result.convergence is None
    assert result.regression is None
    assert not result.detours["flag"].any()
    assert any(n.subject == "outcomes" for n in result.notices)
    assert len(result.transitions) > 0
    result.write(tmp_path / "report")


def test_one_run_works_and_says_what_it_cannot(tmp_path):
    result = analyze(write_runs(tmp_path / "runs", n_runs=1), **QUICK)
    assert np.isnan(result.dissimilarity.emission)
    assert any("one run" in n.message for n in result.notices)
    result.write(tmp_path / "report")


def test_a_data_frame_goes_in_at_the_trajectory_stage():
    result = analyze(phased_table(), **QUICK)
    assert result.selection.n_states == 3
    assert result.state_summary["phase"].tolist() == ["", "memorisation", "generalisation"]
    assert result.source == "a table given from Python"


def test_left_out_runs_and_metrics_are_out_of_every_statement():
    result = analyze(phased_table(), exclude_runs=("seed5",), drop_metrics=("m2",), **QUICK)
    for frame in (result.table, result.states, result.occupancy, result.convergence.table):
        assert "seed5" not in set(frame["run"])
    assert result.features == ("m0", "m1")
    assert {n.subject for n in result.notices} >= {"metric m2", "run seed5"}
    assert result.options["exclude_runs"] == ("seed5",)


def test_nan_weights_leave_their_checkpoint_without_metrics_and_say_so(tmp_path):
    root = write_runs(tmp_path / "runs")
    from safetensors.numpy import load_file, save_file

    path = root / "seed1" / "step_100.safetensors"
    bad = load_file(path)
    bad["layers.0.weight"][0, 0] = np.nan
    save_file(bad, path)
    result = analyze(root, **QUICK)
    assert len(result.states) == len(result.table)
    messages = [f"{n.subject}: {n.message}" for n in result.notices]
    assert any("NaN or infinity in layers.0.weight" in m and "seed1" in m for m in messages)
    assert any(m.startswith("metric") and "Missing at 1 of" in m for m in messages)
    assert analyze(root, exclude_runs=("seed1",), **QUICK).occupancy["run"].tolist() == [
        "seed0",
        "seed2",
    ]


def test_equal_checkpoints_are_refused(tmp_path):
    root = write_runs(tmp_path / "runs", steps=range(0, 50, 10))
    for run in root.iterdir():
        for path in run.glob("*.safetensors"):
            path.write_bytes((root / "seed0" / "step_0.safetensors").read_bytes())
    with pytest.raises(NotEnoughDataError, match="Nothing changes"):
        analyze(root, **QUICK)


def test_unknown_options_are_named():
    with pytest.raises(UsageError, match="no option 'k'"):
        analyze(phased_table(), k=3)
    with pytest.raises(UsageError, match="'max_states' must be a whole number of at least 1"):
        analyze(phased_table(), max_states=0)
    with pytest.raises(
        UsageError, match="'standardise_first' must be a whole number of at least 2"
    ):
        analyze(phased_table(), standardise_first=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_states": 2.5},
        {"covariance": "round"},
        {"direction": "up"},
        {"threshold": float("nan")},
        {"protocol": "aic"},
    ],
    ids=str,
)
def test_options_are_checked_where_they_are_given(wrong):
    with pytest.raises(UsageError, match="must be"):
        Options(**wrong)


FOLDER_OPTIONS = {
    "layout": "{run}/{step}.npz",
    "outcomes_file": Path("loss.csv"),
    "skip_bad": True,
    "include": ("norm",),
    "exclude": ("head",),
    "split": (("qkv", 0, 3),),
}


@pytest.mark.parametrize("name", FOLDER_OPTIONS)
def test_options_for_folders_are_refused_with_a_table(name):
    options = Options(**{name: FOLDER_OPTIONS[name]})
    for source in (phased_table(), read_runs(phased_table())):
        with pytest.raises(UsageError, match=f"^{name}=… tells how a folder .* is a table"):
            read_runs(source, options)


def test_options_for_tables_are_refused_with_a_folder(runs):
    options = Options(outcome_columns=("l1",))
    for source in (runs, scan(runs)):
        with pytest.raises(
            UsageError, match=r"^outcome_columns=… tells how a table .* is a folder"
        ):
            read_runs(source, options)


def test_outcome_columns_must_be_outcomes_of_what_was_read_before():
    options = Options(outcome_columns=("m0",))
    table = read_runs(phased_table(), options)
    assert read_runs(table, options).outcomes == table.outcomes
    with pytest.raises(UsageError, match="no outcome 'm0'"):
        read_runs(read_runs(phased_table()), options)


def test_an_unknown_outcome_is_refused_before_the_fit():
    with pytest.raises(UsageError, match="no outcome 'f1'"):
        analyze(phased_table(), outcome="f1", progress=lambda *_: pytest.fail("fitted"))


def test_an_unknown_outcome_is_refused_before_checkpoints_are_measured(runs):
    with pytest.raises(UsageError, match="no outcome 'eval_acuracy'"):
        read_runs(
            runs,
            Options(outcome="eval_acuracy"),
            progress=lambda *_: pytest.fail("measured"),
        )


def test_outcomes_may_bear_the_name_of_a_metric_or_key(tmp_path):
    root = write_runs(tmp_path / "runs")
    extra = tmp_path / "extra.csv"
    rows = [(f"seed{i}", s, 0.1 * s, i) for i in range(3) for s in range(0, 160, 10)]
    pd.DataFrame(rows, columns=["run", "step", "l1", "time"]).to_csv(extra, index=False)
    result = analyze(root, outcomes_file=extra, **QUICK)
    assert {"logged_l1", "time"} <= set(result.outcomes)
    assert result.table["logged_l1"].tolist()[:3] == pytest.approx([0, 1, 2])
    assert any("logged_l1" in n.message for n in result.notices)
    result.write(tmp_path / "report")


def test_columns_may_have_any_name(tmp_path):
    names = {"m0": "state", "m1": "probability", "m2": "</script>", "eval_accuracy": "time"}
    table = phased_table().rename(columns=names)
    result = analyze(table, outcome_columns=("time",), outcome="time", **QUICK)
    result.write(tmp_path)
    assert result.convergence.outcome == "time"
    assert (tmp_path / "report.html").exists()


def test_paper_protocol_on_runs_shorter_than_the_states_tried():
    table = phased_table(n_runs=2, n_checkpoints=7)
    result = analyze(table, protocol="paper", max_states=8, restarts=2, quick=True)
    assert result.selection.criteria["n_states"].max() <= 7


def test_the_recommended_map_stands_beside_the_chosen_one(tmp_path):
    """Sharp phases in autocorrelated noise: BIC takes the most states, held-out runs the truth."""
    made = simulate("phases", 3, n_runs=6, n_checkpoints=60, noise=0.2, random_state=3)
    rows = np.repeat(np.arange(6), made.lengths)
    table = pd.DataFrame(made.values, columns=[f"m{i}" for i in range(made.values.shape[1])])
    table = table.assign(run=[f"seed{r}" for r in rows], step=np.tile(np.arange(60), 6))
    result = analyze(table, max_states=6, restarts=4, protocol="bic", standardise="run")
    assert result.parameters.n_states == 6
    advice = result.selection.recommendation
    assert advice.n_states == 3, advice.reason
    recommended = result.recommended
    assert recommended.parameters.n_states == 3
    assert adjusted_rand_score(made.phases, recommended.states["state"]) > 0.9
    for selection in (result.selection, recommended.selection):
        assert selection.stability.states["n_found"].max() <= 10
        assert selection.diagnostics.autocorrelation > 0.3
    page = result.write(tmp_path)
    assert 'href="recommended/report.html"' in page.read_text("utf-8")
    other = (tmp_path / "recommended" / "report.html").read_text("utf-8")
    assert 'href="../report.html"' in other
    assert "Runs held out recommend 3 states; see their map." in " ".join(str(result).split())
    assert TrainingMap.load(tmp_path / "recommended" / "training_map.json").parameters.n_states == 3


def files_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_recommended_map_of_an_earlier_analysis_does_not_stay(analysis, tmp_path):
    replace(analysis, recommended=analysis).write(tmp_path)
    below = files_below(tmp_path)
    analysis.write(tmp_path)
    assert files_below(tmp_path) == [f for f in below if not f.startswith("recommended/")]
    assert not (tmp_path / "recommended").exists()


def earlier_report(folder, document='{"format": "hmmdyn report", "tables": {"states": []}}'):
    """Write as many of a report's files as can be told from others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("report.html", "metrics.parquet", "training_map.json", "states.csv"):
        (folder / name).write_text("a file")
    (folder / "report.json").write_text(document)


def test_maps_of_groups_of_an_earlier_analysis_do_not_stay(tmp_path):
    """Those that are written again do, and what hmmdyn did not write."""
    for place in ("groups/1-a", "groups/1-a/recommended", "groups/2-b", "recommended"):
        earlier_report(tmp_path / place)
    (tmp_path / "groups" / "2-b" / "notes.csv").write_text("mine")
    remove_other_reports(tmp_path, kept={"groups/2-b", "recommended"})
    assert {f.rpartition("/")[0] for f in files_below(tmp_path)} == {"groups/2-b", "recommended"}
    remove_other_reports(tmp_path, kept=())
    assert files_below(tmp_path) == ["groups/2-b/notes.csv"]


@pytest.mark.parametrize("document", ["", "[]", '{"format": "mine"}', "no JSON"])
def test_a_users_own_folder_stays_as_it_is(document, tmp_path):
    earlier_report(tmp_path / "recommended", document)
    before = files_below(tmp_path)
    remove_other_reports(tmp_path, kept=())
    assert files_below(tmp_path) == before


def test_a_report_elsewhere_that_a_link_leads_to_stays(tmp_path):
    earlier_report(tmp_path / "elsewhere")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "recommended").symlink_to(tmp_path / "elsewhere")
    before = files_below(tmp_path / "elsewhere")
    remove_other_reports(tmp_path / "report", kept=())
    assert files_below(tmp_path / "elsewhere") == before


def test_names_in_an_earlier_report_lead_nowhere_else(tmp_path):
    """Its report.json is a file like any other."""
    (tmp_path / "precious.csv").write_text("mine")
    document = {"format": "hmmdyn report", "tables": {"../precious": [], "states": []}}
    earlier_report(tmp_path / "recommended", json.dumps(document))
    remove_other_reports(tmp_path, kept=())
    assert files_below(tmp_path) == ["precious.csv"]


@pytest.mark.parametrize(
    "option",
    [
        {"stickiness": 5.0},
        {"left_right": True},
        {"minimum_dwell": 2},
        {"clock": "log-step"},
        {"autoregressive": True},
    ],
    ids=str,
)
def test_every_option_of_the_model_goes_all_the_way(option, tmp_path):
    table = phased_table(n_runs=4)
    # All the way through what weighs the choice, too, for the one that every part must know of.
    quick = option != {"clock": "log-step"}
    result = analyze(table, max_states=3, restarts=2, protocol="bic", quick=quick, **option)
    plain = analyze(table, max_states=3, restarts=2, protocol="bic", quick=True)
    # A left-to-right chain fits these runs as well, with fewer parameters.
    assert not np.allclose(result.selection.curve["bic"], plain.selection.curve["bic"])
    assert result.training_map.options.items() >= option.items()
    result.write(tmp_path)
    again = TrainingMap.load(tmp_path / "training_map.json")
    decoded = again.apply(result.trajectories).states
    pd.testing.assert_frame_equal(decoded, result.states)


def test_an_outcome_that_is_infinite_everywhere_is_not_known():
    table = phased_table().drop(columns="train_accuracy").assign(eval_accuracy=np.inf)
    result = analyze(table, **QUICK)
    assert result.convergence is None
    assert any("No loss or accuracy is known" in n.message for n in result.notices)


def test_a_map_without_any_change_knows_gaps_too():
    result = analyze(
        phased_table(n_runs=2), n_states=1, protocol="bic", clock="log-step", quick=True
    )
    assert result.change_points.empty


def test_quick_weighs_nothing(analysis):
    selection = analysis.selection
    assert selection.recommendation is None
    assert selection.stability is None
    assert selection.diagnostics is None
    assert set(selection.criteria["covariance_type"]) == {"diag"}


def test_short_text_and_representation(analysis):
    n_states = analysis.parameters.n_states
    assert repr(analysis).endswith(f"3 runs, 48 checkpoints, {n_states} states>")
    assert "How sure this is" in str(analysis)


def test_figures_from_the_library(analysis):
    figure = analysis.figure.training_map()
    assert type(figure).__module__.startswith("plotly.graph_objs")
    assert len(figure.data) > 0


def test_parity_map_shows_memorisation_and_generalisation():
    result = analyze(PARITY, jobs=2, quick=True)
    assert len(result.occupancy) == 10
    phases = result.state_summary["phase"].tolist()
    assert phases[0] == ""
    assert "memorisation" in phases
    assert phases[-1] == "generalisation"
    # In time, no run generalises before it has memorised.
    assert phases.index("generalisation") > phases.index("memorisation")
    assert result.convergence.table["converged"].all()


@pytest.mark.skipif(not PYTHIA.exists(), reason="the Pythia metrics are not at hand")
def test_pythia_gives_a_map_of_five_runs():
    result = analyze(PYTHIA, n_states=4, restarts=6, jobs=2, quick=True)
    assert len(result.occupancy) == 5
    assert (result.occupancy.filter(like="state_") > 0).all(axis=None)
    assert not result.forking  # five seeds walk four states in the same order
    assert result.convergence is None
