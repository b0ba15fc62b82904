"""Layers and roles of published architectures, by the names of their weights."""

from collections import Counter

import pytest

from hmmdyn.checkpoints.modules import in_network_order, layer_of, role_of, roles_of_parts
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters
from tests.checkpoints.architectures import checkpoint_of, models_of

# Model -> how many weights of each role there are; the models have two blocks unless they say else.
SEPARATE = {"q": 2, "k": 2, "v": 2, "o": 2}
MLP = {"mlp in": 2, "mlp out": 2}
ROLES = {
    ("transformers", "bert"): SEPARATE | MLP | {"other": 1},
    ("transformers", "roberta"): SEPARATE | MLP | {"other": 1},
    ("transformers", "gpt2"): {"qkv": 2, "o": 2} | MLP,
    ("transformers", "gpt_neo"): SEPARATE | MLP,
    ("transformers", "gpt_neox"): {"qkv": 2, "o": 2} | MLP,
    ("transformers", "llama"): SEPARATE | MLP | {"mlp gate": 2},
    ("transformers", "opt"): SEPARATE | MLP,
    ("transformers", "t5"): {"q": 6, "k": 6, "v": 6, "o": 6, "mlp in": 4, "mlp out": 4},
    ("transformer_lens", "gpt2-like"): SEPARATE | MLP,
    ("transformer_lens", "llama-like"): SEPARATE | MLP | {"mlp gate": 2},
    ("timm", "resnet50"): {"convolution": 53, "head": 1},
    ("timm", "vit_base_patch16_224"): {"convolution": 1, "qkv": 12, "o": 12, "head": 1}
    | {"mlp in": 12, "mlp out": 12},
}
LAYERS = {
    ("transformers", "gpt2"): 2,
    ("timm", "vit_base_patch16_224"): 14,
    ("timm", "resnet50"): 18,
}


def weights_of(library, model):
    checkpoint = checkpoint_of(models_of(library)[model])
    return checkpoint, select_parameters(checkpoint, DEFAULT_RULES).weights


@pytest.mark.parametrize(("library", "model"), ROLES)
def test_roles_of_published_architectures(library, model):
    checkpoint, weights = weights_of(library, model)
    found = Counter(role_of(name, checkpoint[name].shape) for name in weights)
    assert dict(found) == ROLES[library, model]


@pytest.mark.parametrize(("library", "model"), LAYERS)
def test_layers_of_published_architectures(library, model):
    _, weights = weights_of(library, model)
    assert len(set(map(layer_of, weights))) == LAYERS[library, model]


def test_roles_in_torch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    names = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).state_dict()
    roles = {name: role_of(name, tuple(v.shape)) for name, v in names.items() if v.ndim == 2}
    assert Counter(roles.values()) == {"qkv": 2, "o": 2, "mlp in": 2, "mlp out": 2}
    assert {layer_of(name) for name in roles} == {"layers.0", "layers.1"}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3"),
        ("layers.0.mlp.experts.5.w1", "layers.0"),
        ("stages.0.blocks.1.conv1.weight", "stages.0.blocks.1"),
        ("down_blocks.0.resnets.1.conv1.weight", "down_blocks.0.resnets.1"),
        ("layer1.0.conv1.weight", "layer1.0"),
        ("fc1.weight", "fc1"),
        ("params/Dense_0/kernel", "params.Dense_0"),
        ("output.weight", "output"),
        ("w", "w"),
    ],
)
def test_layers(name, layer):
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("h.0.attn.c_attn.bias", "qkv"),
        ("encoder.layer.0.attention.output.dense.weight", "o"),
        ("encoder.layer.0.output.dense.weight", "mlp out"),
        ("conv1.weight", "other"),  # two axes: no convolution
        ("lm_head.weight", "head"),
        ("layers.0.attention_out", "o"),  # of the tasks that are trained here
        ("layers.0.query.3", "q"),  # a tensor per head
        ("key.0", "k"),
        ("mlp_in", "mlp in"),
        ("mlp_out", "mlp out"),
    ],
)
def test_roles(name, role):
    assert role_of(name, (4, 4)) == role


def test_a_fused_weight_that_is_split_has_the_roles_of_its_parts():
    assert roles_of_parts("qkv", 3) == ("q", "k", "v")
    assert roles_of_parts("qkv", 1) == ("qkv",)
    assert roles_of_parts("o", 4) == ("o",) * 4


@pytest.mark.parametrize(
    "in_order",
    [
        ["patch_embed.proj", "blocks.0", "blocks.2", "blocks.10", "head"],
        ["conv1", "layer1.0", "layer1.1", "layer4.0", "fc"],
        ["embed", "h.0", "h.1", "unembed"],
        ["gpt_neox.embed_in", "gpt_neox.layers.0", "gpt_neox.layers.1", "embed_out"],
        ["encoder.block.0", "encoder.block.5", "decoder.block.0", "decoder.block.1", "lm_head"],
        ["hidden", "output"],
        ["embed", "query", "key", "value", "attention_out", "mlp_in", "mlp_out", "unembed"],
    ],
)
def test_layers_in_the_order_of_the_network(in_order):
    assert in_network_order("layer", sorted(in_order)) == in_order
    assert in_network_order("layer", in_order[::-1]) == in_order


def test_roles_in_the_order_of_a_block():
    names = ["head", "mlp out", "k", "v", "other", "o", "mlp in", "q"]
    expected = ["q", "k", "v", "o", "mlp in", "mlp out", "other", "head"]
    assert in_network_order("role", names) == expected
