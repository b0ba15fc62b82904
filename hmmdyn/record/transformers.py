"""Recording for the Trainer of Hugging Face's Transformers, which is imported here only.

from hmmdyn.record.transformers import RecordMetrics
Trainer(..., callbacks=[RecordMetrics("runs/seed0", every=100)])
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmmdyn.record.recorder import MetricRecorder
from hmmdyn.roles import is_outcome

try:
    from transformers import TrainerCallback
except ImportError:  # without it, any trainer may still call the methods below
    TrainerCallback = object


class RecordMetrics(TrainerCallback):
    """Records metrics from the untrained model to the last step, with the losses that are logged.

    Values logged (``logging_steps``, evaluations) go into the row of their step, or into the next
    one. In training on several processes the first one records; a model whose weights are spread
    over them (DeepSpeed's ZeRO 3, FSDP) cannot be recorded so.

    Parameters
    ----------
    run_dir : path
        Folder of the run; see :class:`hmmdyn.record.MetricRecorder`.
    **options
        Of :class:`hmmdyn.record.MetricRecorder`: ``every``, ``metrics``, ``rules``.
    """

    def __init__(self, run_dir: str | Path, **options: Any) -> None:
        self._run_dir = run_dir
        self._options = options
        self._recorder: MetricRecorder | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the recording; record the model as it is before the first step."""
        if state.is_world_process_zero:
            self._recorder = MetricRecorder(self._run_dir, **self._options)
            if self._recorder.last_step is None:  # a training that is resumed has this row already
                self._record(state, kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record after each optimizer step that is a multiple of ``every``."""
        if self._recorder is not None:
            self._recorder.step(
                kwargs["model"], state.global_step, optimizer=kwargs.get("optimizer")
            )

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the losses, accuracies and the like among what is logged."""
        # The last thing logged is about the whole training: its loss is a mean over all steps.
        if self._recorder is not None and logs and "train_runtime" not in logs:
            self._recorder.log(
                state.global_step, **{name: logs[name] for name in logs if is_outcome(name)}
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the final model, if that is not done yet, and close the recording."""
        if self._recorder is not None:
            if self._recorder.last_step != state.global_step:
                self._record(state, kwargs)
            self._recorder.close()

    def _record(self, state: Any, given: Mapping[str, Any]) -> None:
        if self._recorder is not None:
            optimizer = given.get("optimizer")
            self._recorder.record(given["model"], state.global_step, optimizer=optimizer)
