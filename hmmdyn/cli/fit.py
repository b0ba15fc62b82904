"""``hmmdyn fit``: states alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hmmdyn.cli.arguments import FIT, AsJson, Given, Jobs, Preset, chosen, takes
from hmmdyn.cli.console import (
    n_jobs,
    notices_as_json,
    out,
    plain,
    progress,
    show_frame,
    show_notices,
)
from hmmdyn.errors import UsageError
from hmmdyn.files import require_writable

if TYPE_CHECKING:
    from hmmdyn.results.notice import Notice
    from hmmdyn.results.selection import Selection

_CRITERIA = {
    "covariance_type": "covariance",
    "n_states": "K",
    "log_likelihood": "log L",
    "n_parameters": "params",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "held_out_bic": "held-out BIC",
    "path": "path score",
    "path_se": "± se",
}


@takes(FIT)
def fit(
    table: Annotated[
        str, typer.Argument(help="Metric table (.parquet, .csv, .tsv, .jsonl), also as a URL.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Training map to write (.json).")],
    given: Given,
    preset: Preset = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Fit hidden states to a metric table; write the training map as JSON.

    The map decodes further runs (hmmdyn.TrainingMap). Examples:

    [bold]hmmdyn fit metrics.parquet -o training_map.json[/bold]
    [bold]hmmdyn fit metrics.parquet -o training_map.json --json | jq .n_states[/bold]
    """
    from hmmdyn import pipeline, sources
    from hmmdyn.places import shown

    options = chosen(given, preset)
    if not sources.is_table(table):
        raise UsageError(
            f"'fit' takes a metric table, and {shown(table)} is none. Make one with "
            f"`hmmdyn extract {shown(table)} -o metrics.parquet`, or use `hmmdyn analyze`."
        )
    require_writable(output.parent)
    trajectories = sources.read_runs(table, options)
    with progress() as told:
        fitted = pipeline.fit(trajectories, options, jobs=n_jobs(jobs), progress=told)
    fitted.training_map.save(output)
    notices = trajectories.notices + fitted.decoding.observations.notices + fitted.selection.notices
    if as_json:
        print(json.dumps(_fit_as_json(fitted.selection, notices, output), indent=1))
        return
    criteria = fitted.selection.criteria.rename(columns=_CRITERIA)
    known = [name for name in _CRITERIA.values() if name in criteria]
    show_frame(criteria[known].dropna(axis=1, how="all"), "Numbers of states tried")
    show_notices(notices, out)
    if fitted.selection.recommendation is not None:
        out.print(f"Held-out runs: {fitted.selection.recommendation.reason}")
    out.print(f"{_how_chosen(fitted.selection)}; wrote the training map to {plain(output)}")


def _how_chosen(selection: Selection) -> str:
    if selection.evidence is not None and not selection.evidence.is_supported:
        return (
            f"Took the level with {selection.n_states} states of the zoom, of which "
            f"{selection.evidence.n_supported} are supported"
        )
    return f"Chose {selection.n_states} states by {selection.criterion}"


def _fit_as_json(
    selection: Selection, notices: Sequence[Notice], training_map: Path
) -> dict[str, Any]:
    advice = selection.recommendation
    known = selection.criteria.astype(object).where(selection.criteria.notna(), None)
    return {
        "training_map": str(training_map),
        "n_states": selection.n_states,
        "covariance_type": selection.covariance_type,
        "criterion": selection.criterion,
        "criteria": known.to_dict("records"),
        "recommendation": vars(advice) if advice else None,
        "notices": notices_as_json(notices),
    }
