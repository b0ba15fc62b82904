"""Outcome transitions, and which changes of state go with them."""
