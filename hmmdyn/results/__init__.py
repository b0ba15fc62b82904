"""What the stages hand to each other: frozen dataclasses and DataFrames with declared columns.

A module per kind of result declares its tables (:mod:`.results.columns` says how) and the dataclass
that holds them. :mod:`.results.schema` lists all tables.

Everyone may import these modules; they import nothing of hmmdyn. Shapes use these letters: R runs,
n checkpoints pooled over runs, K states, D features (metrics that enter the model).

A *run key* is the pair of columns ``group, run``; ``seed`` is an integer or missing (``<NA>``).
States are the integers 0 … K-1, in order of time.
"""
