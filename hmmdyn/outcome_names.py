"""What an outcome's name says: that it is one, which way is better, and on which data.

Outcomes (loss, accuracy, …) come under many names; this is the one place that reads them.
"""

from __future__ import annotations

import re

# Words as they stand between separators in a name: eval_acc, test/loss, val_top1, trainLoss.
_HIGHER_IS_BETTER = {
    "acc", "accuracy", "top1", "top5", "f1", "auc", "auroc", "bleu", "rouge", "score", "reward",
    "return", "precision", "recall", "map", "iou", "dice", "psnr", "r2", "exact", "em", "mrr",
}  # fmt: skip
_LOWER_IS_BETTER = {
    "loss", "perplexity", "ppl", "error", "err", "nll", "bpb", "bpc", "ce", "mse", "rmse", "mae",
    "wer", "cer", "fid",
}  # fmt: skip
_TRAINING = {"train", "training"}
_HELD_OUT = {
    "eval",
    "evaluation",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "dev",
    "holdout",
}


def words(name: str) -> list[str]:
    """Split a column name into lower-case words: ``evalLoss/top-1`` -> eval, loss, top, 1."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [w for w in re.split(r"[^a-z0-9]+", spaced.lower()) if w]


def is_outcome(name: str) -> bool:
    """Whether a column of this name is an outcome rather than a metric of the weights."""
    return bool(set(words(name)) & (_HIGHER_IS_BETTER | _LOWER_IS_BETTER))


def direction(name: str) -> str:
    """``above`` where higher is better (accuracy), ``below`` where lower is (loss, error).

    Words that mean "lower is better" win, as in ``accuracy_error``; an unknown name counts as
    higher-is-better.
    """
    return "below" if set(words(name)) & _LOWER_IS_BETTER else "above"


def split(name: str) -> str:
    """``eval`` (any held-out data), ``train``, or ``""`` where the name does not say."""
    found = set(words(name))
    if found & _HELD_OUT:
        return "eval"
    return "train" if found & _TRAINING else ""
