"""One module per format family: bytes on disk to a lazy mapping of tensors, nothing executed."""
