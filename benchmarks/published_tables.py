"""The paper's tables and figures, published and ours side by side; see ``published.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from published import (
    K_MEANS,
    L2_ONLY,
    MAPS,
    PATHS_ARE_PUBLISHED,
    PUBLISHED_PATHS,
    States,
    Study,
    as_published,
    by_bic,
)

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.dynamics.significance import SIGNIFICANT
from hmmdyn.report import lookup, words
from hmmdyn.report.figures import theme
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.verdicts import CONFIRMED

NOT_GIVEN = "not given"
_SIGNS = {
    "l1": "L1", "l2": "L2", "l1_over_l2": "L1/L2", "mean_w": "μ(w)", "median_w": "median(w)",
    "var_w": "σ(w)", "mean_b": "μ(b)", "median_b": "median(b)", "var_b": "σ(b)", "trace": "trace",
    "spectral_norm": "λmax", "trace_over_spectral": "trace/λmax", "mean_sv": "μ(λ)",
    "var_sv": "σ(λ)",
}  # fmt: skip


def data_table(studies: Iterable[Study]) -> pd.DataFrame:
    """What was trained, and when it converged."""
    rows = []
    for study in studies:
        runs = study.convergence.table
        converged = runs.loc[runs["converged"], "step"].to_numpy() / study.steps_per_epoch
        before = (runs["time"] * study.trajectories.lengths)[runs["converged"]]
        rows.append(
            {
                "our runs": study.experiment.name,
                "stand beside": study.experiment.published.task,
                "seeds": len(runs),
                "checkpoints": f"{len(study.trajectories.table):,}",
                "accuracy to reach": f"{study.convergence.threshold:g}"
                + (" (automatic)" if study.experiment.threshold is None else ""),
                "converged": len(converged),
                "epochs to converge (mean ± SE)": _mean_and_error(converged),
                "checkpoints before (median)": f"{before.median():.0f}",
            }
        )
    return pd.DataFrame(rows).set_index("our runs")


def components_table(studies: Iterable[Study]) -> pd.DataFrame:
    """Numbers of states by BIC on held-out runs."""
    rows = {}
    for study in studies:
        row: dict[str, object] = {"published": study.experiment.published.components}
        for covariance in COVARIANCE_TYPES:
            row[covariance] = components_cell(study, covariance)
        rows[study.experiment.name] = row
    return pd.DataFrame(rows).T.rename_axis("our runs")


def components_cell(study: Study, covariance: str) -> str:
    selection = study.states[by_bic(covariance)].selection
    assert selection is not None
    tried = selection.criteria["n_states"].max()
    at_limit = " (the most tried)" if selection.n_states == tried else ""
    return f"{selection.n_states}{at_limit}"


def side_by_side(study: Study) -> pd.DataFrame:
    """The paper's statistics of a task: published, and from our maps (all but the baselines)."""
    published = study.experiment.published
    columns = {
        f"published ({published.task})": [
            str(published.components),
            f"{published.r_squared:.3f}",
            published.p,
            NOT_GIVEN,
            f"{published.dissimilarity:.3f}",
            NOT_GIVEN,
            yes(published.forking),
            NOT_GIVEN if published.detours is None else str(published.detours),
            NOT_GIVEN,
            "no such test",
        ]
    }
    columns |= {name: _column(study.states[name]) for name in MAPS}
    index = [
        "components",
        "R² [95 %]",
        "p",
        "R², each run predicted from the others",
        "dissimilarity, labels as positions [95 %]",
        "dissimilarity, total variation",
        "forking (not a line)",
        "detour states by the paper's definition",
        "of these not after convergence",
        "of these confirmed by the hazard test",
    ]
    return pd.DataFrame(columns, index=index).rename_axis(study.experiment.name)


def _column(states: States) -> list[str]:
    different = states.dissimilarity
    return [
        str(states.n_states),
        *regression_cells(states),
        with_interval(different.labels, states.dissimilarity_interval),
        words.fraction(different.total_variation),
        yes(states.forking),
        *_detour_cells(states),
    ]


def _detour_cells(states: States) -> list[str]:
    if states.regression is None:
        return [words.MISSING] * 3
    found = states.by_definition
    flagged = found[found["flag"]]
    confirmed = flagged[flagged["verdict"] == CONFIRMED]
    return [_counted(rows["state"]) for rows in (found, flagged, confirmed)]


def regression_cells(states: States) -> tuple[str, str, str]:
    regression = states.regression
    if regression is None:
        return "none", words.MISSING, words.MISSING
    loo = regression.r_squared_loo
    return (
        with_interval(regression.r_squared, states.r_squared_interval),
        "< 0.001" if regression.p < 0.001 else f"{regression.p:.3f}",
        "not defined: only one run has a state"
        if np.isnan(loo)
        else f"{loo:.3f}".replace("-", "−"),
    )


def _counted(states: Iterable[int]) -> str:
    listed = list(states)
    return f"{len(listed)}" + (f" (state {words.listing(listed, 9)})" if listed else "")


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def with_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = map(words.fraction, interval)
    return f"{words.fraction(value)} [{low}, {high}]"


def why_no_regression(studies: Iterable[Study]) -> list[str]:
    """Every regression that could not be had, and why."""
    return [
        f"{study.experiment.name}, {name}: {states.why_not}"
        for study in studies
        for name, states in study.states.items()
        if states.why_not
    ]


_DETOUR_COLUMNS = [
    "state",
    "converged runs without it",
    "coefficient",
    "paper's definition",
    "hazard ratio [95 %]",
    "p, corrected",
    "verdict",
]


def detours_table(states: States) -> pd.DataFrame:
    """Optional states: the paper's definition beside the hazard test; empty where there is none."""
    defined = set(states.by_definition["state"])
    rows = [
        (
            row.state,
            row.n_converged_without,
            words.number(row.coefficient, 3),
            _by_definition(row, defined),
            _ratio(row.hazard_ratio, row.ratio_low, row.ratio_high),
            words.number(row.p_corrected, 2),
            row.verdict,
        )
        for row in lookup.rows(states.detours)
        if row.optional
    ]
    return pd.DataFrame(rows, columns=_DETOUR_COLUMNS).set_index("state")


def _by_definition(detour: Any, defined: set[int]) -> str:
    if detour.state not in defined:
        return ""
    return "detour" if detour.flag else "detour, but after convergence"


def _ratio(ratio: float, low: float, high: float) -> str:
    if np.isnan(ratio):
        return words.MISSING
    return f"{words.number(ratio, 2)} [{words.number(low, 2)}, {words.number(high, 2)}]"


_EDGE_COLUMNS = [
    "edge",
    "runs",
    "converged",
    "convergence epoch (mean ± SE)",
    "most influential features (movement, SD)",
]


def edge_table(study: Study, name: str, least_runs: int = 2) -> pd.DataFrame:
    """Edges that at least so many runs take: when these converge, and what moves."""
    states = study.states[name]
    rows = [
        (
            f"{edge.from_state} → {edge.to_state}",
            f"{edge.n_runs}/{edge.n_total}",
            edge.n_converged,
            _epochs(study, edge),
            _features(states, edge.from_state, edge.to_state),
        )
        for edge in lookup.rows(states.edges)
        if edge.n_runs >= least_runs
    ]
    return pd.DataFrame(rows, columns=_EDGE_COLUMNS).set_index("edge")


def rare_edges(study: Study, name: str, least_runs: int = 2) -> str:
    """Say how many edges :func:`edge_table` leaves out."""
    edges = study.states[name].edges
    n = int((edges["n_runs"] < least_runs).sum())
    noun = words.plural(n, "further edge")
    return f"{noun} taken by fewer than {least_runs} runs." if n else "No other edge is taken."


def _features(states: States, j: int, k: int) -> str:
    table = states.influences
    top = table[(table["from_state"] == j) & (table["to_state"] == k) & (table["rank"] <= 3)]
    return ", ".join(
        f"{_SIGNS[row.feature]} ({row.movement:+.1f})".replace("-", "−") for row in lookup.rows(top)
    )


def _epochs(study: Study, edge: Any) -> str:
    mean, error = (x / study.steps_per_epoch for x in (edge.convergence_mean, edge.convergence_se))
    return words.MISSING if np.isnan(mean) else _mean_error(mean, error)


def _mean_and_error(values: FloatArray) -> str:
    if not len(values):
        return words.MISSING
    return _mean_error(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def _mean_error(mean: float, error: float) -> str:
    of_one_run = np.isnan(error)
    return words.number(mean) + ("" if of_one_run else f" ± {words.number(error, 3)}")


def paths_table(study: Study) -> pd.DataFrame:
    """The ways from the initial state, and when the runs that take them converge."""
    rows = [
        {"map": "published", "to": words.MISSING, "runs": row.runs}
        | {"converged": row.runs, "convergence epoch (mean ± SE)": _mean_error(row.epoch, row.se)}
        for row in lookup.rows(PUBLISHED_PATHS)
    ]
    for name in MAPS:
        edges = study.states[name].edges
        ways = edges[edges["from_state"] == 0]
        if ways.empty:
            left = {"runs": 0, "converged": 0, "convergence epoch (mean ± SE)": words.MISSING}
            rows.append({"map": name, "to": "none: a single state", **left})
        for edge in lookup.rows(ways):
            rows.append(
                {
                    "map": name,
                    "to": f"state {edge.to_state}",
                    "runs": edge.n_runs,
                    "converged": edge.n_converged,
                    "convergence epoch (mean ± SE)": _epochs(study, edge),
                }
            )
    return pd.DataFrame(rows).set_index(["map", "to"])


def features_table(study: Study) -> pd.DataFrame:
    """Features by how many edges (weighted by the runs that take them) name them in the top 3."""
    counted = {}
    for name in map(by_bic, COVARIANCE_TYPES):
        states = study.states[name]
        top = states.influences.query("rank <= 3").merge(
            states.edges[["from_state", "to_state", "n_taken"]], on=["from_state", "to_state"]
        )
        share = top.groupby("feature")["n_taken"].sum() / states.edges["n_taken"].sum()
        if len(states.edges):
            counted[name] = share.rename(index=_SIGNS)
    table = pd.DataFrame(counted).fillna(0.0)
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    return table.map(words.percent).rename_axis("in the top 3 of")


def baselines_table(studies: Iterable[Study]) -> pd.DataFrame:
    """The paper's regression on the states of the HMM, and of what could stand in its place."""
    rows = []
    for study in studies:
        for name in (as_published("diag"), L2_ONLY, K_MEANS):
            states = study.states[name]
            r_squared, p, loo = regression_cells(states)
            rows.append(
                {
                    "our runs": study.experiment.name,
                    "states": "HMM on all metrics" if name == as_published("diag") else name,
                    "K": states.n_states,
                    "R² [95 %]": r_squared,
                    "p": p,
                    "R², each run from the others": loo,
                    "total variation": words.fraction(states.dissimilarity.total_variation),
                    "forking": yes(states.forking),
                }
            )
    return pd.DataFrame(rows).set_index(["our runs", "states"])


def agreement_table(studies: Iterable[Study]) -> pd.DataFrame:
    """Which published figure comes out again, by which covariance, K by BIC."""
    rows = {}
    for study in studies:
        found = [_agreements(study, covariance) for covariance in COVARIANCE_TYPES]
        rows[f"{study.experiment.name} / {study.experiment.published.task}"] = {
            what: _which([agreements[what] for agreements in found]) for what in found[0]
        }
    return pd.DataFrame(rows).T.rename_axis("ours / published")


def _agreements(study: Study, covariance: str) -> dict[str, bool | None]:
    """Whether each published figure agrees with ours; None: there is nothing to compare."""
    states, published = study.states[by_bic(covariance)], study.experiment.published
    regression = states.regression
    low, high = states.dissimilarity_interval
    r_low, r_high = states.r_squared_interval if regression else (np.nan, np.nan)
    return {
        "components": states.n_states == published.components,
        "R²": r_low <= published.r_squared <= r_high if regression else None,
        "significant or not": (regression.p < SIGNIFICANT) == published.significant
        if regression
        else None,
        "dissimilarity": low <= published.dissimilarity <= high,
        "forking or not": states.forking == published.forking,
        "number of detours": None
        if published.detours is None or regression is None
        else len(states.by_definition) == published.detours,
    }


def _which(agrees: Sequence[bool | None]) -> str:
    if None in agrees and True not in agrees:
        return words.MISSING
    names = [c for c, holds in zip(COVARIANCE_TYPES, agrees, strict=True) if holds]
    return "yes" if len(names) == len(agrees) else f"{names[0]} only" if names else "no"


def bic_figure(studies: Sequence[Study]) -> go.Figure:
    """BIC on held-out runs by K, per held-out checkpoint, above its least value."""
    figure = _grid([study.experiment.name for study in studies])
    for i, study in enumerate(studies):
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        for number, covariance in enumerate(COVARIANCE_TYPES):
            selection = study.states[by_bic(covariance)].selection
            assert selection is not None
            bic = selection.curve.set_index("n_states")["held_out_bic"].dropna()
            n_held_out = (
                len(study.trajectories.table)
                * len(selection.held_out)
                / len(study.convergence.table)
            )
            figure.add_scatter(
                x=bic.index,
                y=(bic - bic.min()) / n_held_out,
                name=covariance,
                line=theme.group_line(number),
                showlegend=i == 0,
                **place,
            )
        figure.add_vline(
            study.experiment.published.components,
            line={"color": theme.MARK, "dash": "dot"},
            **place,
        )
    figure.update_yaxes(title_text="BIC above its least,<br>per checkpoint", col=1)
    figure.update_xaxes(title_text="K (dotted: published)", dtick=1)
    return figure


def convergence_figure(studies: Sequence[Study]) -> go.Figure:
    """Histograms of the epoch of convergence."""
    titles = [
        f"{study.experiment.name} ({int(study.convergence.table['converged'].sum())}"
        f" of {len(study.convergence.table)} converged)"
        for study in studies
    ]
    figure = _grid(titles)
    for i, study in enumerate(studies):
        runs = study.convergence.table
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        epochs = runs.loc[runs["converged"], "step"] / study.steps_per_epoch
        figure.add_histogram(
            x=epochs, nbinsx=20, marker_color=theme.GROUP_COLOURS[0], showlegend=False, **place
        )
        if study.experiment.name == PATHS_ARE_PUBLISHED:
            for epoch in PUBLISHED_PATHS["epoch"]:
                figure.add_vline(epoch, line={"color": theme.MARK, "dash": "dot"}, **place)
    figure.update_yaxes(title_text="runs", col=1)
    figure.update_xaxes(title_text="epoch of convergence")
    return figure


def _grid(titles: Sequence[str]) -> go.Figure:
    n_rows = -(-len(titles) // 3)
    figure = make_subplots(
        rows=n_rows, cols=3, subplot_titles=titles, vertical_spacing=0.28, horizontal_spacing=0.08
    )
    figure.update_annotations(font_size=12)
    figure.update_layout(
        template=theme.standalone("light"),
        width=1000,
        height=60 + 240 * n_rows,
        margin={"t": 50},
        legend={"y": 1.12},
    )
    return figure
