"""The words of verdicts: what is said of a state, of two groups, or of an attempt."""

# Reason of an attempt that successive halving went on without.
LEFT_BEHIND = "left behind"
# What is said of a state and convergence: see ``Findings.detours``.
CONFIRMED, FLAG_ONLY, SLOWS = "confirmed detour", "paper's flag only", "slows"
ON_THE_WAY, AFTER = "on everyone's way", "after convergence"
NO_EVIDENCE, CANNOT_TELL = "no evidence", "cannot tell"
# What is said of two groups, or of all: see ``ConvergenceSpeed.tests``.
FASTER, SLOWER, DIFFERENT = "faster", "slower", "different"
# What is said of two groups within a margin: see ``ConvergenceSpeed.equivalence``.
ALIKE, A_NOT_SLOWER, B_NOT_SLOWER = "alike", "group_a not slower", "group_b not slower"
