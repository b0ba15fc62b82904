"""Logs beside checkpoints: find them, say whose they are, read and join them."""
