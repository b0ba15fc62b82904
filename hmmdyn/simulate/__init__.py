"""Simulated runs with a known truth, for tests and benchmarks."""
