"""What a recipe refuses; read without PyTorch."""

import math
from dataclasses import fields, replace

import pytest

from hmmdyn.errors import UsageError
from hmmdyn.tasks.catalogue import TASKS

NUMBERS = [
    (task.name, declared.name)
    for task in TASKS.values()
    for declared in fields(task.recipe)
    if isinstance(declared.default, int | float) and not isinstance(declared.default, bool)
]


def least_of(task, name):
    (declared,) = [f for f in fields(TASKS[task].recipe) if f.name == name]
    return declared.metadata["option"].least


@pytest.mark.parametrize(("task", "name"), NUMBERS)
def test_every_number_has_a_least_and_may_not_be_below_it(task, name):
    recipe, least = TASKS[task].recipe, least_of(task, name)
    assert least is not None
    whole = isinstance(getattr(recipe, name), int)
    for below in [least - 1, -1] if whole else [-1e-9, -math.inf, math.nan]:
        with pytest.raises(UsageError, match=f"'{name}' must be at least {least}, got "):
            replace(recipe, **{name: below})


@pytest.mark.parametrize(("task", "name"), NUMBERS)
def test_numbers_are_finite_and_whole_where_they_count(task, name):
    recipe = TASKS[task].recipe
    if isinstance(getattr(recipe, name), int):
        for value in (2.5, 2.0, math.nan, "2"):
            with pytest.raises(UsageError, match=f"'{name}' must be a whole number, got "):
                replace(recipe, **{name: value})
    else:
        with pytest.raises(UsageError, match=f"'{name}' must be finite, got inf"):
            replace(recipe, **{name: math.inf})


@pytest.mark.parametrize(
    ("task", "name"),
    [
        pair
        for pair in NUMBERS
        if pair[1] not in {"train_share", "eval_share", "n_bits", "n_tokens"}
    ],
)
def test_the_least_itself_is_allowed(task, name):
    value = least_of(task, name)
    assert getattr(replace(TASKS[task].recipe, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_epochs": 0}, "'n_epochs' must be at least 1, got 0"),
        ({"batch_size": -1}, "'batch_size' must be at least 1, got -1"),
        ({"n_bits": 2}, "'n_parity_bits' must be at most 'n_bits' \\(2\\), got 3"),
        ({"n_parity_bits": 41}, "'n_parity_bits' must be at most 'n_bits' \\(40\\), got 41"),
    ],
)
def test_impossible_parity_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        replace(TASKS["parity"].recipe, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_half": 65}, "'n_half' must be at most 'n_tokens' \\(64\\), got 65"),
        ({"n_tokens": 15}, "'n_half' must be at most 'n_tokens' \\(15\\), got 16"),
    ],
)
def test_impossible_sequences_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        replace(TASKS["induction"].recipe, **change)


@pytest.mark.parametrize(
    ("task", "name", "share", "message"),
    [
        ("modular-addition", "train_share", 0.0, "0.0 takes 0 of 12,769"),
        ("modular-addition", "train_share", 7e-5, "7e-05 takes 0 of 12,769"),
        ("modular-addition", "train_share", 1.0, "1.0 takes 12,769 of 12,769"),
        ("modular-addition-stabilised", "train_share", 1.5, "1.5 takes 19,153 of 12,769"),
        ("digits", "eval_share", 0.0, "0.0 takes 0 of 1,797"),
        ("digits-deep", "eval_share", 2e-4, "0.0002 takes 0 of 1,797"),
        ("digits-destabilised", "eval_share", 1.0, "1.0 takes 1,797 of 1,797"),
        ("digits", "eval_share", 0.9999, "0.9999 takes 1,797 of 1,797"),
        ("digits", "eval_share", 3.0, "3.0 takes 5,391 of 1,797"),
    ],
)
def test_shares_must_leave_both_sets_something(task, name, share, message):
    with pytest.raises(UsageError, match=f"'{name}' must leave samples to train on.*: {message}"):
        replace(TASKS[task].recipe, **{name: share})


@pytest.mark.parametrize(
    ("task", "name", "share", "size"),
    [
        ("modular-addition", "train_share", 1 / 12_769 + 1e-9, "n_train"),
        ("digits", "eval_share", 1 / 1797, "n_eval"),
    ],
)
def test_the_smallest_share_that_takes_a_sample_is_allowed(task, name, share, size):
    assert getattr(replace(TASKS[task].recipe, **{name: share}), size) == 1


@pytest.mark.parametrize("task", TASKS)
def test_every_option_says_what_it_means(task):
    for declared in fields(TASKS[task].recipe):
        assert declared.metadata["option"].help.endswith("."), declared.name
