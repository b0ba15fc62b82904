import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from tests.dynamics.outcomes.curves import WIDENING, logistic

NAN, INF = np.nan, np.inf


def grokking_table(generalise=(400, 500, 600, 700), n=101, **columns):
    """Runs that memorise from the start and generalise at a step (never, where it is None)."""
    rng = np.random.default_rng(0)
    steps = 10 * np.arange(n)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": "all",
                    "run": f"seed{i}",
                    "seed": pd.array([i] * n, dtype="Int64"),
                    "step": steps,
                    "train_accuracy": 1 - 0.5 * np.exp(-steps / 20),
                    "eval_accuracy": 0.5
                    + (0 if at is None else logistic(steps, at, 20, after=0.5))
                    + 0.01 * rng.normal(size=n),
                    **columns,
                }
            )
            for i, at in enumerate(generalise)
        ],
        ignore_index=True,
    )


NO_CHANGES = pd.DataFrame(
    columns=[
        "group",
        "run",
        "seed",
        "previous_step",
        "step",
        "step_low",
        "step_high",
        "from_state",
        "to_state",
    ]
)
BOTH = ("train_accuracy", "eval_accuracy")


def test_grokking_and_its_delay():
    found = find_outcome_transitions(grokking_table(), BOTH, NO_CHANGES)
    assert (found.training, found.held_out) == BOTH
    delays = found.delays
    assert delays["grokking"].all()
    assert not delays["censored"].any()
    assert delays["generalisation"].to_numpy() == pytest.approx([400, 500, 600, 700], abs=10)
    assert delays["memorisation"].to_numpy() == pytest.approx(20 * np.log(2), abs=2)
    assert (delays["delay"] == delays["generalisation"] - delays["memorisation"]).all()
    roles = found.transitions.groupby("role")["from_start"].agg(["size", "all"])
    assert roles.loc["memorisation"].tolist() == [4, True]
    assert roles.loc["generalisation"].tolist() == [4, False]
    assert str(found.transitions["seed"].dtype) == "Int64"


def late_jump(before, n=101):
    """Runs whose held-out accuracy improves with the training one to a level, and jumps later."""
    table = grokking_table(n=n)
    early = (before - 0.1) * (1 - np.exp(-table["step"] / 20)) + 0.1
    return table.assign(
        train_accuracy=1 - 0.9 * np.exp(-table["step"] / 20),
        eval_accuracy=early + (0.98 - before) * (table["step"] > 500)
        + 0.005 * np.random.default_rng(1).normal(size=len(table)),
    )  # fmt: skip


def test_grokking_needs_a_held_out_outcome_that_is_about_where_it_started():
    """As with a jump of the held-out accuracy from 0.6 where the learning rate decays."""
    jumped = find_outcome_transitions(late_jump(0.6), BOTH, NO_CHANGES)
    assert len(jumped.delays) == 4
    assert jumped.delays["dated"].all()
    assert not jumped.delays["grokking"].any()
    # Of the way from 0.1 to 0.98.
    assert jumped.delays["progress"].to_numpy() == pytest.approx(0.5 / 0.88, abs=0.03)
    assert np.isnan(jumped.grokking_delay)
    grokked = find_outcome_transitions(late_jump(0.12), BOTH, NO_CHANGES)
    assert grokked.delays["grokking"].all()


def test_every_delay_has_an_interval_that_evaluations_allow():
    rng = np.random.default_rng(0)
    at = rng.uniform(300, 700, 12)
    table = grokking_table(tuple(at))
    seen = table[table["step"] % 50 == 0].reset_index(drop=True)
    found = find_outcome_transitions(seen, BOTH, NO_CHANGES)
    true = at - 20 * np.log(2)
    delays = found.delays
    assert len(delays) == 12
    assert ((delays["delay_low"] <= true) & (true <= delays["delay_high"])).all()
    assert (delays["delay_high"] - delays["delay_low"] >= 50).all()
    assert found.grokking_delay_low <= np.median(true) <= found.grokking_delay_high
    few = find_outcome_transitions(seen[seen["run"].isin(["seed0", "seed1"])], BOTH, NO_CHANGES)
    assert few.grokking_delay_low == few.delays["delay_low"].min()
    assert few.grokking_delay_high == few.delays["delay_high"].max()


def test_a_run_that_generalises_too_slowly_for_a_transition_is_kept():
    table = grokking_table((400, 500, 600, 300))
    slow = table["run"] == "seed3"
    ramp = 0.5 + 0.5 * np.clip((table["step"] - 150) / 800, 0, 1)
    table.loc[slow, "eval_accuracy"] = ramp[slow]
    delays = find_outcome_transitions(table, BOTH, NO_CHANGES).delays
    last = delays.iloc[-1]
    assert (last["run"], last["dated"], last["censored"]) == ("seed3", False, False)
    assert last["grokking"]
    assert last["generalisation"] == pytest.approx(550, abs=20)
    assert last["delay_low"] < 550 - 20 < last["delay_high"]


def test_runs_whose_memorisation_cannot_be_dated_are_named():
    table = grokking_table()
    rng = np.random.default_rng(0)
    table.loc[table["run"] == "seed1", "train_accuracy"] = 0.5 + 0.1 * rng.normal(size=101)
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert "seed1" not in set(found.delays["run"])
    (notice,) = found.notices
    assert notice.message == "When it levelled off cannot be dated in seed1: they are in no delay."


def test_improvements_and_delays_are_summarised_over_runs():
    found = find_outcome_transitions(grokking_table(), BOTH, NO_CHANGES)
    own = found.transitions[found.transitions["outcome"] == "eval_accuracy"]
    (row,) = found.improvements[found.improvements["outcome"] == "eval_accuracy"].itertuples()
    assert row.n_runs == 4
    assert [row.first_step, row.median_step, row.last_step] == [
        own["step"].min(), own["step"].median(), own["step"].max(),
    ]  # fmt: skip
    assert row.duration == (own["end"] - own["start"]).median()
    assert found.grokking_delay == found.delays["delay"].median()


def test_what_never_improves_is_in_no_summary():
    table = grokking_table()
    table["eval_accuracy"] = 1 - table["eval_accuracy"]  # it collapses
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert "eval_accuracy" in set(found.transitions["outcome"])
    assert "eval_accuracy" not in set(found.improvements["outcome"])
    assert np.isnan(found.grokking_delay)


def test_a_run_that_does_not_generalise_is_censored_at_its_end():
    found = find_outcome_transitions(grokking_table((400, 500, None)), BOTH, NO_CHANGES)
    last = found.delays.iloc[-1]
    assert last["censored"]
    assert not last["grokking"]
    assert np.isnan(last["generalisation"])
    assert last["delay"] == 1000 - last["memorisation"]


def test_where_no_run_generalises_nothing_is_said_of_delays():
    found = find_outcome_transitions(grokking_table((None, None)), BOTH, NO_CHANGES)
    assert found.delays.empty
    assert found.transitions.empty
    assert found.matches.empty


def test_what_comes_together_is_not_called_grokking():
    table = grokking_table()
    table["train_accuracy"] = table["eval_accuracy"]
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.delays["delay"].abs().max() == 0
    assert not found.delays["grokking"].any()


def test_a_held_out_outcome_that_improves_from_the_start_has_no_transition():
    table = grokking_table()
    table["eval_accuracy"] = table["train_accuracy"]
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.transitions.empty
    assert found.delays.empty


def test_an_accuracy_that_collapses_is_a_transition_without_a_role():
    table = grokking_table((500,))
    table["eval_accuracy"] = 1.5 - table["eval_accuracy"]
    (row,) = find_outcome_transitions(table, BOTH, NO_CHANGES).transitions.itertuples()
    assert row.role == ""
    assert row.change < 0


def test_states_are_matched_to_generalisation():
    table = grokking_table((300, 400, 500, 600, 700, 450))
    runs = table.drop_duplicates("run")[["group", "run", "seed"]].reset_index(drop=True)
    seen = np.array([280, 380, 480, 580, 680, 430])
    changes = runs.assign(
        previous_step=seen - 10,
        step=seen,
        step_low=seen - 10,
        step_high=seen,
        from_state=1,
        to_state=2,
    )
    matches = find_outcome_transitions(table, BOTH, changes).matches
    row = matches[matches["role"] == "generalisation"].iloc[0]
    assert (row["n_runs"], row["n_total"]) == (6, 6)
    assert row["lead"] == pytest.approx(25, abs=5)
    assert row["lead_low"] <= row["lead"] <= row["lead_high"]
    assert row["p_corrected"] < 0.05


def test_spikes_are_listed_by_run_and_only_of_losses():
    table = grokking_table((500, 600))
    table["eval_loss"] = 2 + 0.01 * np.random.default_rng(0).normal(size=len(table))
    table.loc[150, ["eval_loss", "eval_accuracy"]] = [9.0, 9.0]
    table.loc[60:, "eval_loss"] = table.loc[60:, "eval_loss"].where(table["step"] != 700, INF)
    spikes = find_outcome_transitions(table, (*BOTH, "eval_loss"), NO_CHANGES).spikes
    assert set(spikes["outcome"]) == {"eval_loss"}
    assert spikes[["run", "kind", "step", "end_step", "n_checkpoints"]].to_numpy().tolist() == [
        ["seed0", "spike", 700, 710, 1],
        ["seed1", "spike", 490, 500, 1],
        ["seed1", "spike", 700, 710, 1],
    ]
    assert spikes["height"].tolist() == pytest.approx([INF, 7, INF], abs=0.1)


def with_losses(**columns):
    """Six runs with a training and a held-out loss that decline and scatter a little."""
    table = grokking_table((500,) * 6)
    rng = np.random.default_rng(0)
    decline = 2 * np.exp(-table["step"] / 100)
    losses = {
        name: 0.5 + decline + 0.01 * rng.normal(size=len(table))
        for name in ("train_loss", "eval_loss")
    }
    return table.assign(**losses, **{c: f(table, losses) for c, f in columns.items()})


def spikes_of(table, *outcomes):
    return find_outcome_transitions(table, outcomes, NO_CHANGES).spikes


def test_a_held_out_loss_that_rises_alone_is_overfitting():
    table = with_losses()
    late = table["step"] > 600
    table.loc[late, "eval_loss"] += 1
    found = spikes_of(table, "train_loss", "eval_loss")
    assert set(found["kind"]) == {"overfitting"}
    assert len(found) == 6
    assert (found["n_together"] == 6).all()
    table.loc[late, "train_loss"] += 1
    both = spikes_of(table, "train_loss", "eval_loss")
    assert set(both["kind"]) == {"divergence"}
    assert len(both) == 12
    # Without a training outcome beside it, one cannot be told from the other.
    assert set(spikes_of(table, "eval_loss")["kind"]) == {"rise"}


def test_what_may_be_meant_to_rise_is_not_said_to_diverge():
    table = with_losses(
        excluded_loss=lambda table, losses: losses["train_loss"] + 3.0 * (table["step"] > 500)
    )
    assert spikes_of(table, "excluded_loss").empty
    table.loc[table["step"] == 300, "excluded_loss"] += 4
    assert set(spikes_of(table, "excluded_loss")["kind"]) == {"spike"}


def test_losses_that_rise_together_are_counted():
    table = with_losses()
    table.loc[table["step"] == 300, "train_loss"] += 1
    table.loc[150, "train_loss"] += 1
    found = spikes_of(table, "train_loss")
    assert found.groupby("step")["n_together"].first().to_dict() == {300: 6, 490: 1}
    assert (found["n_total"] == 6).all()


def test_sparse_missing_and_oddly_named_outcomes():
    table = grokking_table((500, 600), state=1.0).rename(columns={"eval_accuracy": "eval acc @1"})
    table.loc[table["run"] == "seed1", "eval acc @1"] = NAN
    table.loc[::2, "eval acc @1"] = NAN
    table["never_loss"] = NAN
    outcomes = ("train_accuracy", "eval acc @1", "state", "never_loss")
    found = find_outcome_transitions(table, outcomes, NO_CHANGES)
    assert found.delays["run"].tolist() == ["seed0"]
    assert found.delays["generalisation"].iloc[0] == pytest.approx(500, abs=15)
    limits = {n.subject: n.message for n in found.notices}
    assert "of seed1:" in limits["outcome eval acc @1"]
    assert "of seed0, seed1:" in limits["outcome never_loss"]
    assert len(limits) == 2


def test_infinity_the_good_way_is_no_value_and_said():
    table = grokking_table((500,)).assign(eval_loss=2.0)
    table.loc[[30, 31], "eval_loss"] = -INF
    table.loc[40, "eval_accuracy"] = INF
    found = find_outcome_transitions(table, (*BOTH, "eval_loss"), NO_CHANGES)
    assert found.spikes.empty
    assert found.delays["generalisation"].iloc[0] == pytest.approx(500, abs=10)
    said = {n.subject: n.message for n in found.notices}
    assert "at which it is inf: 1." in said["outcome eval_accuracy"]
    assert "at which it is -inf: 2." in said["outcome eval_loss"]


def test_one_run_no_outcomes_and_too_few_checkpoints():
    one = find_outcome_transitions(grokking_table((500,)), BOTH, NO_CHANGES)
    assert one.delays["grokking"].tolist() == [True]
    none = find_outcome_transitions(grokking_table((500,)), (), NO_CHANGES)
    assert none.transitions.empty
    assert (none.training, none.held_out, none.notices) == ("", "", ())
    short = find_outcome_transitions(grokking_table((500,), n=5), BOTH, NO_CHANGES)
    assert short.transitions.empty
    assert len(short.notices) == 2


def test_the_same_names_in_two_groups_stay_apart():
    table = pd.concat([grokking_table((400,)), grokking_table((700,)).assign(group="other")])
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.delays["group"].tolist() == ["all", "other"]
    assert found.delays["generalisation"].to_numpy() == pytest.approx([400, 700], abs=10)


def test_the_account_names_clock_and_bandwidth():
    found = find_outcome_transitions(grokking_table((500,)), BOTH, NO_CHANGES)
    assert found.how.startswith("Time is counted in steps. ")
    assert "windows of 5% of its evaluations" in found.how
    wide = pd.DataFrame(
        {"group": "all", "run": "a", "seed": pd.NA, "step": WIDENING.astype(int), "loss": 1.0}
    ).astype({"seed": "Int64"})
    assert "logarithm of 1 + step" in find_outcome_transitions(wide, ("loss",), NO_CHANGES).how


def test_the_same_input_gives_the_same_result():
    table = grokking_table(tuple(range(300, 700, 40)))
    runs = table.drop_duplicates("run")[["group", "run", "seed"]]
    changes = runs.assign(
        previous_step=300, step=310, step_low=300, step_high=310, from_state=0, to_state=1
    )
    first, second = (find_outcome_transitions(table, BOTH, changes).matches for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
