"""From numbers to states: the Gaussian hidden Markov model, its choice of K, the training map."""
