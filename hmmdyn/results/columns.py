"""How tables are declared: each column once, with its name, kind, unit and meaning.

A declaration stands in the module of what it is about (:mod:`.results.transitions` declares the
tables of transitions), and a result says of its field which table it holds::

    transitions: pd.DataFrame = field(metadata=holds(TRANSITIONS))

From that come empty tables (:meth:`Table.frame`), the check that a result has the columns it says
(:func:`check_tables`), the report's headings and notes, the data dictionary in ``report.json``, its
JSON schema, and the reference of columns in the documentation (:mod:`hmmdyn.results.schema`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from hmmdyn.results.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

# The kinds of columns, and what is in them.
TEXT, INTEGER, NUMBER, BOOLEAN, PATH = "text", "integer", "number", "boolean", "path"
KINDS = {
    TEXT: "a name or words",
    INTEGER: "a whole number",
    NUMBER: "a number in double precision; missing where it is not known",
    BOOLEAN: "yes or no",
    PATH: "states in order: a tuple of int in Python, text such as ``0 → 1 → 3`` in files",
}
# The unit of steps; where a checkpoint is told by its epoch, they are epochs.
STEPS = "steps"

# What stands in the place of <…> in the names of open columns: {"outcome": ("loss", "accuracy")}.
Members = Mapping[str, Sequence[object]]

_PLACE = re.compile("<([a-z]+)>")
_DTYPES = {INTEGER: "int64", NUMBER: "float64", BOOLEAN: "bool"}


@dataclass(frozen=True)
class Column:
    """One column of a table, or a family of them.

    Attributes
    ----------
    name : str
        With a place such as ``<outcome>`` in it, there is one column per outcome.
    kind : str
        One of :data:`KINDS`.
    meaning : str
        What a value says; of an open column with the same place in it.
    unit : str
        Empty where there is none.
    missing : str
        When a value is missing, as a clause: ``where the run is censored``. A column of integers,
        text or booleans without it has none missing.
    only : str
        When the table has this column, as a clause; empty where always.
    """

    name: str
    kind: str
    meaning: str
    unit: str = ""
    missing: str = ""
    only: str = ""

    @property
    def place(self) -> str:
        """What the column is open in (``outcome`` of ``mean_<outcome>``); empty where fixed."""
        found = _PLACE.search(self.name)
        return found[1] if found else ""

    @property
    def dtype(self) -> str | None:
        """How pandas holds it; None where as it comes."""
        if self.kind == INTEGER and self.missing:
            return "Int64"
        return _DTYPES.get(self.kind)

    @property
    def in_words(self) -> str:
        """The meaning, with when a value is missing and when there is such a column."""
        clauses = (f"missing {self.missing}" * bool(self.missing), self.only)
        return "; ".join([self.meaning, *filter(None, clauses)])

    def of(self, member: object) -> Column:
        """Return the column for one member of its family."""
        name, meaning = (_PLACE.sub(lambda _: str(member), t) for t in (self.name, self.meaning))
        return replace(self, name=name, meaning=meaning)

    def holds(self, values: pd.Series) -> bool:
        """Whether a column of a frame is of this kind."""
        import pandas as pd

        kind = values.dtype.kind
        if self.kind == INTEGER:  # pandas turns integers into floats where one is missing
            return kind in "iu" or bool(self.missing and kind == "f")
        if self.kind in (TEXT, PATH):
            return pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)
        return kind == {NUMBER: "f", BOOLEAN: "b"}[self.kind]


@dataclass(frozen=True)
class Table:
    """What a table is called, what a row of it is, and its columns in order.

    Attributes
    ----------
    name : str
        Also the stem of its file.
    title, note : str
        The heading on the page, and what a reader must know of the columns.
    rows : str
        What there is one row of: ``state``, ``run``.
    columns : tuple of Column
    """

    name: str
    title: str
    rows: str
    columns: tuple[Column, ...]
    note: str = ""

    @property
    def names(self) -> list[str]:
        """The names of the columns that the table always has, open ones as they are declared."""
        return [column.name for column in self.columns if not column.only]

    def expanded(self, members: Members) -> tuple[Column, ...]:
        """Return the columns with every open one replaced by those of its members.

        A fixed column whose name is taken by one of these is called ``hidden_…``: a metric may be
        called ``state``.
        """
        taken = {
            column.of(member).name
            for column in self.columns
            if column.place
            for member in members.get(column.place, ())
        }
        result: list[Column] = []
        for column in self.columns:
            if column.place:
                result += map(column.of, members.get(column.place, ()))
            elif column.name in taken:
                result.append(replace(column, name=f"hidden_{column.name}"))
            else:
                result.append(column)
        return tuple(result)

    def frame(
        self,
        rows: pd.DataFrame | Iterable[Mapping[str, Any]] = (),
        members: Members | None = None,
    ) -> pd.DataFrame:
        """Return rows as a frame with the columns declared, in their order and of their kinds.

        What a row does not have is missing in it, what is not declared is left out. Columns that
        the table has only sometimes are not among them.
        """
        import pandas as pd

        columns = [column for column in self.expanded(members or {}) if not column.only]
        given = rows if isinstance(rows, pd.DataFrame) else list(rows)
        frame = pd.DataFrame(given, columns=[column.name for column in columns])
        frame = frame.astype({c.name: c.dtype for c in columns if c.dtype is not None})
        texts = [column.name for column in columns if column.dtype is None]
        return frame if len(frame) else frame.astype(dict.fromkeys(texts, "object"))

    def check(self, frame: pd.DataFrame, members: Members | None = None) -> None:
        """Check that a frame has the columns declared, in their order and of their kinds.

        Raises
        ------
        ValueError
            It has not; the message says where they differ.
        """
        declared = [c for c in self.expanded(members or {}) if not c.only or c.name in frame]
        expected, got = [column.name for column in declared], list(map(str, frame.columns))
        if expected != got:
            raise ValueError(
                f"Table {self.name!r} must have the columns {', '.join(expected)}; got "
                f"{', '.join(got) or 'none'}."
            )
        for position, column in enumerate(declared):
            values = frame.iloc[:, position]
            if not column.holds(values):
                raise ValueError(
                    f"Column {column.name!r} of table {self.name!r} must be of the kind "
                    f"{column.kind}; got {values.dtype}."
                )


def holds(table: Table) -> Mapping[str, Table]:
    """Say of a field which table it holds: ``field(metadata=holds(TRANSITIONS))``."""
    return {"table": table}


def tables_in(result: object) -> Iterator[tuple[Table, pd.DataFrame]]:
    """Go through the tables that a result holds, and the results in it; None holds none."""
    for each in fields(result):  # type: ignore[arg-type]
        value = getattr(result, each.name)
        if "table" in each.metadata:
            yield each.metadata["table"], value
        elif isinstance(value, Shown):
            yield from tables_in(value)


def check_tables(result: object, members: Members) -> None:
    """Check every table that a result holds, and the results in it: see :meth:`Table.check`."""
    for table, frame in tables_in(result):
        table.check(frame, members)


# Columns that many tables have.
GROUP = Column("group", TEXT, "recipe: runs of one group differ in their seed only")
RUN = Column("run", TEXT, "name of the run, unique within its group")
SEED = Column("seed", INTEGER, "random seed of the run", missing="where it is not known")
RUN_COLUMNS = (GROUP, RUN, SEED)
STEP = Column("step", INTEGER, "training step of the checkpoint", STEPS)
STATE = Column("state", INTEGER, "hidden state, 0 … K-1 in order of time")
EDGE_COLUMNS = (
    Column("from_state", INTEGER, "state that is left"),
    Column("to_state", INTEGER, "state that is entered"),
)


def p_column(name: str, meaning: str, missing: str = "") -> Column:
    """Declare a column of p-values."""
    return Column(name, NUMBER, meaning, "probability", missing)
