"""Training the paper's tasks with PyTorch: ordinary checkpoint folders to analyse."""
