"""What the report says and shows, worked out once however often and however it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from hmmdyn.report.sheets import Sheet, sheets
from hmmdyn.report.statements import said
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import OutcomeFindings


@dataclass(frozen=True)
class Report:
    """The sentences and tables of one set of findings, each made when first asked for, and once.

    The page, the text, the JSON document and the CSV files are renderings of it.
    """

    findings: OutcomeFindings

    @cached_property
    def said(self) -> Mapping[str, tuple[Statement, ...]]:
        """The sentences in reading order, by the name of the module that says them."""
        return said(self.findings)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The sentences in reading order, those of a topic together."""
        return tuple(chain.from_iterable(self.said.values()))

    @cached_property
    def sheets(self) -> Mapping[str, Sheet]:
        """Every table with its rows, by name; one that does not apply to the findings is empty."""
        return sheets(self.findings)
