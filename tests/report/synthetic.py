"""A synthetic set of findings with known answers, in every size and shape the page must bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from hmmdyn.analysis import Analysis
from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.groups import compare_groups
from hmmdyn.dynamics.map_in_time import find_map_in_time
from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from hmmdyn.dynamics.part_courses import find_part_courses
from hmmdyn.dynamics.slowness import find_slowness, runs_by_convergence
from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.dynamics.states import metric_levels, sure_share
from hmmdyn.dynamics.transitions import transition_times
from hmmdyn.dynamics.ways import find_ways, fork_choices
from hmmdyn.results.boundaries import (
    BOUNDARIES,
    LEVEL_BOUNDARIES,
    LEVELS,
    MERGES,
    NOT_ASKED,
    STATES_FOUND_AGAIN,
    Evidence,
    Level,
)
from hmmdyn.results.convergence import Dissimilarity, Regression
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.map_in_time import MapInTime
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.model_metrics import MODEL_METRICS, ModelMetrics
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Standardisation
from hmmdyn.results.parts import PARTS, PartCourses
from hmmdyn.results.selection import Selection, Stability
from hmmdyn.results.transitions import INFLUENCES

FEATURES = (
    "l1", "l2", "l1_over_l2", "mean_w", "median_w", "var_w", "mean_b", "median_b", "var_b",
    "trace", "spectral_norm", "trace_over_spectral", "mean_sv", "var_sv",
)  # fmt: skip
OUTCOMES = ("train_loss", "val_accuracy")
THRESHOLD = 0.9
HAZARD = (
    "hazard_ratio",
    "ratio_low",
    "ratio_high",
    "p",
    "least_p",
    "p_corrected",
    "ratio_inside",
    "ratio_left",
)

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "n" * 150 + "ä" * 150,
    "🔥 run 🚀",
    "<img src=x onerror=a()>",
    "two\nlines\tand a tab",
    "ריצה שבע",
    "\u202edesrever",
    "<a href='https://example.org'>%{x}</a>",
    "</script><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }} & \"quotes\" 'too'",
    "=HYPERLINK(1)",
)


def make_findings(
    n_runs: int = 10,
    n_checkpoints: int = 42,
    n_states: int = 4,
    n_features: int = 8,
    *,
    groups: Sequence[str] = ("adamw",),
    run_names: Sequence[str] | None = None,
    n_censored: int = 1,
    stride: int = 100,
    wandering: float = 0.0,
    random_state: int = 0,
) -> Findings:
    """Runs walk 0, 1, … in order; every fourth takes the long way round through the detour state.

    The detour state is the last but one (none with fewer than four states): the other runs go
    past it. A run converges when it enters the last state; the last ``n_censored`` runs of each
    group never do. With ``wandering`` a run skips each state in between with that probability.
    """
    rng = np.random.default_rng(random_state)
    features = FEATURES[:n_features]
    names = list(run_names or (f"seed{i}" for i in range(n_runs)))
    runs = pd.DataFrame(
        [(group, name, i) for group in groups for i, name in enumerate(names[:n_runs])],
        columns=["group", "run", "seed"],
    ).astype({"seed": "Int64"})
    detour = n_states - 2 if n_states >= 4 else None
    paths = [
        _path(rng, i % n_runs, n_runs, n_states, n_checkpoints, detour, n_censored, wandering)
        for i in range(len(runs))
    ]
    means = np.cumsum(rng.normal(0.6, 0.8, (n_states, n_features)), axis=0)
    means -= means.mean(axis=0)
    table = _table(rng, runs, paths, means, features, stride, n_states)
    states = table[[*RUN_KEY, "seed", "step"]].assign(
        state=np.concatenate(paths), probability=rng.uniform(0.8, 1, len(table))
    )
    convergence = replace(
        measure_convergence(table, OUTCOMES, outcome="val_accuracy", threshold=THRESHOLD),
        notices=(),
    )
    changes = _change_points(states)
    transmat = _transmat(paths, n_states)
    occupancy = _occupancy(states, n_states)
    regression = _regression(occupancy, convergence, n_states)
    edges = _edges(changes, transmat, convergence, len(runs))
    parameters = HMMParameters(
        startprob=np.eye(n_states)[0],
        transmat=transmat,
        means=means,
        covariances=np.full_like(means, 0.3),
        covariance_type="diag",
    )
    in_order = runs_by_convergence(table, convergence)
    choices = fork_choices(states)
    in_time = find_map_in_time(states, parameters, {})
    return Findings(
        table=table,
        metrics=features,
        outcomes=OUTCOMES,
        features=features,
        step_unit="step",
        model_metrics=ModelMetrics(
            MODEL_METRICS.frame(
                {"metric": m, "used": True, "constant": False, "alike": "", "orders": 0.5}
                for m in features
            ),
            effective_dimensions=1 + n_features / 4,
        ),
        standardisation="run",
        parameters=parameters,
        states=states,
        sure_share=sure_share(states),
        runs=in_order,
        state_summary=_state_summary(states, table, n_states),
        state_metrics=metric_levels(parameters, features, Standardisation("run")),
        transitions=edges,
        transition_times=transition_times(changes, BOUNDARIES.frame()),
        influences=_influences(edges, means, features),
        change_points=changes,
        fork_choices=choices,
        ways=find_ways(states, choices, edges, in_order),
        map_in_time=in_time,
        part_courses=_part_courses(table, features, in_time),
        occupancy=occupancy,
        selection=_selection(rng, n_states, len(runs)),
        dissimilarity=Dissimilarity(0.81, 0.12, 0.22, len(runs)),
        forking=detour is not None and len(runs) > 1,
        convergence=convergence,
        speed=compare_speed(convergence),
        slowness=find_slowness(states, in_order, n_states),
        outcome_transitions=find_outcome_transitions(table, OUTCOMES, changes),
        outliers=_outliers(runs),
        outcome_outliers=_outcome_outliers(runs),
        group_comparison=compare_groups(
            states, table, occupancy, changes, choices, convergence, parameters
        ),
        regression=regression,
        detours=_detours(occupancy, convergence, regression, detour, n_states),
        notices=(
            Notice("metrics", "left out", "metric mean_b", "It is 0 at every checkpoint."),
            Notice("discovery", "left out", "seed4/last.safetensors", "An alias, not a step."),
            Notice("discovery", "odd", "run seed2", "Steps 300 and 400 hold the same weights."),
        ),
        source="runs/parity",
        options={"max_states": 8, "drop_metrics": ("a", "b")},
        command=("hmmdyn", "analyze", "my runs", "--max-states", "8", "--drop-metric", "l 1"),
        versions={"hmmdyn": "0.1.0", "numpy": "2.4.6"},
    )


def with_zoom(findings: Findings) -> Findings:
    """The findings with a zoom: a finer level that halves every stay, and a single state.

    The last boundary of the map is sharp and found again, the others are slices.
    """
    k = findings.parameters.n_states
    path = findings.states["state"].to_numpy()
    finer = _halved(findings.states)
    finest = 2 * k
    zoom = {
        finest: Level(_parameters(finer, findings), finer),
        k: Level(findings.parameters, path),
        1: Level(_parameters(np.zeros_like(path), findings), np.zeros_like(path)),
    }
    levels = pd.concat(
        [
            pd.DataFrame(
                {
                    "level": n,
                    "supported": n == k,
                    "state": range(n),
                    "strength": 0.9 if n == k else np.nan,
                    "found": "yes" if n == k else NOT_ASKED,
                    "n_checkpoints": np.bincount(level.states, minlength=n),
                    "into": [i * coarser // n for i in range(n)] if coarser else pd.NA,
                    "into_share": 1.0 if coarser else np.nan,
                }
            )
            for (n, level), coarser in zip(zoom.items(), (k, 1, 0), strict=True)
        ]
    )
    judged = LEVEL_BOUNDARIES.frame(
        {
            "level": n,
            "from_state": j,
            "to_state": j + 1,
            "kind": "sharp" if (n, j) == (k, k - 2) else "slice",
            "n_runs": 5,
            "share": 1.0,
            "delta": 0.2 if (n, j) == (k, k - 2) else 1.1,
            **(
                {
                    **{"date": 2500.0, "date_low": 2400.0, "date_high": 2600.0},
                    **{"duration": 300.0, "duration_low": 200.0, "duration_high": 400.0},
                    **{"found_share": 0.9, "found_apart": 100.0},
                    **{"spread": 900.0, "spread_low": 700.0, "spread_high": 1000.0},
                    "timing": "each seed in its own time",
                }
                if (n, j) == (k, k - 2)
                else {"timing": ""}
            ),
            "found": "yes" if (n, j) == (k, k - 2) else "",
        }
        for n in (finest, k)
        for j in range(n - 1)
    )
    levels = LEVELS.frame(levels)
    evidence = Evidence(
        boundaries=BOUNDARIES.frame(judged[judged["level"] == k].reset_index(drop=True)),
        states=STATES_FOUND_AGAIN.frame(levels[levels["level"] == k].reset_index(drop=True)),
        merges=MERGES.frame(),
        levels=levels,
        level_boundaries=judged,
        zoom=zoom,
        n_states=k,
        n_supported=k,
        timing="each seed in its own time",
        timing_reason="States predict other runs better than the step does.",
    )
    return replace(
        findings,
        selection=replace(findings.selection, evidence=evidence),
        map_in_time=find_map_in_time(findings.states, findings.parameters, zoom),
    )


def _halved(states: pd.DataFrame) -> np.ndarray:
    """2k in the first half of every stay in k, 2k + 1 in the second."""
    key = states[[*RUN_KEY, "state"]]
    stay = (key != key.shift()).any(axis=1).cumsum()
    place = states.groupby(stay).cumcount()
    length = states.groupby(stay)["step"].transform("size")
    return (2 * states["state"] + (place >= (length + 1) // 2)).to_numpy(np.int64)


def _parameters(path: np.ndarray, findings: Findings) -> HMMParameters:
    n_states = int(path.max()) + 1
    values = findings.table[list(findings.features)].to_numpy()
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    means = np.array([z[path == s].mean(axis=0) for s in range(n_states)])
    return replace(
        findings.parameters,
        startprob=np.eye(n_states)[0],
        transmat=np.full((n_states, n_states), 1 / n_states),
        means=means,
        covariances=np.ones_like(means),
    )


def changed(findings: Findings, **changes: object) -> Findings:
    """The findings with other states, edges or convergence, and what follows from them."""
    made = replace(findings, **changes)
    runs = runs_by_convergence(made.table, made.convergence)
    measured = made.convergence is not None
    in_time = find_map_in_time(made.states, made.parameters, {})
    return replace(
        made,
        runs=runs,
        ways=find_ways(made.states, made.fork_choices, made.transitions, runs),
        map_in_time=in_time,
        part_courses=_part_courses(made.table, made.features, in_time),
        slowness=find_slowness(made.states, runs, made.parameters.n_states) if measured else None,
    )


def analysis_of(findings: Findings) -> Analysis:
    """The findings as an analysis, of runs and a model that nobody asks for."""
    known = {each.name: getattr(findings, each.name) for each in fields(Findings)}
    return Analysis(**known, trajectories=None, training_map=None, told_at=None)


def without_outcomes(findings: Findings) -> Findings:
    """The same runs with no loss or accuracy beside them."""
    k = findings.parameters.n_states
    return changed(
        findings,
        table=findings.table.drop(columns=list(findings.outcomes)),
        outcomes=(),
        convergence=None,
        speed=None,
        outcome_transitions=None,
        regression=None,
        state_summary=findings.state_summary.drop(
            columns=[f"mean_{o}" for o in findings.outcomes]
        ).assign(phase=""),
        transitions=findings.transitions.assign(
            n_converged=0, convergence_mean=np.nan, convergence_se=np.nan
        ),
        detours=pd.DataFrame(
            {
                "state": range(k),
                "optional": False,
                "n_converged_without": 0,
                "coefficient": np.nan,
                "flag": False,
                "state_before": pd.array([pd.NA] * k, dtype="Int64"),
                "clock": "",
                **dict.fromkeys(HAZARD, np.nan),
                "verdict": "cannot tell",
                "reason": "No outcome is known, so these runs cannot tell.",
            }
        ),
    )


def make_hostile_findings() -> Findings:
    """Every name that a user or a file can choose is an attack or a nuisance."""
    made = make_findings(
        len(HOSTILE_NAMES), groups=("<b>bold</b>", "</script>"), run_names=HOSTILE_NAMES
    )
    leading = made.influences["feature"].iloc[0]
    renamed = {leading: "<img src=x onerror=alert(3)>", "train_loss": "loss</script>"}
    return replace(
        made,
        table=made.table.rename(columns=renamed),
        metrics=tuple(renamed.get(m, m) for m in made.metrics),
        features=tuple(renamed.get(m, m) for m in made.features),
        outcomes=tuple(renamed.get(o, o) for o in made.outcomes),
        influences=made.influences.replace({"feature": renamed}),
        state_summary=made.state_summary.rename(
            columns={f"mean_{a}": f"mean_{b}" for a, b in renamed.items()}
        ),
        notices=(Notice("reading", "odd", "<script>alert(4)</script>", "<b>not bold</b>"),),
        source="runs/<script>alert(5)</script>",
    )


def _path(rng, i, n_runs, n_states, n_checkpoints, detour, n_censored, wandering):
    """Decoded states of one run: contiguous stays, random lengths, in order of time."""
    takes_detour = detour is not None and i % 4 == 3
    order = [k for k in range(n_states) if k != detour or takes_detour]
    ends = {0, n_states - 1}
    order = [k for k in order if k in ends or not rng.random() < wandering]
    # With one run there is no one to be slower than.
    if n_runs > 1 and i >= n_runs - n_censored and n_states > 1:
        order.remove(n_states - 1)
    if len(order) > 3 and i % 5 == 2:
        order[2:2] = order[:2]  # falls back once before it goes on
    weights = rng.gamma(8.0, 1.0, len(order)) * np.where(np.array(order) == detour, 1.8, 1.0)
    lengths = np.maximum(1, np.floor(weights / weights.sum() * n_checkpoints).astype(int))
    lengths[-1] += n_checkpoints - lengths.sum()
    return np.repeat(order, lengths)


def _table(rng, runs, paths, means, features, stride, n_states):
    parts = []
    for (group, run, seed), path in zip(runs.itertuples(index=False), paths, strict=True):
        n = len(path)
        smooth = means[path]
        for _ in range(2):  # a little inertia, as weights have
            smooth = 0.5 * smooth + 0.5 * np.vstack([smooth[:1], smooth[:-1]])
        values = smooth + rng.normal(0, 0.15, smooth.shape)
        scale = 10.0 ** np.arange(len(features)) / 1e3
        progress = np.clip(path / max(n_states - 1, 1), 0, 1)
        accuracy = np.where(path == n_states - 1, 0.96, 0.5 + 0.3 * progress)
        part = pd.DataFrame(values * scale + 3 * scale, columns=list(features))
        part.insert(0, "step", np.arange(n) * stride)
        part.insert(0, "seed", seed)
        part.insert(0, "run", run)
        part.insert(0, "group", group)
        part["train_loss"] = np.exp(-4 * np.arange(n) / n) + rng.uniform(0, 0.02, n)
        part["val_accuracy"] = np.clip(accuracy + rng.normal(0, 0.01, n), 0, 1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True).astype({"seed": "Int64"})


def _part_courses(table: pd.DataFrame, features: Sequence[str], in_time: MapInTime) -> PartCourses:
    """Three layers, of which the first moves some checkpoints before the last; one role."""
    key = ["group", "run", "step"]
    parts = []
    for metric in [name for name in features[:2] if name in table]:
        for by, part, late in (("layer", "embed", 0), ("layer", "h.0", 2), ("layer", "h.1", 4)):
            held = table.groupby(RUN_KEY)[metric].shift(late).fillna(table[metric])
            parts.append(table[key].assign(by=by, part=part, metric=metric, value=held))
        parts.append(table[key].assign(by="role", part="other", metric=metric, value=table[metric]))
    stays = in_time.stays[max(in_time.stays)]
    return find_part_courses(PARTS.frame(pd.concat(parts)) if parts else PARTS.frame(), stays)


def _change_points(states):
    previous = states.groupby(RUN_KEY, sort=False)[["step", "state"]].shift()
    changed = previous["state"].notna() & (previous["state"] != states["state"])
    return (
        pd.DataFrame(
            {
                "group": states["group"],
                "run": states["run"],
                "seed": states["seed"],
                "previous_step": previous["step"],
                "step": states["step"],
                "step_low": previous["step"],
                "step_high": states["step"],
                "from_state": previous["state"],
                "to_state": states["state"],
                "probability": states["probability"],
            }
        )[changed]
        .astype({"previous_step": int, "step_low": int, "from_state": int})
        .reset_index(drop=True)
    )


def _transmat(paths, n_states):
    counts = np.full((n_states, n_states), 1e-3)
    for path in paths:
        np.add.at(counts, (path[:-1], path[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def _occupancy(states, n_states):
    bags = pd.crosstab([states["group"], states["run"]], states["state"], normalize="index")
    bags = bags.reindex(columns=range(n_states), fill_value=0.0).add_prefix("state_")
    runs = states[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY).reset_index(drop=True)
    return runs.merge(bags.reset_index(), on=RUN_KEY).rename_axis(columns=None)


def _outliers(runs):
    """One run of several goes back, the others are usual."""
    out = (np.arange(len(runs)) == 1) & (len(runs) > 3)
    p = np.where(out, 0.0003, 0.4) if len(runs) > 3 else np.nan
    return runs.assign(
        score=np.where(out, -9.0, 2.0),
        typical=2.0,
        misfit=np.where(out, 6.0, 1.0),
        apart=np.where(out, 4.0, 0.1),
        returned=np.where(out, 0.3, 0.0),
        p=p,
        p_corrected=p,
        outlier=out,
        reason=np.where(out, "It goes back to a state that the others leave for good.", ""),
    )


def _outcome_outliers(runs):
    """One run of several loses again what it had reached."""
    out = (np.arange(len(runs)) == 2) & (len(runs) > 3)
    p = np.where(out, 0.0002, 0.5)
    return runs.assign(
        outcome="eval_accuracy",
        lost=np.where(out, 0.8, 0.02),
        p=p,
        p_corrected=p,
        outlier=out,
        reason=np.where(out, "Its eval_accuracy goes back from 0.9 to 0.1.", ""),
    )


def _regression(occupancy, convergence, n_states):
    X = occupancy.filter(like="state_").to_numpy()
    y = convergence.table["time"].to_numpy()
    if len(y) <= n_states:
        return None
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    residual = ((y - X @ beta) ** 2).sum()
    r_squared = 1 - residual / max(((y - y.mean()) ** 2).sum(), 1e-12)
    return Regression(
        coefficients=pd.DataFrame(
            {
                "state": range(n_states),
                "coefficient": beta,
                "std_error": 0.1,
                "ci_low": beta - 0.2,
                "ci_high": beta + 0.2,
                "p": np.linspace(0.0004, 0.3, n_states),
                "p_corrected": np.linspace(0.0016, 0.3, n_states),
            }
        ),
        r_squared=float(r_squared),
        r_squared_loo=float(r_squared) - 0.03,
        f_statistic=31.4,
        p=0.0004,
        n_runs=len(y),
        n_censored=int((~convergence.table["converged"]).sum()),
        warning="R² is high by construction here: states lie before and after convergence.",
    )


def _detours(occupancy, convergence, regression, detour, n_states):
    converged = convergence.table["converged"].to_numpy()
    bags = occupancy.filter(like="state_").to_numpy()[converged]
    without = (bags == 0).sum(axis=0)
    flag = np.arange(n_states) == (-1 if detour is None or regression is None else detour)
    hazard = (0.21, 0.08, 0.52, 0.002, 0.001, 0.004, 0.1, 0.9)
    return pd.DataFrame(
        {
            "state": range(n_states),
            "optional": without > 0,
            "n_converged_without": without,
            "coefficient": np.nan if regression is None else regression.coefficients["coefficient"],
            "flag": flag,
            "state_before": pd.array(np.where(flag, 1, None), dtype="Int64"),
            "clock": np.where(flag, "since the state before", ""),
            **{name: np.where(flag, x, np.nan) for name, x in zip(HAZARD, hazard, strict=True)},
            "verdict": np.where(flag, "confirmed detour", "cannot tell"),
            "reason": np.where(flag, "Entered, it delays.", "All runs enter it."),
        }
    )


def _state_summary(states, table, n_states):
    stay = (states[["group", "run", "state"]] != states[["group", "run", "state"]].shift()).any(
        axis=1
    )
    rows = []
    for k in range(n_states):
        inside = states[states["state"] == k]
        entered = inside.groupby(RUN_KEY)["step"].min()
        time = inside["step"] / max(states["step"].max(), 1)
        rows.append(
            {
                "state": k,
                "n_checkpoints": len(inside),
                "share": len(inside) / len(states),
                "n_runs": len(entered),
                "median_time": time.median(),
                "first_step": entered.median(),
                "dwell": len(inside) / max(int((stay & (states["state"] == k)).sum()), 1),
                "dwell_expected": 1 / (1 - min(0.1 * k + 0.5, 0.99)),
                "dwell_steps": np.nan if k == n_states - 1 else 100.0 * (k + 1),
                "dwell_at_least": 100.0 * (k + 1) if k == n_states - 1 else np.nan,
                **{f"mean_{o}": table.loc[inside.index, o].mean() for o in OUTCOMES},
                "phase": "generalisation" if k == n_states - 1 and k else "",
            }
        )
    return pd.DataFrame(rows)


def _edges(changes, transmat, convergence, n_total):
    steps = convergence.table[convergence.table["converged"]].set_index(RUN_KEY)["step"]
    rows = []
    for (j, k), taken in changes.groupby(["from_state", "to_state"]):
        runs = pd.MultiIndex.from_frame(taken[RUN_KEY].drop_duplicates())
        reached = steps[steps.index.isin(runs)]
        rows.append(
            {
                "from_state": j,
                "to_state": k,
                "probability": transmat[j, k],
                "n_taken": len(taken),
                "n_runs": len(runs),
                "n_total": n_total,
                "n_converged": len(reached),
                "convergence_mean": reached.mean(),
                "convergence_se": reached.sem() if len(reached) > 1 else np.nan,
            }
        )
    columns = [
        "from_state", "to_state", "probability", "n_taken", "n_runs", "n_total", "n_converged",
        "convergence_mean", "convergence_se",
    ]  # fmt: skip
    real = ["probability", "convergence_mean", "convergence_se"]
    types = {c: float if c in real else int for c in columns}
    return pd.DataFrame(rows, columns=columns).astype(types)


def _influences(edges, means, features):
    rows = []
    for j, k in zip(edges["from_state"], edges["to_state"], strict=True):
        movement = means[k] - means[j]
        order = np.argsort(-np.abs(movement), kind="stable")
        rows += [
            (
                j,
                k,
                rank + 1,
                features[i],
                abs(movement[i]) / 0.3,
                0.2,
                3,
                int(rank < 3),
                movement[i],
            )
            for rank, i in enumerate(order)
        ]
    return INFLUENCES.frame(pd.DataFrame(rows, columns=INFLUENCES.names))


def _selection(rng, n_states, n_runs):
    tried = np.arange(1, max(8, n_states) + 1)
    bic = 5200 + 90.0 * (tried - n_states) ** 2
    criteria = pd.DataFrame(
        {
            "covariance_type": "diag",
            "n_states": tried,
            "log_likelihood": -bic / 2 + 30,
            "n_parameters": tried * (tried + 16),
            "bic": bic,
            "aic": bic - 40.0 * tried,
            "icl": bic + 5.0,
            "held_out_bic": np.nan,
        }
    )
    attempts = pd.DataFrame(
        {
            "covariance_type": "diag",
            "n_states": np.repeat(tried, 10),
            "start": "k-means",
            "seed": rng.integers(0, 2**31, 10 * len(tried)),
            "log_likelihood": np.repeat(-bic / 2 + 30, 10) - rng.uniform(0, 9, 10 * len(tried)),
            "n_iterations": 25,
            "valid": np.tile(np.arange(10) != 7, len(tried)),
            "reason": np.tile(
                np.where(np.arange(10) == 7, "a state is never visited", ""), len(tried)
            ),
            "n_runs": n_runs,
        }
    )
    stability = Stability(10, 0.97, pd.DataFrame({"state": np.arange(n_states), "n_found": 10}))
    return Selection("bic", n_states, "diag", "bic", criteria, attempts, stability=stability)
