"""Choosing the number of states, and what speaks for and against the choice."""
