"""A user's file of the roles of weights: what it says, and how it fails."""

import os

import pytest

from hmmdyn.checkpoints.role_file import ToldRoles, read_roles
from hmmdyn.errors import UsageError

WHOLE = r"""
heads = 4

[roles]
'mixer\.fused' = "qkv"
'expand' = "state in"

[split]
'mixer\.fused' = { axis = 0, parts = 3 }
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "roles.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_what_a_file_says(written):
    assert read_roles(written(WHOLE)) == ToldRoles(
        roles=((r"mixer\.fused", "qkv"), ("expand", "state in")),
        split=((r"mixer\.fused", 0, 3),),
        heads=4,
    )


def test_the_first_rule_that_fits_is_the_first_in_the_file(written):
    told = read_roles(written("[roles]\nb = 'v'\na = 'q'\n'ab' = 'k'"))
    assert [regex for regex, _ in told.roles] == ["b", "a", "ab"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has none of heads, roles, split"),
        ("[roles]", "it has none of"),
        ("[roles]\nx == 'q'", "it is not TOML: .*line 2"),
        ("[roles]\nx = 'q'\nx = 'k'\n", "it is not TOML: .*line 3"),
        ("[rolls]\nx = 'q'", r"there is no key 'rolls'. Did you mean 'roles'\?"),
        ("weights = 3", "there is no key 'weights'. There are: heads, roles, split"),
        ("heads = 0", "heads must be 1 or more, got 0"),
        ("heads = true", "heads must be 1 or more, got True"),
        ("heads = '4'", "heads must be 1 or more, got '4'"),
        ("roles = 3", r"\[roles\] must be a table"),
        ("[[roles]]\nx = 'q'", r"\[roles\] must be a table"),
        ("[roles]\n'(' = 'q'", r"'\(' in \[roles\] is not a regular expression: missing \)"),
        ("[roles]\na.b = 'q'", "'a' in .roles. is a table of its own; put all of it in quotes"),
        ("[roles]\nx = ''", "the role of 'x' must be a word or two, got ''"),
        ("[roles]\nx = ['q']", "the role of 'x' must be a word or two"),
        ('[roles]\nx = "a\\u0007"', "the role of 'x' must be a word or two"),
        ('[roles]\nx = " q"', "the role of 'x' must be a word or two"),
        (f"[roles]\nx = '{'long' * 100}'", "the role of 'x' must be a word or two, got '.{79}…"),
        ("[split]\nx = '0:3'", "what 'x' is split in must be { axis = 0 or more, parts"),
        ("[split]\nx = {axis = 0}", "what 'x' is split in must be"),
        ("[split]\nx = {axis = -1, parts = 3}", "what 'x' is split in must be"),
        ("[split]\nx = {axis = 0, parts = 1}", "what 'x' is split in must be"),
        ("[split]\nx = {axis = 1.0, parts = 3}", "what 'x' is split in must be"),
        (f"[split]\nx = {{axis = 0, parts = {10**30}}}", "what 'x' is split in must be"),
        (b"\xff\xfe\x00", "it is not text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "it is not TOML"),
        ("x = " + "[" * 5000, "it is nested too deeply|it is not TOML"),
        ("heads = " + "9" * 5000, "too long a number"),
        ("#" * 1_000_001, "it is longer than 1,000,000 bytes"),
    ],
)
def test_a_file_that_says_what_no_rule_can(written, text, message):
    path = written(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_roles(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        read_roles(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="it is not a file"):
        read_roles(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="it is not a file"):
        read_roles(tmp_path / "pipe")
