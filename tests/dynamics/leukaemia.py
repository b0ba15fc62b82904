"""Remission times (weeks) of 42 children with leukaemia, treated with 6-MP or a placebo.

Freireich et al. (1963), Blood 21, 699-716; as printed in Klein and Moeschberger (2003), Survival
Analysis, section 1.2. 0: still in remission when last seen.
"""

MP6 = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
MP6_ENDED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
PLACEBO_ENDED = [1] * 21
