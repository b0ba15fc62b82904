"""The callbacks: driven as the trainers do it, and by the trainers where they are installed."""

import json
from types import SimpleNamespace

import pytest

from hmmdyn.record import lightning as lightning_module
from hmmdyn.record import transformers as transformers_module
from hmmdyn.record.rows import RECORDING

torch = pytest.importorskip("torch")
from tests.record import training  # noqa: E402


def rows(folder):
    return [json.loads(line) for line in (folder / RECORDING).read_text().splitlines()]


def column(folder, name):
    return [row.get(name) for row in rows(folder)]


# Hugging Face


def drive_transformers(callback, model, n_steps, first=0, is_first_process=True):
    """Call the events in the order of Trainer: logs come after the end of their step."""
    state = SimpleNamespace(global_step=first, is_world_process_zero=is_first_process)
    callback.on_train_begin(None, state, None, model=model)
    while state.global_step < n_steps:
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.01)
        state.global_step += 1
        callback.on_step_end(None, state, None, model=model)
        logs = {"loss": 1 / state.global_step, "learning_rate": 0.1, "grad_norm": 1.0}
        callback.on_log(None, state, None, model=model, logs=logs)
        if state.global_step == 4:
            logs = {"eval_loss": 0.75, "eval_runtime": 3.0, "epoch": 1.0}
            callback.on_log(None, state, None, model=model, logs=logs)
    callback.on_log(None, state, None, logs={"train_runtime": 5.0, "train_loss": 9.0})
    callback.on_train_end(None, state, None, model=model)


def test_transformers_events_make_rows(tmp_path):
    callback = transformers_module.RecordMetrics(tmp_path, every=2)
    drive_transformers(callback, training.mlp(), 5)
    assert column(tmp_path, "step") == [0, 2, 4, 5]
    assert column(tmp_path, "loss") == [None, 1 / 2, 1 / 4, 1 / 5]
    assert column(tmp_path, "eval_loss") == [None, None, 0.75, None]
    assert (
        not {"train_loss", "learning_rate", "eval_runtime", "grad_norm"} & rows(tmp_path)[2].keys()
    )


def test_transformers_training_goes_on(tmp_path):
    drive_transformers(transformers_module.RecordMetrics(tmp_path, every=2), training.mlp(), 5)
    drive_transformers(transformers_module.RecordMetrics(tmp_path, every=2), training.mlp(), 8, 3)
    assert column(tmp_path, "step") == [0, 2, 4, 6, 8]
    drive_transformers(transformers_module.RecordMetrics(tmp_path, every=2), training.mlp(), 9, 8)
    assert column(tmp_path, "step") == [0, 2, 4, 6, 8, 9]
    assert column(tmp_path, "loss")[4] == 1 / 8


def test_only_the_first_process_records(tmp_path):
    callback = transformers_module.RecordMetrics(tmp_path)
    drive_transformers(callback, training.mlp(), 2, is_first_process=False)
    assert not (tmp_path / RECORDING).exists()


class Supervised(training.LanguageModel):
    """As Transformers' models: takes labels, returns the loss."""

    def forward(self, input_ids, labels):
        words = super().forward(input_ids)
        loss = torch.nn.functional.cross_entropy(words.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": words}


@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_the_trainer_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    words = torch.randint(11, (16, 6))
    data = [{"input_ids": row, "labels": row} for row in words]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=4,
        per_device_train_batch_size=4,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    transformers.Trainer(
        Supervised(),
        arguments,
        train_dataset=data,
        eval_dataset=data[:4],
        callbacks=[
            transformers_module.RecordMetrics(
                tmp_path / "run", every=2, metrics=("l2", "first_moment")
            )
        ],
    ).train()
    assert column(tmp_path / "run", "step") == [0, 2, 4]
    assert [value is None for value in column(tmp_path / "run", "loss")] == [True, False, False]
    assert [value is None for value in column(tmp_path / "run", "eval_loss")] == [
        True,
        False,
        False,
    ]
    moments = column(tmp_path / "run", "first_moment")
    assert moments[0] is None  # Adam has no state before its first step
    assert all(moment > 0 for moment in moments[1:])
    weights = rows(tmp_path / "run")[0]["recording"]["architecture"]
    assert "wte.weight" in weights["left_out"]


# Lightning


def drive_lightning(callback, model, n_batches, accumulate=1):
    """Call the events in the order of Trainer; it goes on showing what was logged before."""
    trainer = SimpleNamespace(
        global_step=0, is_global_zero=True, callback_metrics={}, optimizers=[]
    )
    shown = trainer.callback_metrics
    callback.on_train_start(trainer, model)
    for i in range(n_batches):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.01)
        trainer.global_step += (i + 1) % accumulate == 0
        shown |= {"train_loss": torch.tensor(1 / (i + 1)), "lr": torch.tensor(0.1)}
        callback.on_train_batch_end(trainer, model, None, None, i)
        if i == 3:
            shown |= {"val/acc": torch.tensor(0.75)}
            callback.on_validation_end(trainer, model)
    callback.on_train_epoch_end(trainer, model)
    callback.on_train_end(trainer, model)


def test_lightning_events_make_rows(tmp_path):
    drive_lightning(lightning_module.RecordMetrics(tmp_path, every=2), training.mlp(), 7)
    assert column(tmp_path, "step") == [0, 2, 4, 6, 7]
    assert column(tmp_path, "train_loss") == pytest.approx([None, 1 / 2, 1 / 4, 1 / 6, 1 / 7])
    # What is only still shown at the later steps is not theirs.
    assert column(tmp_path, "val_acc") == [None, None, 0.75, None, None]
    assert "lr" not in rows(tmp_path)[1]


def test_batches_that_make_one_step_make_one_row(tmp_path):
    drive_lightning(lightning_module.RecordMetrics(tmp_path), training.mlp(), 6, accumulate=2)
    assert column(tmp_path, "step") == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_the_trainer_of_lightning(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = training.mlp()

        def training_step(self, x):
            loss = self.network(x).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, x):
            self.log("val_loss", self.network(x).square().mean())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.1)

    data = torch.utils.data.DataLoader(torch.randn(24, 5), batch_size=4)
    lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[
            lightning_module.RecordMetrics(tmp_path, every=3, metrics=("l2", "first_moment"))
        ],
    ).fit(Module(), data, data)
    assert column(tmp_path, "step") == [0, 3, 6, 9, 12]
    assert [v is None for v in column(tmp_path, "train_loss")] == [True, False, False, False, False]
    # Validated at the end of each epoch, after 6 and 12 steps.
    assert [v is None for v in column(tmp_path, "val_loss")] == [True, True, False, True, False]
    moments = column(tmp_path, "first_moment")
    assert moments[0] is None  # Adam has no state before its first step
    assert all(moment > 0 for moment in moments[1:])
