"""The whole method, stage by stage: runs (`sources`) -> states -> findings, for the report.

Every stage imports what it stands on when it is called, so that nobody waits for another's.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hmmdyn.errors import (
    NotEnoughDataError,
    UsageError,
)
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import require_known
from hmmdyn.options import Options
from hmmdyn.places import RemotePath, shown
from hmmdyn.report import layout
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice, each_once
from hmmdyn.sources import Progress, read_runs, require, require_workable
from hmmdyn.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from hmmdyn.analysis import Analysis, OutcomeAnalysis
    from hmmdyn.hmm import FittedMap
    from hmmdyn.results.convergence import Convergence
    from hmmdyn.results.findings import OtherMap, OutcomeFindings
    from hmmdyn.tables.trajectories import Trajectories

_Said = TypeVar("_Said")

# What computes the numbers, and draws them.
PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "numba", "statsmodels", "plotly")


def fit(
    trajectories: Trajectories,
    options: Options | None = None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> FittedMap:
    """Fit a training map to trajectories: choose metrics, standardise, sweep over K.

    Parameters
    ----------
    trajectories : Trajectories
        Metrics and outcomes of the runs, from :func:`read_runs`.
    options : Options, optional
        Which metrics, how many states, which model and how much effort.
    jobs : int
        Processes to work with, -1 for one per core; the map does not depend on it.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    HmmdynError
        The metrics do not allow it; the message says why.
    """
    from hmmdyn.hmm import fit_training_map
    from hmmdyn.metrics.registry import expanded, without_families
    from hmmdyn.tables.trajectories import Trajectories

    options = Options.of(options)
    require_workable(jobs, progress)
    require(
        isinstance(trajectories, Trajectories),
        f"'trajectories' must be hmmdyn.Trajectories, got {type(trajectories).__name__}. "
        "Write hmmdyn.fit(hmmdyn.read_runs('runs/')), for instance.",
    )
    asked = expanded(options.metrics, trajectories.metrics)
    dropped = expanded(options.drop_metrics, trajectories.metrics)
    fitted = fit_training_map(
        trajectories.select(metrics=asked, drop_metrics=dropped),
        options.candidates,
        standardise=options.standardise,
        standardise_first=options.standardise_first,
        keep_metrics=(*without_families(options.metrics), *options.keep_metrics),
        log_metrics=expanded(options.log_metrics, trajectories.metrics),
        covariance_type=options.covariance,
        protocol=options.protocol,
        options=options.model,
        n_restarts=options.restarts,
        quick=options.quick,
        random_state=options.seed,
        n_jobs=jobs,
        progress=partial(progress, "states") if progress else None,
    )
    return fitted if options.n_states is None else fitted.at(options.n_states)


def analyze(
    source: Any,
    options: Options | None = None,
    *,
    cache: Path | str | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    source_name: str | None = None,
    **changes: Any,
) -> Analysis | OutcomeAnalysis:
    """Analyse runs: the whole method, from a folder or a table to statements.

    Runs of which outcomes alone are known (a table of returns, a folder of logs) get all that needs
    no states.

    Parameters
    ----------
    source : path, CheckpointIndex, DataFrame or Trajectories
        As in :func:`read_runs`.
    options : Options, optional
        What shapes the result; the defaults where there are none.
    cache : path, optional
        As in :func:`read_runs`.
    jobs : int
        Processes to work with, -1 for one per core; the result does not depend on it.
    progress : callable, optional
        Called with (stage, done, total).
    source_name : str, optional
        How the source is called in the report, where it is not a path; a command line can be given
        for it.
    **changes
        Single options by name: ``analyze("runs/", covariance="full", threshold=0.9)``.

    Raises
    ------
    HmmdynError
        The analysis could not be done; the message says what, where, why and what to do.
    """
    options = Options.of(options)
    require_known(changes, [*vars(options), "cache", "jobs", "progress", "source_name"], "option")
    options = options.changed(**changes)
    trajectories = read_runs(source, options, cache=cache, jobs=jobs, progress=progress)
    _require_outcome(options, trajectories)  # before the model is fitted, which takes long
    name = source_name or _name(source)
    if not trajectories.metrics:
        return _outcomes_stated(trajectories, options, name)
    analysis = _fitted_and_stated(trajectories, options, name, jobs, progress)
    if not options.map_per_group:
        return analysis
    groups = trajectories.runs["group"].unique()
    of_groups = {
        group: _fitted_and_stated(trajectories.of_group(group), options, name, jobs, progress)
        for group in groups
    }
    return _with_maps_of_groups(analysis, of_groups)


def _require_outcome(options: Options, trajectories: Trajectories) -> None:
    """Refuse an outcome that is not there, and a threshold that it cannot reach."""
    import numpy as np

    from hmmdyn.dynamics.convergence import require_possible

    table, outcome = trajectories.table, options.outcome
    known = [name for name in trajectories.outcomes if np.isfinite(table[name]).any()]
    if outcome is not None:
        require_known([outcome], trajectories.outcomes, "outcome")
        if outcome not in known:
            raise UsageError(
                f"The outcome {outcome!r} is known at no checkpoint. Leave out ",
                Remedy("outcome"),
                ", or give a file with its values (",
                Remedy("outcomes_file"),
                ").",
            )
    require_possible(table, known, outcome, options.threshold)


def _outcomes_stated(trajectories: Trajectories, options: Options, source: str) -> OutcomeAnalysis:
    """Say what there is to say of runs whose outcomes alone are known."""
    from hmmdyn.analysis import OutcomeAnalysis
    from hmmdyn.tables.trajectories import KEY_COLUMNS

    options.require_nothing_of_states()
    table = trajectories.table[[*KEY_COLUMNS, *trajectories.outcomes]]
    found = _of_outcomes(trajectories, table, options, source)
    return OutcomeAnalysis(**vars(found), trajectories=trajectories)


def _fitted_and_stated(
    trajectories: Trajectories,
    options: Options,
    source: str,
    jobs: int,
    progress: Progress | None,
) -> Analysis:
    """Fit a map to trajectories, and say what there is to say of it and of the recommended one."""
    fitted = fit(trajectories, options, jobs=jobs, progress=progress)
    analysis = _state_findings(trajectories, fitted, options, source)
    if fitted.recommended is None:
        return analysis
    recommended = _state_findings(trajectories, fitted.recommended, options, source)
    return replace(
        analysis,
        other_maps=(_other_map(recommended, "recommended", layout.TO_RECOMMENDED),),
        recommended=replace(
            recommended, other_maps=(_other_map(analysis, "chosen", layout.FROM_RECOMMENDED),)
        ),
    )


def _told_at(
    trajectories: Trajectories, fitted: FittedMap, options: Options, source: str, n_states: int
) -> Analysis:
    """Say what there is to say of another level of the zoom, as if it had been asked for."""
    level = fitted.at(n_states)
    # The zoom begins where it did, so that the report's command gives this level again.
    asked = options.changed(n_states=n_states, max_states=max(options.candidates))
    return _state_findings(trajectories, level, asked, source)


def _with_maps_of_groups(joint: Analysis, of_groups: Mapping[str, Analysis]) -> Analysis:
    """Link the map of all groups and those of each group with each other."""
    back = _other_map(joint, "all groups together", layout.FROM_GROUP)
    linked = {g: replace(a, other_maps=(*a.other_maps, back)) for g, a in of_groups.items()}
    links = tuple(
        _other_map(alone, f"group {group} by itself", layout.to_page_in(place))
        for place, (group, alone) in zip(layout.group_folders(linked), linked.items(), strict=True)
    )
    return replace(joint, other_maps=(*joint.other_maps, *links), of_groups=linked)


def _other_map(analysis: Analysis, what: str, page: str) -> OtherMap:
    from hmmdyn.results.findings import OtherMap

    return OtherMap(analysis.parameters.n_states, what, page)


def _name(source: Any) -> str:
    from hmmdyn.results.checkpoints import CheckpointIndex

    if isinstance(source, CheckpointIndex):
        return str(source.root)
    return shown(source) if isinstance(source, (str, Path, RemotePath)) else ""


def _state_findings(
    trajectories: Trajectories, fitted: FittedMap, options: Options, source: str
) -> Analysis:
    """Turn decoded runs into statements."""
    from hmmdyn.analysis import Analysis
    from hmmdyn.dynamics.detours import detour_verdicts
    from hmmdyn.dynamics.dissimilarity import dissimilarity
    from hmmdyn.dynamics.groups import compare_groups
    from hmmdyn.dynamics.map_in_time import find_map_in_time
    from hmmdyn.dynamics.movement_law import movement_laws
    from hmmdyn.dynamics.occupancy import (
        CHECKPOINTS,
        STEPS,
        bag_of_states,
        uneven_lengths,
    )
    from hmmdyn.dynamics.outcomes.told_first import told_first
    from hmmdyn.dynamics.outliers import find_outliers
    from hmmdyn.dynamics.part_courses import find_part_courses
    from hmmdyn.dynamics.regression import regress_convergence
    from hmmdyn.dynamics.slowness import find_slowness
    from hmmdyn.dynamics.states import metric_levels, summarise_states, sure_share
    from hmmdyn.dynamics.transitions import (
        change_points,
        influences,
        is_forking,
        training_map_edges,
        transition_times,
    )
    from hmmdyn.dynamics.ways import find_ways, fork_choices
    from hmmdyn.dynamics.where import where_it_moves
    from hmmdyn.results.boundaries import BOUNDARIES
    from hmmdyn.results.told_first import TOLD_FIRST
    from hmmdyn.tables.model_metrics import describe_metrics
    from hmmdyn.tables.trajectories import KEY_COLUMNS

    chosen, decoding = fitted.trajectories, fitted.decoding
    parameters = fitted.training_map.parameters
    runs = decoding.observations.runs
    # Runs the model had to leave out (each with a notice) are in no statement either.
    table = chosen.table.merge(runs[RUN_KEY], on=RUN_KEY)
    columns = [*KEY_COLUMNS, *chosen.metrics, *chosen.outcomes]
    table = table[columns]
    changes = change_points(decoding, parameters)
    found = _of_outcomes(chosen, table, options, source, changes)
    convergence = found.convergence
    clock = CHECKPOINTS if options.protocol == "paper" else STEPS
    occupancy = bag_of_states(decoding.states, parameters.n_states, clock)
    evidence = fitted.selection.evidence
    # States of other maps may be slices of drift.
    confirmable = evidence.confirmable if evidence else ()
    regression, why_no_regression = _of(
        convergence,
        "regression",
        lambda c: regress_convergence(occupancy, c, decoding.states, clock),
    )
    edges = training_map_edges(changes, parameters, len(runs), convergence)
    choices = fork_choices(decoding.states)
    ways = find_ways(decoding.states, choices, edges, found.runs)
    notices = each_once(
        chosen.notices,
        decoding.observations.notices,
        fitted.selection.notices,
        found.notices,
        why_no_regression,
        uneven_lengths(decoding.states),
    )
    in_time = find_map_in_time(decoding.states, parameters, evidence.zoom if evidence else {})
    return Analysis(
        **vars(found) | {"notices": notices},
        trajectories=trajectories,
        told_at=partial(_told_at, trajectories, fitted, options, source),
        training_map=fitted.training_map,
        features=decoding.observations.features,
        model_metrics=describe_metrics(chosen, decoding.observations),
        standardisation=decoding.observations.standardisation.kind,
        parameters=parameters,
        states=decoding.states,
        sure_share=sure_share(decoding.states),
        state_summary=summarise_states(
            decoding, ways.stays, table, chosen.outcomes, parameters, convergence
        ),
        state_metrics=metric_levels(
            parameters, decoding.observations.features, decoding.observations.standardisation
        ),
        transitions=edges,
        transition_times=transition_times(
            changes, evidence.supported if evidence else BOUNDARIES.frame()
        ),
        influences=influences(decoding, parameters),
        change_points=changes,
        fork_choices=choices,
        ways=ways,
        map_in_time=in_time,
        occupancy=occupancy,
        selection=fitted.selection,
        dissimilarity=dissimilarity(occupancy, parameters.means),
        forking=is_forking(edges, decoding.states["state"].nunique()),
        slowness=find_slowness(decoding.states, found.runs, parameters.n_states)
        if convergence
        else None,
        outliers=find_outliers(
            decoding.observations,
            parameters,
            decoding.states,
            options=options.model,
            step_unit=chosen.step_unit,
            random_state=options.seed,
        ),
        group_comparison=compare_groups(
            decoding.states,
            table,
            occupancy,
            changes,
            choices,
            convergence,
            parameters,
            confirmable=confirmable,
            clock=clock,
            random_state=options.seed,
        ),
        regression=regression,
        detours=detour_verdicts(
            occupancy,
            convergence,
            regression,
            decoding.states,
            table,
            confirmable=confirmable,
        ),
        where_it_moves=where_it_moves(
            chosen.parts, decoding.states, evidence.supported if evidence else BOUNDARIES.frame()
        ),
        told_first=told_first(
            table,
            decoding.observations.features,
            found.outcome_transitions.transitions,
            random_state=options.seed,
        )
        if found.outcome_transitions
        else TOLD_FIRST.frame(),
        part_courses=find_part_courses(chosen.parts, in_time.stays[parameters.n_states]),
        movement_laws=movement_laws(table),
    )


def _of_outcomes(
    trajectories: Trajectories,
    table: pd.DataFrame,
    options: Options,
    source: str,
    changes: pd.DataFrame | None = None,
) -> OutcomeFindings:
    """Say of a table of runs what their outcomes tell, by themselves or with changes of state."""
    from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
    from hmmdyn.dynamics.outcomes.unlike import find_unlike_curves
    from hmmdyn.dynamics.slowness import runs_by_convergence
    from hmmdyn.dynamics.speed import compare_speed
    from hmmdyn.results.findings import OutcomeFindings

    convergence, why_no_convergence = _convergence(table, trajectories.outcomes, options)
    speed, why_no_speed = _of(
        convergence,
        "speed",
        lambda c: compare_speed(c, margin=options.margin, random_state=options.seed),
    )
    outcome_transitions = (
        find_outcome_transitions(
            table,
            trajectories.outcomes,
            changes,
            step_unit=trajectories.step_unit,
            random_state=options.seed,
        )
        if convergence
        else None
    )
    runs = runs_by_convergence(table, convergence)
    return OutcomeFindings(
        table=table,
        metrics=trajectories.metrics,
        outcomes=trajectories.outcomes,
        step_unit=trajectories.step_unit,
        runs=runs,
        convergence=convergence,
        speed=speed,
        outcome_transitions=outcome_transitions,
        outcome_outliers=find_unlike_curves(
            table,
            trajectories.outcomes,
            step_unit=trajectories.step_unit,
            random_state=options.seed,
        ),
        notices=each_once(
            trajectories.notices,
            convergence.notices if convergence else (),
            speed.notices if speed else (),
            outcome_transitions.notices if outcome_transitions else (),
            why_no_convergence,
            why_no_speed,
            _one_run(len(runs)),
        ),
        source=source or "a table given from Python",
        options=options.set_by_user(),
        command=("hmmdyn", "analyze", source, *options.command_line()) if source else (),
        versions={"hmmdyn": __version__, "python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
    )


def _convergence(
    table: pd.DataFrame, outcomes: tuple[str, ...], options: Options
) -> tuple[Convergence | None, tuple[Notice, ...]]:
    import numpy as np

    from hmmdyn.dynamics.convergence import measure_convergence

    known = tuple(o for o in outcomes if np.isfinite(table[o]).any())
    if not known:
        return None, (
            Notice(
                "statements",
                "limit",
                "outcomes",
                Message(
                    "No loss or accuracy is known for these checkpoints, so nothing can be said "
                    "about convergence or detours. Give a file with ",
                    Remedy("outcomes_file"),
                    ".",
                ),
            ),
        )
    try:
        measured = measure_convergence(
            table,
            known,
            outcome=options.outcome,
            threshold=options.threshold,
            direction=options.direction,
            sustained=options.sustained,
        )
    except NotEnoughDataError as error:
        return None, (Notice("statements", "limit", "convergence", error.message),)
    return measured, ()


def _of(
    convergence: Convergence | None, subject: str, state: Callable[[Convergence], _Said]
) -> tuple[_Said | None, tuple[Notice, ...]]:
    """Say something about convergence, or why it cannot be said."""
    if convergence is None:
        return None, ()
    try:
        return state(convergence), ()
    except NotEnoughDataError as error:
        return None, (Notice("statements", "limit", subject, error.message),)


def _one_run(n_runs: int) -> tuple[Notice, ...]:
    if n_runs > 1:
        return ()
    message = "There is one run: seeds cannot be compared, and whatever it does may be its own."
    return (Notice("statements", "limit", "runs", message),)
