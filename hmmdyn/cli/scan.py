"""``hmmdyn scan``: what is in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hmmdyn.cli.arguments import SCAN, AsJson, Given, Jobs, Runs, chosen, takes
from hmmdyn.cli.console import n_jobs, notices_as_json, out, progress, show_notices
from hmmdyn.errors import NoCheckpointsError, UsageError
from hmmdyn.options import as_typed

if TYPE_CHECKING:
    from hmmdyn.results.checkpoints import CheckpointIndex
    from hmmdyn.results.notice import Notice


@takes(SCAN)
def scan(
    runs: Runs,
    given: Given,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Open the checkpoints too: what counts as a weight, copies, odd architectures, "
            "weights that never change, unreadable files.",
        ),
    ] = False,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a folder: groups, runs, seeds, steps, formats, outcomes, oddities.

    Nothing is measured. Example:  [bold]hmmdyn scan runs/ --audit[/bold]
    """
    from hmmdyn import sources
    from hmmdyn.cli.found import (
        show_index,
        show_runs,
        show_table,
        show_tensors,
        show_traffic,
    )

    options = chosen(given)
    rules = [name for name in ("include", "exclude", "split", "roles") if name in given]
    if rules and not audit:
        raise UsageError(
            f"{', '.join('--' + name for name in rules)} changes what weights count as, which only "
            "--audit looks at. Add --audit."
        )
    try:
        index = sources.scan_with_outcomes(runs, options.layout)
    except NoCheckpointsError as error:
        logs = sources.scan_logs(runs)
        if logs is None or as_json or audit:
            raise error from None
        show_table(logs, out)
        show_notices(logs.notices, out)
        return
    logged = index.logged
    assert logged is not None
    notices = index.notices + logged.notices
    findings = tensors = None
    if audit:
        from hmmdyn.checkpoints.audit import audit as audit_checkpoints

        with progress() as told:
            audited = audit_checkpoints(
                index,
                rules=sources.rules_of(options),
                n_jobs=n_jobs(jobs),
                progress=lambda done, total: told("audit", done, total),
            )
        messages = list(map(as_typed, audited.findings["message"]))
        findings = audited.findings.assign(message=messages)
        tensors, notices = audited.tensors, notices + audited.notices
    if as_json:
        document = _index_as_json(index, logged.outcomes, notices)
        if findings is not None and tensors is not None:
            document["findings"] = findings.to_dict("records")
            document["tensors"] = tensors.to_dict("records")
        print(json.dumps(document, indent=1))
        return
    show_index(index, logged.outcomes, out)
    show_runs(index)
    show_traffic(index, options, out)
    if tensors is not None:
        show_tensors(tensors, with_roles=options.roles is not None)
    show_notices(notices, out)
    is_odd = any(notice.kind == "odd" for notice in notices)
    if findings is not None and findings.empty and not is_odd:
        out.print("Audit: nothing odd was found.")


def _index_as_json(
    index: CheckpointIndex, outcomes: Sequence[str], notices: Sequence[Notice]
) -> dict[str, Any]:
    return {
        "root": str(index.root),
        "step_unit": index.step_unit,
        "outcomes": list(outcomes),
        "checkpoints": [{**vars(c), "path": str(c.path)} for c in index.checkpoints],
        "notices": notices_as_json(notices),
    }
