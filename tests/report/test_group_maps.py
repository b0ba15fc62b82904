"""The maps of groups, and their differences, on the positions of the map of all."""

import numpy as np
import pytest

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.group_maps import group_maps
from hmmdyn.report.figures.training_map import training_map
from tests.report.synthetic import HOSTILE_NAMES, make_findings


@pytest.fixture(scope="module")
def grouped():
    return make_findings(9, groups=("sgd", "adamw", "lion"), n_states=5, wandering=0.3)


def states(figure):
    return [trace for trace in figure.data if trace.name == "states"]


def test_there_is_a_map_per_group_and_one_per_difference_on_the_same_positions(grouped):
    drawn = states(group_maps(grouped))
    whole = states(training_map(grouped))[0]
    assert len(drawn) == 3 + 2
    for row in drawn:
        assert row.base == whole.base
        assert row.x == whole.x
    above = [max(row.y) for row in drawn]
    assert above == sorted(above, reverse=True)
    assert [row.meta.get("group") for row in drawn] == [0, 1, 2, None, None]


def test_changes_are_as_wide_as_the_share_of_the_groups_runs(grouped):
    found = grouped.map_in_time.group_transitions
    for number, group in enumerate(("sgd", "adamw", "lion")):
        own = found[found["group"] == group]
        n_runs = {f"{e.from_state} → {e.to_state}": e.n_runs for e in own.itertuples()}
        widths = {
            t.name: t.line.width
            for t in group_maps(grouped).data
            if t.type == "scatter" and "→" in t.name and t.meta.get("group") == number
        }
        assert widths == pytest.approx({name: 1 + 5 * n / 9 for name, n in n_runs.items()})


def test_a_difference_is_that_of_shares_in_sign_colour_and_number(grouped):
    figure = group_maps(grouped)
    found = grouped.map_in_time.group_states
    share = {group: own["share"].to_numpy() for group, own in found.groupby("group")}
    more = share["adamw"] - share["sgd"]
    row = states(figure)[3]
    assert [c == theme.UP for c in row.marker.color] == (more >= 0).tolist()
    for card, value in zip(row.hovertext, more, strict=True):
        sign = "+" if round(100 * value) > 0 else "−" if round(100 * value) < 0 else "±"
        assert f"{sign}{abs(round(100 * value))}\u00a0% of time" in card
    order = np.argsort(np.abs(more))
    assert (np.diff(np.array(row.marker.opacity)[order]) >= 0).all()


def test_one_group_has_none_to_compare_it_with():
    with pytest.raises(NotEnoughDataError, match="one group"):
        group_maps(make_findings(3))


def test_names_of_groups_are_text():
    figure = group_maps(make_findings(3, groups=HOSTILE_NAMES[:3]))
    texts = [a.text for a in figure.layout.annotations]
    assert not any("<script" in text or "<img" in text for text in texts)
    assert any("&lt;script&gt;" in text for text in texts)
