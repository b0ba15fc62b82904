"""Training the paper's tasks and one beside them: ordinary folders of runs to analyse."""
