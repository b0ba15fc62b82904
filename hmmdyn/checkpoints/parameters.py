"""Which tensors of a checkpoint are weights and biases, and why the others are not.

The rules of Hu 2023 (section 2): weight matrices and biases count; embeddings, normalisation
layers and everything that is not trained do not. A tensor's role is read from its name, its
shape, and its neighbours; where that fails, the user's `ParameterRules` decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.errors import UsageError
from hmmdyn.names import printable
from hmmdyn.results.arrays import FloatArray

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ParameterRules:
    """What the user says about parameters; regular expressions are searched in the names.

    Attributes
    ----------
    include : tuple of str
        Counts even though it looks like an embedding, a normalisation parameter or a buffer: as
        a bias if its name says so, else as a weight (a vector as a matrix of one row).
    exclude : tuple of str
        Left out, whatever it is; wins over ``include``.
    split : tuple of (str, int, int)
        (regex, axis, n_parts): a fused tensor that counts as ``n_parts`` equal weights along
        ``axis``. The first that fits applies.

    Raises
    ------
    UsageError
        An expression is not valid, or a split has fewer than two parts.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    split: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude, *(split[0] for split in self.split)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"{pattern!r} is not a regular expression: {error}.") from error
        for pattern, _, n_parts in self.split:
            if n_parts < 2:
                raise UsageError(f"Splitting {pattern!r} needs at least 2 parts, got {n_parts}.")


DEFAULT_RULES = ParameterRules()


@dataclass(frozen=True)
class Parameters:
    """The names of a checkpoint's weights and biases, and the reason for every other tensor."""

    weights: tuple[str, ...]
    biases: tuple[str, ...]
    left_out: Mapping[str, str]


# A name is a path of components: gpt_neox.layers.0.input_layernorm.weight. What a parameter is
# stands in its last component (the parameter) or the one before (its module). Earlier ones only
# say where the module is: the convolution embeddings.patch_embeddings.projection.weight is no
# embedding, and the linear layer norm1.linear.weight no normalisation.

_OPTIMIZER_ROOT = re.compile(r"opt|(optim|optimizer|opt_state)(s|_.*)?")
_OPTIMIZER_MOMENT = re.compile(r"(max_)?exp_avg(_sq)?|momentum_buffer")
_BUFFER = re.compile(
    r"(.*_)?(mask|tril)|masked_bias|IGNORE"  # causal masks
    r"|(.*_)?(inv_freq|freqs|freqs_cis)|(cos|sin)_(cached|cache)|pe"  # fixed positions
    r"|(.*_)?rng(_state)?"
)
# Words of a component that make it an embedding, and words that say it is a layer instead.
_EMBEDDING_WORDS = {"emb", "embed", "embedding", "embeddings", "embedder"}
_LAYER_WORDS = {"patch", "out", "output", "proj", "projection", "linear", "head"}
_EMBEDDING = re.compile(
    r"wte|wpe|w_e|w_pos|shared"  # GPT-2, TransformerLens, T5
    r"|(cls|class|dist|mask|reg|register)_tokens?"  # vision transformers
    r"|relative_attention_bias|relative_position_bias(_table)?|rel_pos(_.*)?",
    re.IGNORECASE,
)
_NORMALISATION = re.compile(
    r".*norm(?!al(?!i)).*|(ln|bn|gn)(\d+|_.*)?|.*_(ln|bn|gn)\d*",  # not: normal, normals
    re.IGNORECASE,
)
_RUNNING_STATISTICS = re.compile(r"running_(mean|var)")
_KERNEL = re.compile(r"(\w+_)?kernel")
_BIAS = re.compile(r"(.+_)?bias(\d+|_.*)?|b|b\d+|b_\w+")  # case matters: lora_B is a weight


def select_parameters(checkpoint: Checkpoint, rules: ParameterRules) -> Parameters:
    """Sort a checkpoint's tensors into weights, biases, and what is left out with the reason.

    Only names, shapes and types are looked at. Tied tensors count once; one that is tied with an
    embedding counts as the embedding. Names come in the order of the checkpoint.
    """
    counted = _counted_names(checkpoint, rules)
    weights, biases, left_out = [], [], dict(checkpoint.left_out)
    for name in checkpoint:
        if counted[name] != name:
            left_out[name] = f"tied with {counted[name]}"
        elif reason := _why_left_out(name, checkpoint, rules):
            left_out[name] = reason
        elif _is_bias(name, checkpoint):
            biases.append(name)
        else:
            weights.append(name)
    return Parameters(tuple(weights), tuple(biases), left_out)


def shape_differences(odd: Mapping[str, Shape], usual: Mapping[str, Shape]) -> str:
    """Say how the weights of one architecture, by name, differ from those of another."""
    found = [
        f"{printable(name)} is {_in_words(odd[name])}, elsewhere {_in_words(usual[name])}"
        for name in odd
        if name in usual and odd[name] != usual[name]
    ]
    found += [f"{printable(name)} is missing" for name in usual if name not in odd]
    found += [f"{printable(name)} is only here" for name in odd if name not in usual]
    more = f"; … {len(found):,} differences in all" if found[3:] else ""
    return "; ".join(found[:3]) + more


def _in_words(shape: Shape) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def as_matrices(name: str, values: NDArray[Any], rules: ParameterRules) -> list[FloatArray]:
    """Turn a weight into the matrices it counts as, float64.

    A vector of n numbers is a matrix (1, n). A convolution is flattened to (out, in·k·k): the
    first axis is the output, or the last in a ``kernel`` (Flax, Keras). A fused tensor is split
    as ``rules.split`` says; a part with a single entry left along the axis of the split loses it,
    so that (heads, d_model, d_head) split in ``heads`` gives matrices (d_model, d_head).

    Raises
    ------
    UsageError
        A split does not fit the shape.
    """
    parts = [values]
    for pattern, axis, n_parts in rules.split:
        if re.search(pattern, name):
            parts = _split(name, values, axis, n_parts)
            break
    if _KERNEL.fullmatch(_path(name)[-1]):
        parts = [np.moveaxis(part, -1, 0) if part.ndim > 2 else part for part in parts]
    return [
        part.reshape(part.shape[0] if part.ndim > 1 else 1, -1).astype(np.float64) for part in parts
    ]


def _split(name: str, values: NDArray[Any], axis: int, n_parts: int) -> list[NDArray[Any]]:
    if not -values.ndim <= axis < values.ndim or values.shape[axis] % n_parts:
        raise UsageError(
            f"{name} of shape {values.shape} cannot be split into {n_parts} equal parts along "
            f"axis {axis}. Mend the split rule, or make its expression fit fewer names."
        )
    parts = np.split(values, n_parts, axis)
    if values.ndim > 2 and parts[0].shape[axis] == 1:
        return [part.squeeze(axis) for part in parts]
    return parts


def _counted_names(checkpoint: Checkpoint, rules: ParameterRules) -> dict[str, str]:
    """Map each name to the name its tensor counts under: itself unless it is tied."""
    groups: dict[str, list[str]] = {}
    for name in checkpoint:
        groups.setdefault(checkpoint.aliases.get(name, name), []).append(name)
    counted: dict[str, str] = {}
    for group in groups.values():
        best = max(group, key=lambda n: (_matches(rules.include, n), _is_embedding(n, checkpoint)))
        counted |= dict.fromkeys(group, best)
    return counted


def _why_left_out(name: str, checkpoint: Checkpoint, rules: ParameterRules) -> str | None:
    """Return the reason why a tensor is neither a weight nor a bias; None where it is one."""
    tensor, path = checkpoint[name], _path(name)
    if _matches(rules.exclude, name):
        return "excluded by request"
    if not tensor.dtype.startswith(("float", "bfloat")):
        return "not floating-point numbers"
    if 0 in tensor.shape:
        return "empty"
    if _matches(rules.include, name):
        return None
    if _OPTIMIZER_ROOT.fullmatch(path[0]) or any(map(_OPTIMIZER_MOMENT.fullmatch, path)):
        return "optimizer state"
    if _BUFFER.fullmatch(path[-1]):
        return "buffer"
    if _is_embedding(name, checkpoint):
        return "embedding"
    if _is_normalisation(name, checkpoint):
        return "normalisation"
    if _BIAS.fullmatch(path[-1]):
        # The causal mask of GPT-2 is called attn.bias and has four axes.
        return None if _is_bias(name, checkpoint) else "buffer"
    return None if len(tensor.shape) >= 2 else "neither a matrix nor a bias"


def _is_embedding(name: str, checkpoint: Checkpoint) -> bool:
    # A table of embeddings has no bias; a linear or convolutional "embedding" often has.
    if _beside(name, "bias") in checkpoint:
        return False
    return any(_names_embedding(part) for part in _path(name)[-2:])


def _names_embedding(component: str) -> bool:
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", component)}
    if words & _EMBEDDING_WORDS and not words & _LAYER_WORDS:
        return True
    return _EMBEDDING.fullmatch(component) is not None


def _is_normalisation(name: str, checkpoint: Checkpoint) -> bool:
    path = _path(name)
    if _RUNNING_STATISTICS.fullmatch(path[-1]) or any(map(_NORMALISATION.fullmatch, path[-2:])):
        return True
    # By structure: a module that scales by a vector is a normalisation, and so is its bias.
    scales = [s for s in (_beside(name, "weight"), _beside(name, "scale")) if s in checkpoint]
    is_vector = len(checkpoint[name].shape) <= 1
    return is_vector and bool(scales) and len(checkpoint[scales[0]].shape) == 1


def _is_bias(name: str, checkpoint: Checkpoint) -> bool:
    return _BIAS.fullmatch(_path(name)[-1]) is not None and len(checkpoint[name].shape) <= 2


def _beside(name: str, other: str) -> str:
    """Name of another tensor of the same module."""
    return name[: len(name) - len(_path(name)[-1])] + other


def _path(name: str) -> list[str]:
    return re.split(r"[./]", name)


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
