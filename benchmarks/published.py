"""The paper's figures, our runs of its experiments, and the paper's statistics of these.

The published figures are those of Hu, Chen, Saphra and Cho (2023), arXiv:2308.09543; ours come
from the metric tables in ``data/<task>/``, by the paper's protocol. Two things that it leaves open
are done both ways: the covariance (``diag`` or ``full``), and the number of states (by BIC, or as
many as published). Tables and figures: ``published_tables.py``; what came out: ``findings.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.spatial.distance import pdist, squareform
from scipy.stats import t as student
from sklearn.cluster import KMeans

from hmmdyn import Trajectories, fit, read_runs
from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.dissimilarity import dissimilarity
from hmmdyn.dynamics.occupancy import CHECKPOINTS, bag_of_states, bags
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.dynamics.significance import SIGNIFICANT
from hmmdyn.dynamics.transitions import influences, is_forking, training_map_edges
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.options import PRESETS, Options
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence, Dissimilarity, Regression
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.selection import Selection

DATA = Path(__file__).parents[1] / "data"
OUTCOME = "eval_accuracy"


@dataclass(frozen=True)
class Published:
    """What the paper reports of a task. ``detours`` is None where our source has no number."""

    task: str
    components: int
    r_squared: float
    p: str
    dissimilarity: float
    forking: bool
    detours: int | None = None

    @property
    def significant(self) -> bool:
        return self.p.startswith("<")


@dataclass(frozen=True)
class Experiment:
    """Our runs, and the row of the paper that stands beside them.

    ``threshold`` of the evaluation accuracy; None: chosen by hmmdyn's rule, nine tenths of the way
    from the median first value to the median best one. ``differs`` says what is not as published.
    """

    name: str
    published: Published
    threshold: float | None
    differs: str = ""


EXPERIMENTS = (
    Experiment(
        "modular-addition",
        Published("modular addition", 6, 0.977, "< 0.001", 0.496, True, detours=2),
        0.9,
        "fewer seeds than the paper's 40",
    ),
    Experiment(
        "modular-addition-stabilised",
        Published("modular addition, stabilised", 3, 0.514, "< 0.001", 0.038, False),
        0.9,
    ),
    Experiment(
        "parity",
        Published("sparse parity", 6, 0.961, "< 0.001", 0.183, True, detours=1),
        0.9,
    ),
    Experiment(
        "digits",
        Published("MNIST", 6, 0.049, "0.611", 0.063, False),
        0.97,
        "another data set: scikit-learn's 1,797 digits of 8 × 8 pixels",
    ),
    Experiment(
        "digits-deep",
        Published("CIFAR-100", 5, 0.094, "0.469", 0.028, False),
        None,
        "another data set and network: scikit-learn's digits, a deep perceptron with "
        "normalisation and residuals instead of a ResNet18",
    ),
    Experiment(
        "digits-destabilised",
        Published("CIFAR-100, destabilised", 5, 0.905, "< 0.001", 0.806, True),
        None,
        "another data set and network, as above, without normalisation and residuals",
    ),
)
# The three ways from the initial state of one task, by the mean epoch of convergence.
PATHS_ARE_PUBLISHED = "modular-addition"
PUBLISHED_PATHS = pd.DataFrame(
    {"epoch": [1810.0, 2950.0, 5450.0], "se": [71.5, 104.0, 313.0], "runs": [2, 34, 4]}
)
PUBLISHED_FEATURES = "L2, L1, σ(w), μ(λ)"


@dataclass(frozen=True)
class States:
    """One way to give runs states, and what the paper's statistics say of it.

    ``regression`` is None where it cannot be had, and ``why_not`` says why. Intervals are 95 %
    ones by the jackknife over runs, the map held fixed; that of ``dissimilarity`` is of the paper's
    own number (``labels``). What only a hidden Markov model has (``edges``, ``influences``,
    ``selection``) is empty for k-means.
    """

    n_states: int
    occupancy: pd.DataFrame
    regression: Regression | None
    why_not: str
    r_squared_interval: tuple[float, float]
    dissimilarity: Dissimilarity
    dissimilarity_interval: tuple[float, float]
    forking: bool
    detours: pd.DataFrame
    edges: pd.DataFrame = field(default_factory=pd.DataFrame)
    influences: pd.DataFrame = field(default_factory=pd.DataFrame)
    selection: Selection | None = None

    @property
    def by_definition(self) -> pd.DataFrame:
        """The rows of ``detours`` that the paper's definition makes detour states.

        Optional, with a positive coefficient, in a significant regression. hmmdyn's ``flag`` leaves
        out those that lie after convergence.
        """
        is_read = self.regression is not None and self.regression.p < SIGNIFICANT
        is_detour = self.detours["optional"] & (self.detours["coefficient"] > 0)
        return self.detours[is_detour & is_read]


@dataclass(frozen=True)
class Study:
    """The runs of an experiment, when they converged, and the states they were given."""

    experiment: Experiment
    trajectories: Trajectories
    convergence: Convergence
    steps_per_epoch: float
    states: dict[str, States]

    @property
    def heading(self) -> str:
        published = self.experiment.published.task
        differs = self.experiment.differs
        return f"{self.experiment.name}, beside {published}" + (f" ({differs})" if differs else "")


# The maps of a study, and how they are called.
def by_bic(covariance: str) -> str:
    return f"{covariance}, K by BIC"


def as_published(covariance: str) -> str:
    return f"{covariance}, published K"


MAPS = tuple(how(c) for how in (by_bic, as_published) for c in COVARIANCE_TYPES)
K_MEANS, L2_ONLY = "k-means", "HMM on L2 alone"


def table_of(experiment: Experiment) -> Path:
    return DATA / experiment.name / "metrics.parquet"


def present() -> list[Experiment]:
    return [e for e in EXPERIMENTS if table_of(e).exists()]


def absent() -> list[Experiment]:
    return [e for e in EXPERIMENTS if not table_of(e).exists()]


def load(experiment: Experiment) -> Study:
    """Read the runs of an experiment; give them no states yet."""
    path = table_of(experiment)
    trajectories = read_runs(path)
    recipe = json.loads((path.parent / "recipe.json").read_text("utf-8"))
    convergence = measure_convergence(
        trajectories.table, trajectories.outcomes, outcome=OUTCOME, threshold=experiment.threshold
    )
    steps_per_epoch = trajectories.table["step"].max() / recipe["n_epochs"]
    return Study(experiment, trajectories, convergence, steps_per_epoch, {})


def all_studied(jobs: int = 1) -> list[Study]:
    """Study the experiments whose tables are here, so many at a time."""
    return list(Parallel(n_jobs=jobs)(delayed(studied)(experiment) for experiment in present()))


def studied(experiment: Experiment) -> Study:
    """Give the runs of an experiment states in every way that is compared."""
    study = load(experiment)
    k = experiment.published.components
    for covariance in COVARIANCE_TYPES:
        study.states[by_bic(covariance)] = by_hmm(study, covariance=covariance)
        study.states[as_published(covariance)] = by_hmm(study, covariance=covariance, n_states=k)
    study.states[L2_ONLY] = by_hmm(study, metrics=("l2",), n_states=k)
    study.states[K_MEANS] = by_k_means(study, k)
    return study


def by_hmm(study: Study, jobs: int = 1, **options: object) -> States:
    """Give runs states by a hidden Markov model, by the paper's protocol."""
    chosen = Options(**PRESETS["paper"], quick=True).changed(**options)
    fitted = fit(study.trajectories, chosen, jobs=jobs)
    parameters, decoding = fitted.training_map.parameters, fitted.decoding
    moves = _moves(decoding.states)
    n_runs = len(decoding.observations.runs)
    return _said(
        study,
        decoding.states,
        parameters.means,
        edges=training_map_edges(moves, parameters, n_runs, study.convergence),
        influences=influences(decoding, parameters),
        selection=fitted.selection,
    )


def by_k_means(study: Study, n_states: int) -> States:
    """Give every checkpoint the nearest of K centres, whatever came before it."""
    observations = study.trajectories.observations("run", PRESETS["paper"]["standardise_first"])
    found = KMeans(n_states, n_init=4, random_state=0).fit(observations.values)
    keys = study.trajectories.table[[*RUN_KEY, "seed", "step"]]
    return _said(study, keys.assign(state=found.labels_), found.cluster_centers_)


def _said(study: Study, states: pd.DataFrame, means: FloatArray, **of_hmm: object) -> States:
    occupancy = bag_of_states(states, len(means), CHECKPOINTS)
    regression, why_not = None, ""
    try:
        regression = regress_convergence(occupancy, study.convergence, states, CHECKPOINTS)
    except NotEnoughDataError as error:
        why_not = str(error)
    edges = _moves(states).drop_duplicates(["from_state", "to_state"])
    return States(
        n_states=len(means),
        occupancy=occupancy,
        regression=regression,
        why_not=why_not,
        r_squared_interval=_of_r_squared(occupancy, study.convergence, regression),
        dissimilarity=dissimilarity(occupancy, means),
        dissimilarity_interval=_of_dissimilarity(occupancy),
        forking=is_forking(edges, states["state"].nunique()),
        detours=detour_verdicts(
            occupancy, study.convergence, regression, states, study.trajectories.table
        ),
        **of_hmm,  # type: ignore[arg-type]
    )


def _moves(states: pd.DataFrame) -> pd.DataFrame:
    """Every change of state of every run: ``group, run, from_state, to_state``."""
    before = states.groupby(RUN_KEY, sort=False)["state"].shift()
    moved = before.notna() & (before != states["state"])
    moves = states[RUN_KEY].assign(from_state=before, to_state=states["state"])
    return moves[moved].astype({"from_state": "int64"})


def _of_r_squared(
    occupancy: pd.DataFrame, convergence: Convergence, regression: Regression | None
) -> tuple[float, float]:
    if regression is None:
        return np.nan, np.nan
    data = occupancy.merge(convergence.table, on=RUN_KEY)
    X, y = bags(data), data["time"].to_numpy(dtype=np.float64)

    def without(run: int) -> float:
        X_, y_ = np.delete(X, run, axis=0), np.delete(y, run)
        left = y_ - X_ @ np.linalg.lstsq(X_, y_, rcond=None)[0]
        return float(1 - left @ left / ((y_ - y_.mean()) ** 2).sum())

    low, high = _jackknife(regression.r_squared, without, len(y))
    return low, min(high, 1.0)


def _of_dissimilarity(occupancy: pd.DataFrame) -> tuple[float, float]:
    # Of labels on a line: the other ground costs take a linear program for every run left out.
    apart = squareform(pdist(bags(occupancy).cumsum(axis=1), "cityblock"))

    def mean_over_pairs(runs: IntArray) -> float:
        return float(apart[np.ix_(runs, runs)].sum() / (len(runs) * (len(runs) - 1)))

    everyone = np.arange(len(apart))
    return _jackknife(
        mean_over_pairs(everyone), lambda run: mean_over_pairs(np.delete(everyone, run)), len(apart)
    )


def _jackknife(value: float, without: Callable[[int], float], n: int) -> tuple[float, float]:
    """95 % interval of a number of n runs from its n values without one run; never below 0."""
    if n < 3:  # without one run there is no pair
        return np.nan, np.nan
    values = np.array([without(i) for i in range(n)])
    error = np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
    reach = student.ppf(1 - SIGNIFICANT / 2, n - 1) * error
    return max(0.0, value - reach), value + reach
