"""The training map: a fitted model that decodes runs, and how it is fitted.

It lasts as plain JSON (:mod:`hmmdyn.hmm.training_map_json`) and can be handed to hmmlearn and taken
from it (:mod:`hmmdyn.hmm.conversion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hmmdyn.errors import TrainingMapError, UsageError
from hmmdyn.hmm import training_map_json
from hmmdyn.hmm.choose.select import select_n_states
from hmmdyn.hmm.choose.supported import at_level
from hmmdyn.hmm.fit.progress import Progress
from hmmdyn.hmm.model.inference import Beliefs, beliefs, decode
from hmmdyn.hmm.model.parts import transitions_of
from hmmdyn.messages import Either, Remedy
from hmmdyn.names import some
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Observations, Standardisation
from hmmdyn.results.selection import Selection
from hmmdyn.tables.standardise import standardised
from hmmdyn.tables.trajectories import Trajectories
from hmmdyn.version import __version__

if TYPE_CHECKING:
    from hmmdyn.hmm.conversion import GaussianHMM


@dataclass(frozen=True)
class Decoding:
    """A training map applied to runs.

    ``states`` has one row per checkpoint: ``group, run, seed, step, state, probability``
    (Viterbi path; smoothed posterior of that state). ``beliefs`` holds the posteriors of the same
    rows, and ``observations`` what was decoded.
    """

    states: pd.DataFrame
    beliefs: Beliefs
    observations: Observations


@dataclass(frozen=True)
class TrainingMap:
    """A Gaussian hidden Markov model of training, its states in order of time.

    Attributes
    ----------
    parameters : HMMParameters
        In standardised units.
    features : tuple of str
        The metrics it reads, shape (D,).
    standardisation : Standardisation
        How raw metrics become its observations.
    step_unit : str
        ``step`` or ``epoch`` of the runs it was fitted to.
    options : Mapping
        How it was fitted: protocol, criterion, restarts, seed, …
    hmmdyn_version : str
        The version that fitted it.
    last_steps : Mapping or None
        Step at which each run that it was fitted to ended, by (group, run); None where that is not
        known, as of a model from elsewhere.
    """

    parameters: HMMParameters
    features: tuple[str, ...]
    standardisation: Standardisation
    step_unit: str = "step"
    options: Mapping[str, Any] = field(default_factory=dict)
    hmmdyn_version: str = __version__
    last_steps: Mapping[tuple[str, str], int] | None = None

    def apply(self, trajectories: Trajectories) -> Decoding:
        """Decode runs: the most likely state of every checkpoint, and the posteriors.

        A missing value (NaN) is marginalised over, which a notice of the decoding's observations
        counts; a run in which no metric can be standardised is left out, and named there too.

        A map that standardises each run by itself takes only the runs it was fitted to, as far as
        they had come then: how far a metric lies from its run's mean depends on what the run does
        later, so that the states of a run that goes on say nothing. That a new run has ended cannot
        be seen from its table; for one of which you know it, use
        ``map.decode(trajectories.observations_as(map.features, map.standardisation))``. Where the
        scale is that of a run's first checkpoints, any run that has so many is taken. A map that
        does not know its runs (``last_steps`` is None) decodes all, with a notice.

        Raises
        ------
        UsageError
            What is given is no trajectories.
        TrainingMapError
            The table lacks a metric the map reads, or counts time otherwise than a map that knows
            the gaps between checkpoints; or the map standardises each run by itself, and a run is
            none that it was fitted to, or ended at another step then.
        MetricNotFiniteError
            A metric is infinite somewhere.
        NotEnoughDataError
            No run can be standardised as the map's own were, or a value lies beyond all scale.
        """
        if not isinstance(trajectories, Trajectories):
            raise UsageError(
                f"A map is applied to trajectories, not to a {type(trajectories).__name__}. "
                "Read it first: map.apply(hmmdyn.read_runs(table))."
            )
        missing = [f for f in self.features if f not in trajectories.metrics]
        if missing:
            raise TrainingMapError(
                f"The map reads the metrics {', '.join(self.features)}, but the table lacks "
                f"{', '.join(missing)}. Extract them, or fit a map to the metrics there are."
            )
        counts_time = transitions_of(self.parameters).counts_time
        if counts_time and trajectories.step_unit != self.step_unit:
            raise TrainingMapError(
                f"The map's transitions go by the gaps between checkpoints in {self.step_unit}s, "
                f"but the table counts {trajectories.step_unit}s. Use a table in "
                f"{self.step_unit}s, or fit a map with clock 'checkpoint'."
            )
        notices = self._require_whole_runs(trajectories)
        observations = trajectories.observations_as(self.features, self.standardisation)
        return self.decode(replace(observations, notices=(*notices, *observations.notices)))

    def _require_whole_runs(self, trajectories: Trajectories) -> tuple[Notice, ...]:
        """Refuse runs whose own mean and deviation may not be those of the whole run."""
        if self.standardisation.kind != "run":
            return ()
        first = self.standardisation.first
        table, lengths = trajectories.table, trajectories.lengths
        ends = table.iloc[np.cumsum(lengths) - 1]
        # Scaled by its first checkpoints alone, a run that has them does not know what follows.
        open_ended = ends if first is None else ends[lengths < first]
        if self.last_steps is None:
            return _about_unknown_runs(open_ended)
        keys = zip(open_ended["group"], open_ended["run"], open_ended["step"], strict=True)
        other = [
            f"{run} ({_how_it_differs(self.last_steps.get((group, run)), end)})"
            for group, run, end in keys
            if self.last_steps.get((group, run)) != end
        ]
        if other:
            raise TrainingMapError(
                "The map standardises each run by itself, so it can only decode the runs it was "
                f"fitted to, up to the {self.step_unit} at which they ended. Not so: "
                f"{some(other, 4)}. The mean and deviation of a run that goes on are not those it "
                "will have had: one and the same plateau gets another level, and another state. "
                "Fit a map that treats all runs alike (",
                Remedy("standardise", "pooled"),
                "), or analyse these runs together with the others",
                Either(
                    ".",
                    ". Runs of which you know that they have ended: "
                    "map.decode(trajectories.observations_as(map.features, map.standardisation)).",
                ),
            )
        return ()

    def decode(self, observations: Observations) -> Decoding:
        """As :meth:`apply`, for observations already standardised as the map's own are."""
        path = decode(self.parameters, observations)
        seen = beliefs(self.parameters, observations)
        states = observations.runs.loc[observations.run_of_row]
        states = states.reset_index(drop=True).assign(
            step=observations.steps,
            state=path,
            probability=seen.smoothed[np.arange(len(path)), path],
        )
        return Decoding(states, seen, observations)

    def save(self, path: Path | str) -> None:
        """Write the map as JSON, atomically.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        training_map_json.save(self, path)

    @classmethod
    def load(cls, path: Path | str) -> TrainingMap:
        """Read a map written by :meth:`save`; nothing in the file is executed.

        Raises
        ------
        TrainingMapError
            The file is missing, is not a training map, or its numbers do not make a model.
        """
        return training_map_json.load(path, cls)

    def to_hmmlearn(self) -> GaussianHMM:
        """Return the model as hmmlearn has it: to score, decode and sample with its tools.

        It reads what the map reads, standardised as the map's runs are: the values and lengths of
        ``trajectories.observations_as(map.features, map.standardisation)``. States keep their
        numbers. hmmlearn has no place for the names of metrics nor for the standardisation: keep
        the map for those.

        Raises
        ------
        TrainingMapError
            The map knows the gaps between checkpoints, keeps states for a minimum dwell, or
            remembers: hmmlearn has nothing like it.
        """
        from hmmdyn.hmm import conversion

        return conversion.to_hmmlearn(self.parameters)

    @classmethod
    def from_hmmlearn(
        cls,
        model: GaussianHMM,
        features: Sequence[str],
        standardisation: Standardisation | None = None,
        *,
        step_unit: str = "step",
    ) -> TrainingMap:
        """Make a training map of a fitted hmmlearn model.

        Parameters
        ----------
        model : hmmlearn.hmm.GaussianHMM
            Fitted, or with all its parameters set; ``covariance_type`` ``diag`` or ``full``. States
            keep their numbers: in reports they read best in order of time.
        features : sequence of str
            Names of the metrics, in the order of the model's columns.
        standardisation : Standardisation, optional
            How raw metrics become what the model was fitted to; each run by its own mean and
            deviation where None.
        step_unit : str
            ``step`` or ``epoch`` of the runs it was fitted to.

        Raises
        ------
        TrainingMapError
            The model is not fitted, has another covariance type or another number of metrics, or
            its numbers do not make a model (a state that no checkpoint visits has none).
        """
        from hmmdyn.hmm import conversion

        standardisation = standardisation or Standardisation("run")
        parameters = conversion.from_hmmlearn(model)
        conversion.require_fitting(parameters, features, standardisation)
        return cls(parameters, tuple(features), standardisation, step_unit)


@dataclass(frozen=True)
class FittedMap:
    """A training map, how its K was chosen, and the runs it was fitted to, decoded.

    ``recommended`` is the map that runs held out recommend, where it is another.
    """

    training_map: TrainingMap
    trajectories: Trajectories
    selection: Selection
    decoding: Decoding
    recommended: FittedMap | None = None

    def at(self, n_states: int) -> FittedMap:
        """Return the map at another level of the zoom around a supported map.

        Raises
        ------
        UsageError
            There is no zoom, or no such level in it; the message says which there are.
        """
        selection = at_level(self.selection, n_states)
        if selection is self.selection:
            return self
        training_map = replace(
            self.training_map,
            parameters=selection.models[n_states],
            options={**self.training_map.options, "criterion": selection.criterion},
        )
        return replace(
            self,
            training_map=training_map,
            selection=selection,
            decoding=training_map.decode(self.decoding.observations),
        )


def fit_training_map(
    trajectories: Trajectories,
    candidates: Sequence[int] = range(1, 9),
    *,
    standardise: str = "run",
    standardise_first: int | None = None,
    keep_metrics: Sequence[str] = (),
    log_metrics: Sequence[str] = (),
    covariance_type: str = "diag",
    protocol: str = "bic",
    options: ModelOptions = PLAIN_MODEL,
    n_restarts: int = 10,
    random_state: int = 0,
    quick: bool = False,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> FittedMap:
    """Standardise, choose K, fit, decode.

    Parameters
    ----------
    trajectories : Trajectories
        The runs to fit to; all their metrics enter the model.
    candidates : sequence of int
        Numbers of states to choose from.
    standardise, standardise_first, keep_metrics, log_metrics
        As in :func:`hmmdyn.tables.standardise.standardised`.
    covariance_type, protocol, options, n_restarts, random_state, quick, n_jobs, progress
        As in :func:`hmmdyn.hmm.choose.select.select_n_states`.

    Raises
    ------
    MetricNotFiniteError, NotEnoughDataError, NoValidFitError, UsageError
    """
    observations = standardised(
        trajectories,
        standardise,
        standardise_first,
        keep_metrics=keep_metrics,
        log_metrics=log_metrics,
    )
    selection = select_n_states(
        observations,
        candidates,
        covariance_type=covariance_type,
        protocol=protocol,
        options=options,
        n_restarts=n_restarts,
        random_state=random_state,
        quick=quick,
        n_jobs=n_jobs,
        progress=progress,
    )

    ends = np.cumsum(observations.lengths) - 1
    last_steps = {
        (str(run.group), str(run.run)): int(step)
        for run, step in zip(observations.runs.itertuples(), observations.steps[ends], strict=True)
    }

    def fitted(selection: Selection) -> FittedMap:
        training_map = TrainingMap(
            parameters=selection.models[selection.n_states],
            features=observations.features,
            standardisation=observations.standardisation,
            step_unit=trajectories.step_unit,
            options={
                "protocol": protocol,
                "criterion": selection.criterion,
                "candidates": sorted(set(candidates)),
                "covariance": selection.covariance_type,
                **_unusual(options),
                "restarts": n_restarts,
                "seed": random_state,
            },
            last_steps=last_steps,
        )
        return FittedMap(training_map, trajectories, selection, training_map.decode(observations))

    chosen = fitted(selection)
    if selection.recommended is None:
        return chosen
    return replace(chosen, recommended=fitted(selection.recommended))


def _how_it_differs(last_step: int | None, end: int) -> str:
    if last_step is None:
        return "not among them"
    return f"ends at {end:,} here, at {last_step:,} then"


def _about_unknown_runs(runs: pd.DataFrame) -> tuple[Notice, ...]:
    """Say that nobody knows whether runs are whole."""
    if runs.empty:
        return ()
    message = (
        "The map standardises each run by itself and does not know the runs it was fitted to. The "
        "states of a run that had not ended say nothing: they depend on what it does later."
    )
    return (Notice("model", "odd", "standardisation", message),)


def _unusual(options: ModelOptions) -> dict[str, Any]:
    """Return the options that are not at their defaults."""
    plain = asdict(PLAIN_MODEL)
    return {name: value for name, value in asdict(options).items() if value != plain[name]}
