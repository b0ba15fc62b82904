"""Logs as trainers write them, beside empty checkpoints."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.logs import find_outcomes, join_outcomes
from hmmdyn.errors import OutcomeError
from hmmdyn.names import normalise_column
from hmmdyn.roles import is_outcome
from hmmdyn.tables.metric_table import from_frame, write_table


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    return folder


def write(root, path, text):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(root):
    return replace(discover(root), logs=None)  # tests write logs after this


def runs(root, *folders, steps=(0, 10, 20), name="step_{}.npz"):
    for folder in folders or ("seed0",):
        for step in steps:
            write(root, f"{folder}/{name.format(step)}", "")
    return found(root)


def values(outcomes, outcome, run="seed0", group=None):
    table = outcomes.table
    table = table[table["run"] == run]
    if group is not None:
        table = table[table["group"] == group]
    return dict(zip(table["step"], table[outcome], strict=True))


def told(result):
    return " ".join(notice.message for notice in result.notices)


# --------------------------------------------------------------------------------- finding logs


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("seed0/metrics.csv", "step,loss\n0,1.5\n10,0.5\n"),
        ("seed0/log.tsv", "Step\tLoss\n0\t1.5\n10\t0.5\n"),
        ("seed0/log.csv", "step;loss\n0;1.5\n10;0.5\n"),
        ("seed0/log.csv", "\ufeffstep, loss\r\n0, 1.5\r\n10, 0.5\r\n"),
        ("seed0/log.jsonl", '{"step": 0, "loss": 1.5}\n\n{"loss": 0.5, "step": 10}\n'),
        (
            "seed0/logs/log.ndjson",
            '{"global_step": 0, "loss": 1.5}\n{"global_step": 10, "loss": 0.5}',
        ),
        ("seed0/lightning_logs/version_0/metrics.csv", "epoch,loss,step\n0,1.5,0\n1,0.5,10\n"),
        ("logs/seed0/metrics.csv", "iteration,loss\n0,1.5\n10,0.5\n"),
        ("metrics_seed0.csv", "iter,loss\n0,1.5\n10,0.5\n"),
        ("metrics.csv", "seed,step,loss\n0,0,1.5\n0,10,0.5\n"),
        ("metrics.csv", "run,step,loss\nseed0,0,1.5\nseed0,10,0.5\n"),
        ("metrics.csv", "run,step,loss\n0,0,1.5\n0,10,0.5\n"),
        (
            "metrics.jsonl",
            '{"seed": 0, "_step": 0, "loss": 1.5}\n{"seed": 0, "_step": 10, "loss": 0.5}',
        ),
    ],
)
def test_where_logs_are_found(root, path, text):
    index = runs(root, "seed0", "seed1")
    write(root, path, text)
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 1.5, 10: 0.5}
    assert set(outcomes.table["run"]) == {"seed0"}
    assert outcomes.outcomes == ("loss",)
    assert outcomes.sources == {path: 2}
    assert outcomes.notices == ()


def test_nothing_logged(root):
    outcomes = find_outcomes(runs(root))
    assert list(outcomes.table.columns) == ["group", "run", "step"]
    assert outcomes.table.empty
    assert outcomes.sources == {}


def test_what_hmmdyn_measured_is_no_log(root):
    """A metric table of its own that lies beside the checkpoints, of these runs or more."""
    index = runs(root)
    table = pd.DataFrame(
        {"group": "mnist", "run": "seed7", "seed": 7, "step": [0, 10], "l2": 1.0, "eval_loss": 0.5}
    )
    write_table(from_frame(table), root / "metrics.parquet")
    result = find_outcomes(index)
    assert list(result.table.columns) == ["group", "run", "step"]
    assert result.notices == ()


def test_a_table_for_several_groups(root):
    index = runs(root, "wd1/seed0", "wd1/seed1", "wd2/seed0")
    write(
        root,
        "all.csv",
        "group,seed,step,acc\nwd1,0,0,0.1\nwd2,0,0,0.2\nwd1,1,0,0.3\nwd3,0,0,0.4\n",
    )
    outcomes = find_outcomes(index)
    assert outcomes.table.to_dict("list") == {
        "group": ["wd1", "wd1", "wd2"],
        "run": ["seed0", "seed1", "seed0"],
        "step": [0, 0, 0],
        "acc": [0.1, 0.3, 0.2],
    }
    assert "Rows of runs that have no checkpoints here: all.csv (1)" in told(outcomes)


def test_a_table_in_a_groups_folder_needs_no_group(root):
    index = runs(root, "wd1/seed0", "wd2/seed0", "wd2/seed1")
    write(root, "wd2/all.csv", "seed,step,acc\n0,0,0.5\n1,0,0.75\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "acc", group="wd2") == {0: 0.5}
    assert values(outcomes, "acc", group="wd1") == {}


def test_a_seed_that_two_groups_have_is_not_guessed(root):
    index = runs(root, "wd1/seed0", "wd2/seed0")
    write(root, "all.csv", "seed,step,acc\n0,0,0.5\n")
    outcomes = find_outcomes(index)
    assert outcomes.table.empty
    assert "do not say which of the runs they belong to" in told(outcomes)


def test_a_log_that_does_not_say_whose_it_is(root):
    index = runs(root, "seed0", "seed1")
    write(root, "metrics.csv", "step,loss\n0,1\n")
    write(root, "logs/seed7/metrics.csv", "step,loss\n0,1\n")
    outcomes = find_outcomes(index)
    assert outcomes.table.empty
    assert "logs/seed7/metrics.csv, metrics.csv" in told(outcomes)


def test_a_log_of_another_seed_is_not_the_only_runs(root):
    index = runs(root, "checkpoints/seed0")
    write(root, "logs/seed0.csv", "step,loss\n0,1\n")
    write(root, "logs/seed1.csv", "step,loss\n0,2\n")
    write(root, "all.csv", "seed,step,acc\n0,0,0.5\n1,0,0.75\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 1.0}
    assert values(outcomes, "acc") == {0: 0.5}


def test_runs_without_seeds(root):
    index = runs(root, "0", "1")
    write(root, "0/metrics.csv", "step,loss,run\n0,1,abc\n")  # a tracker's own name for the run
    write(root, "logs/1/metrics.csv", "step,loss\n0,2\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss", "0") == {0: 1.0}
    assert values(outcomes, "loss", "1") == {0: 2.0}


# ---------------------------------------------------------------------------------- trainers


def test_lightning_writes_a_row_per_logger(root):
    index = runs(root, "seed0/checkpoints", steps=(100, 200), name="epoch=1-step={}.ckpt")
    write(
        root,
        "seed0/lightning_logs/version_0/metrics.csv",
        "epoch,lr-SGD,step,train_loss,val/acc\n0,,49,0.9,\n0,,99,0.8,\n0,,99,,0.5\n"
        "1,0.1,149,0.7,\n1,,199,,0.6\n",
    )
    outcomes = find_outcomes(index)
    assert outcomes.outcomes == ("train_loss", "val_acc")
    joined = join_outcomes(index, outcomes)
    # Lightning logs step 99 for the checkpoint that it calls 100, the first one's, too.
    assert joined.table["train_loss"].tolist() == [0.8, 0.7]
    assert joined.table["val_acc"].tolist() == [0.5, 0.6]
    assert "lr_sgd" in told(outcomes)
    assert "Steps logged again" not in told(outcomes)


def trainer_state(*rows):
    return json.dumps({"global_step": 5, "log_history": [*rows]})


def hugging_face(root, histories):
    """Write checkpoints with their trainer states: checkpoint step -> log history."""
    for step, history in histories.items():
        write(root, f"seed0/checkpoint-{step}/model.safetensors", "")
        write(root, f"seed0/checkpoint-{step}/trainer_state.json", trainer_state(*history))
    return found(root)


def test_hugging_face_trainer(root):
    rows = [
        {"epoch": 0.5, "grad_norm": 2.0, "learning_rate": 1e-4, "loss": 3.0, "step": 100},
        {"epoch": 0.5, "eval_loss": 2.5, "eval_runtime": 1.0, "step": 100},
        {"epoch": 1.0, "loss": 2.0, "step": 200},
        {"epoch": 1.0, "eval_loss": 1.5, "eval_samples_per_second": 9, "step": 200},
    ]
    totals = {"epoch": 1.0, "step": 200, "train_loss": 2.5, "train_runtime": 60.0}
    index = hugging_face(root, {100: rows[:2], 200: rows})
    write(root, "seed0/trainer_state.json", trainer_state(*rows, totals))
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {100: 3.0, 200: 2.0}
    assert values(outcomes, "eval_loss") == {100: 2.5, 200: 1.5}
    assert outcomes.outcomes == ("loss", "eval_loss")
    assert outcomes.sources["seed0/trainer_state.json"] == 2
    assert "differ" not in told(outcomes)
    assert (
        "eval_runtime, eval_samples_per_second, grad_norm, learning_rate. outcomes_file='FILE'"
        in told(outcomes)
    )


def test_trainer_states_of_a_training_begun_anew(root):
    rows = {step: {"step": step, "loss": float(step)} for step in range(0, 70, 10)}
    index = hugging_face(
        root,
        {
            20: [rows[0], rows[10], rows[20]],
            30: [rows[0], rows[10], rows[20], rows[30]],
            50: [rows[40], rows[50]],  # the history before the restart is lost here
            60: [rows[40], rows[50], rows[60]],
        },
    )
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {step: float(step) for step in rows}
    assert list(outcomes.sources) == [
        f"seed0/checkpoint-{step}/trainer_state.json" for step in (30, 60)
    ]


# ----------------------------------------------------------------------- steps, epochs, repeats


def test_epochs_where_checkpoints_count_epochs(root):
    index = runs(root, steps=(0, 1, 2), name="epoch_{}.pt")
    write(root, "seed0/m.csv", "step,epoch,loss\n10,0,3\n20,0,2.5\n30,1,2\n40,1.5,9\n50,2,1\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 2.5, 1: 2.0, 2: 1.0}
    assert told(outcomes) == "Rows without a whole number as step: seed0/m.csv (1)."
    write(root, "seed0/m.csv", "step,loss\n10,0\n")
    assert "because the checkpoints count epochs and it does not" in told(find_outcomes(index))


def test_resumed_training_logs_steps_again(root):
    index = runs(root)
    write(root, "seed0/m.csv", "step,loss,acc\n0,3,0.1\n10,2,0.2\n20,9,0.3\n10,1.5,\n20,1,0.4\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 3.0, 10: 1.5, 20: 1.0}
    assert values(outcomes, "acc") == {0: 0.1, 10: 0.2, 20: 0.4}
    assert "Steps logged again later, where the last value counts: seed0/m.csv (2)." in told(
        outcomes
    )


def test_logs_that_differ(root):
    index = runs(root)
    write(root, "seed0/a2.csv", "step,loss\n0,3\n10,2\n")
    write(root, "seed0/a10.csv", "step,loss,acc\n10,1\n20,0\n".replace("1\n", "1,0.5\n"))
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 3.0, 10: 1.0, 20: 0.0}
    assert "differ, where the one read last counts: loss (1)." in told(outcomes)
    assert list(outcomes.sources) == ["seed0/a2.csv", "seed0/a10.csv"]


def test_rows_without_a_step(root):
    index = runs(root)
    write(root, "seed0/m.csv", f"step,loss\n,1\ninf,1\n0.5,1\nx,1\n{10**40},1\n10,0.5\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {10: 0.5}
    assert "Rows without a whole number as step: seed0/m.csv (5)." in told(outcomes)


# ------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "train_loss",
        "eval/loss",
        "val.acc",
        "Accuracy",
        "eval-accuracy",
        "ppl",
        "test_error",
        "f1",
        "reward",
        "acc@1",
        "top5_acc",
        "trainLoss",
        "val_loss_epoch",
        "eval_squad_f1",
        "train/cross_entropy_loss",
        "perplexity",
        "mean_return",
    ],
)
def test_outcome_names(name):
    assert is_outcome(normalise_column(name))


@pytest.mark.parametrize(
    "name",
    [
        "learning_rate",
        "lr",
        "epoch",
        "step",
        "time",
        "train_runtime",
        "samples_per_second",
        "grad_norm",
        "loss_scale",
        "momentum",
        "weight_decay",
        "memory",
        "tokens_seen",
        "batch_size",
        "access",
        "errors_file",
        "lr_loss_coef",
    ],
)
def test_other_names(name):
    assert not is_outcome(normalise_column(name))


def test_column_names_are_normalised(root):
    index = runs(root)
    write(root, "seed0/m.csv", "STEP,Eval/Top-1 Acc,val.loss,val_loss\n0,0.5,1,2\n")
    outcomes = find_outcomes(index)
    assert outcomes.outcomes == ("eval_top_1_acc", "val_loss")
    assert values(outcomes, "val_loss") == {0: 1.0}
    assert "Columns of a name already taken: seed0/m.csv (1)" in told(outcomes)


def test_text_among_the_numbers(root):
    index = runs(root)
    write(
        root,
        "seed0/m.csv",
        "step,loss,acc,error,note\n0,1,True,diverged,a\n10,tensor(2),False,,b\n",
    )
    outcomes = find_outcomes(index)
    assert outcomes.outcomes == ("loss", "acc")
    assert math.isnan(values(outcomes, "loss")[10])
    assert values(outcomes, "acc") == {0: 1.0, 10: 0.0}
    assert "Outcomes read true as 1, false as 0: acc." in told(outcomes)
    assert "Values that are not numbers: seed0/m.csv, loss (1), seed0/m.csv, error (1)." in told(
        outcomes
    )


def test_infinite_losses_stay_and_nan_is_not_logged(root):
    index = runs(root)
    write(
        root,
        "seed0/m.jsonl",
        '{"step":0,"loss":Infinity}\n{"step":10,"loss":NaN}\n{"step":20,"loss":1}',
    )
    assert values(find_outcomes(index), "loss") == {0: math.inf, 20: 1.0}


def test_nested_json(root):
    index = runs(root)
    write(
        root,
        "seed0/m.jsonl",
        '{"step": 0, "eval": {"loss": 1, "parts": {"acc": 0.5, "deep": {"deeper": {"acc": 1}}}},'
        ' "ok": true, "loss_list": [1, 2], "acc": null}',
    )
    outcomes = find_outcomes(index)
    assert outcomes.table.drop(columns=["group", "run"]).to_dict("list") == {
        "step": [0],
        "eval_loss": [1.0],
        "eval_parts_acc": [0.5],
    }


# ---------------------------------------------------------------------------------- bad input

BROKEN = {
    "binary.csv": (b"\xff\xfe\x00step,loss\n", "not UTF-8 text"),
    "late.csv": (b"step,loss\n0,1\n1,\xff\n", "not UTF-8 text"),
    "ragged.csv": ("step,loss\n0,1\n1,2,3\n", "malformed"),
    "wide.csv": ("step,loss\n0,1,2\n1,2,3\n", "malformed"),
    "quote.csv": ('step,loss\n0,"1\n', "malformed"),
    "header.csv": ("step,loss\n", "has no rows"),
    "empty.csv": ("", "it is empty"),
    "nul.csv": (b"step,loss\n\x00\x00\x00\n", "."),
    "other.csv": ("a,b\n1,2\n", "no step or epoch column"),
    "text.csv": ("step,loss\n0,low\n", "holds no (loss|numbers)"),
    "depth.jsonl": ("[" * 200_000 + "\n", "no line of it is a JSON object"),
    "numbers.jsonl": ("1\n2\n", "no line of it is a JSON object"),
    "state/trainer_state.json": ('{"log_history": {}}', "holds no log_history"),
    "list/trainer_state.json": ("[1]", "holds no log_history"),
    "cut/trainer_state.json": ('{"log_history": [{"step": 1', "malformed"),
    "deep/trainer_state.json": ('{"a":' * 200_000, "nested too deeply"),
    "none/trainer_state.json": ('{"log_history": []}', "has no rows"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_logs_are_named_and_the_rest_used(root, name):
    index = runs(root)
    write(root, "seed0/good.csv", "step,loss\n0,1\n")
    text, reason = BROKEN[name]
    path = write(root, f"seed0/{name}", text)
    outcomes = find_outcomes(index)
    assert outcomes.sources == {"seed0/good.csv": 1}
    assert any(
        notice.kind == "left out" and f"seed0/{name}" in notice.message
        for notice in outcomes.notices
    )
    with pytest.raises(OutcomeError, match=f"outcomes_file='.*{path.name}' cannot be used") as info:
        find_outcomes(index, path)
    assert re.search(reason, str(info.value))
    assert re.search(reason, told(outcomes))


pieces = st.sampled_from(
    [
        *',;\t\n\r\0"{}[]:.-1e9',
        "é",
        "\udc80",
        "step",
        "loss",
        "seed",
        '{"step": 1, "loss": 2}\n',
        "NaN",
    ]
)


@settings(deadline=None)  # what a busy machine takes says nothing
@given(st.sampled_from(["step,loss\n1,2\n", "seed,step,loss\n", ""]), st.lists(pieces))
def test_no_log_can_break_the_search(tmp_path_factory, start, text):
    root = tmp_path_factory.mktemp("fuzz")
    index = runs(root, "seed0", "seed1", steps=(0,))
    log = (start + "".join(text)).encode(errors="surrogateescape")
    names = ("m.csv", "seed0/m.csv", "seed0/m.jsonl", "seed1/trainer_state.json")
    for name in names:
        write(root, name, log)
    outcomes = find_outcomes(index)
    for name in names:  # used, or named among what was left out
        assert name in outcomes.sources or name in told(outcomes)


def test_damaged_lines_cost_only_themselves(root):
    index = runs(root)
    path = write(root, "seed0/m.jsonl", '{"step": 0, "loss": 1}\n{"step": 10, "lo')
    outcomes = find_outcomes(index)
    assert values(outcomes, "loss") == {0: 1.0}
    assert "Last lines that are cut short: seed0/m.jsonl (1)." in told(outcomes)
    assert values(find_outcomes(index, path), "loss") == {0: 1.0}
    write(root, "seed0/m.jsonl", '{"step": 0, "loss": 1}\n{"step": 10, "lo\n')
    outcomes = find_outcomes(index)
    assert "Lines that are not JSON objects: seed0/m.jsonl (1)." in told(outcomes)
    with pytest.raises(OutcomeError, match="1 of its lines"):
        find_outcomes(index, path)


def test_large_files_are_not_read(root, monkeypatch):
    index = runs(root)
    path = write(root, "seed0/m.csv", "step,loss\n0,1\n")
    os.truncate(path, 257 * 2**20)  # a hole: takes no space
    outcomes = find_outcomes(index)
    assert outcomes.table.empty
    assert "larger than 256 MiB: seed0/m.csv" in told(outcomes)


def test_huge_numbers(root):
    index = runs(root)
    write(
        root,
        "seed0/a.jsonl",
        f'{{"step": 0, "loss": {10**400}, "acc": 1e999}}\n{{"step": {"9" * 5000}}}',
    )
    write(root, "seed0/b.csv", f"step,error\n0,{10**400}\n")
    outcomes = find_outcomes(index)
    assert values(outcomes, "acc") == {0: math.inf}


# ------------------------------------------------------------------------------------ --outcomes


def test_every_column_of_a_given_file_is_taken(root, tmp_path):
    index = runs(root, "seed0", "seed1")
    write(root, "seed0/m.csv", "step,loss\n0,1\n10,2\n")
    path = write(
        tmp_path,
        "given.csv",
        ",seed,step,loss,lr,circuit\n0,0,0,5,0.1,7\n1,1,0,6,0.1,8\n2,3,0,6,0.1,8\n",
    )
    outcomes = find_outcomes(index, path)
    assert outcomes.outcomes == ("loss", "lr", "circuit")
    assert values(outcomes, "loss") == {0: 5.0, 10: 2.0}
    assert values(outcomes, "circuit", "seed1") == {0: 8.0}
    assert outcomes.sources[str(path)] == 2
    assert f"Rows of runs that have no checkpoints here: {path} (1)" in told(outcomes)


def test_a_given_file_below_the_root_is_read_once(root):
    index = runs(root, "seed0", "seed1")
    path = write(root, "seed1/m.csv", "step,lr\n0,1\n")
    outcomes = find_outcomes(index, path)
    assert values(outcomes, "lr", "seed1") == {0: 1.0}
    assert outcomes.notices == ()


def test_given_files_that_cannot_be_used(root, tmp_path):
    index = runs(root, "seed0", "seed1")
    path = write(tmp_path, "given.csv", "step,loss\n0,1\n")
    with pytest.raises(OutcomeError, match="do not say which of the runs"):
        find_outcomes(index, path)
    with pytest.raises(OutcomeError, match="No such file"):
        find_outcomes(index, tmp_path / "missing.csv")
    with pytest.raises(OutcomeError, match="not a regular file"):
        find_outcomes(index, tmp_path)
    with pytest.raises(OutcomeError, match=r"it has no step or epoch column|is not a table"):
        find_outcomes(index, write(tmp_path, "given.parquet", "x"))
    with pytest.raises(OutcomeError, match="null byte"):
        find_outcomes(index, Path("a\0b.csv"))
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    with pytest.raises(OutcomeError, match="cannot be read"):
        find_outcomes(index, loop)


# ------------------------------------------------------------------------------------- the join


def test_join_without_outcomes(root):
    index = runs(root)
    joined = join_outcomes(index, find_outcomes(index))
    assert list(joined.table.columns) == ["group", "run", "step"]
    assert len(joined.table) == 3
    assert joined.notices == ()
