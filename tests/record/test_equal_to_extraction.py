"""The recorder's claim: the rows of extraction from checkpoints of the same weights."""

import numpy as np
import pytest

from hmmdyn import MetricRecorder, Options, read_runs
from hmmdyn.errors import UsageError
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.record.reader import read_recordings

torch = pytest.importorskip("torch")
from tests.record import training  # noqa: E402

MODELS = {
    "mlp": training.mlp,
    "conv and batch norm": training.conv,
    "tied embeddings": training.LanguageModel,
    "bfloat16": lambda: training.mlp().bfloat16(),
    "float64": lambda: training.mlp().double(),
    "data parallel": lambda: torch.nn.DataParallel(training.mlp()),
    "compiled": lambda: torch.compile(training.mlp(), backend="eager"),
    "constants": training.WithConstants,
    "moving buffer": training.WithMovingBuffer,
}


def record_and_save(model, tmp_path, what):
    recorded, saved = tmp_path / "recorded" / "runs", tmp_path / "saved" / "runs"
    for seed in range(2):
        torch.manual_seed(seed)
        network = model()
        folder = saved / f"seed{seed}"
        folder.mkdir(parents=True)
        with MetricRecorder(recorded / f"seed{seed}") as recorder:
            for step, loss in training.training(network):
                recorder.record(what(network), step, train_loss=loss)
                torch.save(
                    {"model": network.state_dict(), "train_loss": loss.item()},
                    folder / f"step_{step}.pt",
                )
    return read_recordings(recorded), read_runs(saved)


def left_out(trajectories):
    return {
        (notice.subject, notice.message.partition("(the same")[0].partition(":")[0])
        for notice in trajectories.notices
        if notice.stage == "metrics"
    }


@pytest.mark.parametrize("what", [lambda m: m, lambda m: m.state_dict()], ids=["module", "dict"])
@pytest.mark.parametrize("name", MODELS)
def test_recorded_rows_are_those_of_extraction(name, what, tmp_path):
    recorded, extracted = record_and_save(MODELS[name], tmp_path, what)
    assert recorded.metrics == extracted.metrics
    assert recorded.outcomes == extracted.outcomes == ("train_loss",)
    keys = ["group", "run", "seed", "step"]
    assert recorded.table[keys].equals(extracted.table[keys])
    columns = [*recorded.metrics, "train_loss"]
    np.testing.assert_allclose(recorded.table[columns], extracted.table[columns], rtol=1e-12)
    assert left_out(recorded) == left_out(extracted)


def test_what_never_changes_is_named_once_and_counts_in_no_row(tmp_path):
    recorded, _ = record_and_save(training.WithConstants, tmp_path, lambda m: m)
    (notice,) = [n for n in recorded.notices if "never change" in n.message]
    for name in ("frozen.weight", "frozen.bias", "unused.weight", "unused.bias", "projection"):
        assert name in notice.message
    # The one matrix that is trained is measured alone: |trace| <= 2 sigma_max.
    assert (recorded.table["trace_over_spectral"].abs() <= 2).all()


def test_nested_dictionaries_are_looked_through(tmp_path):
    model = training.mlp()
    with MetricRecorder(tmp_path / "whole") as recorder:
        recorder.record({"model": model.state_dict(), "optimizer": {}, "val_loss": 0.25}, 0)
    with MetricRecorder(tmp_path / "model") as recorder:
        recorder.record(model, 0)
    whole, plain = (read_recordings(tmp_path / name) for name in ("whole", "model"))
    assert whole.table["val_loss"].tolist() == [0.25]
    assert whole.table["l2"].tolist() == plain.table["l2"].tolist()


@pytest.mark.parametrize("name", ["mlp", "constants"])
@pytest.mark.parametrize("as_saved", [False, True], ids=["module", "dict"])
def test_what_the_optimizer_keeps_is_recorded_as_it_is_extracted(name, as_saved, tmp_path):
    chosen = ("l2", "optimizer")
    network = MODELS[name]()
    recorded, saved = tmp_path / "recorded" / "runs", tmp_path / "saved" / "runs" / "seed0"
    saved.mkdir(parents=True)
    with MetricRecorder(recorded / "seed0", metrics=chosen) as recorder:
        for step, loss, optimizer in training.optimized(network):
            whole = {"model": network.state_dict(), "optimizer": optimizer.state_dict()}
            given = (whole, step) if as_saved else (network, step)
            recorder.record(*given, optimizer=None if as_saved else optimizer, train_loss=loss)
            torch.save(whole, saved / f"step_{step}.pt")
    rows = read_recordings(recorded).table.set_index("step")
    expected = read_runs(tmp_path / "saved" / "runs", Options(metrics=chosen)).table
    expected = expected.set_index("step")
    names = select_metrics(["optimizer"])
    assert rows[names[0].name].isna().tolist() == [
        True,
        *[False] * training.N_STEPS,
    ]  # no state yet
    for metric in (*names, *select_metrics(["l2"])):
        np.testing.assert_allclose(rows[metric.name], expected[metric.name], rtol=1e-12)


def test_several_optimizers_count_together_and_a_missing_one_is_told(tmp_path):
    network = training.mlp()
    halves = [torch.optim.Adam(network[i].parameters()) for i in (0, 2)]
    network(training.batch(network)).square().mean().backward()
    for optimizer in halves:
        optimizer.step()
    with MetricRecorder(tmp_path / "seed0", metrics=["optimizer"]) as recorder:
        with pytest.raises(UsageError, match="optimizer=optimizer"):
            recorder.record(network, 0)
        with pytest.raises(UsageError, match="'optimizer' must be"):
            recorder.record(network, 0, optimizer=3)
        recorder.record(network, 0, optimizer=halves)
    (row,) = read_recordings(tmp_path).table["first_moment"]
    moments = [s["exp_avg"] for o in halves for s in o.state_dict()["state"].values()]
    expected = sum(float(m.double().square().sum()) for m in moments) ** 0.5
    assert row == pytest.approx(expected, rel=1e-9)
