"""Worlds of training runs with known phases, as raw metrics in units of their own.

A *world* says what a recipe's runs are like; simulating it gives a table such as one reads from
real runs, and the truth beside it. Everything before the model (standardising, leaving metrics
out) is therefore part of what a study of these worlds sees.

The latent course of a run is a sequence of visits to phases, each in its own time, with smooth
changes between them. Metrics are linear in it, with offsets and factors between seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.errors import UsageError
from hmmdyn.results.arrays import FloatArray, IntArray

# Least number of phases of each design that has phases.
WITH_PHASES = {
    "path": 1,
    "fork": 3,
    "detour": 3,
    "spike": 2,
    "return": 2,
    "kink": 2,
    "relaxing": 1,
}
# Designs made for asking what a phase that only some runs visit does to convergence.
WITH_OPTIONAL = {"early detour": 4, "equal fork": 4, "excursion": 3, "late stage": 3}
WITHOUT_PHASES = ("shared drift", "own drift", "warped drift", "relaxation", "deceleration")
SHAPES = ("logistic", "ramp")

# Latent units: the levels of the phases scatter by 1 around their mean, metric by metric.
_CLOSEST_LEVELS = 0.7  # root mean square over metrics; nearer ones would be one phase to any eye
_DRIFT = 0.25  # within phases, alike in all runs
_DRIFT_OF_RUN = 0.2  # within phases, each run's own
_LEVEL_OF_RUN = 0.15  # each run's own offset of each phase
_FACTOR_OF_RUN = 0.1  # deviation of the logarithm of each run's factor of each metric
_OFFSET_OF_SEED = 1.5  # of metrics that tell seeds apart before training has begun
_RELAXATION = 1.5  # how far from its first level a relaxing run begins
# In lengths of a run, or relative to them.
_SHORTEST_PHASE = 0.5  # of what it would be if all were equally long
_DURATION_SHAPE = 10.0  # durations differ between runs by a gamma law of this shape
_WIDTH_OF_RUN = 0.15  # deviation of the logarithm of each run's width of changes
_REACHED = 0.9  # when the last of two changes comes, if all phases were equally long
_SPIKE = (0.04, 0.08)
_RELAXATION_TIME = 0.03
_EXCURSION = (0.05, 0.12)
_UNTIL_HARMLESS = 0.35  # mean time until a phase is visited that costs nothing
# Of runs that take a detour, or spike.
_ASIDE = 0.4
_STEPS_PER_CHECKPOINT = 10
# A change from 10 to 90 % takes so many scales of a logistic curve, and so much of a ramp.
_LOGISTIC_WIDTH = 2 * np.log(9)
_RAMP_WIDTH = 0.8


@dataclass(frozen=True)
class World:
    """What the runs of a simulated recipe are like.

    Attributes
    ----------
    design : str
        With phases: ``path`` (one after the other), ``fork`` (half of the runs take the second
        phase, the others the third in its stead), ``detour`` (two runs in five stay in the last
        phase but one, which the others pass by, and converge later for it), ``spike`` (two runs in
        five leave their level once for the last phase, and come back), ``return`` (after the last
        phase the one before it again), ``kink`` (phases are stretches of constant velocity, there
        are no plateaus), ``relaxing`` (a path whose first level is reached by exponential
        relaxation). With a phase that some runs visit: ``early detour`` (two in five stay in the
        second phase, which the others pass by), ``equal fork`` (two in five take the second phase,
        the others the third, which takes as long), ``excursion`` (at a random time runs that have
        not reached their end leave for the last phase, for a while, and lose nothing by it), ``late
        stage`` (at a random time in the last phase but two runs change to the next one until they
        reach their end, and lose nothing by it); slow runs so have longer to visit these two.
        Without: ``shared drift`` (one smooth course, almost alike in all runs), ``own
        drift`` (as much each run's own), ``warped drift`` (one course, each run at its own, uneven
        speed), ``relaxation`` (exponential, to one level), ``deceleration`` (logarithmic in time).
    n_phases : int
        1 for the designs without phases.
    width : float
        Time a change takes from 10 to 90 %, in lengths of a run.
    shape : {"logistic", "ramp"}
        Of a change.
    noise : float
        Standard deviation of a checkpoint's noise, in units of the scatter of the levels.
    autocorrelation : float
        Of the noise, from one checkpoint to the next.
    speeds : float
        Standard deviation of the logarithm of the runs' speeds.
    seed_metrics : float
        Share of the metrics that tell seeds apart by an offset from the first checkpoint on.
    own_time : bool
        Each run changes phase in its own time; else all do so at the same steps, by a schedule.
    delay : float, optional
        Of a ``detour`` or ``early detour``: how much longer it takes runs to reach their end, in
        units of what it takes the others, typically. As long as a phase where None.
    """

    design: str = "path"
    n_phases: int = 1
    width: float = 0.0
    shape: str = "logistic"
    n_runs: int = 10
    n_checkpoints: int = 100
    n_metrics: int = 6
    noise: float = 0.3
    autocorrelation: float = 0.0
    speeds: float = 0.25
    seed_metrics: float = 0.0
    own_time: bool = True
    delay: float | None = None


@dataclass(frozen=True)
class SimulatedRuns:
    """Raw metrics of simulated runs, and what they were made of.

    Attributes
    ----------
    table : DataFrame
        ``group, run, seed, step``, the ``metrics`` in units of their own, and ``accuracy``
        (0 … 1), which rises to nearly 1 where a run enters the last phase of its path.
    metrics : tuple of str
    phases : ndarray, shape (n,)
        True phase of each checkpoint; a change belongs to the phase before up to its middle.
    n_phases : int
        1 where runs only drift.
    changes : DataFrame
        One row per change of phase that a run reaches: ``run`` (position), ``from_phase,
        to_phase, step`` (its middle), ``width`` (from 10 to 90 %, steps).
    paths : tuple of tuples of int
        The phases that each run goes through, as far as it gets.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    phases: IntArray
    n_phases: int
    changes: pd.DataFrame
    paths: tuple[tuple[int, ...], ...]

    @property
    def n_ways(self) -> int:
        """How many ways runs go that get to their end: 1 where they all walk one path."""
        longest = {path[-1]: 0 for path in self.paths}
        return len({path for path in self.paths if path[-1] == max(longest)})


@dataclass(frozen=True)
class _Course:
    """Where one run goes: its visits, when it changes, and how long each change takes.

    ``visits`` (V,) phases, ``middles`` (V - 1,) and ``widths`` (V - 1,) in lengths of a run.
    """

    visits: IntArray
    middles: FloatArray
    widths: FloatArray


def simulate_world(world: World, random_state: int = 0) -> SimulatedRuns:
    """Simulate the runs of a world: same world and seed, same runs.

    Raises
    ------
    UsageError
        A design or shape is not known, or has not that many phases.
    """
    _check(world)
    rng = np.random.default_rng(random_state)
    t = (np.arange(world.n_checkpoints) + 0.5) / world.n_checkpoints
    n_levels = world.n_phases + (world.design == "kink")
    levels = _levels(n_levels, world.n_metrics, rng)
    shares = _shares(world, rng)
    mixing = rng.normal(size=(world.n_metrics, world.n_metrics))
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    common = _Curves.draw(world.n_metrics, rng)
    away = rng.normal(size=world.n_metrics)
    decay = rng.uniform(0.05, 0.3)
    latent, courses = [], []
    for run in range(world.n_runs):
        own = _Curves.draw(world.n_metrics, rng, from_zero=True)
        course = _course(world, shares, run, rng)
        if world.design in WITHOUT_PHASES:
            z = _phase_free(world.design, t, common, own, away, decay, rng)
        elif world.design == "kink":
            z = _kinked(levels, course, t) + _DRIFT_OF_RUN * own.at(t)
        else:
            own_levels = levels + _LEVEL_OF_RUN * rng.normal(size=levels.shape)
            z = _stairs(own_levels, course, t, world.shape)
            z += _DRIFT * common.at(t) + _DRIFT_OF_RUN * own.at(t)
        if world.design == "relaxing":
            z += _RELAXATION * away * np.exp(-t / _RELAXATION_TIME)[:, None]
        white = rng.normal(size=(world.n_checkpoints, world.n_metrics)) @ mixing.T
        latent.append(z + world.noise * _autocorrelated(white, world.autocorrelation))
        courses.append(course)
    metrics = tuple(f"metric_{i}" for i in range(world.n_metrics))
    table = _table(world, metrics, _raw(np.stack(latent), world, rng), _accuracy(courses, t, rng))
    return SimulatedRuns(
        table,
        metrics,
        np.concatenate([c.visits[np.searchsorted(c.middles, t, side="right")] for c in courses]),
        world.n_phases,
        _changes(courses, world.n_checkpoints),
        tuple(tuple(map(int, c.visits[: 1 + (c.middles < 1).sum()])) for c in courses),
    )


def _check(world: World) -> None:
    known = (*WITH_PHASES, *WITH_OPTIONAL, *WITHOUT_PHASES)
    if world.design not in known:
        raise UsageError(f"'design' must be one of {known}, got {world.design!r}.")
    if world.shape not in SHAPES:
        raise UsageError(f"'shape' must be one of {SHAPES}, got {world.shape!r}.")
    least = (WITH_PHASES | WITH_OPTIONAL).get(world.design, 1)
    if world.n_phases < least or (world.design in WITHOUT_PHASES and world.n_phases > 1):
        raise UsageError(f"Runs of design {world.design!r} do not have {world.n_phases} phases.")


def _shares(world: World, rng: np.random.Generator) -> FloatArray:
    """Typical duration of each phase but the last, in lengths of a run, shape (K - 1,)."""
    n = world.n_phases - 1
    drawn = rng.dirichlet(np.ones(n)) if n else np.empty(0)
    equal = 1 / max(n, 1)
    shares = _SHORTEST_PHASE * equal + (1 - _SHORTEST_PHASE) * drawn
    if world.design == "equal fork":
        shares[2] = shares[1]
    if world.delay is not None:
        detour = n - 1 if world.design == "detour" else 1
        shares[detour] = world.delay * np.delete(shares, detour).sum()
        shares /= shares.sum()
    return np.asarray(_REACHED * n / (n + 1) * shares)


def _course(world: World, shares: FloatArray, run: int, rng: np.random.Generator) -> _Course:
    """Draw one run's visits and times; what it does not reach in time lies beyond 1."""
    k = world.n_phases
    slowness = np.exp(world.speeds * rng.normal())
    durations = slowness * shares * rng.gamma(_DURATION_SHAPE, size=k - 1) / _DURATION_SHAPE
    if not world.own_time:
        slowness, durations = 1.0, shares
    aside = rng.random() < _ASIDE
    visits: IntArray = np.arange(k)
    if world.design == "fork":
        # The other phase in its stead; of three phases, both are ends.
        taken, passed_by = (1, 2) if run % 2 else (2, 1)
        if k == 3:
            visits, durations = np.array([0, taken]), durations[:1]
        else:
            visits = np.delete(visits, passed_by)
            durations = np.delete(durations, passed_by)
    elif world.design == "equal fork":
        passed_by = 2 if aside else 1
        visits, durations = np.delete(visits, passed_by), np.delete(durations, passed_by)
    elif world.design == "late stage" or (world.design == "detour" and not aside):
        visits, durations = np.delete(visits, k - 2), np.delete(durations, k - 2)
        if world.design == "late stage":
            visits, durations = _with_late_stage(visits, durations, rng)
    elif world.design == "early detour" and not aside:
        visits, durations = np.delete(visits, 1), np.delete(durations, 1)
    elif world.design == "excursion":
        visits, durations = _with_excursion(visits[:-1], durations[:-1], rng)
    elif world.design == "return":
        visits, durations = np.append(visits, k - 2), np.append(durations, shares.mean() * slowness)
        durations = durations * (k - 1) / k
    elif world.design == "spike":
        visits, durations = visits[:-1], durations[:-1]
        if aside:
            visits, durations = _with_spike(visits, durations, rng)
    middles = np.cumsum(durations)
    widths = world.width * np.exp(_WIDTH_OF_RUN * rng.normal(size=len(middles)))
    if world.design == "spike":
        widths[(visits[1:] == k - 1) | (visits[:-1] == k - 1)] = 0.0
    return _Course(visits, middles, widths)


def _with_spike(
    visits: IntArray, durations: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Interrupt one visit, in its middle half, by a short stay in a phase of its own."""
    spike = len(visits)
    lasts = np.append(durations, max(0.3, 1 - durations.sum()))
    at = int(rng.choice(len(visits), p=lasts / lasts.sum()))
    before = rng.uniform(0.25, 0.75) * lasts[at]
    stay = rng.uniform(*_SPIKE)
    after = lasts[at] - before
    rest = [
        *durations[:at],
        before,
        stay,
        *([after, *durations[at + 1 :]] if at < spike - 1 else []),
    ]
    return np.insert(visits, at + 1, [spike, visits[at]]), np.array(rest)


def _with_late_stage(
    visits: IntArray, durations: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Change within the last visit but one, at a random time, and end it when it would have."""
    before = rng.exponential(_UNTIL_HARMLESS)
    if before >= durations[-1]:
        return visits, durations
    changed = np.insert(visits, len(visits) - 1, visits[-1] - 1)
    return changed, np.array([*durations[:-1], before, durations[-1] - before])


def _with_excursion(
    visits: IntArray, durations: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Leave for a phase of its own, at a random time, and be back where one would have been."""
    ends = np.cumsum(durations)
    leaves, stay = rng.exponential(_UNTIL_HARMLESS), rng.uniform(*_EXCURSION)
    if leaves >= ends[-1]:
        return visits, durations
    back = min(leaves + stay, ends[-1])
    gone, missed = np.searchsorted(ends, leaves, "right"), np.searchsorted(ends, back, "right")
    phases = [*visits[: gone + 1], len(visits), *visits[missed:]]
    return np.array(phases), np.diff([0.0, *ends[:gone], leaves, back, *ends[missed:]])


def _levels(n_levels: int, n_metrics: int, rng: np.random.Generator) -> FloatArray:
    """Draw levels with deviation 1 over phases, no two of them too near, shape (K, D)."""
    if n_levels == 1:
        return np.zeros((1, n_metrics))
    while True:
        levels = rng.normal(size=(n_levels, n_metrics))
        levels = (levels - levels.mean(axis=0)) / levels.std(axis=0)
        apart = np.sqrt(((levels[:, None] - levels) ** 2).mean(axis=2))
        if apart[np.triu_indices(n_levels, 1)].min() >= _CLOSEST_LEVELS:
            return np.asarray(levels)


def _stairs(levels: FloatArray, course: _Course, t: FloatArray, shape: str) -> FloatArray:
    """Levels one after the other, each change in its own time, shape (T, D)."""
    since = t[:, None] - course.middles
    done = (since >= 0).astype(np.float64)
    slow = course.widths > 0
    relative = since[:, slow] / course.widths[slow]
    if shape == "logistic":
        done[:, slow] = 1 / (1 + np.exp(-np.clip(_LOGISTIC_WIDTH * relative, -50, 50)))
    else:
        done[:, slow] = np.clip(_RAMP_WIDTH * relative + 0.5, 0, 1)
    visited = levels[course.visits]
    return np.asarray(visited[0] + done @ np.diff(visited, axis=0))


def _kinked(levels: FloatArray, course: _Course, t: FloatArray) -> FloatArray:
    """A straight way from level to level, with kinks where it changes phase, shape (T, D)."""
    knots = np.concatenate([[0.0], course.middles, [max(1.0, course.middles[-1] + 0.1)]])
    return np.stack([np.interp(t, knots, level) for level in levels.T], axis=1)


def _phase_free(
    design: str,
    t: FloatArray,
    common: _Curves,
    own: _Curves,
    away: FloatArray,
    decay: float,
    rng: np.random.Generator,
) -> FloatArray:
    """One run's smooth course without phases, shape (T, D)."""
    if design == "own drift":
        return common.at(t) + own.at(t)
    if design == "shared drift":
        return common.at(t) + 0.1 * own.at(t)
    if design == "warped drift":
        return common.at(t ** np.exp(0.3 * rng.normal())) + 0.1 * own.at(t)
    time = decay * np.exp(0.25 * rng.normal())
    if design == "relaxation":
        course = 2 * np.exp(-t / time)
    else:
        course = np.log1p(20 * t / time) / np.log1p(20 / time)
    return np.asarray(away * course[:, None] + _DRIFT * common.at(t) + _DRIFT_OF_RUN * own.at(t))


@dataclass(frozen=True)
class _Curves:
    """Sums of slow waves, the slowest half a period long, of deviation about 1; one per metric.

    ``from_zero``: seeds are alike before training has begun, and grow apart.
    """

    amplitudes: FloatArray
    shifts: FloatArray
    from_zero: bool

    @classmethod
    def draw(cls, n_metrics: int, rng: np.random.Generator, *, from_zero: bool = False) -> _Curves:
        order = np.arange(1, 4)[:, None]
        amplitudes = rng.normal(size=(3, n_metrics)) / order * np.sqrt(2 / (1 / order**2).sum())
        return cls(amplitudes, rng.uniform(0, 2 * np.pi, size=(3, n_metrics)), from_zero)

    def at(self, t: FloatArray) -> FloatArray:
        order = np.arange(1, 4)[:, None]
        waves = np.cos(np.pi * t[:, None, None] * order + self.shifts)
        if self.from_zero:
            waves = waves - np.cos(self.shifts)
        return np.asarray((self.amplitudes * waves).sum(axis=1))


def _autocorrelated(white: FloatArray, coefficient: float) -> FloatArray:
    """Turn white noise of deviation 1 into a stationary autoregression of deviation 1."""
    noise = white.copy()
    fresh = np.sqrt(1 - coefficient**2)
    for i in range(1, len(white)):
        noise[i] = coefficient * noise[i - 1] + fresh * white[i]
    return noise


def _raw(latent: FloatArray, world: World, rng: np.random.Generator) -> FloatArray:
    """Metrics in units of their own, with offsets and factors between seeds, shape (R, T, D)."""
    shape = world.n_runs, 1, world.n_metrics
    factors = np.exp(_FACTOR_OF_RUN * rng.normal(size=shape))
    offsets = _OFFSET_OF_SEED * rng.normal(size=shape)
    offsets[:, :, round(world.seed_metrics * world.n_metrics) :] = 0.0
    units = 10.0 ** rng.uniform(-3, 3, size=world.n_metrics)
    return units * (rng.uniform(2, 6, size=world.n_metrics) + offsets + factors * latent)


def _accuracy(courses: list[_Course], t: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Accuracy of each run at each checkpoint, from chance to nearly 1, shape (R, T)."""
    rises = np.array([c.middles[-1] if len(c.middles) else 0.5 for c in courses])
    widths = np.array([c.widths[-1] if len(c.widths) else 0.2 for c in courses])
    scaled = (t - rises[:, None]) / np.maximum(widths, 0.02)[:, None]
    accuracy = 0.5 + 0.48 / (1 + np.exp(-np.clip(_LOGISTIC_WIDTH * scaled, -50, 50)))
    return np.asarray(np.clip(accuracy + 0.01 * rng.normal(size=accuracy.shape), 0, 1))


def _table(
    world: World, metrics: tuple[str, ...], raw: FloatArray, accuracy: FloatArray
) -> pd.DataFrame:
    runs = np.repeat(np.arange(world.n_runs), world.n_checkpoints)
    keys = pd.DataFrame(
        {
            "group": "simulated",
            "run": [f"seed{r}" for r in runs],
            "seed": runs,
            "step": np.tile(np.arange(world.n_checkpoints), world.n_runs) * _STEPS_PER_CHECKPOINT,
        }
    )
    values = pd.DataFrame(raw.reshape(len(runs), -1), columns=list(metrics))
    return pd.concat([keys, values.assign(accuracy=accuracy.ravel())], axis=1)


def _changes(courses: list[_Course], n_checkpoints: int) -> pd.DataFrame:
    """Every change that a run reaches; step 0 is the first checkpoint, half a checkpoint in."""
    steps = n_checkpoints * _STEPS_PER_CHECKPOINT
    rows = [
        (run, j, k, middle * steps - _STEPS_PER_CHECKPOINT / 2, width * steps)
        for run, c in enumerate(courses)
        for j, k, middle, width in zip(c.visits, c.visits[1:], c.middles, c.widths, strict=False)
        if middle < 1
    ]
    columns = ["run", "from_phase", "to_phase", "step", "width"]
    return pd.DataFrame(rows, columns=columns).astype({"step": float, "width": float})
