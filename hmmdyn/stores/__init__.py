"""Folders of logs as runs: a table per run, and what trackers of experiments leave on disk."""

from hmmdyn.stores.folder import read_run_logs

__all__ = ["read_run_logs"]
