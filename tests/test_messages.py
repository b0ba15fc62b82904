"""Who called a function is told keywords, who typed a command flags."""

import copy
import pickle
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.cli.main import app
from hmmdyn.errors import HmmdynError, LayoutError, NoValidFitError
from hmmdyn.messages import Either, Message, Remedy
from hmmdyn.options import OPTIONS, as_typed
from hmmdyn.report.document import to_json
from hmmdyn.report.report import Report
from hmmdyn.results.notice import Notice
from tests.make_runs import write_runs
from tests.report.synthetic import make_findings

TOLD = Message("Set ", Remedy("threshold", 0.9), " or ", Remedy("exclude_runs", ("a b", "c")), ".")


def test_a_remedy_is_told_to_either_reader():
    assert str(TOLD) == "Set threshold=0.9 or exclude_runs=('a b', 'c')."
    assert as_typed(TOLD) == "Set --threshold 0.9 or --exclude-run 'a b' --exclude-run c."
    assert as_typed("Plain text.") == "Plain text."
    assert as_typed(Message("Quicker: ", Remedy("quick", True))) == "Quicker: --quick"
    assert Message("Quicker: ", Remedy("quick", True)) == "Quicker: quick=True"
    assert as_typed(Message("Choose", Either(" with -o DIR", ""), ".")) == "Choose with -o DIR."
    assert Message("Choose", Either(" with -o DIR", ""), ".") == "Choose."


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_can_be_a_remedy(option):
    assert Message(Remedy(option.name)) == f"{option.name}=…"
    assert as_typed(Message(Remedy(option.name))) == option.flag


def test_messages_stay_whole_when_joined_copied_and_sent_from_a_worker():
    joined = Message("First. ", TOLD, " Last.")
    assert as_typed(joined).endswith("--exclude-run c. Last.")
    for same in (copy.deepcopy(joined), pickle.loads(pickle.dumps(joined))):
        assert (same, as_typed(same)) == (joined, as_typed(joined))
    error = pickle.loads(pickle.dumps(NoValidFitError("Try ", Remedy("max_states", 3), ".")))
    assert str(error) == "Try max_states=3."
    assert as_typed(error.message) == "Try --max-states 3."
    assert str(HmmdynError("plain")) == "plain"


def test_user_text_with_braces_or_flags_is_never_a_remedy():
    assert (
        as_typed(Message("{max_states} --x ", Remedy("restarts"))) == "{max_states} --x --restarts"
    )


def test_an_error_speaks_to_who_meets_it(tmp_path):
    root = write_runs(tmp_path / "runs", n_runs=1)
    with pytest.raises(LayoutError, match=r"^layout='{seed}/{step}.x' fits none"):
        discover(root, "{seed}/{step}.x")
    typed = CliRunner().invoke(app, ["scan", str(root), "--layout", "{seed}/{step}.x"])
    assert typed.exit_code == 1
    assert "Error: --layout '{seed}/{step}.x' fits none" in typed.stderr


def test_a_notice_speaks_to_who_reads_the_report():
    notice = Notice(
        "model", "limit", "number of states", Message("Try ", Remedy("max_states"), ".")
    )
    findings = replace(make_findings(), notices=(notice,))
    assert "Try --max-states." in to_json(Report(findings))
    assert "Try max_states=\\u2026." in to_json(Report(replace(findings, command=())))
    assert findings.notices[0].message == "Try max_states=…."
