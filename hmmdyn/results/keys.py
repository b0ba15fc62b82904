"""The columns that say which run, and which checkpoint, a row of a table is about."""

RUN_KEY = ["group", "run"]
CHECKPOINT_KEY = ["group", "run", "step"]
