"""Where a weight stands in a network, by its name: in which layer, and in which role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from hmmdyn.checkpoints.matrices import Shape, path_of
from hmmdyn.names import natural_key

CONVOLUTION, OTHER = "convolution", "other"

# Regular expressions that are searched in the names of weights, each with a role.
RoleRules = Sequence[tuple[str, str]]

_NUMBER = re.compile(r"\d+")
_NUMBERED = re.compile(r".*\D\d+")  # layers_3, Dense_0, fc1
_BLOCKS = re.compile(r"(.*_)?(blocks?|resnets|attentions)")  # within a numbered stage

# Words that a path has -> the role; the first that fits. A pattern is searched in the module's path
# with dots around its components: ``.h.0.attn.c_proj.``.
_ATTENTION = r"(?:[^.]*(?i:attn|attention|mha)[^.]*)"
_ROLES: tuple[tuple[str, str], ...] = (
    (r"\.(q|q_proj|query|query_proj|to_q|wq|q_lin|W_Q|q_a_proj|q_b_proj|query_dense)\.$", "q"),
    (r"\.(k|k_proj|key|key_proj|to_k|wk|k_lin|_?W_K|key_dense)\.$", "k"),
    (r"\.(v|v_proj|value|value_proj|to_v|wv|v_lin|_?W_V|value_dense)\.$", "v"),
    (r"\.(qkv|qkv_proj|query_key_value|c_attn|in_proj_weight|in_proj|Wqkv|to_qkv)\.$", "qkv"),
    (r"\.(DenseReluDense\.wo|mlp\.wo)\.$", "mlp out"),  # T5
    (r"\.(o_proj|W_O|wo|to_out\.0|to_out|out_lin|attention_output|attention_out)\.$", "o"),
    (
        rf"\.{_ATTENTION}\.(?:.*\.)?(c_proj|out_proj|proj|dense|o|out|projection|output_dense)\.$",
        "o",
    ),
    (r"\.(gate_proj|wi_0|[wW]_gate)\.$", "mlp gate"),
    (
        r"\.(fc1|fc_in|mlp_in|c_fc|linear1|up_proj|W_in|wi|wi_1|lin1|dense_h_to_4h|intermediate\.dense"
        r"|gate_up_proj|ffn|feed_forward\.w1|feed_forward\.w3)\.$",
        "mlp in",
    ),
    (
        r"\.(fc2|fc_out|mlp_out|linear2|down_proj|W_out|lin2|dense_4h_to_h|ffn_output|feed_forward\.w2"
        r"|mlp\.c_proj|mlp\.proj|mlp\.out)\.$",
        "mlp out",
    ),
    (r"\.(?:[^.]*\.)?\d+\.output\.dense\.$", "mlp out"),  # BERT, whose attention has its own
    (r"\.(classifier|head|lm_head|heads|score|unembed|W_U|embed_out|fc|cls)\.$", "head"),
)
# Roles in the order in which what flows through a block meets them.
_IN_ORDER = ("qkv", "q", "k", "v", "o", "mlp gate", "mlp in", "mlp out", CONVOLUTION, OTHER, "head")
# Words by which a layer stands at an end of its network, whatever its name begins with.
_AT_START = re.compile(r"(?:^|[._])(?:\w*(?<!un)embed(?:ding|dings)?|stem|w[tp]e|input)(?:$|[._])")
_AT_END = re.compile(
    r"(?:^|[._])(?:classifier|\w*head|heads|score|unembed|embed_out|output|logits|fc|cls|pooler)$"
)
_DECODER = re.compile(r"(?:^|[._])decoder(?:$|[._])")
_COMPILED = tuple((re.compile(pattern), role) for pattern, role in _ROLES)


def layer_of(name: str) -> str:
    """Return the layer (or block) that a parameter is in, by its name.

    That is its path up to the first number, ``model.layers.3`` of
    ``model.layers.3.self_attn.q_proj.weight``, or the second if stages have numbered blocks
    (``stages.0.blocks.1``). Where no component is a number, up to the first that ends in one
    (``fc1``, ``Dense_0``), else its module.
    """
    path = path_of(name)
    for counts in (_NUMBER, _NUMBERED):
        at = next((i for i, part in enumerate(path[:-1]) if counts.fullmatch(part)), None)
        if at is not None:
            below = path[at + 1 : -1]
            if below[1:] and _BLOCKS.fullmatch(below[0]) and counts.fullmatch(below[1]):
                at += 2
            return ".".join(path[: at + 1])
    return ".".join(path[:-1]) or name


def role_of(name: str, shape: Shape, told: RoleRules = ()) -> str:
    """Return what a weight does, by its name and shape.

    One of ``q``, ``k``, ``v``, ``qkv`` (fused), ``o``, ``mlp in``, ``mlp gate``, ``mlp out``,
    ``head``, ``convolution`` and ``other``, or what the first of the rules ``told`` says that fits.
    """
    for regex, role in told:
        if re.search(regex, name):
            return role
    *modules, leaf = path_of(name)
    is_told_by_module = modules and (
        not is_own_name(leaf) or leaf.isdecimal()
    )  # heads are numbered
    path = "." + ".".join(modules if is_told_by_module else [*modules, leaf]) + "."
    for pattern, role in _COMPILED:
        if pattern.search(path):
            return role
    return CONVOLUTION if len(shape) > 3 else OTHER


def in_network_order(by: str, names: Iterable[str]) -> list[str]:
    """Return layers, or roles, in the order in which a network has them, as their names tell it.

    Layers are in order of their numbers, embeddings first, what gives the output last, and an
    encoder before its decoder; those without a number in order of their roles. Roles that only a
    user's rules know stand before what is no role. The order of tensors in a file is none:
    safetensors are sorted.

    Parameters
    ----------
    by : str
        ``layer`` or ``role``: what the names are of.
    names : iterable of str
        As :func:`layer_of` or :func:`role_of` gives them.
    """
    if by == "role":
        return sorted(names, key=_place_in_block)
    return sorted(names, key=_place_in_network)


def _place_in_block(role: str) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    is_known = role in _IN_ORDER
    return _IN_ORDER.index(role if is_known else CONVOLUTION), () if is_known else natural_key(role)


@lru_cache(4096)
def _place_in_network(layer: str) -> tuple[int, bool, int, tuple[tuple[int, int, str], ...]]:
    end = 2 if _AT_END.search(layer) else 0 if _AT_START.search(layer) else 1
    role = len(_IN_ORDER) if _NUMBER.search(layer) else _IN_ORDER.index(role_of(layer, ()))
    return end, _DECODER.search(layer) is not None, role, natural_key(layer)


def is_own_name(leaf: str) -> bool:
    """Whether the last component of a parameter's name says what it is, and not its module's."""
    return leaf not in ("weight", "bias", "kernel", "weight_v", "original1")


def roles_of_parts(role: str, n: int) -> Sequence[str]:
    """Return the roles of the ``n`` parts in which a weight of this role is split."""
    return ("q", "k", "v") if role == "qkv" and n == 3 else (role,) * n
