"""Recording for Lightning's Trainer; Lightning is imported here only.

from hmmdyn.record.lightning import RecordMetrics
Trainer(..., callbacks=[RecordMetrics("runs/seed0", every=100)])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmmdyn.record.recorder import MetricRecorder
from hmmdyn.roles import is_outcome

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:  # without it, any trainer may still call the methods below
        Callback = object


class RecordMetrics(Callback):
    """Records metrics from the untrained model to the last step, with the losses that are logged.

    Values logged with ``self.log`` go into the row of their step, or into the next one. In training
    on several processes the first one records; a model whose weights are spread over them (FSDP,
    DeepSpeed's ZeRO 3) cannot be recorded so.

    Parameters
    ----------
    run_dir : path
        Folder of the run; see :class:`hmmdyn.record.MetricRecorder`.
    **options
        Of :class:`hmmdyn.record.MetricRecorder`: ``every`` (optimizer steps), ``metrics``,
        ``rules``.
    """

    def __init__(self, run_dir: str | Path, **options: Any) -> None:
        self._run_dir = run_dir
        self._options = options
        self._recorder: MetricRecorder | None = None
        self._seen: dict[str, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the recording; record the model as it is before the first step."""
        if trainer.is_global_zero:
            self._recorder = MetricRecorder(self._run_dir, **self._options)
            if self._recorder.last_step is None:  # a training that is resumed has this row already
                self._recorder.record(pl_module, trainer.global_step, optimizer=trainer.optimizers)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record after each optimizer step that is a multiple of ``every``."""
        if self._recorder is None:
            return
        # With accumulated gradients several batches make one step.
        if self._recorder.last_step == trainer.global_step:
            self._log(trainer)
        else:
            self._recorder.step(
                pl_module, trainer.global_step, optimizer=trainer.optimizers, **self._news(trainer)
            )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take what the validation logged."""
        self._log(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Take what was averaged over the epoch."""
        self._log(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the final model, if that is not done yet, and close the recording."""
        if self._recorder is not None:
            if self._recorder.last_step != trainer.global_step:
                self._recorder.record(pl_module, trainer.global_step, optimizer=trainer.optimizers)
            self._recorder.close()

    def _log(self, trainer: Any) -> None:
        if self._recorder is not None:
            self._recorder.log(trainer.global_step, **self._news(trainer))

    def _news(self, trainer: Any) -> dict[str, Any]:
        """Losses and the like that were logged since the last look.

        Lightning goes on to show a value of an earlier step, as the same tensor.
        """
        shown = {name: v for name, v in trainer.callback_metrics.items() if is_outcome(name)}
        news = {name: v for name, v in shown.items() if self._seen.get(name) is not v}
        self._seen = shown
        return news
