"""From a folder to arrays: find checkpoints, understand their paths, read their tensors."""

from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint

__all__ = ["Checkpoint", "open_checkpoint"]
