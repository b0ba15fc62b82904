"""From the symbols of a pickle to nested dictionaries of tensors and numbers.

Symbols form a graph: parts are shared, and an object may contain itself. A file of a few hundred
bytes can so describe a tree without end, and its depth has no bound; hence no recursion here, and
what the tree would hold is counted before any of it is walked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hmmdyn.checkpoints.formats.pickle_symbols import Pairs, Record
from hmmdyn.checkpoints.formats.torch_objects import attributes
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import CheckpointError

_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
_LONGEST_KEY = 4096  # characters
# What the tree of a checkpoint may hold, with shared parts counted wherever they occur.
_MOST_ENTRIES = 2_000_000
_LONGEST_NAMES = 100_000_000  # characters, all tensors' full names together

_ATOMS = (str, int, float)
_CONTAINERS = (Pairs, Record, list, tuple)


def to_tree(root: object, value: Callable[[Record], object]) -> dict[object, object]:
    """Turn records into nested dictionaries of tensors and numbers.

    Whatever holds no tensor is left out, but for the numbers and texts of a dictionary. An object
    that contains itself ends where it comes round again: all it holds is named already.

    Parameters
    ----------
    root : object
        A container or record, as from `hmmdyn.checkpoints.formats.pickle_symbols.read_symbols`.
    value : callable
        Returns the tensor or number that a record stands for, or None.

    Raises
    ------
    CheckpointError
        Written out, the tree would be larger than any checkpoint; or a name is not fit for use.
    """
    branches: dict[int, _Branch] = {id(root): _Branch(root)}
    path = [branches[id(root)]]
    while path:
        branch = path[-1]
        for key, node in branch.waiting:
            if isinstance(node, _ATOMS):
                branch.tree[key] = node
            elif not isinstance(node, _CONTAINERS):
                continue
            elif id(node) in branches:
                branch.add(key, branches[id(node)])
            elif isinstance(node, Record) and (leaf := value(node)) is not None:
                branches[id(node)] = _Branch.of_leaf(leaf)
                branch.add(key, branches[id(node)])
            else:
                branches[id(node)] = _Branch(node)
                path.append(branches[id(node)])
                path[-1].key_above = key
                break
        else:
            path.pop()
            branch.finish()
            if path:
                path[-1].add(branch.key_above, branch)
    return branches[id(root)].tree


class _Branch:
    """A node of the tree while it is made and after."""

    def __init__(self, node: object) -> None:
        self.waiting = _children(node)
        self.key_above = ""
        self.tree: dict[object, object] = {}
        self.value: object = None  # once finished
        self.is_finished = False
        self.tensors = 0  # counted as often as they occur
        self.entries = 0
        self.letters = 0  # of the tensors' names, from this branch down

    @classmethod
    def of_leaf(cls, leaf: object) -> _Branch:
        branch = cls(())
        branch.value, branch.is_finished = leaf, True
        branch.tensors = int(isinstance(leaf, LazyTensor))
        branch.entries = 1
        return branch

    def add(self, key: str, inner: _Branch) -> None:
        """Add what stands under a key, unless it is this branch's own container."""
        if not inner.is_finished or inner.value is None:
            return
        self.tree[key] = inner.value
        self.tensors += inner.tensors
        self.entries += inner.entries
        self.letters += inner.letters + inner.tensors * (len(key) + 1)
        if self.entries > _MOST_ENTRIES or self.letters > _LONGEST_NAMES:
            raise CheckpointError(
                "its containers share their parts so often that, written out, they hold more than "
                f"{_MOST_ENTRIES:,} entries or {_LONGEST_NAMES:,} letters of names, which no "
                "checkpoint does. Save the weights alone: torch.save(model.state_dict(), …)"
            )

    def finish(self) -> None:
        if not self.tensors:
            self.tree = {k: v for k, v in self.tree.items() if not isinstance(v, dict)}
        self.entries += len(self.tree)
        self.value = self.tree if self.tree else None
        self.is_finished = True


def _children(node: object) -> Iterator[tuple[str, object]]:
    """List what a container or record holds, under the names it goes by."""
    if isinstance(node, list | tuple):
        # Numbers in lists have no name to be an outcome by, and there may be millions.
        return ((str(i), value) for i, value in enumerate(node) if isinstance(value, _CONTAINERS))
    if isinstance(node, Pairs):
        return _named(node.items)
    if not isinstance(node, Record):
        return iter(())
    if node.items is not None:
        return _named(node.items)
    if node.elements is not None:
        return _children(node.elements)
    inner = attributes(node)
    if all(isinstance(inner.get(part), Pairs | Record) for part in _MODULE_PARTS):
        return _module(inner)
    if inner:
        return _named(list(inner.items()))
    match node.name, node.arguments:
        case "collections.OrderedDict", ([*pairs],):  # as Python 2 writes it
            items = [(p[0], p[1]) for p in pairs if isinstance(p, list) and len(p) == 2]
            return _named(items)
        case _, tuple(arguments):
            return _children(arguments)
    return iter(())


def _module(inner: dict[str, object]) -> Iterator[tuple[str, object]]:
    """List what ``state_dict()`` of a pickled module would: parameters, buffers, submodules."""
    match inner.get("_non_persistent_buffers_set"):
        case list(names) | Record(arguments=(list(names),)):
            skipped = {name for name in names if isinstance(name, str)}
        case _:
            skipped = set()
    for part in _MODULE_PARTS:
        holder = inner[part]
        for key, value in _named(getattr(holder, "items", None) or []):
            if not (part == "_buffers" and key in skipped):
                yield key, value


def _named(items: list[tuple[object, object]]) -> Iterator[tuple[str, object]]:
    """Turn the keys of a dictionary into names; a later entry of the same key wins."""
    named: dict[str, object] = {}
    kinds: dict[str, type] = {}
    for i, (key, value) in enumerate(items):
        name = _key(key, i)
        if kinds.setdefault(name, type(key)) is not type(key):
            name = f"{name} ({type(key).__name__})"  # 1 beside "1"
        named[name] = value
    return iter(named.items())


def _key(key: object, position: int) -> str:
    if key is None or isinstance(key, _ATOMS):
        name = str(key)
        if len(name) > _LONGEST_KEY:
            raise CheckpointError(
                f"it names an entry by {len(name):,} letters ({name[:40]!r}…), which no program "
                "that writes checkpoints does: do not trust it."
            )
        return name
    return f"key{position}"
