"""Pickles read as text about objects: nothing is imported, called or built.

A pickle is a program, and loading it runs whatever it names. Here its instructions are listed by
the table and the argument readers of `pickletools` (as `pickletools.genops` does, at half its
cost), and each becomes a plain record of what it says: this name, called with these arguments,
given that state. A name stays a pair of strings. What the records stand for is decided elsewhere,
by those who know a few of the names.

Numbers, text and bytes stand for themselves, lists and sets are ``list``, tuples and frozen sets
``tuple``. Dictionaries are `Pairs`, because keys could be made that take for ever to hash.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hmmdyn.errors import CheckpointError

# The largest training checkpoints need a few hundred thousand of each.
MOST_INSTRUCTIONS = 10_000_000
MOST_OBJECTS = 3_000_000
LONGEST_INTEGER = 1024  # bytes

_STOP = b"."
_REMEDY = "Copy or save the file anew; if it stays so, do not trust it."


class Readable(Protocol):
    """What `pickletools`' readers read from: never more than is there, whatever is claimed."""

    def read(self, count: int, /) -> bytes: ...  # noqa: D102

    def readline(self) -> bytes: ...  # noqa: D102

    def tell(self) -> int: ...  # noqa: D102


@dataclass(slots=True, eq=False, repr=False)
class Global:
    """A name of a class or function: ``torch._utils._rebuild_tensor_v2``."""

    name: str


@dataclass(slots=True, eq=False, repr=False)
class Persistent:
    """A reference to something kept outside the pickle (PyTorch's storages)."""

    identifier: object


class Pairs:
    """A dictionary as its keys and values in the order given; a key may occur twice."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[tuple[object, object]] = []


class Record:
    """Something called (or a class made) with arguments, and what was put into the result.

    ``state`` is what ``__setstate__`` would get (`NO_STATE` if nothing); ``items`` and
    ``elements`` what would be put into a dictionary or appended to a list; ``position`` the byte
    of the pickle behind the call.
    """

    __slots__ = ("arguments", "called", "elements", "items", "keywords", "position", "state")

    def __init__(self, called: object, arguments: object, keywords: object, position: int) -> None:
        self.called = called
        self.arguments = arguments
        self.keywords = keywords
        self.state: object = NO_STATE
        self.items: list[tuple[object, object]] | None = None
        self.elements: list[object] | None = None
        self.position = position

    @property
    def name(self) -> str:
        """The name called, or empty where it is none."""
        return self.called.name if isinstance(self.called, Global) else ""


class _NoState:
    pass


NO_STATE = _NoState()


class Budget:
    """How much may still be read; shared by all pickles of a file."""

    def __init__(self) -> None:
        self.instructions = MOST_INSTRUCTIONS
        self.objects = MOST_OBJECTS


@dataclass(frozen=True)
class Symbols:
    """What a pickle says.

    Attributes
    ----------
    root : object
        A number, text, bytes, None, ``list``, ``tuple``, `Pairs`, `Record`, `Global` or
        `Persistent`. It may contain itself and share parts: do not hash, compare or print it.
    references : list of Persistent
        All references to what is kept outside, in order.
    """

    root: object
    references: list[Persistent]


def read_symbols(stream: Readable, where: str, budget: Budget) -> Symbols:
    """Read one pickle, up to and with its STOP instruction.

    Parameters
    ----------
    stream : Readable
        Where the pickle starts at its current position.
    where : str
        What to call the pickle in messages.
    budget : Budget
        How much may still be read of all the file's pickles.

    Raises
    ------
    CheckpointError
        The pickle is damaged, or larger than any checkpoint's.
    """
    with warnings.catch_warnings():
        # Python warns of escapes in old text literals that it would write differently today.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _Reader(stream, where, budget).run()


class _MalformedError(Exception):
    """The instructions make no sense; the message says why."""


class _Reader:
    """The stack machine of the pickle format, on symbols."""

    def __init__(self, stream: Readable, where: str, budget: Budget) -> None:
        self._stream = stream
        self._where = where
        self._budget = budget
        self._stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._references: list[Persistent] = []

    def run(self) -> Symbols:
        stream, budget = self._stream, self._budget
        left = budget.instructions
        try:
            code = b""
            while code != _STOP:
                code = stream.read(1)
                instruction = _INSTRUCTIONS.get(code)
                if instruction is None:
                    raise _MalformedError(
                        f"{code!r} is no instruction" if code else "it ends there"
                    )
                read_argument, handle = instruction
                left -= 1
                if left < 0 or budget.objects < 0:
                    raise CheckpointError(
                        f"the pickle {self._where} goes on for more instructions than any "
                        f"checkpoint needs (limits: {MOST_INSTRUCTIONS:,} instructions, "
                        f"{MOST_OBJECTS:,} objects). Save the weights alone: "
                        "torch.save(model.state_dict(), …)"
                    )
                handle(self, read_argument(stream) if read_argument else None)
        except (_MalformedError, ValueError, AssertionError, OverflowError, LookupError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise CheckpointError(
                f"the pickle {self._where} is damaged or forged at byte {stream.tell():,}: "
                f"{reason or type(error).__name__}. {_REMEDY}"
            ) from error
        budget.instructions = left
        if self._marked or len(self._stack) != 1:
            raise CheckpointError(
                f"the pickle {self._where} is damaged or forged: it stops with unfinished "
                f"objects. {_REMEDY}"
            )
        return Symbols(self._stack.pop(), self._references)

    # ------------------------------------------------------------------------------ the stack

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _push_object(self, value: object) -> None:
        self._budget.objects -= 1
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            raise _MalformedError("it takes something from an empty stack")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            raise _MalformedError("it changes something on an empty stack")
        return self._stack[-1]

    def _since_mark(self) -> list[object]:
        if not self._marked:
            raise _MalformedError("it closes a bracket that was never opened")
        values = self._stack
        self._stack = self._marked.pop()
        return values

    def _mark(self, _: object) -> None:
        self._budget.objects -= 1
        self._marked.append(self._stack)
        self._stack = []

    def _pop_one(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()  # POP also takes back a MARK

    def _pop_to_mark(self, _: object) -> None:
        self._since_mark()

    def _duplicate(self, _: object) -> None:
        self._push(self._top())

    def _nothing(self, _: object) -> None:
        pass

    # ------------------------------------------------------------------------------- the memo

    def _put(self, key: int) -> None:
        self._budget.objects -= 1
        self._memo[key] = self._top()

    def _memoize(self, _: object) -> None:
        self._put(len(self._memo))

    def _get(self, key: int) -> None:
        if key not in self._memo:
            raise _MalformedError(f"it refers to object {key}, which was never made")
        self._push(self._memo[key])

    # ---------------------------------------------------------------------- values, containers

    def _integer(self, value: int) -> None:
        if value.bit_length() > 8 * LONGEST_INTEGER:
            raise _MalformedError(f"an integer of {value.bit_length():,} bits")
        self._push(value)

    def _none(self, _: object) -> None:
        self._push(None)

    def _true(self, _: object) -> None:
        self._push(True)

    def _false(self, _: object) -> None:
        self._push(False)

    def _bytearray(self, value: bytearray) -> None:
        self._push(bytes(value))

    def _empty_list(self, _: object) -> None:
        self._push_object([])

    def _list(self, _: object) -> None:
        self._push_object(self._since_mark())

    def _tuple(self, _: object) -> None:
        self._push_object(tuple(self._since_mark()))

    def _empty_tuple(self, _: object) -> None:
        self._push(())

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise _MalformedError("it takes something from an empty stack")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push_object(values)

    def _tuple1(self, _: object) -> None:
        self._tuple_of(1)

    def _tuple2(self, _: object) -> None:
        self._tuple_of(2)

    def _tuple3(self, _: object) -> None:
        self._tuple_of(3)

    def _empty_dict(self, _: object) -> None:
        self._push_object(Pairs())

    def _dict(self, _: object) -> None:
        pairs = Pairs()
        pairs.items += _paired(self._since_mark())
        self._push_object(pairs)

    def _append(self, _: object) -> None:
        value = self._pop()
        self._elements().append(value)

    def _append_many(self, _: object) -> None:
        values = self._since_mark()
        self._elements().extend(values)

    def _set_item(self, _: object) -> None:
        value = self._pop()
        key = self._pop()
        self._items().append((key, value))

    def _set_items(self, _: object) -> None:
        pairs = _paired(self._since_mark())
        self._items().extend(pairs)

    def _elements(self) -> list[object]:
        """Return the elements of the list, set or record on top of the stack."""
        top = self._top()
        if isinstance(top, Record):
            if top.elements is None:
                top.elements = []
            return top.elements
        if not isinstance(top, list):
            raise _MalformedError("it appends to something that is no list")
        return top

    def _items(self) -> list[tuple[object, object]]:
        """Return the items of the dictionary or record on top of the stack."""
        top = self._top()
        if isinstance(top, Record):
            if top.items is None:
                top.items = []
            return top.items
        if not isinstance(top, Pairs):
            raise _MalformedError("it puts items into something that is no dictionary")
        return top.items

    # ------------------------------------------------------------------------ names and calls

    def _global(self, argument: str) -> None:
        self._push_object(Global(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: object) -> None:
        name = self._pop()
        module = self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise _MalformedError("it names something by what is no text")
        self._push_object(Global(f"{module}.{name}"))

    def _record(self, called: object, arguments: object, keywords: object = None) -> None:
        self._push_object(Record(called, arguments, keywords, self._stream.tell()))

    def _call(self, _: object) -> None:
        arguments = self._pop()
        self._record(self._pop(), arguments)

    def _new_with_keywords(self, _: object) -> None:
        keywords = self._pop()
        arguments = self._pop()
        self._record(self._pop(), arguments, keywords)

    def _instance(self, argument: str) -> None:
        called = Global(argument.replace(" ", ".", 1))
        self._record(called, tuple(self._since_mark()))

    def _object(self, _: object) -> None:
        values = self._since_mark()
        if not values:
            raise _MalformedError("it makes an object of no class")
        self._record(values[0], tuple(values[1:]))

    def _build(self, _: object) -> None:
        state = self._pop()
        target = self._top()
        if not isinstance(target, Record):
            raise _MalformedError("it gives a state to something that was not made by a call")
        if target.state is not NO_STATE:
            raise _MalformedError("it gives a state to one object twice")
        target.state = state

    def _persistent(self, identifier: object) -> None:
        self._references.append(Persistent(identifier))
        self._push_object(self._references[-1])

    def _persistent_from_stack(self, _: object) -> None:
        self._persistent(self._pop())

    def _unsupported(self, _: object) -> None:
        raise _MalformedError(
            "an instruction that no checkpoint needs (a registered extension, or a buffer kept "
            "outside the file)"
        )


def _paired(values: list[object]) -> list[tuple[object, object]]:
    if len(values) % 2:
        raise _MalformedError("a key without a value")
    return list(zip(values[::2], values[1::2], strict=True))


_HANDLERS: dict[str, Callable[[_Reader, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Reader._nothing),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
                    _Reader._integer),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
                     "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
                     "BINUNICODE8"), _Reader._push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Reader._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Reader._get),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"),
                    _Reader._unsupported),
    "BYTEARRAY8": _Reader._bytearray,
    "NONE": _Reader._none,
    "NEWTRUE": _Reader._true,
    "NEWFALSE": _Reader._false,
    "MARK": _Reader._mark,
    "POP": _Reader._pop_one,
    "POP_MARK": _Reader._pop_to_mark,
    "DUP": _Reader._duplicate,
    "MEMOIZE": _Reader._memoize,
    "EMPTY_LIST": _Reader._empty_list,
    "LIST": _Reader._list,
    "EMPTY_SET": _Reader._empty_list,
    "FROZENSET": _Reader._tuple,
    "EMPTY_TUPLE": _Reader._empty_tuple,
    "TUPLE": _Reader._tuple,
    "TUPLE1": _Reader._tuple1,
    "TUPLE2": _Reader._tuple2,
    "TUPLE3": _Reader._tuple3,
    "EMPTY_DICT": _Reader._empty_dict,
    "DICT": _Reader._dict,
    "APPEND": _Reader._append,
    "APPENDS": _Reader._append_many,
    "ADDITEMS": _Reader._append_many,
    "SETITEM": _Reader._set_item,
    "SETITEMS": _Reader._set_items,
    "GLOBAL": _Reader._global,
    "STACK_GLOBAL": _Reader._stack_global,
    "REDUCE": _Reader._call,
    "NEWOBJ": _Reader._call,
    "NEWOBJ_EX": _Reader._new_with_keywords,
    "INST": _Reader._instance,
    "OBJ": _Reader._object,
    "BUILD": _Reader._build,
    "PERSID": _Reader._persistent,
    "BINPERSID": _Reader._persistent_from_stack,
}  # fmt: skip

# First byte of an instruction -> what reads its argument (None where it has none), what it does.
_INSTRUCTIONS: dict[bytes, tuple[Callable[[Any], Any] | None, Callable[[_Reader, Any], None]]] = {
    opcode.code.encode("latin-1"): (
        opcode.arg.reader if opcode.arg else None,
        _HANDLERS[opcode.name],
    )
    for opcode in pickletools.opcodes
}
