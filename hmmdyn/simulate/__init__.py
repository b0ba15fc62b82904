"""Runs whose truth is known: what studies and tests hold the method against."""
