r"""A user's file of what the weights do in a network whose names do not tell: their roles.

::

    heads = 4                     # heads of attention in a layer

    [roles]                       # regular expression, searched in the names = role
    'mixer\.fused' = "qkv"
    'expand' = "mlp in"

    [split]                       # a fused weight is equal parts along an axis
    'mixer\.fused' = { axis = 0, parts = 3 }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmmdyn.errors import UsageError
from hmmdyn.names import did_you_mean, printable

_KEYS = ("heads", "roles", "split")
_OF_SPLIT = ("axis", "parts")
_LONGEST_FILE = 1_000_000  # bytes
_LONGEST_ROLE = 40  # characters
_MOST_AXES = 64  # of an array of NumPy


@dataclass(frozen=True)
class ToldRoles:
    """What a file says; `hmmdyn.checkpoints.parameters.ParameterRules` tells what it means."""

    roles: tuple[tuple[str, str], ...] = ()
    split: tuple[tuple[str, int, int], ...] = ()
    heads: int | None = None


def read_roles(path: Path) -> ToldRoles:
    """Read a file of rules, in TOML.

    Raises
    ------
    UsageError
        It cannot be read, is no TOML (the message has the line), or says what no rule can (the
        message has the key).
    """
    try:
        return _told(tomllib.loads(_text(path)))
    except OSError as error:
        reason = str(error.strerror or error)
    except tomllib.TOMLDecodeError as error:
        reason = f"it is not TOML: {printable(str(error))}"
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    except (RecursionError, ValueError):  # of Python's own limits
        reason = "it is nested too deeply, or has too long a number"
    except UsageError as error:
        reason = str(error)
    raise UsageError(f"The file of roles {printable(str(path))}: {reason}.")


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError("there is no such file" if not path.exists() else "it is not a file")
    with path.open("rb") as file:
        content = file.read(_LONGEST_FILE + 1)
    if len(content) > _LONGEST_FILE:
        raise UsageError(f"it is longer than {_LONGEST_FILE:,} bytes")
    return content.decode("utf-8-sig")


def _told(document: dict[str, Any]) -> ToldRoles:
    for key in document:
        _require(key in _KEYS, f"there is no key {_quoted(key)}.{_meant(key)}")
    heads = document.get("heads")
    _require(heads is None or _is_count(heads, 1), f"heads must be 1 or more, got {_quoted(heads)}")
    told = ToldRoles(
        tuple((regex, _role(regex, role)) for regex, role in _rules(document, "roles")),
        tuple((regex, *_parts(regex, parts)) for regex, parts in _rules(document, "split")),
        heads,
    )
    _require(told != ToldRoles(), f"it has none of {', '.join(_KEYS)}")
    return told


def _rules(document: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Go through a table of rules, whose keys are regular expressions."""
    table = document.get(key, {})
    _require(isinstance(table, dict), f"[{key}] must be a table of regular expressions")
    for regex, value in table.items():
        try:
            re.compile(regex)
        except (re.error, OverflowError) as error:
            _require(False, f"{_quoted(regex)} in [{key}] is not a regular expression: {error}")
        # Without quotes, a dot in a key of TOML begins a table within the table.
        nested = isinstance(value, dict) and not set(value) <= set(_OF_SPLIT)
        _require(
            not nested,
            f"{_quoted(regex)} in [{key}] is a table of its own; put all of it in quotes",
        )
        yield regex, value


def _role(regex: str, role: Any) -> str:
    fits = isinstance(role, str) and 0 < len(role) <= _LONGEST_ROLE
    _require(
        fits and role == printable(role) and role == " ".join(role.split()),
        f"the role of {_quoted(regex)} must be a word or two, got {_quoted(role)}",
    )
    return str(role)


def _parts(regex: str, told: Any) -> tuple[int, int]:
    fits = isinstance(told, dict) and set(told) == set(_OF_SPLIT)
    _require(
        fits and _is_count(told["axis"], 0, _MOST_AXES) and _is_count(told["parts"], 2),
        f"what {_quoted(regex)} is split in must be {{ axis = 0 or more, parts = 2 or more }}, "
        f"got {_quoted(told)}",
    )
    return told["axis"], told["parts"]


def _is_count(value: Any, least: int, most: int = 1 << 31) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _meant(key: str) -> str:
    return did_you_mean(key, _KEYS) or f" There are: {', '.join(_KEYS)}"


def _quoted(value: Any) -> str:
    text = printable(str(value) if isinstance(value, dict) else repr(value))
    return text if len(text) <= 2 * _LONGEST_ROLE else text[: 2 * _LONGEST_ROLE] + "…"


def _require(fits: bool, reason: str) -> None:
    if not fits:
        raise UsageError(reason)
