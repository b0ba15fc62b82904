"""The model: what it assumes, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from hmmdyn.results.arrays import FloatArray


@dataclass(frozen=True)
class ModelOptions:
    """What a model of training may assume beyond the plain hidden Markov model; all off by default.

    Attributes
    ----------
    stickiness : float
        Pseudo-checkpoints that every state is taken to have stayed, added to what was seen. Use it
        (about 100) where noise hides single checkpoints and runs are few; it does not keep clear
        outliers from becoming visits, and from 1,000 on it costs likelihood.
    left_right : bool
        No state is ever left for one that comes earlier. Use it where no run can fall back, and
        not where losses spike: it makes a run that falls back look as if it had not.
    minimum_dwell : int
        Checkpoints for which a state is kept once it is entered. Use 2 or 3 where states of a
        single checkpoint are known to be glitches; a likelihood that falls much says they are not
        noise. Fits take longer with its square.
    clock : str
        What the chain counts: ``checkpoint`` (every gap between checkpoints alike), or the time
        between them, by ``step`` or by ``log-step`` (the logarithm of 1 + step). Use ``log-step``
        where checkpoints are saved at 1, 2, 4, … and evidence is weak; ``step`` where they are
        saved irregularly, but not so. Evenly saved checkpoints need neither.
    autoregressive : bool
        Within a state, metrics are drawn to its level from where they were a checkpoint before.
        Use it where phases are known to be relaxations to a level. Do not count phases with it: on
        drift with autocorrelated noise it predicts far better, and loses the phases.

    Notes
    -----
    Measured in ``benchmarks/hmm_options.md``.
    """

    stickiness: float = 0.0
    left_right: bool = False
    minimum_dwell: int = 1
    clock: str = "checkpoint"
    autoregressive: bool = False


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
