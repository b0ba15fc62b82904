"""Tables of metrics: read, checked, and as trajectories of runs."""
