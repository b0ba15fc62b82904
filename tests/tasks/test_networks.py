"""The networks of the tasks against the same networks written out in float64 numpy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hmmdyn.tasks.networks import (  # noqa: E402
    AdditionTransformer,
    SequenceTransformer,
    perceptron,
)


def weights_of(network):
    return {name: w.double().numpy() for name, w in network.state_dict().items()}


def scrambled(network, rng):
    """Double precision, and no parameter left at 0 or 1, where mistakes would not show."""
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return network


def relu(x):
    return np.maximum(x, 0)


def layer_norm(x, weights, name):
    """PyTorch's definition: variance without Bessel's correction, 1e-5 added."""
    if f"{name}.weight" not in weights:
        return x
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


# ----------------------------------------------------------------------------- transformers


def embedded(weights, tokens):
    return [weights["embed"][t] + weights["pos_embed"][i] for i, t in enumerate(tokens)]


def layer(weights, stream, n_heads):
    """What a layer makes of each token, one token and one head at a time."""
    made = []
    for i in range(len(stream)):
        heads = []
        for h in range(n_heads):
            query = weights[f"query.{h}"] @ stream[i]
            scores = np.full(len(stream), -np.inf)
            for j in range(i + 1):  # causal: nothing later is attended to
                scores[j] = query @ (weights[f"key.{h}"] @ stream[j]) / np.sqrt(len(query))
            attention = np.exp(scores - scores.max())
            attention /= attention.sum()
            heads.append(
                sum(attention[j] * (weights[f"value.{h}"] @ stream[j]) for j in range(i + 1))
            )
        x = stream[i] + weights["attention_out"] @ np.concatenate(heads)
        x = layer_norm(x, weights, "norm1")
        hidden = relu(weights["mlp_in"] @ x + weights["mlp_in_bias"])
        x = x + weights["mlp_out"] @ hidden + weights["mlp_out_bias"]
        made.append(layer_norm(x, weights, "norm2"))
    return made


# ------------------------------------------------------------------------- modular addition


def transformer(weights, pair, modulus, n_heads):
    """The logits after each of the three tokens."""
    stream = embedded(weights, [pair[0], pair[1], modulus])
    return np.array([x @ weights["unembed"] for x in layer(weights, stream, n_heads)])


def addition_transformer(normalised, **sizes):
    rng = torch.Generator().manual_seed(1)
    sizes = {"modulus": 5, "d_model": 12, "n_heads": 3, "d_head": 4, "d_mlp": 7, **sizes}
    return AdditionTransformer(sizes.pop("modulus"), **sizes, layer_norm=normalised, rng=rng), rng


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(
    "sizes", [{}, {"n_heads": 1}, {"n_heads": 2, "d_head": 9, "d_model": 5}], ids=str
)
def test_the_addition_transformer_is_a_full_transformer_read_at_its_last_token(normalised, sizes):
    network = scrambled(*addition_transformer(normalised, **sizes))
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    weights, n_heads = weights_of(network), len(network.key)
    naive = np.array([transformer(weights, pair, 5, n_heads) for pair in pairs.tolist()])
    with torch.no_grad():
        np.testing.assert_allclose(network(pairs).numpy(), naive[:, 2], rtol=1e-10, atol=1e-11)
    # Nothing is symmetric or read at another token by accident.
    assert np.abs(naive[:, 2] - naive[:, 1]).max() > 0.1
    assert np.abs(naive[1, 2] - naive[5, 2]).max() > 1e-3  # 0 + 1 and 1 + 0


@pytest.mark.parametrize("normalised", [False, True])
def test_the_addition_transformers_gradients_are_those_of_the_full_one(normalised):
    """Through the looked-up keys and values: central differences of the naive transformer."""
    network = scrambled(*addition_transformer(normalised, d_model=4, n_heads=2, d_head=3, d_mlp=3))
    pairs = torch.tensor([[0, 4], [3, 3], [2, 0]])
    network(pairs).square().sum().backward()
    weights = weights_of(network)
    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        place = tuple(rng.integers(parameter.shape))
        values = []
        for shift in (1e-6, -1e-6):
            moved = {**weights, name: weights[name].copy()}
            moved[name][place] += shift
            values.append(sum((transformer(moved, p, 5, 2)[2] ** 2).sum() for p in pairs.tolist()))
        numerical = (values[0] - values[1]) / 2e-6
        assert parameter.grad[place].item() == pytest.approx(numerical, rel=1e-4, abs=1e-4), name


def test_the_addition_transformer_starts_normal_with_zero_biases():
    network, _ = addition_transformer(
        True, modulus=113, d_model=128, n_heads=4, d_head=32, d_mlp=512
    )
    weights = weights_of(network)
    for name, w in weights.items():
        if name.startswith("norm"):
            assert (w == (1 if name.endswith("weight") else 0)).all()
        elif name.endswith("bias"):
            assert not w.any()
        else:
            std = 1 / np.sqrt(114 if name == "unembed" else 128)
            # Five standard errors of the mean, and of the deviation, of so many normal numbers.
            assert abs(w.mean()) < 5 * std / np.sqrt(w.size), name
            assert abs(w.std() / std - 1) < 5 / np.sqrt(2 * w.size), name
    # Embedding, positions, 3 x 4 heads, output; MLP with biases; unembedding; two normalisations.
    assert sum(w.size for w in weights.values()) == (
        114 * 128 + 3 * 128 + 4 * 128 * 128 + 2 * 128 * 512 + 512 + 128 + 128 * 114 + 4 * 128
    )


# --------------------------------------------------------------------------------- sequences


def sequence_transformer(**sizes):
    rng = torch.Generator().manual_seed(1)
    sizes = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_head": 4, "d_mlp": 7, **sizes}
    n_tokens, length, n_answers = (sizes.pop(n, i) for n, i in TOKENS.items())
    return SequenceTransformer(n_tokens, length, n_answers, **sizes, rng=rng), rng


TOKENS = {"n_tokens": 5, "length": 6, "n_answers": 3}


@pytest.mark.parametrize(
    "sizes",
    [{}, {"n_layers": 1, "n_heads": 1}, {"n_layers": 3, "n_heads": 2, "d_head": 9, "d_model": 5}],
    ids=str,
)
def test_the_sequence_transformer_is_layers_read_at_the_last_places(sizes):
    network = scrambled(*sequence_transformer(**sizes))
    tokens = torch.randint(5, (4, 6), generator=torch.Generator().manual_seed(2))
    weights = weights_of(network)
    naive = []
    for sequence in tokens.tolist():
        stream = embedded(weights, sequence)
        for i, of_layer in enumerate(network.layers):
            prefix = f"layers.{i}."
            own = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
            stream = layer(own, stream, len(of_layer.key))
        naive.append([x @ weights["unembed"] for x in stream])
    naive = np.array(naive)
    with torch.no_grad():
        np.testing.assert_allclose(network(tokens).numpy(), naive[:, 3:], rtol=1e-10, atol=1e-11)
    # No place is read for another by accident.
    assert np.abs(naive[:, 3:] - naive[:, 2:5]).max() > 0.1


def test_the_sequence_transformer_starts_normal_with_zero_biases():
    network, _ = sequence_transformer(
        n_tokens=64, length=31, n_answers=15, d_model=64, n_heads=4, d_head=16, d_mlp=80
    )
    weights = weights_of(network)
    for name, w in weights.items():
        if name.endswith("bias"):
            assert not w.any()
        else:  # five standard errors, as above; unembedding and stream are as wide
            assert abs(w.mean()) < 5 / 8 / np.sqrt(w.size), name
            assert abs(w.std() * 8 - 1) < 5 / np.sqrt(2 * w.size), name
    # Embedding, positions, unembedding; by layer, 3 x 4 heads, output, MLP with biases.
    assert sum(w.size for w in weights.values()) == (
        64 * 64 + 31 * 64 + 64 * 64 + 2 * (4 * 64 * 64 + 2 * 64 * 80 + 80 + 64)
    )


# -------------------------------------------------------------------------------- perceptrons


def deep(weights, x, n_blocks, residual):
    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = relu(linear(x, "hidden"))
    for i in range(n_blocks):
        block = f"blocks.{i}"
        inner = relu(layer_norm(linear(x, f"{block}.layer1"), weights, f"{block}.norm1"))
        outer = layer_norm(linear(inner, f"{block}.layer2"), weights, f"{block}.norm2")
        x = relu(outer + x if residual else outer)
    return linear(x, "output")


@pytest.mark.parametrize("n_blocks", [0, 1, 3])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_perceptrons_are_layers_and_blocks(n_blocks, normalised, residual):
    rng = torch.Generator().manual_seed(0)
    network = scrambled(
        perceptron(6, 9, 4, rng, n_blocks=n_blocks, layer_norm=normalised, residual=residual), rng
    )
    x = torch.randn(11, 6, generator=rng, dtype=torch.float64)
    weights = weights_of(network)
    expected = deep(weights, x.numpy(), n_blocks, residual)
    with torch.no_grad():
        np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-10, atol=1e-11)
    assert any("norm" in name for name in weights) == (normalised and n_blocks > 0)
    if n_blocks:  # the two options do something
        other = deep(weights, x.numpy(), n_blocks, not residual)
        assert np.abs(expected - other).max() > 0.01


def test_blocks_start_xavier_uniform_with_zero_biases():
    network = perceptron(64, 128, 10, torch.Generator().manual_seed(0), n_blocks=2)
    for name, w in weights_of(network).items():
        if name.endswith("bias"):
            assert not w.any()
        else:
            bound = np.sqrt(6 / sum(w.shape))
            assert 0.99 * bound < np.abs(w).max() <= bound
            assert w.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


# ------------------------------------------------------------------------------------- chance

NETWORKS = {
    "perceptron": lambda rng: perceptron(6, 9, 4, rng, n_blocks=2, layer_norm=True),
    "transformer": lambda rng: AdditionTransformer(
        5, d_model=4, n_heads=2, d_head=2, d_mlp=3, layer_norm=True, rng=rng
    ),
    "sequences": lambda rng: SequenceTransformer(
        5, 6, 3, n_layers=2, d_model=4, n_heads=2, d_head=2, d_mlp=3, rng=rng
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_first_weights_come_from_the_given_generator(name):
    first, again, other = (
        weights_of(NETWORKS[name](torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
    )
    state = torch.get_rng_state()
    NETWORKS[name](torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    for key, w in first.items():
        np.testing.assert_array_equal(w, again[key])
        constant = key.endswith("bias") or "norm" in key
        assert constant or (w != other[key]).all(), key
