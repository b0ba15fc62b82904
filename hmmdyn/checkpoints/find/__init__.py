"""Find checkpoints: walk folders, understand paths, settle what claims to be the same."""
