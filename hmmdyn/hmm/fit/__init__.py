"""Fitting: EM for many models at once, where it starts, and the sweep over numbers of states."""
