"""Recipes small enough to be trained in a test, and what tests look at in the folders."""

from safetensors.numpy import load_file

from hmmdyn.tasks.digits import DigitsRecipe
from hmmdyn.tasks.induction import InductionRecipe
from hmmdyn.tasks.modular_addition import ModularAdditionRecipe
from hmmdyn.tasks.parity import ParityRecipe

# 3 steps per epoch: checkpoints every second epoch and at the end.
PARITY = ParityRecipe(
    n_bits=6, n_parity_bits=2, n_train=40, n_eval=10, n_hidden=5,
    batch_size=16, n_epochs=5, checkpoint_every=6, evaluate_every=3,
)  # fmt: skip
_ADDITION = {
    "modulus": 7, "d_model": 8, "n_heads": 2, "d_head": 3, "d_mlp": 6,
    "batch_size": 5, "n_epochs": 5, "checkpoint_every": 6, "evaluate_every": 3,
}  # fmt: skip
_INDUCTION = {
    "n_tokens": 7, "n_half": 4, "n_train": 10, "n_eval": 6,
    "d_model": 8, "n_heads": 2, "d_head": 3, "d_mlp": 6, "learning_rate": 1e-3,
    "batch_size": 4, "n_epochs": 5, "checkpoint_every": 6, "evaluate_every": 3,
}  # fmt: skip
_DIGITS = {
    "width": 6, "eval_share": 0.95,
    "batch_size": 32, "n_epochs": 5, "checkpoint_every": 6, "evaluate_every": 3,
}  # fmt: skip
# Every recipe here makes 15 steps, 3 per epoch.
TINY = {
    "parity": PARITY,
    "modular-addition": ModularAdditionRecipe(**_ADDITION),
    "modular-addition-stabilised": ModularAdditionRecipe(**_ADDITION, layer_norm=True),
    "induction": InductionRecipe(**_INDUCTION),
    "digits": DigitsRecipe(**_DIGITS),
    "digits-deep": DigitsRecipe(**_DIGITS, n_blocks=2, layer_norm=True, residual=True),
    "digits-destabilised": DigitsRecipe(**_DIGITS, n_blocks=2),
}
# Their images are on disk where somebody has put them.
FROM_DISK = {"mnist", "cifar100", "cifar100-destabilised"}


def files(folder):
    """Relative path -> bytes of every file under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights_at(run, step):
    """Name -> weights, in float64."""
    weights = load_file(run / f"step_{step:06d}.safetensors")
    return {name: w.astype(float) for name, w in weights.items()}


def distance(a, b):
    """The largest difference between two sets of weights."""
    assert a.keys() == b.keys()
    return max(abs(a[name] - b[name]).max() for name in a)
