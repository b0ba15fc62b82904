"""JSON in the forms that loggers write, Parquet as pandas does, and lines of text."""

import json

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import LogError, NoTimeError, TableError
from hmmdyn.logs import read_log
from hmmdyn.logs.columns import understand
from hmmdyn.tables.metric_table import read_table

RECORDS = [{"step": 0, "l2": 1.5, "loss": 2.0}, {"step": 10, "l2": 1.25, "loss": 1.0}]
LISTS = {"step": [0, 10], "l2": [1.5, 1.25], "loss": [2.0, 1.0]}

DOCUMENTS = {
    "lines": "\n".join(map(json.dumps, RECORDS)),
    "records": json.dumps(RECORDS),
    "records, indented": json.dumps(RECORDS, indent=1),
    "lists": json.dumps(LISTS),
    "lists in a history": json.dumps({"params": {"lr": 0.1}, "history": LISTS}),
    "records in a history": json.dumps({"history": RECORDS}),
    "trainer state": json.dumps({"global_step": 10, "log_history": RECORDS}),
    "pandas, by column": pd.DataFrame(RECORDS).to_json(),
    "records by step": json.dumps({row["step"]: row for row in RECORDS}),
    "values by step": json.dumps(
        {name: {row["step"]: row[name] for row in RECORDS} for name in ("l2", "loss")}
    ),
    "pairs of step and value": json.dumps(
        {name: [[row["step"], row[name]] for row in RECORDS] for name in ("l2", "loss")}
    ),
    "steps and values (Sacred)": json.dumps(
        {name: {"steps": LISTS["step"], "values": LISTS[name]} for name in ("l2", "loss")}
    ),
    "pandas, split": pd.DataFrame(RECORDS).to_json(orient="split"),
}


@pytest.mark.parametrize("form", DOCUMENTS)
def test_forms_of_json(tmp_path, form):
    path = tmp_path / "log.json"
    path.write_text(DOCUMENTS[form])
    frame = read_log(path).frame[["step", "l2", "loss"]].astype(float)
    frame = frame.groupby("step", as_index=False).last()
    assert frame.astype(float).to_numpy().tolist() == [[0, 1.5, 2], [10, 1.25, 1]]


def test_a_history_counts_epochs_from_0(tmp_path):
    path = tmp_path / "history.json"
    path.write_text(json.dumps({"loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 2.0], "lr": [0.1]}))
    log = read_log(path)
    assert log.frame["epoch"].tolist() == [0, 1, 2]
    assert log.left_out == {"Rows without a step, counted as epochs from 0": 3}


def test_deepobs(tmp_path):
    path = tmp_path / "random_seed__42__x.json"
    path.write_text(
        json.dumps(
            {
                "train_losses": [2.0, 1.5, 1.0],
                "test_accuracies": [0.1, 0.5, 0.9],
                "minibatch_train_losses": list(range(30)),
                "random_seed": 42,
                "batch_size": 128,
            }
        )
    )
    frame = read_log(path).frame
    assert frame["seed" if "seed" in frame else "random_seed"].tolist() == ["42"] * 3
    assert frame["test_accuracies"].tolist() == [0.1, 0.5, 0.9]
    assert "minibatch_train_losses" not in frame


def test_a_document_that_is_no_log(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden": 128, "layers": [1, 2, 3]}')
    with pytest.raises(NoTimeError):
        read_log(path)


def test_a_config_line_and_a_torn_line(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = [{"_meta": {"lr": 0.1, "seed": 3}}, *RECORDS, {"_summary": {"best": 1.0}}]
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 20, "l')
    found = read_table(path)
    assert found.runs[["run", "seed"]].to_numpy().tolist() == [["seed3", 3]]
    assert (found.metrics, found.outcomes) == (("l2",), ("loss",))
    assert found.table["step"].tolist() == [0, 10]
    told = " ".join(n.message for n in found.notices)
    assert "Last lines that are cut short: 1." in told
    assert "neither a step nor numbers: 2." in told


def test_a_damaged_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"step": 0, "l2": 1}\n{"step": 1,\n{"step": 2, "l2": 1}\n')
    with pytest.raises(TableError, match="line 2"):
        read_table(path)


@pytest.mark.parametrize("named", [True, False])
def test_an_index_counts_as_columns(tmp_path, named):
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"seed": [0, 0], "step": [0, 5], "l2": [1.0, 2.5], "loss": [3.0, 4.0]})
    if named:
        frame = frame.set_index(["seed", "step"])
    frame.to_parquet(path)
    found = read_table(path)
    assert found.metrics == ("l2",)
    assert found.table[["run", "step"]].to_numpy().tolist() == [["seed0", 0], ["seed0", 5]]
    frame.to_csv(path.with_suffix(".csv"))
    assert read_table(path.with_suffix(".csv")).table["l2"].tolist() == [1.0, 2.5]


def test_an_index_that_is_a_range(tmp_path):
    path = tmp_path / "t.parquet"
    index = pd.RangeIndex(0, 30, 10, name="step")
    pd.DataFrame({"l2": [1.0, 2.5, 3.0]}, index=index).to_parquet(path)
    assert read_table(path).table["step"].tolist() == [0, 10, 20]


def test_columns_in_two_levels(tmp_path):
    path = tmp_path / "t.parquet"
    names = [("key", "seed"), ("key", "step"), ("weights", "l2"), ("eval", "loss")]
    frame = pd.DataFrame([[0, 0, 1.0, 2.0], [0, 5, 2.5, 1.0]], columns=names)
    frame.columns = pd.MultiIndex.from_tuples(names)
    frame.to_parquet(path)
    found = read_table(path)
    assert (found.metrics, found.outcomes) == (("weights/l2",), ("eval/loss",))


def test_a_pivot_by_seed(tmp_path):
    path = tmp_path / "t.parquet"
    long = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "step": [0, 5, 0, 5], "l2": [1.0, 2.5, 3.0, 4.5], "loss": 1.0}
    )
    wide = long.pivot(index="step", columns="seed", values=["l2", "loss"])
    wide.columns = pd.MultiIndex.from_tuples(
        [(a, str(b)) for a, b in wide.columns], names=[None, "seed"]
    )
    wide.to_parquet(path)
    found = read_table(path)
    assert found.runs["run"].tolist() == ["seed0", "seed1"]
    assert found.table["l2"].tolist() == [1.0, 2.5, 3.0, 4.5]


FRAME = pd.DataFrame(RECORDS)


def in_two_levels(path):
    levels = pd.MultiIndex.from_tuples([("key", "step"), ("weights", "l2"), ("eval", "loss")])
    FRAME.set_axis(levels, axis=1).to_parquet(path)


def evaluations(path):
    with path.open("wb") as file:
        np.savez(file, timesteps=[0, 10], results=[[1.0, 3.0], [5.0, 7.0]])


def mllog(path):
    events = [{"key": "eval_accuracy", "value": v, "metadata": {"step_num": v}} for v in (0, 10)]
    path.write_text("".join(f":::MLLOG {json.dumps(event)}\n" for event in events))


OTHERS = {
    "Parquet": lambda path: FRAME.to_parquet(path),
    "Parquet with step or run as the index": lambda path: FRAME.set_index("step").to_parquet(path),
    "Parquet with columns in two levels": in_two_levels,
    "Feather": lambda path: FRAME.to_feather(path),
    "`evaluations.npz` of Stable-Baselines3": evaluations,
    "`monitor.csv` of Gym and Stable-Baselines3": lambda path: path.write_text(
        '#{"t_start": 0.5}\nr,l,t\n1.0,10,0.5\n2.0,20,0.75\n'
    ),
    "`:::MLLOG` lines of MLPerf": mllog,
    "`training.log` of Keras": lambda path: path.write_text("epoch,loss,val_loss\n0,2,3\n1,1,2\n"),
    "histories of DeepOBS": lambda path: path.write_text('{"train_losses": [2, 1]}'),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files(tmp_path, kind):
    path = tmp_path / "log"
    OTHERS[kind](path)
    columns = understand(read_log(path, require_time=True).frame)
    assert len(columns.frame) == 2
    assert columns.steps or columns.epochs
    assert columns.values


def test_mlperf(tmp_path):
    path = tmp_path / "result.txt"
    events = [
        {"key": "seed", "value": 7, "metadata": {}},
        {"key": "tracked_stats", "value": {"train_loss": 2.0}, "metadata": {"step_num": 10}},
        {"key": "eval_accuracy", "value": 0.5, "metadata": {"step_num": 10, "epoch_num": 1}},
        {"key": "epoch_start", "value": 3, "metadata": {"step_num": 20}},
        {"key": "eval_accuracy", "value": 0.75, "metadata": {"step_num": 20, "epoch_num": 2}},
    ]
    text = "hello\n" + "".join(f":::MLLOG {json.dumps(event)}\n" for event in events)
    path.write_text(text + ":::MLLOG {broken\n")
    log = read_log(path)
    assert log.frame["eval_accuracy"].dropna().tolist() == [0.5, 0.75]
    assert log.frame["seed"].unique().tolist() == ["7"]
    assert log.left_out == {"Lines of MLPerf's that are no events": 1}


LINES = {
    "modded-nanogpt": "import torch\nstep = 10\n====\n"
    "step:0/1770 val_loss:10.8 train_time:0ms step_avg:nanms\n"
    "step:1/1770 train_time:100ms step_avg:12.5ms\n"
    "step:125/1770 val_loss:4.5 train_time:8121ms step_avg:64.9ms\n"
    "step:250/1770 val_loss:3.9 train_time:16121ms step_avg:64.5ms\n",
    "a loop of one's own": "Using cuda\n"
    + "".join(
        f"[2024-01-01 10:00:0{i}] step {i * 125}/250 | val_loss = {v}\n"
        for i, v in enumerate((10.8, 4.5, 3.9))
    ),
    "nanoGPT": "tokens per iteration will be: 491,520\n"
    "step 0: train loss 10.7, val loss 10.8\niter 0: loss 10.75, time 900.1ms, mfu -100.00%\n"
    "iter 10: loss 10.1, time 200.1ms, mfu 10.00%\n"
    "step 125: train loss 4.4, val loss 4.5\nstep 250: train loss 3.8, val loss 3.9\n",
    "fairseq": "".join(
        f'2024-01-01 10:00:00 | INFO | valid | {{"epoch": 1, "valid_loss": "{v}", '
        f'"valid_num_updates": "{i * 125}"}}\n'
        for i, v in enumerate((10.8, 4.5, 3.9))
    ),
    "Keras, as printed": "".join(
        f"Epoch {i * 125}/250\n 1/9 [>...] - ETA: 1s - loss: 9.0\n"
        f"9/9 [====] - 3s 10ms/step - loss: 4.0 - val_loss: {v}\n"
        for i, v in enumerate((10.8, 4.5, 3.9))
    ),
    "PyTorch's examples": "".join(
        f"Train Epoch: {i * 125} [0/60000 (0%)]\tLoss: 9.5\n\n"
        f"Test set: Average loss: {v}, Accuracy: 9000/10000 (90%)\n"
        for i, v in enumerate((10.8, 4.5, 3.9))
    ),
    "OLMo": "".join(
        f"2024-01-01T10:00:00.0 host:0 olmo.train:5 INFO [step={i * 125}/250,epoch=0]\n"
        f"    optim/total_grad_norm=0.5\n    val/loss={v}\n"
        for i, v in enumerate((10.8, 4.5, 3.9))
    ),
}


@pytest.mark.parametrize("form", LINES)
def test_lines_that_begin_with_a_step(tmp_path, form):
    path = tmp_path / "run.txt"
    path.write_text(LINES[form])
    frame = read_log(path, require_time=True).frame.rename(columns=str.lower)
    (loss,) = {"val_loss", "valid_loss", "val/loss", "test_average_loss"} & set(frame)
    at = next(name for name in ("step", "num_updates", "epoch") if name in frame)
    frame = frame.dropna(subset=loss)[[at, loss]].astype(float).groupby(at, as_index=False).last()
    assert frame.to_numpy().tolist() == [[0, 10.8], [125, 4.5], [250, 3.9]]


def test_a_fraction_and_a_part_of_the_data_in_a_line(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(LINES["PyTorch's examples"])
    assert read_log(path).frame["test_Accuracy"].dropna().tolist() == [0.9] * 3


def test_stable_baselines3_evaluations(tmp_path):
    path = tmp_path / "evaluations.npz"
    results = np.array([[1.0, 3.0], [5.0, 7.0]])
    np.savez(path, timesteps=[1000, 2000], results=results, ep_lengths=np.ones((2, 2), int))
    frame = read_log(path).frame
    assert frame["timesteps"].tolist() == [1000, 2000]
    assert frame["eval/mean_reward"].tolist() == [2.0, 6.0]
    np.savez(path, weights=results)
    with pytest.raises(LogError, match="that no log is"):
        read_log(path)
    np.savez(path, timesteps=np.array([object()]), results=results)
    with pytest.raises(LogError, match="damaged"):
        read_log(path)


@pytest.mark.parametrize("start", [b"\xd0\xcf\x11\xe0", b"\x80\x04\x95", b"\x89HDF\r\n", b"%PDF-1"])
def test_other_kinds_of_files_are_told(tmp_path, start):
    path = tmp_path / "log.csv"
    path.write_bytes(start + bytes(100))
    with pytest.raises(LogError, match="it is a"):
        read_log(path)
