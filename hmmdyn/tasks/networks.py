"""The networks of the tasks; imported only when something is trained, since it needs PyTorch.

All first weights come from a generator of the caller's.
"""

from __future__ import annotations

from collections import OrderedDict
from math import sqrt

import torch
from torch.nn import functional
from torch.nn.utils import skip_init  # PyTorch's own start would draw from its global state


def linear(n_in: int, n_out: int, rng: torch.Generator) -> torch.nn.Linear:
    """Linear layer with Xavier-uniform weights and zero biases."""
    layer: torch.nn.Linear = skip_init(torch.nn.Linear, n_in, n_out)
    with torch.no_grad():
        # torch.nn.init.xavier_uniform_ takes no generator in the oldest PyTorch supported.
        bound = sqrt(6 / (n_in + n_out))
        layer.weight.uniform_(-bound, bound, generator=rng)
        layer.bias.zero_()
    return layer


def perceptron(
    n_in: int,
    n_hidden: int,
    n_out: int,
    rng: torch.Generator,
    *,
    n_blocks: int = 0,
    layer_norm: bool = False,
    residual: bool = False,
) -> torch.nn.Module:
    """A hidden layer, then as many blocks of two more as asked for, then the output; ReLU.

    Parameters
    ----------
    n_in, n_hidden, n_out : int
        Widths of the layers.
    rng : torch.Generator
        Draws the first weights.
    n_blocks : int
        How many blocks follow the hidden layer.
    layer_norm : bool
        Normalise in the blocks.
    residual : bool
        Add each block's input to its output.
    """
    hidden = linear(n_in, n_hidden, rng)
    blocks = [Block(n_hidden, layer_norm, residual, rng) for _ in range(n_blocks)]
    return torch.nn.Sequential(
        OrderedDict(
            hidden=hidden,
            relu=torch.nn.ReLU(),
            blocks=torch.nn.Sequential(*blocks),
            output=linear(n_hidden, n_out, rng),
        )
    )


class Block(torch.nn.Module):
    """Two layers, normalised or not, around which the input may be added."""

    def __init__(self, width: int, layer_norm: bool, residual: bool, rng: torch.Generator) -> None:
        super().__init__()
        self.layer1, self.layer2 = linear(width, width, rng), linear(width, width, rng)
        self.norm1, self.norm2 = (
            _normalisation(layer_norm, width),
            _normalisation(layer_norm, width),
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: shape (n, width)."""
        out: torch.Tensor = self.norm2(self.layer2(self.norm1(self.layer1(x)).relu()))
        return (out + x if self.residual else out).relu()


class AdditionTransformer(torch.nn.Module):
    """Reads "x y =" and gives the logits of what follows.

    One layer; no biases but the MLP's; normalised after each residual sum or not at all. Each
    head's matrices are tensors of their own, as the paper's metrics take them.
    """

    def __init__(
        self,
        modulus: int,
        *,
        d_model: int,
        n_heads: int,
        d_head: int,
        d_mlp: int,
        layer_norm: bool,
        rng: torch.Generator,
    ) -> None:
        super().__init__()

        def normal(*shape: int, std: float = 1 / sqrt(d_model)) -> torch.nn.Parameter:
            return _normal(*shape, std=std, rng=rng)

        def heads() -> torch.nn.ParameterList:
            return torch.nn.ParameterList([normal(d_head, d_model) for _ in range(n_heads)])

        self._modulus, self._heads = modulus, (n_heads, d_head)
        self.embed = normal(modulus + 1, d_model)  # the last token is "="
        self.pos_embed = normal(3, d_model)
        self.key, self.query, self.value = heads(), heads(), heads()
        self.attention_out = normal(d_model, n_heads * d_head)
        self.mlp_in = normal(d_mlp, d_model)
        self.mlp_in_bias = torch.nn.Parameter(torch.zeros(d_mlp))
        self.mlp_out = normal(d_model, d_mlp)
        self.mlp_out_bias = torch.nn.Parameter(torch.zeros(d_model))
        self.unembed = normal(d_model, modulus + 1, std=1 / sqrt(modulus + 1))
        self.norm1 = _normalisation(layer_norm, d_model)
        self.norm2 = _normalisation(layer_norm, d_model)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """``pairs``: whole numbers below the modulus, shape (n, 2); logits (n, modulus + 1)."""
        equals = self.embed[-1] + self.pos_embed[2]
        x = self.norm1(equals + self._attended(pairs, equals))
        hidden = functional.linear(x, self.mlp_in, self.mlp_in_bias).relu()
        x = self.norm2(x + functional.linear(hidden, self.mlp_out, self.mlp_out_bias))
        logits: torch.Tensor = x @ self.unembed
        return logits

    def _attended(self, pairs: torch.Tensor, equals: torch.Tensor) -> torch.Tensor:
        """What the last token gathers from all three, shape (n, d_model).

        There is one layer, and only the last token's answer is read. So keys, values and how much
        the last token attends to them depend on a token and its place alone: they are computed
        once for each of these, and looked up for each pair.
        """
        modulus = self._modulus
        numbers = self.embed[:-1]
        tokens = torch.cat([numbers + self.pos_embed[0], numbers + self.pos_embed[1], equals[None]])
        keys = (tokens @ torch.cat(list(self.key)).T).unflatten(1, self._heads)
        query = (torch.cat(list(self.query)) @ equals).unflatten(0, self._heads)
        scores = (keys * query).sum(dim=2) / sqrt(self._heads[1])
        values = tokens @ torch.cat(list(self.value)).T

        x, y = pairs.unbind(dim=1)
        places = torch.stack([x, modulus + y, torch.full_like(x, 2 * modulus)], dim=1)
        attention = functional.embedding(places, scores).softmax(dim=1)
        of_places = functional.embedding(places, values).unflatten(2, self._heads)
        gathered = (attention[..., None] * of_places).sum(dim=1).flatten(1)
        return gathered @ self.attention_out.T


class SequenceTransformer(torch.nn.Module):
    """Reads a sequence of tokens and gives, at its last places, the logits of what follows.

    No normalisation, and no biases but the MLPs'. Each head's matrices are tensors of their own,
    as the paper's metrics take them.
    """

    def __init__(
        self,
        n_tokens: int,
        length: int,
        n_answers: int,
        *,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_head: int,
        d_mlp: int,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self._n_answers = n_answers
        self.embed = _normal(n_tokens, d_model, std=1 / sqrt(d_model), rng=rng)
        self.pos_embed = _normal(length, d_model, std=1 / sqrt(d_model), rng=rng)
        self.layers = torch.nn.Sequential(
            *(TransformerLayer(d_model, n_heads, d_head, d_mlp, rng) for _ in range(n_layers))
        )
        self.unembed = _normal(d_model, n_tokens, std=1 / sqrt(n_tokens), rng=rng)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``tokens``: whole numbers, shape (n, length); logits (n, answers, tokens)."""
        x = self.layers(functional.embedding(tokens, self.embed) + self.pos_embed)
        logits: torch.Tensor = x[:, -self._n_answers :] @ self.unembed
        return logits


class TransformerLayer(torch.nn.Module):
    """Attention to what came before, then an MLP, each added to its input."""

    def __init__(
        self, d_model: int, n_heads: int, d_head: int, d_mlp: int, rng: torch.Generator
    ) -> None:
        super().__init__()

        def normal(*shape: int) -> torch.nn.Parameter:
            return _normal(*shape, std=1 / sqrt(d_model), rng=rng)

        def heads() -> torch.nn.ParameterList:
            return torch.nn.ParameterList([normal(d_head, d_model) for _ in range(n_heads)])

        self._heads = (n_heads, d_head)
        self.key, self.query, self.value = heads(), heads(), heads()
        self.attention_out = normal(d_model, n_heads * d_head)
        self.mlp_in = normal(d_mlp, d_model)
        self.mlp_in_bias = torch.nn.Parameter(torch.zeros(d_mlp))
        self.mlp_out = normal(d_model, d_mlp)
        self.mlp_out_bias = torch.nn.Parameter(torch.zeros(d_model))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: shape (n, length, d_model)."""
        x = x + self._attended(x)
        hidden = functional.linear(x, self.mlp_in, self.mlp_in_bias).relu()
        return x + functional.linear(hidden, self.mlp_out, self.mlp_out_bias)

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        key, query, value = (
            functional.linear(x, torch.cat(list(matrices)))
            .unflatten(2, self._heads)
            .transpose(1, 2)
            for matrices in (self.key, self.query, self.value)
        )
        length = x.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        scores = query @ key.transpose(2, 3) / sqrt(self._heads[1])
        attention = scores.masked_fill(later, -torch.inf).softmax(dim=3)
        gathered = (attention @ value).transpose(1, 2).flatten(2)
        return functional.linear(gathered, self.attention_out)


def _normal(*shape: int, std: float, rng: torch.Generator) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(*shape, generator=rng) * std)


def _normalisation(wanted: bool, width: int) -> torch.nn.Module:
    return torch.nn.LayerNorm(width) if wanted else torch.nn.Identity()
