"""The model: what it assumes, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hmmdyn.choices import CLOCKS
from hmmdyn.declare import MODEL, documented, option

if TYPE_CHECKING:
    from hmmdyn.results.arrays import FloatArray


@documented
@dataclass(frozen=True)
class ModelOptions:
    """What a model of training may assume beyond the plain hidden Markov model; all off by default.

    Notes
    -----
    Measured in ``benchmarks/hmm_options.md``.
    """

    stickiness: float = option(
        0.0,
        "Favour staying: as if each state had been kept N more times.",
        panel=MODEL,
        least=0,
        more="Use it (about 100) where noise hides single checkpoints and runs are few; it does "
        "not keep clear outliers from becoming visits, and from 1,000 on it costs likelihood.",
    )
    left_right: bool = option(
        False,
        "Never go back to a state that comes earlier.",
        panel=MODEL,
        more="Use it where no run can fall back, and not where losses spike: it makes a run that "
        "falls back look as if it had not.",
    )
    minimum_dwell: int = option(
        1,
        "Checkpoints for which a state is kept.",
        panel=MODEL,
        least=1,
        more="Use 2 or 3 where states of a single checkpoint are known to be glitches; a "
        "likelihood that falls much says they are not noise. Fits take longer with its square.",
    )
    clock: str = option(
        "checkpoint",
        "What transitions count: checkpoints, every gap alike, or the time between them in steps "
        "or log-steps.",
        panel=MODEL,
        choices=CLOCKS,
        more="Use ``log-step`` (the logarithm of 1 + step) where checkpoints are saved at 1, 2, 4, "
        "… and evidence is weak; ``step`` where they are saved irregularly, but not so. Evenly "
        "saved checkpoints need neither.",
    )
    autoregressive: bool = option(
        False,
        "Within a state, each checkpoint depends on the one before.",
        panel=MODEL,
        more="Metrics are drawn to the state's level from where they were. Use it where phases are "
        "known to be relaxations to a level. Do not count phases with it: on drift with "
        "autocorrelated noise it predicts far better, and loses the phases.",
    )


PLAIN_MODEL = ModelOptions()


@dataclass(frozen=True)
class HMMParameters:
    """A Gaussian hidden Markov model.

    ``startprob`` (K,), ``transmat`` (K, K) with rows summing to one, ``means`` (K, D),
    ``covariances`` (K, D) for ``diag`` or (K, D, D) for ``full``; all in standardised units.

    A chain that knows the gaps between checkpoints has a ``generator`` (K, K) of transition rates
    (rows summing to zero) per ``unit``, which is measured in ``clock``; its ``transmat`` is that of
    a gap of one unit. States kept for a ``minimum_dwell`` of more than one checkpoint move by
    ``transmat`` once it is over; a run's first visit may have begun before. Emissions that remember
    have an ``autoregression`` ρ (K, D): in state k, z_t has mean μ_k + ρ_k (z_{t-1} - μ_k), and
    ``covariances`` are those around that mean.
    """

    startprob: FloatArray
    transmat: FloatArray
    means: FloatArray
    covariances: FloatArray
    covariance_type: str
    generator: FloatArray | None = None
    clock: str = "checkpoint"
    unit: float = 1.0
    minimum_dwell: int = 1
    autoregression: FloatArray | None = None

    @property
    def n_states(self) -> int:
        """Number of hidden states, K."""
        return len(self.startprob)
