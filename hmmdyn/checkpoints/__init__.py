"""From a folder to arrays: find checkpoints, understand their paths, read their tensors."""
