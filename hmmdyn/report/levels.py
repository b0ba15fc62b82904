"""What the page knows of the levels of the zoom: their maps, the stays of runs, and the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hmmdyn.report import words
from hmmdyn.report.figures.level_colours import level_colours
from hmmdyn.report.figures.links import run_numbers
from hmmdyn.report.figures.training_map import Canvas, drawn
from hmmdyn.report.lookup import rows, state_name
from hmmdyn.report.map_facts import Facts, FactsOfLevel
from hmmdyn.results.findings import Findings


def levels_of_page(findings: Findings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all levels as plain data, the finest first, and their maps and facts by name.

    ``told`` is the number of states of the level that the rest of the page is about, ``supported``
    that of the supported map, if there is one. Of each level: ``names`` and ``colours`` of its
    states; and ``stays`` of every run, one after the other, as state, start and end. Maps are
    called ``map-5-wide`` and ``map-5-narrow``; ``map-5-facts`` are those of its ``states`` and
    ``changes``.
    """
    evidence = findings.selection.evidence
    colours = level_colours(findings)
    levels, maps = [], {}
    for level in findings.map_in_time.stays:
        facts = FactsOfLevel(findings, level)
        levels.append({"n_states": level, "colours": colours[level], **_level(findings, facts)})
        maps[f"map-{level}-facts"] = _facts(findings, facts)
        for name, orientation in (("wide", "horizontal"), ("narrow", "vertical")):
            maps[f"map-{level}-{name}"] = _spec(drawn(Canvas(facts, colours[level], orientation)))
    supported = evidence.n_supported if evidence is not None else None
    told = findings.parameters.n_states
    return {"told": told, "supported": supported, "levels": levels}, maps


def _level(findings: Findings, facts: FactsOfLevel) -> dict[str, Any]:
    found, level = findings.map_in_time, facts.level
    numbers = run_numbers(findings)
    stays: list[list[float]] = [[] for _ in numbers]
    for stay in rows(found.stays[level]):
        ends = (int(v) if v == int(v) else v for v in (stay.start, stay.end))
        stays[numbers[stay.group, stay.run]] += [stay.state, *ends]
    return {
        "names": [state_name(findings, k) if facts.is_told else f"state {k}" for k in range(level)],
        "stays": stays,
    }


def _facts(findings: Findings, facts: FactsOfLevel) -> dict[str, Any]:
    found = findings.map_in_time.transitions
    edges = found[found["level"] == facts.level]
    numbers = run_numbers(findings)
    return {
        "states": [_plain(numbers, facts.states[k]) for k in range(facts.level)],
        "changes": [
            {
                "from": int(edge.from_state),
                "to": int(edge.to_state),
                **_plain(numbers, facts.changes[edge.from_state, edge.to_state]),
            }
            for edge in rows(edges)
        ],
    }


def _plain(numbers: Mapping[tuple[str, str], int], facts: Facts) -> dict[str, Any]:
    return {
        **asdict(facts),
        "moves": [(words.name(f, 30), round(value, 3), own) for f, value, own in facts.moves],
        "runs": sorted(numbers[key] for key in facts.runs),
    }


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a map without the cards, which the page has a panel for."""
    for trace in spec["data"]:
        if trace.pop("hovertext", None) is not None:
            trace["hoverinfo"] = "none"
    return spec
