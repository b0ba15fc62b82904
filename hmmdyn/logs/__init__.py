"""Logs as people have them: one reader of what training wrote, and of tables of one's own."""

from hmmdyn.logs.log import Log
from hmmdyn.logs.read import LogReader, read_log

__all__ = ["Log", "LogReader", "read_log"]
