"""An analysis that is done: its findings and the model behind them, rendered in many ways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hmmdyn.choices import DEFAULT_FORMATS
from hmmdyn.errors import UsageError
from hmmdyn.files import replacing, staged
from hmmdyn.hmm import TrainingMap
from hmmdyn.names import require_known
from hmmdyn.report import layout
from hmmdyn.results.columns import check_tables
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.model import ModelOptions
from hmmdyn.tables.metric_table import write_table
from hmmdyn.tables.trajectories import Trajectories

if TYPE_CHECKING:
    from hmmdyn.report.report import Report
    from hmmdyn.results.smallest_set import SmallestSet


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
        from hmmdyn.report.notebook import notebook, to_html

        return to_html(self._report, with_plotly=notebook.asks_for_plotly())

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

    def write_snippet(
        self,
        path: Path | str,
        figure: str = "training_map",
        *,
        plotly: str = "inline",
        **options: Any,
    ) -> Path:
        """Write a figure as a piece of HTML to put into a page of one's own.

        ``analysis.write_snippet("map.html", "training_map", plotly="cdn", theme="dark")``

        Parameters
        ----------
        path : Path or str
            The file to write.
        figure : str
            Its name among :attr:`figure`.
        plotly : str
            Where plotly.js comes from: ``inline`` (5 MB in the snippet, no network), ``cdn`` (from
            plotly's servers, checked by its hash), ``none`` (the page has it from another snippet).
        **options
            Those of the figure, such as ``theme``.

        Raises
        ------
        UsageError
            There is no such figure, option of it, or source of plotly.js.
        NotEnoughDataError
            The figure does not apply to these findings.
        """
        from hmmdyn.report.snippet import snippet

        figures = vars(self.figure)
        require_known([figure], figures, "figure")
        require_known(options, signature(figures[figure]).parameters, f"option of {figure}")
        made = snippet(figures[figure](**options), plotly)
        with replacing(Path(path)) as temporary:
            temporary.write_text(made, encoding="utf-8")
        return Path(path)

    def write(
        self,
        folder: Path | str,
        formats: Collection[str] = DEFAULT_FORMATS,
        theme: str = "light",
    ) -> Path:
        """Write the report folder; returns the path of its ``report.html``, if that is among it.

        Beside the report (:meth:`export`): ``metrics.parquet``, and where there are states
        ``states.parquet`` and ``training_map.json``. Other maps (the recommended one, those of
        groups) have the same in folders of their own below it. What an earlier analysis left there
        goes, as far as hmmdyn wrote it. All files are replaced together, or left as they were.

        Raises
        ------
        UsageError, MissingPackageError
            A format is not known, or pictures need what is not installed.
        OutputError
            The folder cannot be written, or another analysis is writing it.
        """
        from hmmdyn.report.folder import alone_in

        folder = Path(folder)
        with alone_in(folder):
            with staged(folder) as unfinished:
                page = self._write_files(unfinished, formats, theme)
            self._remove_what_was(folder, formats)
        return folder / page.relative_to(unfinished)

    def _write_files(self, folder: Path, formats: Collection[str], theme: str) -> Path:
        """Write everything into an empty folder; return what :meth:`export` does."""
        write_table(self.trajectories, folder / layout.METRICS)
        return self.export(folder, formats, theme)

    def _remove_what_was(self, folder: Path, formats: Collection[str]) -> None:
        """Remove what an earlier analysis wrote and this one did not."""
        from hmmdyn.report.export import remove_tables
        from hmmdyn.report.folder import remove_files_of_map, remove_other_reports

        if "csv" in formats:
            remove_tables(self._report, folder)
        remove_files_of_map(folder)
        remove_other_reports(folder, kept=())


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
            There is no zoom, because the map was not chosen by its boundaries, or no such level; or
            ``n_states`` is no whole number of at least 1.
        """
        if isinstance(n_states, bool) or not isinstance(n_states, Integral) or n_states < 1:
            raise UsageError(
                f"'n_states' must be a whole number of at least 1, got {n_states!r}: the table "
                "'levels' has those there are."
            )
        return self if n_states == self.parameters.n_states else self.told_at(n_states)

    def smallest_set(self, least_overlap: float = 0.9) -> SmallestSet:
        """Find the smallest set of metrics with which a map has the states of this one.

        For each set a model is fitted from these states on, and decodes all checkpoints; the set
        suffices where every state has ``least_overlap`` of its checkpoints. All sets of one and two
        metrics are tried, larger ones grow from the best. That takes seconds for tens of runs. What
        it does in detail stands at :func:`hmmdyn.hmm.choose.smallest_set.smallest_set`.

        Raises
        ------
        NotEnoughDataError
            The map has a single state.
        UsageError
            ``least_overlap`` is not above 0 and at most 1.
        """
        from hmmdyn.hmm import smallest_set

        decoding = self.training_map.apply(self.trajectories)
        given: dict[str, Any] = {
            f.name: self.options[f.name] for f in fields(ModelOptions) if f.name in self.options
        }
        return smallest_set(
            decoding.observations,
            decoding.states["state"].to_numpy(),
            covariance_type=self.parameters.covariance_type,
            options=ModelOptions(**given),
            least_overlap=least_overlap,
        )

    def _others(self) -> dict[str, Analysis]:
        """Return the analyses that have reports of their own, by their places below this one's."""
        others = dict(
            zip(layout.group_folders(self.of_groups), self.of_groups.values(), strict=True)
        )
        return others | ({layout.RECOMMENDED: self.recommended} if self.recommended else {})

    def _write_files(self, folder: Path, formats: Collection[str], theme: str) -> Path:
        page = super()._write_files(folder, formats, theme)
        with replacing(folder / layout.STATES) as temporary, temporary.open("wb") as file:
            self.states.to_parquet(file, index=False)
        self.training_map.save(folder / layout.TRAINING_MAP)
        for place, other in self._others().items():
            other._write_files(folder / place, formats, theme)
        return page

    def _remove_what_was(self, folder: Path, formats: Collection[str]) -> None:
        from hmmdyn.report.export import remove_tables
        from hmmdyn.report.folder import remove_other_reports

        others = self._others()
        if "csv" in formats:
            for place, analysis in {".": self, **others}.items():
                remove_tables(analysis._report, folder / place)
        for place, other in others.items():
            remove_other_reports(folder / place, kept=other._others())
        remove_other_reports(folder, kept=others)
