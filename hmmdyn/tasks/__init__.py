"""Training the paper's tasks with PyTorch: ordinary folders of runs to analyse."""
