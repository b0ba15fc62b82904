"""Which tensors of a checkpoint are weights and biases, and why the others are not.

The rules of Hu 2023 (section 2): weight matrices and biases count; embeddings, normalisation
layers and everything that is not trained do not. A tensor's role is read from its name, its
shape, and its neighbours; where that fails, the user's `ParameterRules` decide.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.matrices import Axes, Shape, as_matrices, axes_of, beside, path_of
from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.choices import EXACT
from hmmdyn.errors import NotToldError, UsageError
from hmmdyn.names import counted, printable, some
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.notice import Notice


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
    heads : int, optional
        Heads of attention in a layer, where neither tensors nor a configuration beside the
        checkpoint tell.
    cyclic : int, optional
        The first so many rows of the embedding stand for the numbers modulo this one.
    spectrum : {"exact", "sketch"}
        Whether large matrices have their singular values computed, or sketched.
    tensors : tuple of str
        Where there are any, tensors that fit none of them are left out, whatever they are.
    roles : tuple of (str, str)
        (regex, role): what weights do in the network, in the place of what their names tell. The
        first that fits applies.

    Raises
    ------
    UsageError
        An expression is not valid, or a split has fewer than two parts.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    split: tuple[tuple[str, int, int], ...] = ()
    heads: int | None = None
    cyclic: int | None = None
    spectrum: str = EXACT
    tensors: tuple[str, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        keyed = (*(rule[0] for rule in self.split), *(rule[0] for rule in self.roles))
        for pattern in (*self.include, *self.exclude, *keyed, *self.tensors):
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
    """The names of a checkpoint's weights and biases, and the reason for every other tensor.

    ``axes`` says of each weight which matrices it stands for.
    """

    weights: tuple[str, ...]
    biases: tuple[str, ...]
    left_out: Mapping[str, str]
    axes: Mapping[str, Axes]


# A name is a path of components: gpt_neox.layers.0.input_layernorm.weight. What a parameter is
# stands in its last component (the parameter) or the one before (its module). Earlier ones only
# say where the module is: the convolution embeddings.patch_embeddings.projection.weight is no
# embedding, and the linear layer norm1.linear.weight no normalisation.

_OPTIMIZER_ROOT = re.compile(r"opt|(optim|optimizer|opt_state)(s|_.*)?")
_OPTIMIZER_MOMENT = re.compile(r"(max_)?exp_avg(_sq)?|momentum_buffer")
_BUFFER = re.compile(
    r"(.*_)?(mask|tril)|masked_bias|IGNORE"  # causal masks
    r"|(.*_)?(inv_freq|freqs|freqs_cis)|(.*_)?(cos|sin)(_cached|_cache)?|pe"  # fixed positions
    r"|(.*_)?rng(_state)?"
)
# Words of a component that make it an embedding, and words that say it is a layer instead.
_EMBEDDING_WORDS = {"emb", "embed", "embedding", "embeddings", "embedder"}
_LAYER_WORDS = {"patch", "out", "output", "proj", "projection", "linear", "head"}
_EMBEDDING = re.compile(
    r"wte|wpe|w_e|w_pos|shared"  # GPT-2, TransformerLens, T5
    r"|(cls|class|dist|mask|reg|register)_tokens?"  # vision transformers
    r"|relative_attention_bias|relative_position_bias(_table)?|rel_pos(_.*)?|pe_[kqv]"
    r"|pos(ition(al)?)?_enc(oding)?s?",
    re.IGNORECASE,
)
_POSITION_WORDS = {"pos", "position", "positions", "positional", "wpe", "type", "segment"}
_OUTPUT_EMBEDDING = re.compile(
    r"lm_heads?|unembed(ding)?|embed_out|output_embeddings?|vocab_projector|w_u", re.IGNORECASE
)
_LARGE_VOCABULARY = 10_000  # so long an axis is that of the vocabulary, however wide the other is
_NORMALISATION = re.compile(
    r".*norm(?!al(?!i)).*|(ln|bn|gn)(\d+|_.*)?|.*_(ln|bn|gn)\d*",  # not: normal, normals
    re.IGNORECASE,
)
_RUNNING_STATISTICS = re.compile(r"running_(mean|var)|moving_(mean|variance)")
_BIAS = re.compile(r"(.+_)?bias(\d+|_.*)?|b|b\d+|_?b_\w+")  # case matters: lora_B is a weight

# What a module calls a weight matrix; a parameter of another name may be anything.
_WEIGHT = re.compile(r"(.*_)?(weights?|kernel|proj|weight_v)(_v|\d+|_l\d.*)?|original1|[wW]\d*")
_GAIN = re.compile(
    r"(.*_)?(gains?|scales?|gammas?|alphas?|betas?|lambdas?|temperatures?|temp|tau)_?(\d+|_.*)?"
    r"|(.*_)?decays?|ls_?\d*|weight_g|original0"  # layer scale; weight normalisation
    r"|a_logs?|time_(mix|maa|decay|first|faaaa)(?!.*_w\d$).*|x_[rwkvag]|r_k",  # Mamba, RWKV
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"(.*_)?(tokens?|latents?|probes?|queries|registers|prompts?|slots|prototypes)(_?\d+)?|cls"
    r"|(.*_)?quer(y|ies)_feat(ure)?s?",
    re.IGNORECASE,
)
_CODEBOOK = re.compile(r"(.*_)?codebooks?", re.IGNORECASE)
_TABLE = re.compile(
    r"(.*_)?(pos|position(s|al)?|rel|tables?|biases|codebooks?)(_.*|\d+)?", re.IGNORECASE
)
# Second copies of a network that follow it: moving averages, teachers, target networks.
_COPY = re.compile(
    r"(.*_)?(ema|swa|shadow|averaged|teacher|target|momentum)(_.*|\d*)", re.IGNORECASE
)


def rules_of_no_weight(rules: ParameterRules, weights: Collection[str]) -> Iterator[Notice]:
    """Say which rules about single weights are of none of these."""
    for what, given in (("roles", rules.roles), ("splits", rules.split)):
        idle = [rule[0] for rule in given if not any(re.search(rule[0], w) for w in weights)]
        if idle:
            yield Notice(
                "metrics",
                "odd",
                f"rules of {what}",
                f"{counted(len(idle), 'expression fits', 'expressions fit')} the name of no "
                f"weight: {some(map(repr, idle))}.",
            )


def select_parameters(checkpoint: Checkpoint, rules: ParameterRules) -> Parameters:
    """Sort a checkpoint's tensors into weights, biases, and what is left out with the reason.

    Only names, shapes and types are looked at. Tied tensors count once; one that is tied with an
    embedding counts as the embedding. Names come in the order of the checkpoint.
    """
    sorter = _Sorter(checkpoint, rules)
    counted = sorter.counted_names()
    weights, biases, left_out = [], [], dict(checkpoint.left_out)
    for name in checkpoint:
        if counted[name] != name:
            left_out[name] = f"tied with {counted[name]}"
        elif reason := sorter.why_left_out(name):
            left_out[name] = reason
        elif _is_bias(name, checkpoint):
            biases.append(name)
        else:
            weights.append(name)
    axes = {name: axes_of(name, checkpoint) for name in weights}
    for name in weights:
        if _matches(rules.include, name):
            axes[name] = axes[name]._replace(rule="included by request")
    return Parameters(tuple(weights), tuple(biases), left_out, axes)


def cyclic_embedding(checkpoint: Checkpoint, parameters: Parameters, rows: int) -> str:
    """Find the embedding of tokens whose first ``rows`` rows stand for the numbers modulo that.

    Raises
    ------
    NotToldError
        No embedding has so many rows, or several have.
    """
    found = [
        name
        for name, why in parameters.left_out.items()
        if why == "embedding"
        and len(checkpoint[name].shape) == 2
        and checkpoint[name].shape[0] >= rows
    ]
    if len(found) != 1:
        raise NotToldError(
            f"{some(found) or 'no embedding'} has {rows:,} rows or more"
            + "; leave all but one out (exclude, --exclude)" * bool(found)
        )
    return found[0]


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


def matrices_of(
    name: str, values: NDArray[Any], rules: ParameterRules, axes: Axes
) -> list[FloatArray]:
    """Turn a weight into the matrices it counts as, float64.

    A fused tensor is split as ``rules.split`` says; a part with a single entry left along the axis
    of the split loses it, so that (heads, d_model, d_head) split in ``heads`` gives matrices
    (d_model, d_head). Else ``axes`` says which matrices it is.

    Parameters
    ----------
    name : str
        Of the tensor, as the checkpoint has it.
    values : ndarray
        Its entries, at least two axes.
    rules : ParameterRules
        What the user wants split.
    axes : Axes
        Which of its axes make a matrix.

    Raises
    ------
    UsageError
        A split does not fit the shape.
    """
    parts = _split(name, values, rules)
    own = axes.after_split(parts[0].ndim != values.ndim)
    return [matrix for part in parts for matrix in as_matrices(part, own)]


def parts_of(name: str, shape: Shape, rules: ParameterRules) -> list[Shape]:
    """Return the shapes of the parts in which ``rules.split`` cuts a weight: one if it does not.

    Raises
    ------
    UsageError
        A split does not fit the shape.
    """
    values = np.broadcast_to(np.zeros((), np.int8), shape)  # takes no memory
    return [part.shape for part in _split(name, values, rules)]


def _split(name: str, values: NDArray[Any], rules: ParameterRules) -> list[NDArray[Any]]:
    for pattern, axis, n_parts in rules.split:
        if not re.search(pattern, name):
            continue
        if not -values.ndim <= axis < values.ndim or values.shape[axis] % n_parts:
            raise UsageError(
                f"{name} of shape {values.shape} cannot be split into {n_parts} equal parts along "
                f"axis {axis}. Mend the split rule, or make its expression fit fewer names."
            )
        parts = np.split(values, n_parts, axis)
        if values.ndim > 2 and parts[0].shape[axis] == 1:
            return [part.squeeze(axis) for part in parts]
        return parts
    return [values]


class _Sorter:
    """Tells what each tensor of one checkpoint is; what all of them say is found out once."""

    def __init__(self, checkpoint: Checkpoint, rules: ParameterRules) -> None:
        self._checkpoint = checkpoint
        self._rules = rules
        self._tables = {
            tensor.shape
            for name, tensor in checkpoint.items()
            if len(tensor.shape) == 2
            and _is_embedding(name, checkpoint)
            and not _POSITION_WORDS & _words("_".join(path_of(name)[-2:]))
        }
        self._copies = _copies(checkpoint)

    def counted_names(self) -> dict[str, str]:
        """Map each name to the name its tensor counts under: itself unless it is tied."""
        groups: dict[str, list[str]] = {}
        for name in self._checkpoint:
            groups.setdefault(self._checkpoint.aliases.get(name, name), []).append(name)
        counted: dict[str, str] = {}
        for group in groups.values():
            best = max(group, key=self._claim)
            counted |= dict.fromkeys(group, best)
        return counted

    def _claim(self, name: str) -> tuple[bool, bool, bool]:
        """Return what decides under which of its names a tied tensor counts."""
        asked = _matches((*self._rules.include, *self._rules.tensors), name)
        return asked, _is_embedding(name, self._checkpoint), self._is_output_embedding(name)

    def why_left_out(self, name: str) -> str | None:
        """Return the reason why a tensor is neither a weight nor a bias; None where it is one."""
        tensor, path = self._checkpoint[name], path_of(name)
        if _matches(self._rules.exclude, name):
            return "excluded by request"
        if self._rules.tensors and not _matches(self._rules.tensors, name):
            return "not asked for"
        if not tensor.dtype.startswith(("float", "bfloat")):
            return "not floating-point numbers"
        if 0 in tensor.shape:
            return "empty"
        if _matches(self._rules.include, name):
            return None
        if _OPTIMIZER_ROOT.fullmatch(path[0]) or any(map(_OPTIMIZER_MOMENT.fullmatch, path)):
            return "optimizer state"
        if _BUFFER.fullmatch(path[-1]):
            return "buffer"
        if name in self._copies:
            return "copy that follows the live weights"
        if _is_embedding(name, self._checkpoint):
            return "embedding"
        if self._is_output_embedding(name):
            return "output embedding"
        if _is_normalisation(name, self._checkpoint):
            return "normalisation"
        if _is_bias(name, self._checkpoint):
            return None
        if len(tensor.shape) < 2:
            return "neither a matrix nor a bias"
        return _why_no_matrix(name, self._checkpoint)

    def _is_output_embedding(self, name: str) -> bool:
        """Whether a matrix turns activations into a vocabulary: by its name or its size."""
        shape, path = self._checkpoint[name].shape, path_of(name)
        if len(shape) != 2 or not self._tables or _is_bias(name, self._checkpoint):
            return False
        if any(map(_OUTPUT_EMBEDDING.fullmatch, _modules(name)[-2:])):
            return True
        in_a_block = any(part.isdecimal() for part in path)
        alike = {
            n
            for n, d in self._tables
            if n > d and (shape in ((n, d), (d, n)) or (n in shape and n >= _LARGE_VOCABULARY))
        }
        return not in_a_block and bool(alike)


def _why_no_matrix(name: str, checkpoint: Checkpoint) -> str | None:
    """Return why a tensor of two axes or more is no matrix after all; None where it is one.

    What a module calls its weight or kernel multiplies activations. Parameters of other names that
    are vectors but for axes of length 1, or whose first of three axes has length 1, are added to
    activations or scale them.
    """
    shape, path = checkpoint[name].shape, path_of(name)
    leaf = path[-1]
    is_long = [n > 1 for n in shape]
    if _WEIGHT.fullmatch(leaf):
        # Some modules keep learned tokens as the weight of a table.
        module = path[-2] if path[1:] else ""
        if beside(name, "bias") not in checkpoint:
            if _TOKEN.fullmatch(module):
                return "token"
            if _CODEBOOK.fullmatch(module):
                return "learned table"
        # As a convolution, it would have one output, one input and a kernel of one row.
        is_gain = len(shape) > 3 and not any(is_long[:-1])
        return "gain or scale" if is_gain else None
    if _TOKEN.fullmatch(leaf):
        return "token"
    if _TABLE.fullmatch(leaf):
        return "learned table"
    if _GAIN.fullmatch(leaf) or (leaf == "D" and beside(name, "A_log") in checkpoint):
        return "gain or scale"
    if _BIAS.fullmatch(leaf):  # the causal mask of GPT-2 is called attn.bias and has four axes
        return "buffer" if sum(is_long) > 1 else "gain or scale"
    if sum(is_long) <= 1:
        return "gain or scale"
    return "learned table" if len(shape) > 2 and shape[0] == 1 else None


def _is_embedding(name: str, checkpoint: Checkpoint) -> bool:
    # A table of embeddings has no bias; a linear or convolutional "embedding" often has.
    if beside(name, "bias") in checkpoint:
        return False
    return any(map(_names_embedding, _modules(name)[-2:]))


def _modules(name: str) -> list[str]:
    """Return the components of a name without those that only count: ``heads.0`` is ``heads``."""
    return [part for part in path_of(name) if not part.isdecimal()]


def _names_embedding(component: str) -> bool:
    words = _words(component)
    if words & _EMBEDDING_WORDS and not words & _LAYER_WORDS:
        return True
    return _EMBEDDING.fullmatch(component) is not None


def _words(component: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", component)}


def _is_normalisation(name: str, checkpoint: Checkpoint) -> bool:
    path = path_of(name)
    if _RUNNING_STATISTICS.fullmatch(path[-1]) or any(map(_NORMALISATION.fullmatch, path[-2:])):
        return True
    # By structure: a module that scales by a vector is a normalisation, and so is its bias.
    scales = [s for s in (beside(name, "weight"), beside(name, "scale")) if s in checkpoint]
    is_vector = len(checkpoint[name].shape) <= 1
    return is_vector and bool(scales) and len(checkpoint[scales[0]].shape) == 1


def _is_bias(name: str, checkpoint: Checkpoint) -> bool:
    return _BIAS.fullmatch(path_of(name)[-1]) is not None and len(checkpoint[name].shape) <= 2


def _copies(checkpoint: Checkpoint) -> set[str]:
    """Find the tensors of networks that follow another one in the same checkpoint.

    A name says ``ema``, ``target``, ``teacher`` or the like, and what stands behind that is also
    there without it, in the same shape. Dots do not count: some libraries drop them.
    """
    behind: dict[str, str] = {}
    for name in checkpoint:
        path = path_of(name)
        at = next((i for i, part in enumerate(path[:-1]) if _COPY.fullmatch(part)), None)
        if at is not None:
            behind[name] = "".join(path[at + 1 :])
    if not behind:
        return set()
    live = {
        ("".join(path[i:]), checkpoint[name].shape)
        for name in checkpoint
        if name not in behind
        for path in [path_of(name)]
        for i in range(len(path))
    }
    return {name for name, rest in behind.items() if (rest, checkpoint[name].shape) in live}


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
