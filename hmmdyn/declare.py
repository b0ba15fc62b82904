"""How an option is declared: once, where it is a field of a dataclass.

From the declaration come the argument of the command line, its help with choices, limits and
default, the check of a value given from Python, and the documentation of the class.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from textwrap import fill, indent
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hmmdyn.errors import UsageError
from hmmdyn.names import require_one_of

_Class = TypeVar("_Class", bound=type)
_URL = re.compile("[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a path has but one of its slashes

# The headings under which options stand, in the order in which help and a report have them.
READING, WHAT, STATES, MODEL, EFFORT, CONVERGENCE, RECIPE = PANELS = (
    "Reading",
    "Metrics and runs",
    "States",
    "Model",
    "Effort",
    "Convergence",
    "Recipe",
)


@dataclass(frozen=True, kw_only=True)
class Option:
    """What there is to say of an option.

    Attributes
    ----------
    help : str
        What it means, in one sentence or two; choices, limits and default are added to it.
    panel : str
        Its heading: one of ``PANELS``.
    more : str
        When to use it, for the documentation alone.
    least : float, optional
        The least a number may be.
    choices : tuple of str
        The words it may take; any where empty.
    flag : str
        What the command line calls it, where that is not ``--`` and its name.
    commas : bool
        Whether one word of the command line may hold several values, between commas.
    parse, write : callable
        How one word of the command line becomes one value, and back.
    name : str
    kind : type
        Its type, without None.
    optional : bool
        Whether it may be None.
    default : object
    """

    help: str
    panel: str
    more: str = ""
    least: float | None = None
    choices: tuple[str, ...] = ()
    flag: str = ""
    commas: bool = False
    parse: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    # What the field itself says; see `options_of`.
    name: str = ""
    kind: Any = str
    optional: bool = False
    default: Any = None

    @property
    def several(self) -> bool:
        """Whether it takes several values, in a tuple."""
        return get_origin(self.kind) is tuple

    def words(self, value: Any) -> list[str]:
        """Return the words that give this value on a command line."""
        if self.kind is bool:
            return [self.flag]
        values = value if isinstance(value, tuple) else (value,)
        if self.commas:
            return [self.flag, ",".join(map(self.write, values))]
        return [word for one in values for word in (self.flag, self.write(one))]

    def checked(self, value: Any) -> Any:
        """Return a value as the option's own type.

        Raises
        ------
        UsageError
            It is of another type, below the least, or none of the choices.
        """
        if value is None and self.optional:
            return None
        if self.several:
            return self._several(value)
        if self.kind is bool:
            return self._require(isinstance(value, bool), value, "True or False")
        if self.kind in (int, float):
            return self._number(value)
        if self.kind is Path:
            path = Path(self._require(isinstance(value, str | Path), value, "a path"))
            require_no_url(path, self.flag)
            return path
        if not self.choices:
            return self._require(isinstance(value, str), value, "a text")
        require_one_of(value, self.choices, self.name)
        return value

    def _several(self, value: Any) -> tuple[Any, ...]:
        one = get_args(self.kind)[0]
        if isinstance(value, str):
            example = f"({value!r},)" if one is str else "a tuple"
            raise UsageError(
                f"{self.name!r} takes several values, got the text {value!r}. "
                f"Write {self.name}={example}."
            )
        wanted = f"a tuple, each of it {_in_words(one)}"
        values = tuple(self._require(isinstance(value, Iterable), value, wanted))
        self._require(all(_is(item, one) for item in values), value, wanted)
        for item in values if self.choices else ():
            require_one_of(item, self.choices, self.name)
        return values

    def _number(self, value: Any) -> Any:
        wanted = "a whole number" if self.kind is int else "a finite number"
        if self.least is not None:
            wanted += f" of at least {self.least}"
        is_one = isinstance(value, Integral if self.kind is int else Real)
        fits = is_one and not isinstance(value, bool) and math.isfinite(value)
        in_range = fits and (self.least is None or value >= self.least)
        hint = f" Write {self.name}={value}." if _is_number_in_quotes(value) else ""
        number = self._require(in_range, value, wanted, hint)
        # Those of NumPy become Python's own, which JSON knows.
        return number if type(number) in (int, float) else self.kind(number)

    def _require(self, fits: bool, value: Any, wanted: str, hint: str = "") -> Any:
        if not fits:
            raise UsageError(f"{self.name!r} must be {wanted}, got {value!r}.{hint}")
        return value

    def _documented(self) -> str:
        kind = f"{{{', '.join(map(repr, self.choices))}}}" if self.choices else _in_words(self.kind)
        least = f", at least {self.least}" if self.least is not None else ""
        text = indent(fill(f"{self.help} {self.more}", 92), "    ")
        return f"{self.name} : {kind}{least}, default {self.default!r}\n{text}"


def require_no_url(path: Path, argument: str) -> None:
    """Refuse what is no path of this machine.

    Raises
    ------
    UsageError
        It is a URL, which is not repeated: it may hold a password.
    """
    if _URL.match(str(path)):
        raise UsageError(
            f"{argument!r} takes a file or folder of this machine, not a URL. Copy it from or to "
            "there."
        )


def option(default: Any, help: str, **declared: Any) -> Any:
    """Declare a field as an option; what can be declared stands at :class:`Option`."""
    return field(default=default, metadata={"option": Option(help=help, **declared)})


def options_of(declared: type) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, by panel, in the order of its fields."""
    kinds = get_type_hints(declared)
    found = (
        replace(
            one.metadata["option"],
            name=one.name,
            kind=_without_none(kinds[one.name]),
            optional=NoneType in get_args(kinds[one.name]),
            default=one.default,
            flag=one.metadata["option"].flag or "--" + one.name.replace("_", "-"),
        )
        for one in fields(declared)
    )
    return tuple(sorted(found, key=lambda one: PANELS.index(one.panel)))


def check(values: Any) -> None:
    """Check the options of a new (frozen) dataclass, and give each its own type.

    Raises
    ------
    UsageError
        As :meth:`Option.checked`.
    """
    for one in options_of(type(values)):
        object.__setattr__(values, one.name, one.checked(getattr(values, one.name)))


def documented(declared: _Class) -> _Class:
    """Add what its options mean to the docstring of a dataclass."""
    entries = "\n".join(one._documented() for one in options_of(declared))
    about, notes, more = inspect.cleandoc(declared.__doc__ or "").partition("\n\nNotes\n")
    declared.__doc__ = f"{about}\n\nAttributes\n----------\n{entries}{notes}{more}\n"
    return declared


def _without_none(hint: Any) -> Any:
    """The type beside None; a type that cannot be None is itself."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    (kind,) = (one for one in get_args(hint) if one is not NoneType)
    return kind


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, or a tuple of these types."""
    if get_origin(kind) is not tuple:
        return isinstance(value, kind)
    kinds = get_args(kind)
    is_tuple = isinstance(value, tuple) and len(value) == len(kinds)
    return is_tuple and all(map(isinstance, value, kinds))


def _is_number_in_quotes(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) is not None


def _in_words(kind: Any) -> str:
    """A type as documentation names it: ``tuple of str``, ``(str, int, int)``."""
    if get_origin(kind) is not tuple:
        return str(kind.__name__)
    first, *others = get_args(kind)
    if others == [...]:
        return f"tuple of {_in_words(first)}"
    return f"({', '.join(map(_in_words, (first, *others)))})"
