import math

import pytest

from hmmdyn.report import words


def test_a_short_name_stays_as_it_is():
    assert words.name("lr0.001_seed3") == "lr0.001_seed3"


def test_a_long_name_keeps_both_ends():
    shown = words.name("a" * 50 + "_seed3", width=20)
    assert len(shown) == 20
    assert shown.startswith("aaa")
    assert shown.endswith("_seed3")
    assert "…" in shown


def test_line_breaks_and_control_characters_become_single_spaces():
    assert words.name("two\nlines\t\x00 and\u2028more") == "two lines and more"


def test_a_name_without_anything_visible_is_called_so():
    assert words.name("") == words.name("\n\t") == words.name("\u202e") == "(no name)"


def test_a_right_to_left_name_is_isolated_and_cannot_reorder_its_surroundings():
    assert words.name("ריצה") == "\u2068ריצה\u2069"
    # A name must not be able to leave its isolate, or to reverse what follows it.
    assert words.name("a\u2069\u202eb\u2067c") == "abc"


def test_a_label_for_plotly_holds_no_markup():
    assert words.label("<a href='x'>b</a>", 40) == "&lt;a href=&#x27;x&#x27;&gt;b&lt;/a&gt;"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.123456, "0.1235"),
        (-1.5, "−1.5"),
        (1234567.8, "1,234,568"),
        (12345.6, "12,346"),
        (1.5e12, "1.5e+12"),
        (0.00001234, "1.234e−05"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value, shown):
    assert words.number(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0"), (0.004, "<1"), (0.07, "7"), (0.996, ">99"), (1, "100")],
)
def test_percent(share, shown):
    assert words.percent(share) == f"{shown}\u00a0%"


def test_p_values_say_no_more_than_they_know():
    assert words.p_value(0.00001) == "p < 0.001"
    assert words.p_value(0.0123) == "p = 0.012"
    assert words.p_value(math.nan) == "p unknown"


def test_a_fraction_close_to_one_does_not_read_as_one_without_decimals():
    assert words.fraction(0.99981) == "0.999"
    assert words.fraction(1.0) == "1.000"
    assert words.fraction(0.5) == "0.500"


def test_listing():
    assert words.listing([]) == ""
    assert words.listing(["a"]) == "a"
    assert words.listing("ab") == "a and b"
    assert words.listing("abc") == "a, b and c"
    assert words.listing("abcdefgh", at_most=4) == "a, b, c and 5 more"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("1", "1 epoch"),
        ("+1", "+1 epoch"),
        ("−1", "−1 epoch"),
        ("0", "0 epochs"),
        ("11", "11 epochs"),
    ],
)
def test_one_of_a_unit_is_no_plural(told, said):
    assert words.in_steps(told, "epoch") == said


def test_plural():
    assert words.plural(1, "run") == "1 run"
    assert words.plural(1200, "run") == "1,200 runs"
