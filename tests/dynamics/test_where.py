"""Where in a network a change happens: dates of parts that are known, and worlds without order."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from hmmdyn.dynamics.where import where_it_moves
from hmmdyn.results.parts import PARTS
from hmmdyn.results.where import WHERE

BOUNDARY = pd.DataFrame({"from_state": [0], "to_state": [1]})


def world(leads, n_runs=12, noise=0.05, width=0.0, seed=0, every=10, n=80):
    """Parts that pass from 0 to 1 so many steps before the run does; tables of parts and states."""
    rng = np.random.default_rng(seed)
    steps = every * np.arange(n)
    parts, states = [], []
    for r in range(n_runs):
        date = rng.uniform(250, 550)
        key = {"group": "g", "run": f"seed{r}", "step": steps}
        states.append(pd.DataFrame({**key, "state": (steps >= date).astype(int)}))
        for name, lead in leads.items():
            own = date - lead + rng.normal(0, 5)
            level = 1 / (1 + np.exp(-(steps - own) / width)) if width else steps >= own
            values = level + noise * rng.normal(size=n)
            parts.append(
                pd.DataFrame({**key, "by": "layer", "part": name, "metric": "l2", "value": values})
            )
    return PARTS.frame(pd.concat(parts, ignore_index=True)), pd.concat(states, ignore_index=True)


def found(leads, **options):
    table = where_it_moves(*world(leads, **options), BOUNDARY)
    WHERE.check(table)
    return table.set_index("part")


@pytest.mark.parametrize("width", [0.0, 20.0])
def test_a_part_that_moves_first_is_named_with_its_lead(width):
    table = found({"a": 0, "b": 100, "c": 0, "d": 0}, width=width)
    assert table.loc["b", "when"] == "before the others"
    assert table.loc["b", "lead_low"] <= 100 <= table.loc["b", "lead_high"]
    assert table.loc["b", "lead"] == pytest.approx(100, abs=15)
    assert set(table["when"].drop("b")) == {"cannot tell"}
    assert (table["n_runs"] == 12).all()


def test_a_part_that_moves_last():
    table = found({"a": 0, "b": -100, "c": 0})
    assert table.loc["b", "when"] == "after the others"
    assert table.loc["b", "lead_low"] <= -100 <= table.loc["b", "lead_high"]


def test_a_lead_is_no_finer_than_the_checkpoints():
    table = found({"a": 0, "b": 30, "c": 0}, every=50, n=20)
    assert table.loc["b", "when"] == "cannot tell"
    assert table.loc["b", "lead_low"] <= 30 <= table.loc["b", "lead_high"]


def test_few_runs_cannot_tell():
    table = found({"a": 0, "b": 200, "c": 0}, n_runs=4)
    assert (table["when"] == "cannot tell").all()
    assert table["lead_low"].isna().all()
    assert table.loc["b", "lead"] > 150


def test_a_part_that_does_not_move_has_no_date():
    parts, states = world({"a": 0, "b": 100, "c": 0})
    still = parts["part"] == "c"
    parts.loc[still, "value"] = np.random.default_rng(1).normal(size=still.sum())
    table = where_it_moves(parts, states, BOUNDARY).set_index("part")
    assert table.loc["c", "n_runs"] <= 2
    assert table.loc["b", "when"] == "before the others"


def test_nothing_to_say_is_an_empty_table():
    parts, states = world({"a": 0, "b": 0})
    assert where_it_moves(PARTS.frame(), states, BOUNDARY).empty
    assert where_it_moves(parts, states, BOUNDARY.iloc[:0]).empty
    assert where_it_moves(parts, states.assign(state=0), BOUNDARY).empty


def test_parts_without_order_are_rarely_told_apart_and_intervals_cover():
    """40 worlds of eight parts that move together: any part is named in at most one in ten."""
    named, covered = 0, []
    for seed in range(40):
        table = found(
            dict.fromkeys("abcdefgh", 0), n_runs=10, noise=0.15, every=5, n=160, seed=seed
        )
        named += bool((table["when"] != "cannot tell").any())
        covered += ((table["lead_low"] <= 0) & (table["lead_high"] >= 0)).tolist()
    assert named <= 4
    assert np.mean(covered) >= 0.95


def test_parts_stay_in_the_order_of_the_network():
    names = [f"blocks.{i}" for i in (0, 1, 2, 9, 10)]
    assert list(found(dict.fromkeys(names, 0), n_runs=3).index) == names


@pytest.mark.parametrize("n_runs", [5, 6, 12])
def test_p_is_that_of_a_sign_test(n_runs):
    """Two parts that no run can tell the wrong way round."""
    table = found({"a": 0, "b": 100}, n_runs=n_runs)
    expected = binomtest(n_runs, n_runs).pvalue if n_runs > 5 else np.nan
    assert table.loc["b", "p"] == pytest.approx(expected, nan_ok=True)
    assert table.loc["b", "p_corrected"] == pytest.approx(expected, nan_ok=True)


def test_of_many_metrics_one_needs_more_evidence():
    """Nine runs name one of two parts by one metric; not where 39 others show nothing."""
    parts, states = world({"a": 0, "b": 30}, n_runs=9, seed=3)
    alone = where_it_moves(parts, states, BOUNDARY).set_index("part")
    assert (alone.loc["b", "when"], alone.loc["b", "p"]) == ("before the others", 2**-8)
    still, _ = world({"a": 0, "b": 0}, n_runs=9, seed=3)
    many = [parts, *(still.assign(metric=f"m{i}") for i in range(39))]
    table = where_it_moves(pd.concat(many, ignore_index=True), states, BOUNDARY)
    own = table[table["metric"] == "l2"].set_index("part")
    assert own.loc["b", "p"] == 2**-8
    assert own.loc["b", "p_corrected"] > 0.05
    assert (table["when"] == "cannot tell").all()
