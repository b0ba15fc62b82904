"""The queries and keys of attention, head by head, however a library stores them.

Queries and keys are tensors of their own or fused with the values, (out, in) or (in, out), and
their heads have an axis of their own, a tensor each, or lie one below the other; then a rule or the
``config.json`` beside the checkpoint tells how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.matrices import as_matrices, axes_of, path_of
from hmmdyn.checkpoints.modules import is_own_name, role_of
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules
from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.errors import NotToldError
from hmmdyn.names import printable, some
from hmmdyn.places import Place
from hmmdyn.results.arrays import FloatArray

_CONFIG = "config.json"
_LONGEST_CONFIG = 10_000_000  # bytes
_N_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_N_KEY_HEADS = ("num_key_value_heads",)
# Fused weights whose rows are (heads, 3, width of a head), not (3, heads, width of a head).
_HEAD_BY_HEAD = "query_key_value"


class Head(NamedTuple):
    """One head of attention; ``query`` and ``key`` have the shape (width of the head, inputs)."""

    weight: str
    query: FloatArray
    key: FloatArray


@dataclass(frozen=True)
class _Counts:
    """How many heads there are, as far as it was told: of queries, and of keys (and values)."""

    heads: int | None
    key_heads: int | None


def heads_of(
    checkpoint: Checkpoint, weights: Sequence[str], rules: ParameterRules = DEFAULT_RULES
) -> Iterator[Head]:
    """Read the queries and keys of every head of attention, one layer at a time.

    With fewer heads of keys than of queries, several of the latter share one of the former, in
    their order (grouped-query attention).

    Parameters
    ----------
    checkpoint : Checkpoint
        An open one.
    weights : sequence of str
        Its weights.
    rules : ParameterRules
        How many heads of queries there are in a layer, where tensors do not tell (else
        ``config.json`` may), and which weights are queries and keys, where names do not.

    Raises
    ------
    NotToldError
        There is no attention, or it is not told which rows are a head's.
    """
    roles = {name: role_of(name, checkpoint[name].shape, rules.roles) for name in weights}
    pairs = _pairs(roles)
    if not pairs:
        raise NotToldError("no weights of queries and keys were recognised by their names")
    told = _Counts(rules.heads, None) if rules.heads else _configured(checkpoint.path)
    for query, key in pairs:
        values = checkpoint[query].read()
        if key is None:
            queries, keys = _cut(query, values, told)
        else:
            queries = _heads(query, values, checkpoint, told.heads)
            keys = _heads(key, checkpoint[key].read(), checkpoint, None, len(queries[0]))
        if len(queries) % len(keys):
            raise NotToldError(
                f"{printable(query)} has {len(queries)} heads, and its keys {len(keys)}"
            )
        for i, one in enumerate(queries):
            yield Head(query, one, keys[i * len(keys) // len(queries)])


def _pairs(roles: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Names of queries and their keys; None for keys that are fused with the queries."""
    of_role: dict[str, dict[tuple[str, ...], list[str]]] = {"q": {}, "k": {}, "qkv": {}}
    for name, role in roles.items():
        if role in of_role:
            module, number = _without_number(name)
            path = path_of(module)
            at = -1 if is_own_name(path[-1]) else -2
            stem = (*path[:at], *path[at:][1:], number)
            of_role[role].setdefault(stem, []).append(name)
    for stem, names in of_role["q"].items():
        keys = of_role["k"].get(stem, [])
        if len(names) != 1 or len(keys) != 1:
            raise NotToldError(
                f"{some(names)} {'go' if names[1:] else 'goes'} with {some(keys) or 'no keys'}"
            )
    separate = [(names[0], of_role["k"][stem][0]) for stem, names in of_role["q"].items()]
    return [*separate, *((name, None) for names in of_role["qkv"].values() for name in names)]


def _without_number(name: str) -> tuple[str, str]:
    """Cut the number of a head off, where each is a tensor of its own: ``query.0``."""
    stem, _, last = name.rpartition(".")
    return (stem, last) if stem and last.isdecimal() else (name, "")


def _heads(
    name: str,
    values: NDArray[Any],
    checkpoint: Checkpoint,
    n_heads: int | None,
    width: int | None = None,
) -> list[FloatArray]:
    """Cut a weight of queries or keys into heads: so many, or each so wide."""
    if _without_number(name)[1]:
        return [values.astype(np.float64)]
    axes = axes_of(name, checkpoint)
    if axes.apart:  # (heads, in, width)
        return [matrix.T for matrix in as_matrices(values, axes)]
    if values.ndim == 3:  # a kernel (in, heads, width)
        return [values[:, head].T.astype(np.float64) for head in range(values.shape[1])]
    rows = _out_first(name, values)
    n = n_heads if width is None else max(1, len(rows) // width)
    return _stacked(name, rows, n)


def _cut(name: str, values: NDArray[Any], told: _Counts) -> tuple[list[FloatArray], ...]:
    """Cut a weight of queries, keys and values in one into the heads of the first two."""
    if values.ndim != 2:
        raise NotToldError(f"{printable(name)} has {values.ndim} axes")
    if told.heads is None:
        _stacked(name, values, None)
    heads = told.heads or 0
    key_heads = told.key_heads or heads
    # GPT-2's are (in, out).
    rows = values.T if values.shape[1] == 3 * len(values) else _out_first(name, values)
    width, rest = divmod(len(rows), heads + 2 * key_heads)
    is_mixed = any(part == _HEAD_BY_HEAD for part in path_of(name))
    if rest or (is_mixed and key_heads != heads):
        raise NotToldError(f"the rows of {printable(name)} are not those of {heads} heads")
    if is_mixed:
        parts = rows.reshape(heads, 3, width, -1).astype(np.float64)
        return list(parts[:, 0]), list(parts[:, 1])
    end = heads * width
    keys = rows[end : end + key_heads * width]
    return _stacked(name, rows[:end], heads), _stacked(name, keys, key_heads)


def _out_first(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix as (out, in): Flax's kernels are (in, out)."""
    return values.T if path_of(name)[-1] == "kernel" else values


def _stacked(name: str, rows: NDArray[Any], n: int | None) -> list[FloatArray]:
    if n is None:
        raise NotToldError(
            f"how many heads {printable(name)} has is told neither by its shape nor by a "
            f"{_CONFIG} beside the checkpoint; say it: heads=N, --heads N"
        )
    if len(rows) % n:
        raise NotToldError(
            f"the {len(rows):,} rows of {printable(name)} are not those of {n} heads"
        )
    return [part.astype(np.float64) for part in np.split(rows, n)]


def _configured(path: Place) -> _Counts:
    """Read how many heads the configuration beside a checkpoint tells of."""
    config = (path if path.is_dir() else path.parent) / _CONFIG
    try:
        # Weights in memory lie beside nothing.
        if not path.exists() or config.stat().st_size > _LONGEST_CONFIG:
            return _Counts(None, None)
        told = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return _Counts(None, None)
    told = told if isinstance(told, dict) else {}
    return _Counts(_first_count(told, _N_HEADS), _first_count(told, _N_KEY_HEADS))


def _first_count(told: dict[str, Any], names: Sequence[str]) -> int | None:
    counts = [told[name] for name in names if isinstance(told.get(name), int)]
    return next((n for n in counts if n > 0 and n is not True), None)
