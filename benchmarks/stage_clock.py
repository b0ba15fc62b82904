"""Run the command line once and print, as JSON, what each stage of it cost.

    python benchmarks/stage_clock.py analyze data/parity -o report

Processor seconds (user and system, of all threads) of each stage by itself, without the stages it
calls; loading libraries and compiled loops are stages, too. ``rest`` is what no stage has. Used by
``analysis_cost.py`` and ``scale.py``, in a process of its own for each analysis.
"""

from __future__ import annotations

import builtins
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

# Stage -> functions, by the module that calls them.
STAGES = {
    "find and read": ["hmmdyn.cli.found:find", "hmmdyn.sources:read_runs"],
    "measure checkpoints": ["hmmdyn.sources:_measured"],
    "standardise": ["hmmdyn.hmm.training_map:standardised"],
    "search (all numbers of states)": ["hmmdyn.hmm.fit.settings:sweep"],
    "criteria": ["hmmdyn.hmm.choose.select:criteria_table"],
    "weigh (held out, repeats)": ["hmmdyn.hmm.choose.select:weigh"],
    "supported map": ["hmmdyn.hmm.choose.supported:supported_map"],
    "zoom": [
        "hmmdyn.hmm.choose.supported:with_supported_states",
        "hmmdyn.hmm.choose.supported:dated",
    ],
    "found again": ["hmmdyn.hmm.choose.supported:found_again"],
    "clock or seed": ["hmmdyn.hmm.choose.supported:clock_or_seed"],
    "statements: outcomes": ["hmmdyn.pipeline:_of_outcomes"],
    "statements: outliers": ["hmmdyn.dynamics.outliers:find_outliers"],
    "statements: others": ["hmmdyn.pipeline:_state_findings"],
    "page: figures": ["hmmdyn.report.page:_figures"],
    "page: tables": ["hmmdyn.report.page:_shown"],
    "page: sentences": ["hmmdyn.report.report:Report", "hmmdyn.analysis:Analysis.answer"],
    "page: the rest": ["hmmdyn.report.export:render"],
    "other files": ["hmmdyn.analysis:Analysis.write"],
}
LIBRARIES, LOOPS, REST = "load libraries", "load compiled loops", "rest"


class StageClock:
    """Counts the processor time of functions by stage, each without those called inside."""

    def __init__(self) -> None:
        self.seconds = Counter[str]()
        self._stack = [REST]
        self._since = 0.0  # of this process's life, so that its start counts, too

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def of(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is counted."""

        def counted(*args: Any, **named: Any) -> Any:
            self._turn()
            self._stack.append(stage)
            try:
                return function(*args, **named)
            finally:
                self._turn()
                self._stack.pop()

        return counted

    def told(self) -> dict[str, float]:
        """Return the seconds of all stages."""
        self._turn()
        return dict(self.seconds)


class _Patching:
    """Counts functions from when their modules are imported on."""

    def __init__(self, clock: StageClock) -> None:
        self._waiting = {place: stage for stage, places in STAGES.items() for place in places}
        self._clock = clock
        self._plain, self._import = builtins.__import__, clock.of(LIBRARIES, builtins.__import__)

    def __call__(self, name: str, *args: Any, **named: Any) -> Any:
        if name in sys.modules:  # some libraries import where they use, thousands of times
            return self._plain(name, *args, **named)
        module = self._import(name, *args, **named)
        for place in [p for p in self._waiting if p.partition(":")[0] in sys.modules]:
            self._patch(place)
        return module

    def _patch(self, place: str) -> None:
        where, _, name = place.partition(":")
        owner: Any = sys.modules[where]
        if getattr(getattr(owner, "__spec__", None), "_initializing", False):
            return  # once it is whole
        stage = self._waiting.pop(place)
        *classes, name = name.split(".")
        for inner in classes:
            owner = getattr(owner, inner, None)
        if hasattr(owner, name):  # another version may have it elsewhere
            setattr(owner, name, self._clock.of(stage, getattr(owner, name)))


def main() -> None:
    clock = StageClock()
    builtins.__import__ = _Patching(clock)
    import_module("hmmdyn.cli.main")
    from numba.core.dispatcher import Dispatcher

    Dispatcher.compile = clock.of(LOOPS, Dispatcher.compile)
    said, sys.stdout = sys.stdout, sys.stderr
    began = time.monotonic()
    from hmmdyn.cli.main import run

    try:
        run()
    except SystemExit as end:
        if end.code:
            raise
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "seconds": clock.told(),
        "processor": used.ru_utime + used.ru_stime,
        "wall": time.monotonic() - began,
        "megabytes": used.ru_maxrss / 1024,
    }
    print(json.dumps(told), file=said)


if __name__ == "__main__":
    main()
