"""What columns are: roles by name and by content, parts of the data, and steps."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn import roles
from hmmdyn.errors import TableError, UsageError
from hmmdyn.logs.columns import split_of_path, understand
from hmmdyn.tables.metric_table import from_frame

HIGHER = """
    Accuracy val.acc acc@1 top5_acc f1_macro hellaswag/acc_norm exact_match em score r2 psnr ssim
    rollout/ep_rew_mean eval/mean_reward AverageEpRet charts/episodic_return success_rate win_rate
    mAP bbox_mAP_50 metrics/mAP50(B) metrics/mAP50-95(B) coco/bbox_mAP mAP@0.5 val/ap IoU mIoU dice
    test_accuracies pass@1 hits@10 ndcg@10 mrr elbo bleu rougeL auroc
    top-1 top_5 prec1 Prec@5 R@1 HR@10 nDCG@5 APs AP50 R^2 kendall matthews_corrcoef sacrebleu PQ
    SI-SDR solved hellaswag gsm8k arc_challenge neg_mean_squared_error true_positive_rate
"""
LOWER = """
    loss eval/loss trainLoss val_loss_epoch train_losses train/cross_entropy_loss perplexity ppl
    word_perplexity byte_perplexity bits_per_byte lambada/bits_per_byte valid_err test_error wer fid
    rmse nll smape FID50k failure_rate collision_rate misclassification hinge false_positive_rate
    neg_log_likelihood neg_elbo lambada/ppl
"""
SPREADS = "acc_stderr hellaswag/acc_stderr acc_norm_stderr,none StdEpRet MaxEpRet loss_std"
CLOCKS = """
    time train_runtime eval_samples_per_second _runtime _timestamp Wall_time time/fps
    time/time_elapsed total_duration accumulated_eval_time train_tokens_per_second tok/s it/s dt
"""
COUNTERS = """
    tokens_seen total_flos preemption_count test/num_examples train/n_updates TotalEnvInteracts
    EnvironmentSteps episodes batch_size rollout/ep_len_mean EpLen
"""
SCHEDULES = """
    lr lr-SGD learning_rate optimizer/lr/group_0 weight_decay momentum loss_scale wd warmup
    rollout/exploration_rate train/clip_range ent_coef kl_coef
"""
MACHINE = """
    system/gpu.0.temp system.memory gpu_util cpu memory peak_memory_mb max_memory_allocated mfu
"""
METRICS = """
    l1 l2 l1_over_l2 mean_w median_w var_w mean_b var_b trace spectral_norm trace_over_spectral
    mean_sv var_sv grad_norm effective_rank weight_std feature_map_rank attention_map dead_tokens
    time_mix_k sharpness entropy train/std cosine_sim participation_ratio alpha_power
    memory_capacity
"""


def role(name):
    found = [
        kind
        for kind, test in {
            "outcome": roles.is_outcome,
            "spread": roles.is_spread,
            "clock": roles.is_clock,
            "counter": roles.is_counter,
            "schedule": roles.is_schedule,
            "machine": roles.is_of_the_machine,
        }.items()
        if test(name)
    ]
    return found[0] if found else "metric"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (HIGHER, "outcome"),
        (LOWER, "outcome"),
        (SPREADS, "spread"),
        (CLOCKS, "clock"),
        (COUNTERS, "counter"),
        (SCHEDULES, "schedule"),
        (MACHINE, "machine"),
        (METRICS, "metric"),
    ],
)
def test_roles_by_name(names, expected):
    found = {name: role(name) for name in names.split()}
    assert found == dict.fromkeys(found, expected)


def test_the_better_side():
    assert {name for name in HIGHER.split() if roles.better_side(name) != "above"} == set()
    assert {name for name in LOWER.split() if roles.better_side(name) != "below"} == set()


@pytest.mark.parametrize(
    "name",
    [
        "step",
        "Step",
        "_step",
        "steps",
        "global_step",
        "trainer/global_step",
        "train/global_step",
        "globalStep",
        "iteration",
        "iter",
        "time/total_timesteps",
        "TotalEnvInteracts",
        "num_env_steps",
        "timesteps_total",
        "tokens",
        "samples",
        "batch",
        "revision",
    ],
)
@pytest.mark.parametrize("run", ["run", "Name", "run_id", "seed", "random_seed", "config.seed"])
def test_step_and_run_under_the_names_that_trackers_give(name, run):
    frame = pd.DataFrame({run: [3, 3, 4, 4], name: [0, 10, 0, 10], "l2": [1.0, 2.5, 3.0, 1.0]})
    found = from_frame(frame)
    assert found.metrics == ("l2",)
    assert found.table["step"].tolist() == [0, 10, 0, 10]
    assert found.runs["run"].tolist() == (["seed3", "seed4"] if "seed" in run else ["3", "4"])


def runs(n_runs=3, n_steps=6, **columns):
    """Runs with a metric that moves in its own way in each, and further columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "seed": np.repeat(np.arange(n_runs), n_steps),
            "step": np.tile(100 * np.arange(n_steps), n_runs),
            "l2": rng.normal(size=n_runs * n_steps),
        }
    )
    return frame.assign(**{name: make(frame, rng) for name, make in columns.items()})


UNASKED = {
    "wall_time": lambda f, rng: rng.normal(size=len(f)),
    "num_examples": lambda f, rng: f["step"] * 32,
    "learning_rate": lambda f, rng: rng.normal(size=len(f)),
    "unnamed_schedule": lambda f, rng: np.cos(f["step"] / 300),
    "clicks": lambda f, rng: 7 + 3 * f["step"] + 1000 * f["seed"],
    "acc_stderr": lambda f, rng: rng.normal(size=len(f)),
}


@pytest.mark.parametrize("name", UNASKED)
def test_what_does_not_enter_the_model_unasked(name):
    frame = runs(**{name: UNASKED[name]})
    found = from_frame(frame)
    assert found.metrics == ("l2",)
    (notice,) = found.notices
    assert notice.subject == f"column {name}"
    assert f"keep_metrics=('{name}',)" in notice.message
    assert from_frame(frame, metrics=[name]).metrics == ("l2", name)


def test_metrics_that_look_a_little_like_clocks_stay():
    frame = runs(
        norm=lambda f, rng: 5 - 1e-3 * f["step"],  # it only falls
        drift=lambda f, rng: 0.25 + 1e-3 * f["step"] + rng.normal(scale=1e-3, size=len(f)),
        shared_start=lambda f, rng: np.where(f["step"] < 300, 1.0, rng.normal(size=len(f))),
    )
    frame["norm"] += 0.1 * frame["seed"]
    assert from_frame(frame).metrics == ("l2", "norm", "drift", "shared_start")


def test_a_copy_of_a_clock_is_one_and_nothing_else_left_is_said():
    frame = runs().rename(columns={"l2": "duration"})
    frame["score"] = frame["duration"]
    with pytest.raises(TableError, match=r"neither metrics nor.*duration, score.*keep_metrics"):
        from_frame(frame)


def test_a_saved_row_number_is_left_out(tmp_path):
    plain = runs()
    for name in ("Unnamed: 0", "Unnamed: 0.1", "index", "level_0"):
        found = from_frame(plain.reset_index(names=name))
        pd.testing.assert_frame_equal(found.table, from_frame(plain).table)
        assert "numbers the rows" in found.notices[0].message


def test_provenance_that_hmmdyn_exports():
    frame = runs(
        size=lambda f, rng: rng.normal(size=len(f)), mtime_ns=lambda f, rng: rng.normal(size=len(f))
    )
    assert from_frame(frame).metrics == ("l2",)
    assert from_frame(frame.drop(columns="mtime_ns")).metrics == ("l2", "size")


def test_percent_and_truth_values():
    frame = runs(2, 2).assign(
        val_acc=["12.5%", "50 %", "12,5%", "100%"], correct=[True, False, False, True]
    )
    frame["solved_rate"] = ["yes", "no", "no", "yes"]
    found = from_frame(frame)
    assert found.table["val_acc"].tolist() == [0.125, 0.5, 0.125, 1.0]
    assert found.table["correct"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert found.table["solved_rate"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert "Read 93 % as 0.93." in [n.message for n in found.notices]


def test_what_the_machine_did_and_sizes_of_files_are_no_metrics():
    frame = runs(file_size=lambda f, rng: rng.normal(size=len(f)))
    frame["gpu_temp"] = frame["file_size"] ** 2
    found = from_frame(frame)
    assert found.metrics == ("l2",)
    assert {n.message.partition(".")[0] for n in found.notices} == {
        "It tells of the checkpoint's file",
        "It tells of the machine, not the state of the model",
    }


# --------------------------------------------------------------------------------- recipes


def test_a_column_of_recipes_is_the_group_where_rows_would_contradict_each_other():
    frame = runs(2, 2)
    several = pd.concat(
        [
            frame.assign(env=env, algo=algo, lr=0.1, loss=frame["l2"] + shift)
            for shift, (env, algo) in enumerate([("Hop", "ppo"), ("Hop", "sac"), ("Run", "ppo")])
        ]
    )
    found = from_frame(several)
    assert found.runs["group"].unique().tolist() == ["Hop/ppo", "Hop/sac", "Run/ppo"]
    assert len(found.runs) == 6
    told = {n.subject: (n.kind, n.message) for n in found.notices}
    assert told["column env"] == ("odd", "Runs of one name differ by it: it is their group.")
    one = from_frame(several[(several["env"] == "Hop") & (several["algo"] == "ppo")])
    assert one.runs["group"].unique().tolist() == ["all"]


def test_a_resumed_run_with_a_new_learning_rate_stays_one():
    frame = pd.DataFrame({"step": [0, 10, 20, 10, 20, 30], "l2": [1.0, 2, 9, 2.5, 3, 4]})
    assert from_frame(frame.assign(model="gpt")).runs["group"].tolist() == ["all"]


def test_recipes_without_seeds_are_a_run_each():
    frame = pd.DataFrame(
        {"optimizer": ["adam"] * 2 + ["sgd"] * 2, "step": [0, 10] * 2, "loss": [2.0, 1, 3, 2]}
    )
    assert from_frame(frame).runs[["group", "run"]].to_numpy().tolist() == [
        ["adam", "run"],
        ["sgd", "run"],
    ]


# ------------------------------------------------------------------------- parts of the data


@pytest.mark.parametrize("name", ["mode", "split", "phase", "whatever"])
def test_rows_of_training_and_evaluation_are_two_outcomes(name):
    frame = pd.DataFrame(
        {
            "step": [0, 0, 10, 10],
            name: ["train", "Val"] * 2,
            "loss": [2.0, 2.5, 0.5, 2.0],
            "l2": [1.0, None, 2.5, None],
        }
    )
    found = from_frame(frame)
    assert found.outcomes == ("train/loss", "val/loss")
    assert found.metrics == ("l2",)
    assert found.table["val/loss"].tolist() == [2.5, 2.0]


def test_a_truth_value_or_the_name_of_a_data_set_may_tell_the_part():
    frame = pd.DataFrame({"step": [0, 0, 10, 10], "loss": [2.0, 2.5, 0.5, 2.0]})
    told = frame.assign(is_train=[True, False] * 2)
    assert from_frame(told).outcomes == ("train/loss", "eval/loss")
    told = frame.assign(dataset=["c4-train", "c4-val"] * 2)
    assert from_frame(told).outcomes == ("c4-train/loss", "c4-val/loss")


def test_a_metric_that_is_alike_in_all_parts_of_the_data_is_one():
    frame = pd.DataFrame(
        {"step": [0, 0, 10, 10], "split": ["train", "val"] * 2, "l2": [1.0, 1.0, 2.5, 2.5]}
    )
    assert from_frame(frame.assign(loss=[2.0, 2.5, 0.5, 2.0])).metrics == ("l2",)


def test_a_text_column_that_tells_no_split_splits_nothing():
    frame = runs(2, 2).assign(mode=["fast", "slow"] * 2, loss=1.0)
    assert from_frame(frame).outcomes == ("loss",)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["dvclive", "metrics", "train", "loss"], "train"),
        (["eval_results"], "eval"),
        (["val", "metrics"], "val"),
        (["train", "test"], "test"),
        (["test_run", "log"], ""),
        (["training"], ""),
        (["latest"], ""),
    ],
)
def test_the_part_that_a_path_tells(names, part):
    assert split_of_path(names) == part


# -------------------------------------------------------------------------------- whole forms


def test_a_panel_of_runs():
    frame = pd.DataFrame({"Step": [0, 10]})
    for run, shift in (("adam-seed0", 0.0), ("a - b", 1.0)):
        for suffix in ("", "__MIN", "__MAX"):
            frame[f"{run} - eval/loss{suffix}"] = [2.0 + shift, 1.0 + shift]
    columns = understand(frame)
    assert columns.values == ("eval/loss",)
    assert columns.frame.groupby("run")["eval/loss"].apply(list).to_dict() == {
        "adam-seed0": [2.0, 1.0],
        "a - b": [3.0, 2.0],
    }


@pytest.mark.parametrize("name", ["loss_seed{}", "seed{}/loss", "Seed {} loss"])
def test_a_column_per_seed(name):
    frame = pd.DataFrame({"step": [0, 10]} | {name.format(s): [2.0 + s, 1.0] for s in (0, 1)})
    found = from_frame(frame)
    assert (found.runs["run"].tolist(), found.outcomes) == (["seed0", "seed1"], ("loss",))
    assert found.table["loss"].tolist() == [2.0, 1.0, 3.0, 1.0]


def test_rows_of_one_metric_each():
    frame = pd.DataFrame(
        {
            "run_id": ["a"] * 4 + ["b"] * 2,
            "metric": ["loss", "loss", "l2", "l2", "loss", "l2"],
            "step": [0, 1, 0, 1, 0, 0],
            "value": [2.0, 1.0, 5.0, 6.5, 3.0, 7.0],
            "timestamp": 1.7e12,
        }
    )
    found = from_frame(frame)
    assert (found.metrics, found.outcomes) == (("l2",), ("loss",))
    assert found.table["l2"].tolist() == [5.0, 6.5, 7.0]


def test_a_monitor_of_episodes():
    columns = understand(pd.DataFrame({"r": [1.0, 3.0], "l": [10, 15], "t": [0.1, 0.2]}))
    assert columns.frame["step"].tolist() == [10, 25]
    assert columns.frame["episode_reward"].tolist() == [1.0, 3.0]


def test_seeds_of_any_size_and_spelling():
    large = 13146546797413093377
    for seeds in ([large, large + 1], [str(large), str(large + 1)]):
        found = from_frame(pd.DataFrame({"seed": seeds, "step": [0, 0], "l2": [1.0, 2.0]}))
        assert found.runs["run"].tolist() == [f"seed{large}", f"seed{large + 1}"]
    for seeds in (["seed_00", "seed_01"], ["00", "01"], [0.0, 1.0], ["0.0", "1.0"]):
        found = from_frame(pd.DataFrame({"seed": seeds, "step": [0, 0], "l2": [1.0, 2.0]}))
        assert found.runs[["run", "seed"]].to_numpy().tolist() == [["seed0", 0], ["seed1", 1]]


def test_a_run_with_several_seeds_is_a_group():
    frame = runs(2, 2).assign(name="adam")
    assert from_frame(frame).runs[["group", "run"]].to_numpy().tolist() == [
        ["adam", "seed0"],
        ["adam", "seed1"],
    ]


# ----------------------------------------------------------------------------------------- steps


def test_rows_that_complete_each_other_are_one():
    frame = pd.DataFrame(
        {
            "seed": [0, 0, 0, 0],
            "step": [0, 0, 10, 10],
            "l2": [1.0, None, 2.5, None],
            "loss": [None, 3.0, None, 2.0],
        }
    )
    table = from_frame(frame).table
    assert table[["step", "l2", "loss"]].to_numpy().tolist() == [[0, 1.0, 3.0], [10, 2.5, 2.0]]


def test_rows_that_contradict_each_other_are_refused_by_column():
    frame = pd.DataFrame({"seed": [0, 0], "step": [0, 0], "l2": [1.0, 1.0], "rank": [2.0, 3.0]})
    with pytest.raises(TableError, match="they differ in 'rank'"):
        from_frame(frame)


def test_after_a_resume_the_last_value_counts():
    frame = pd.DataFrame({"step": [0, 10, 20, 10, 20, 30], "l2": [1.0, 2, 9, 2.5, 3, 4]})
    found = from_frame(frame)
    assert found.table["l2"].tolist() == [1.0, 2.5, 3.0, 4.0]
    (notice,) = found.notices
    assert "2 values were written again later" in notice.message


def test_rows_that_begin_anew_may_be_several_runs():
    frame = pd.DataFrame({"step": [0, 10, 0, 10], "l2": [1.0, 2, 3, 4]})
    with pytest.raises(TableError, match="it needs a column 'run' or 'seed'"):
        from_frame(frame)


def within_epochs(n=3):
    epoch = np.repeat(np.arange(n), 2)
    return pd.DataFrame({"epoch": epoch, "step": [0, 50] * n, "l2": np.arange(2.0 * n) ** 2})


def test_a_step_that_starts_again_in_every_epoch():
    found = from_frame(within_epochs())
    assert found.step_unit == "epoch"
    assert found.table["l2"].tolist() == [1.0, 9.0, 25.0]
    assert "starts again in every epoch" in " ".join(n.message for n in found.notices)
    found = from_frame(within_epochs().assign(global_step=np.arange(6) * 50))
    assert found.table["l2"].tolist() == [0.0, 1, 4, 9, 16, 25]
    with pytest.raises(TableError, match="starts again 2 times"):
        from_frame(within_epochs().drop(columns="epoch"))


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2024-05-03", periods=3, freq="100s"),
        [str(t) for t in pd.date_range("2024-05-03", periods=3, freq="100s")],
        [1714730400, 1714730500, 1714730600],
        [1714730400000, 1714730500000, 1714730600000],
    ],
)
def test_a_time_of_day_is_no_step(times):
    with pytest.raises(TableError, match=r"times of day.*number the rows"):
        from_frame(pd.DataFrame({"step": times, "l2": [1.0, 2, 4]}))


@pytest.mark.parametrize(
    "written", [["0", "1,000", "20,000"], ["0", "1k", "20K"], ["step0", "step1000", "step20000"]]
)
def test_steps_as_people_write_them(written):
    found = from_frame(pd.DataFrame({"step": written, "l2": [1.0, 2, 4]}))
    assert found.table["step"].tolist() == [0, 1000, 20000]


def test_a_share_of_an_epoch_is_no_step_and_the_remedy_is_said():
    with pytest.raises(TableError, match=r"whole numbers.*Multiply it"):
        from_frame(pd.DataFrame({"epoch": [0, 0.5, 1], "l2": [1.0, 2, 4]}))


def test_another_column_may_count_training():
    frame = runs().rename(columns={"step": "x"}).assign(tokens=lambda f: 7 * f["x"] ** 2)
    assert from_frame(frame).step_unit == "token"
    found = from_frame(frame, step_column="x")
    assert (found.step_unit, found.metrics) == ("step", ("l2",))
    assert found.table["step"].tolist()[:3] == [0, 100, 200]
    assert [n.subject for n in found.notices] == ["column tokens"]
    assert from_frame(frame, step_column="tokens").table["step"].tolist()[:2] == [0, 70000]
    with pytest.raises(UsageError, match="There is no column 'y'"):
        from_frame(frame, step_column="y")
    with pytest.raises(TableError, match="step_column"):
        from_frame(frame.drop(columns="tokens"))


def test_the_likely_column_is_pointed_at():
    with pytest.raises(TableError, match="'my_step_count' looks like it"):
        from_frame(pd.DataFrame({"my_step_count": [0, 1], "l2": [1.0, 2]}))
    with pytest.raises(TableError, match="'timestamp' tells the time, which is no step"):
        from_frame(pd.DataFrame({"timestamp": [0, 1], "l2": [1.0, 2]}))
