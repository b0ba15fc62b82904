"""From states to statements: transitions, convergence, detours, differences between runs."""
