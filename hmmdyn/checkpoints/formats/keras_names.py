"""The names of Keras variables, from where they are stored in an HDF5 file.

Keras 2 stores variables under their names, and counts layers through all models of a process.
Keras 3 numbers the variables of a layer and stores layers under the names of their classes, so that
``dense/kernel`` is at ``layers/dense/vars/0``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from hmmdyn.names import natural_key

# Keras numbers a layer's variables. What a number means depends on the layer's class, and on how
# many variables the layer has: for each class, what they are called, by how many there are.
_KERNEL_BIAS = (("kernel",), ("kernel", "bias"))
_RECURRENT = (("kernel", "recurrent_kernel"), ("kernel", "recurrent_kernel", "bias"))
_SEPARABLE = (
    ("depthwise_kernel", "pointwise_kernel"),
    ("depthwise_kernel", "pointwise_kernel", "bias"),
)
_VARIABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "dense": _KERNEL_BIAS,
    "einsum_dense": _KERNEL_BIAS,
    "query_dense": _KERNEL_BIAS,  # these four in every layer of attention
    "key_dense": _KERNEL_BIAS,
    "value_dense": _KERNEL_BIAS,
    "output_dense": _KERNEL_BIAS,
    "conv1d": _KERNEL_BIAS,
    "conv2d": _KERNEL_BIAS,
    "conv3d": _KERNEL_BIAS,
    "conv1d_transpose": _KERNEL_BIAS,
    "conv2d_transpose": _KERNEL_BIAS,
    "conv3d_transpose": _KERNEL_BIAS,
    "depthwise_conv1d": _KERNEL_BIAS,
    "depthwise_conv2d": _KERNEL_BIAS,
    "separable_conv1d": _SEPARABLE,
    "separable_conv2d": _SEPARABLE,
    "simple_rnn_cell": _RECURRENT,
    "gru_cell": _RECURRENT,
    "lstm_cell": _RECURRENT,
    "embedding": (("embeddings",),),
    "batch_normalization": (
        ("moving_mean", "moving_variance"),
        ("gamma", "beta", "moving_mean", "moving_variance"),
    ),
    "layer_normalization": (("gamma", "beta"),),
    "group_normalization": (("gamma", "beta"),),
    "rms_normalization": (("scale",),),
    "p_re_lu": (("alpha",),),
}
# Other classes after which Keras names and numbers objects, which hold no variables themselves.
_HOLDERS = {
    *("sequential", "functional", "model", "bidirectional", "time_distributed"),
    *("simple_rnn", "gru", "lstm", "multi_head_attention", "group_query_attention"),
}
# Groups that say nothing of a layer: they only hold a list.
_LISTS = {"layers", "_layer_checkpoint_dependencies", "model_weights"}

_NUMBER = r":\d+$"  # TensorFlow's number of an output, behind a variable's name

Location = tuple[str, ...]  # the names of the groups down to a dataset


def names_of(
    shapes: Mapping[Location, tuple[int, ...]],
    titles: Mapping[Location, str],
    classes: Mapping[str, str],
) -> dict[Location, str]:
    """Name each tensor as Keras does: ``layers/dense/vars/0`` -> ``dense/kernel``.

    Where that would make two names equal, all stay as they are stored.
    """
    variables: dict[Location, list[Location]] = defaultdict(list)
    for path in shapes:
        variables[path[:-1]].append(path)
    counted = _counted_anew(shapes)
    names: dict[Location, str] = {}
    for group, paths in variables.items():
        if group and group[-1] == "vars" and all(path[-1].isdecimal() for path in paths):
            layer = _layer(group[:-1], titles)
            numbered = {path[-1]: shapes[path] for path in paths}
            inner = _variables(group, numbered, titles, classes)
            found = {path: (*layer, inner.get(path[-1], path[-1])) for path in paths}
        else:
            found = {path: _legacy(path, counted) for path in paths}
        names |= {path: "/".join(parts) for path, parts in found.items()}
    if len(set(names.values())) < len(names):
        return {path: "/".join(path) for path in shapes}
    return names


def _layer(path: Location, titles: Mapping[Location, str]) -> Location:
    """Return the names of a layer and of the layers it is in, without Keras' lists of layers.

    In its lists, Keras stores layers under the names of their classes, counted anew in every model
    (``dense``, ``dense_1``). It notes their titles too; those it gave itself count on from model to
    model, so that they differ between runs trained in one process, and only a title that someone
    chose is taken in place of the stored name.
    """
    names = []
    for i, stored in enumerate(path):
        if stored in _LISTS:
            continue
        title = titles.get((*path[: i + 1], "vars"), "")
        is_listed = i > 0 and path[i - 1] in _LISTS
        is_chosen = title and _uncounted(title) != _uncounted(stored)
        names.append(title if is_listed and is_chosen else stored)
    return tuple(names)


def _variables(
    group: Location,
    shapes: Mapping[str, tuple[int, ...]],
    titles: Mapping[Location, str],
    classes: Mapping[str, str],
) -> dict[str, str]:
    """Name the numbered variables of one layer by its class; none where that cannot be told."""
    numbers = [str(i) for i in range(len(shapes))]
    if shapes.keys() != set(numbers):
        return {}
    title = titles.get(group, "")
    layer = group[-2] if len(group) > 1 else ""
    for name in (classes.get(title, ""), _uncounted(layer), _uncounted(title)):
        for variables in _VARIABLES.get(name, ()):
            if len(variables) == len(shapes):
                return dict(zip(numbers, variables, strict=True))
    # The second has one number for each output of the first, and outputs are its last axes.
    if len(shapes) == 2 and _ends_with(shapes["0"], shapes["1"]):
        return {"0": "kernel", "1": "bias"}
    return {}


def _ends_with(shape: tuple[int, ...], end: tuple[int, ...]) -> bool:
    return 0 < len(end) < len(shape) and shape[-len(end) :] == end


def _uncounted(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _legacy(path: Location, counted: Mapping[str, str]) -> Location:
    """Name a variable of Keras 2: ``model_weights/dense/model/dense/kernel:0`` -> ``dense/kernel``.

    The name of the layer comes twice: as its group, and in the path of the variable.
    """
    groups = [counted.get(group, group) for group in path[:-1] if group not in _LISTS]
    again = max((i for i, group in enumerate(groups) if group == groups[0]), default=0)
    return (*groups[again:], re.sub(_NUMBER, "", path[-1]))


def _counted_anew(paths: Iterable[Location]) -> dict[str, str]:
    """Count the layers that Keras 2 has named: ``dense_3``, ``dense_5`` -> ``dense``, ``dense_1``.

    Keras counts on from model to model, so that the names would differ between runs trained in one
    process. In the order of their numbers, layers stand in the order in which they were made.
    """
    groups = {group for path in paths if _is_keras2(path) for group in path[:-1]}
    numbers: dict[str, int] = defaultdict(int)
    counted = {}
    for group in sorted(groups, key=natural_key):
        name = _uncounted(group)
        if name in _VARIABLES or name in _HOLDERS:
            counted[group] = f"{name}_{numbers[name]}" if numbers[name] else name
            numbers[name] += 1
    return counted


def _is_keras2(path: Location) -> bool:
    """Whether a path is one that Keras 2 writes, and hardly anyone else."""
    groups = path[:-1]
    is_numbered = re.search(_NUMBER, path[-1]) is not None
    return is_numbered or "model_weights" in groups or len(set(groups)) < len(groups)


def snake_case(name: str) -> str:
    """Write a class name as Keras does: ``Conv2D`` -> ``conv2d``, ``LSTMCell`` -> ``lstm_cell``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
