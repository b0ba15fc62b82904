import itertools

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.convergence import automatic_threshold, choose_outcome, measure_convergence
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.results.convergence import CROSSINGS

NAN = np.nan


def table(**runs):
    """One run per keyword: its outcome values at steps 0, 10, 20, …"""
    return pd.concat(
        pd.DataFrame(
            {
                "group": "all",
                "run": name,
                "seed": pd.array([i] * len(values), dtype="Int64"),
                "step": 10 * np.arange(len(values)),
                "eval_accuracy": np.array(values, dtype=float),
            }
        )
        for i, (name, values) in enumerate(runs.items())
    ).reset_index(drop=True)


def measure(data, **options):
    return measure_convergence(data, ("eval_accuracy",), **options)


def test_first_crossing_counts_and_the_threshold_itself_is_enough():
    result = measure(table(a=[0.1, 0.9, 0.5, 1.0], b=[0.1, 0.2, 0.3, 0.95]), threshold=0.9)
    assert result.table["step"].tolist() == [10, 30]
    assert result.table["converged"].all()
    assert result.table["time"].tolist() == [0.25, 0.75]
    assert result.direction == "above"


def test_below_for_a_loss():
    data = table(a=[3.0, 2.0, 1.0]).rename(columns={"eval_accuracy": "eval_loss"})
    result = measure_convergence(data, ("eval_loss",), threshold=2.0)
    assert (result.direction, result.table["step"].tolist()) == ("below", [10])
    above = measure_convergence(data, ("eval_loss",), threshold=2.0, direction="above")
    assert above.table["step"].tolist() == [0]


def test_a_run_that_never_crosses_is_censored_at_its_last_step():
    result = measure(table(a=[0.1, 0.95], b=[0.1, 0.2, 0.3]), threshold=0.9)
    censored = result.table.set_index("run").loc["b"]
    assert not censored["converged"]
    assert (censored["step"], censored["last_step"], censored["time"]) == (20, 20, 1.0)
    assert any("1 of 2 runs never reaches" in n.message for n in result.notices)


def test_sustained_needs_successive_checkpoints_and_the_first_of_them_counts():
    data = table(a=[0.95, 0.1, 0.95, 0.96, 0.97])
    assert measure(data, threshold=0.9).table["step"].tolist() == [0]
    assert measure(data, threshold=0.9, sustained=2).table["step"].tolist() == [20]
    assert not measure(data, threshold=0.9, sustained=4).table["converged"].any()
    assert not measure(data, threshold=0.9, sustained=99).table["converged"].any()


def test_checkpoints_without_evaluation_are_passed_over():
    data = table(a=[0.1, NAN, 0.95, NAN, 0.96])
    assert measure(data, threshold=0.9, sustained=2).table["step"].tolist() == [20]


def test_runs_of_one_name_in_two_groups_are_both_named():
    data = pd.concat(
        [table(a=[0.1, 0.9], b=[NAN, NAN]).assign(group=g) for g in ("x", "y")], ignore_index=True
    )
    result = measure(data, threshold=0.5)
    left_out = [n.subject for n in result.notices if n.kind == "left out"]
    assert left_out == ["run x/b", "run y/b"]


def test_infinite_values_count_as_not_evaluated():
    result = measure(table(a=[np.inf, 0.2, 0.95, 1.0], b=[0.1, 0.2, 0.9, -np.inf]))
    assert np.isfinite(result.threshold)
    assert any("infinite: 2." in n.message for n in result.notices)
    late = measure(table(a=[0.1, 0.2, np.inf]), threshold=0.9)
    assert not late.table["converged"].any()
    assert late.table["step"].tolist() == [10]  # censored where it was last evaluated


def test_previous_step_is_the_last_evaluation_before_convergence():
    data = table(a=[0.1, 0.2, NAN, 0.95], b=[0.95, 1.0], c=[NAN, 0.95], d=[0.1, NAN, 0.2, NAN])
    found = measure(data, threshold=0.9).table
    assert found["previous_step"].tolist() == [10, pd.NA, pd.NA, 20]
    assert found["step"].tolist() == [30, 0, 10, 20]
    assert found["previous_step"].dtype == "Int64"


def test_previous_step_minds_streaks_that_are_too_short():
    # One that begins within the last two evaluations of a run could not become three.
    data = table(a=[0.95, 0.1, 0.95, 0.96, 0.97], b=[0.1, 0.2, 0.3, 0.95, 0.96], c=[0.1, 0.95])
    found = measure(data, threshold=0.9, sustained=3).table
    assert found["converged"].tolist() == [True, False, False]
    assert found["previous_step"].tolist() == [10, 20, pd.NA]
    assert found["step"].tolist() == [20, 40, 10]


@pytest.mark.parametrize("sustained", [1, 2, 3])
def test_a_run_cut_short_never_contradicts_its_later_course(sustained):
    courses = {f"r{i}": v for i, v in enumerate(itertools.product([0.0, 1.0], repeat=6))}
    whole = measure(table(**courses), threshold=0.9, sustained=sustained).table
    for n in range(1, 6):
        cut = {name: values[:n] for name, values in courses.items()}
        found = measure(table(**cut), threshold=0.9, sustained=sustained).table
        told = found["converged"]
        assert (found["step"] == whole["step"])[told].all()
        known = ~told & whole["converged"] & found["previous_step"].notna()
        assert (found["previous_step"] < whole["step"])[known].all()
        assert known.any() == (n >= sustained)
    lies_after = whole["step"] - whole["previous_step"]
    assert set(lies_after[whole["converged"]].dropna()) == {10}
    assert (whole["previous_step"].isna() == (whole["step"] == 0)).all()


def test_a_threshold_met_from_the_start_is_said():
    result = measure(table(a=[0.1, 0.95], b=[0.95, 0.96]), threshold=0.9)
    assert any("1 of 2 runs meet" in n.message for n in result.notices)


def test_a_run_without_the_outcome_is_left_out_and_named():
    result = measure(table(a=[0.1, 0.95], b=[NAN, NAN]), threshold=0.9)
    assert result.table["run"].tolist() == ["a"]
    assert [n.subject for n in result.notices if n.kind == "left out"] == ["run b"]


def test_nobody_converges_is_said():
    result = measure(table(a=[0.1, 0.2], b=[0.1, 0.3]), threshold=0.9)
    assert any("No run reaches" in n.message for n in result.notices)


def test_automatic_threshold_is_nine_tenths_of_the_way():
    data = table(a=[0.5, 0.7, 1.0], b=[0.5, 0.4, 1.0])
    assert automatic_threshold(data, "eval_accuracy", "above") == pytest.approx(0.95)
    narrow = table(a=[1234.4, 1231, 1230.2], b=[1234.4, 1232, 1230.2])
    assert automatic_threshold(narrow, "eval_accuracy", "below") == pytest.approx(1230.62)
    flat = table(a=[0.5, 0.5])
    assert automatic_threshold(flat, "eval_accuracy", "above") == 0.5
    falling = data.assign(eval_accuracy=-data["eval_accuracy"])
    assert automatic_threshold(falling, "eval_accuracy", "below") == pytest.approx(-0.95)
    result = measure(data)
    assert "chosen automatically" in result.how
    assert "threshold=…" in result.how
    assert "automatically" not in measure(data, threshold=0.9, outcome="eval_accuracy").how


def test_held_out_accuracy_is_preferred():
    data = table(a=[0.1, 0.2], b=[0.1, 0.2])
    known = data["eval_accuracy"]

    def chosen(*outcomes):
        return choose_outcome(data.assign(**dict.fromkeys(outcomes, known)), outcomes)

    assert chosen("train_loss", "eval_loss", "train_acc", "val_acc") == "val_acc"
    assert chosen("train_accuracy", "test_loss") == "test_loss"
    assert chosen("loss", "accuracy") == "accuracy"
    # What is known in every run comes before what one run happens to have.
    rare = data.assign(loss=known, val_acc=known.where(data["run"] == "a"))
    assert choose_outcome(rare, ("loss", "val_acc")) == "loss"


@pytest.mark.parametrize(
    "wrong", [{"outcome": "x"}, {"direction": "up"}, {"sustained": 0}], ids=lambda w: next(iter(w))
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(UsageError):
        measure(table(a=[0.1, 0.2]), **wrong)


def test_no_threshold_is_chosen_where_most_runs_fail():
    """Six of thirty runs learn: nine tenths of the way of the median run is no convergence."""
    failing = {f"f{i}": [0.01, 0.02, 0.03 + i / 1000] for i in range(24)}
    data = table(**failing, **{f"r{i}": [0.01, 0.5, 0.97] for i in range(6)})
    with pytest.raises(NotEnoughDataError) as told:
        measure(data)
    assert "best values of the 30 runs lie between 0.03 and 0.97" in str(told.value)
    assert "half of them no better than 0.0445" in str(told.value)
    assert "threshold=…" in str(told.value)
    assert measure(data, threshold=0.9).table["converged"].sum() == 6


def test_no_threshold_is_chosen_where_best_values_are_spread():
    spread = {f"r{i}": [0.0, best] for i, best in enumerate(np.linspace(100, 900, 12))}
    with pytest.raises(NotEnoughDataError):
        measure(table(**spread))
    losses = {f"r{i}": [10.0, best] for i, best in enumerate([0.1, 0.1, 6.0, 7.0, 8.0])}
    with pytest.raises(NotEnoughDataError):
        automatic_threshold(table(**losses), "eval_accuracy", "below")


def test_a_threshold_is_chosen_where_some_runs_fail():
    data = table(**{f"r{i}": [0.5, 1.0] for i in range(6)}, a=[0.5, 0.55], b=[0.5, 0.7])
    found = measure(data)
    assert found.threshold == pytest.approx(0.95)
    assert "median first value (0.5) to their median best one (1)" in found.how


def test_groups_that_a_common_threshold_does_not_fit_are_named():
    """Tasks of other returns, as if they were recipes of one."""
    easy = table(**{f"e{i}": [0.0, 1.0] for i in range(6)}).assign(group="easy")
    hard = table(**{f"h{i}": [0.0, 0.3] for i in range(3)}).assign(group="hard")
    found = measure(pd.concat([easy, hard], ignore_index=True))
    (message,) = [n.message for n in found.notices if n.subject == "groups below the threshold"]
    assert "No run of 1 of the 2 groups reaches 0.9" in str(message)
    assert "hard (medians of their runs' best values: 0.3)" in str(message)
    asked = measure(pd.concat([easy, hard], ignore_index=True), threshold=0.9)
    assert "groups below the threshold" not in [n.subject for n in asked.notices]


@pytest.mark.parametrize(
    ("scale", "threshold", "meant"),
    [(1, 95, "threshold=0.95"), (1, -1, "between 0 and 1 with"), (100, 950, "between 0 and 100")],
)
def test_a_threshold_that_no_accuracy_can_be_is_an_error(scale, threshold, meant):
    data = table(a=[0.1 * scale, 0.97 * scale], b=[0.1 * scale, 0.99 * scale])
    with pytest.raises(UsageError) as told:
        measure(data, threshold=threshold)
    assert meant in str(told.value)
    measure(data.rename(columns={"eval_accuracy": "eval_loss"}).assign(eval_accuracy=0.5))


def test_a_crossing_that_did_not_last_is_said():
    """A return that exceeds its threshold once, and then in three of thirteen evaluations."""
    lucky = [0.1, 0.95, *[0.2] * 10, 0.95, 0.95, 0.95]
    result = measure(table(lucky=lucky, good=[0.1, 0.2, *[0.95] * 13]), threshold=0.9)
    assert result.table["later_back"].tolist() == [pytest.approx(10 / 13), 0]
    (notice,) = (n for n in result.notices if n.subject == CROSSINGS)
    assert "In 1 of 2 runs the crossing did not last" in notice.message
    assert "lucky 77%" in notice.message
    assert "sustained=3" in notice.message
    lasting = measure(table(lucky=lucky), threshold=0.9, sustained=3)
    assert lasting.table["step"].tolist() == [120]
    assert not any(n.subject == CROSSINGS for n in lasting.notices)
    assert measure(table(a=[0.1, 0.2]), threshold=0.9).table["later_back"].isna().all()


def test_every_evaluation_is_kept_with_what_it_says():
    result = measure(table(a=[0.1, NAN, 0.95], b=[0.2, 0.91, 0.1]), threshold=0.9)
    assert result.evaluations["step"].tolist() == [0, 20, 0, 10, 20]
    assert result.evaluations["holds"].tolist() == [False, True, False, True, False]
