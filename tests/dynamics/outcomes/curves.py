"""Curves of outcomes that several tests are about."""

import numpy as np

WIDENING = np.r_[0, 2.0 ** np.arange(10), np.arange(1000, 143_001, 1000)]


def logistic(steps, centre, scale, before=0.0, after=1.0):
    return before + (after - before) / (1 + np.exp(-(steps - centre) / scale))
