"""An analysis that is done: its findings and the model behind them, rendered in many ways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hmmdyn.choices import DEFAULT_FORMATS
from hmmdyn.files import replacing, staged
from hmmdyn.hmm import TrainingMap
from hmmdyn.report import layout
from hmmdyn.results.columns import check_tables
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.tables.metric_table import write_table
from hmmdyn.tables.trajectories import Trajectories

if TYPE_CHECKING:
    from hmmdyn.report.report import Report


@dataclass(frozen=True, kw_only=True, repr=False)
class OutcomeAnalysis(OutcomeFindings):
    """What outcomes alone tell, computed once, rendered in many ways.

    What :func:`hmmdyn.analyze` returns for runs of which no metrics of the weights are known.
    """

    trajectories: Trajectories

    def __post_init__(self) -> None:
        check_tables(self, self.members)

    def __getattr__(self, name: str) -> Any:
        if name in Analysis.__dataclass_fields__:
            raise AttributeError(
                f"There is no {name!r}: it is about states, which are found in metrics of the "
                "weights, and these runs have outcomes alone."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.source}: {len(self.runs)} runs, "
            f"{len(self.table):,} checkpoints>"
        )

    def __str__(self) -> str:
        return self.summary()

    def answer(self, width: int = 80) -> str:
        """Return which phases there are, which runs were slow and whether by chance: a few lines.

        Plain text in lines of up to ``width`` columns, and a table of the slowest runs.
        """
        from hmmdyn.report.text import answer

        return answer(self._report, width)

    def summary(self, width: int = 80) -> str:
        """Return what was found in brief, as plain text in lines of up to ``width`` columns."""
        from hmmdyn.report.text import summary

        return summary(self._report, width)

    def _repr_html_(self) -> str:
        from hmmdyn.report.notebook import to_html

        return to_html(self._report)

    @cached_property
    def _report(self) -> Report:
        """Sentences and tables, made once."""
        from hmmdyn.report.report import Report

        return Report(self)

    @property
    def figure(self) -> Any:
        """The figures, as plotly Figures: ``analysis.figure.training_map()`` and others.

        Each takes a theme, ``light`` or ``dark``: ``analysis.figure.timeline(theme="dark")``.
        """
        from hmmdyn.report.figures.figures import Figures

        return Figures(self)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table of the report by the name of its CSV file: ``tables["convergence"]``."""
        return {name: sheet.frame for name, sheet in self._report.sheets.items()}

    def to_json(self) -> str:
        """Every number of the report as JSON, as it stands in ``report.json``."""
        from hmmdyn.report.document import to_json

        return to_json(self._report)

    def export(
        self,
        folder: Path | str,
        formats: Collection[str] = DEFAULT_FORMATS,
        theme: str = "light",
    ) -> Path:
        """Write the report alone, as page, tables or pictures: see :func:`.export.write_report`."""
        from hmmdyn.report.export import write_report

        return write_report(self._report, Path(folder), formats, theme)

    def write(
        self,
        folder: Path | str,
        formats: Collection[str] = DEFAULT_FORMATS,
        theme: str = "light",
    ) -> Path:
        """Write the report folder; returns the path of its ``report.html``, if that is among it.

        Beside the report (:meth:`export`): ``metrics.parquet``, the curves. What an earlier
        analysis left there of states and other maps goes, as far as hmmdyn wrote it.

        Raises
        ------
        UsageError, MissingPackageError
            A format is not known, or pictures need what is not installed.
        OutputError
            The folder cannot be written.
        """
        from hmmdyn.report.folder import remove_files_of_map, remove_other_reports

        folder = Path(folder)
        write_table(self.trajectories, folder / layout.METRICS)
        remove_files_of_map(folder)
        page = self.export(folder, formats, theme)
        remove_other_reports(folder, kept=())
        return page


@dataclass(frozen=True, kw_only=True, repr=False)
class Analysis(OutcomeAnalysis, Findings):
    """Findings, with the model behind them: computed once, rendered in many ways.

    ``recommended`` is the same analysis with the number of states that runs held out recommend;
    None where that is the chosen one, or none is recommended. ``of_groups`` has each group's runs
    analysed by themselves, where a map per group was asked for. ``told_at`` makes the analysis of
    another level of the zoom (:meth:`at`).
    """

    training_map: TrainingMap
    told_at: Callable[[int], Analysis]
    recommended: Analysis | None = None
    of_groups: Mapping[str, Analysis] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.parameters.n_states} states>"

    def at(self, n_states: int) -> Analysis:
        """Return the analysis at another level of the zoom around the supported map.

        The zoom leads from the finest map through the supported one to a single state; the table
        ``levels`` has all its levels. Another level than the supported one says so: finer ones cut
        drift where no boundary has evidence, coarser ones leave out boundaries that have. No
        detour is confirmed there. It is what ``analyze(…, n_states=…)`` gives.

        Raises
        ------
        UsageError
            There is no zoom, because the map was not chosen by its boundaries, or no such level.
        """
        return self if n_states == self.parameters.n_states else self.told_at(n_states)

    def write(
        self,
        folder: Path | str,
        formats: Collection[str] = DEFAULT_FORMATS,
        theme: str = "light",
    ) -> Path:
        """Write the report folder; returns the path of its ``report.html``, if that is among it.

        Beside the report (:meth:`export`): ``metrics.parquet``, ``states.parquet`` and
        ``training_map.json``. The recommended map, where it is another, has the same in the folder
        ``recommended``. Reports of other maps that an earlier analysis left there go, as far as
        hmmdyn wrote them. All files are replaced together, or left as they were.

        Raises
        ------
        UsageError, MissingPackageError
            A format is not known, or pictures need what is not installed.
        OutputError
            The folder cannot be written.
        """
        from hmmdyn.report.export import remove_tables
        from hmmdyn.report.folder import remove_other_reports

        folder = Path(folder)
        places = layout.group_folders(self.of_groups)
        others = dict(zip(places, self.of_groups.values(), strict=True))
        if self.recommended is not None:
            others[layout.RECOMMENDED] = self.recommended
        with staged(folder) as unfinished:
            write_table(self.trajectories, unfinished / layout.METRICS)
            states = unfinished / layout.STATES
            with replacing(states) as temporary, temporary.open("wb") as file:
                self.states.to_parquet(file, index=False)
            self.training_map.save(unfinished / layout.TRAINING_MAP)
            for place, other in others.items():
                other.write(unfinished / place, formats, theme)
            page = self.export(unfinished, formats, theme)
        if "csv" in formats:
            for place, analysis in {".": self, **others}.items():
                remove_tables(analysis._report, folder / place)
        remove_other_reports(folder, kept=others)
        return folder / page.relative_to(unfinished)
