"""Which states are there: boundaries with evidence, and whether they are found again."""
