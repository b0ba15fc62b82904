"""Findings with known answers, shared by the tests of the report."""

from __future__ import annotations

import pytest

from hmmdyn.results.findings import Findings
from tests.report.browsing import ci_script
from tests.report.synthetic import make_findings, make_hostile_findings, without_outcomes


@pytest.fixture(scope="session")
def findings() -> Findings:
    """Ten runs, four states: runs 3 and 7 take the detour, run 9 never converges."""
    return make_findings()


@pytest.fixture(scope="session")
def bare() -> Findings:
    """No outcomes, so no convergence and no regression."""
    return without_outcomes(make_findings())


@pytest.fixture(scope="session")
def hostile() -> Findings:
    return make_hostile_findings()


@pytest.fixture(scope="session")
def open_report():
    """The script of the continuous integration, which is a check."""
    pytest.importorskip("playwright.sync_api")
    return ci_script()


@pytest.fixture(scope="module")
def browser(open_report):
    with open_report.chromium() as opened:
        yield opened
