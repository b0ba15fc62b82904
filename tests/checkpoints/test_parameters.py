from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hmmdyn.checkpoints.matrices import axes_of
from hmmdyn.checkpoints.parameters import (
    DEFAULT_RULES,
    ParameterRules,
    matrices_of,
    select_parameters,
)
from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import UsageError

# Parameter names and (small) shapes as the libraries save them: shape, then what it is.
# w weight, b bias, e embedding, n normalisation, f buffer, i not floating-point, o other vector.
D, H, V, T = 8, 16, 50, 12

GPT2 = {
    "transformer.wte.weight": ((V, D), "e"),
    "transformer.wpe.weight": ((T, D), "e"),
    "transformer.h.0.ln_1.weight": ((D,), "n"),
    "transformer.h.0.ln_1.bias": ((D,), "n"),
    "transformer.h.0.attn.bias": ((1, 1, T, T), "f"),
    "transformer.h.0.attn.masked_bias": ((), "f"),
    "transformer.h.0.attn.c_attn.weight": ((D, 3 * D), "w"),
    "transformer.h.0.attn.c_attn.bias": ((3 * D,), "b"),
    "transformer.h.0.attn.c_proj.weight": ((D, D), "w"),
    "transformer.h.0.attn.c_proj.bias": ((D,), "b"),
    "transformer.h.0.mlp.c_fc.weight": ((D, H), "w"),
    "transformer.h.0.mlp.c_fc.bias": ((H,), "b"),
    "transformer.ln_f.weight": ((D,), "n"),
    "transformer.ln_f.bias": ((D,), "n"),
}
PYTHIA = {
    "gpt_neox.embed_in.weight": ((V, D), "e"),
    "gpt_neox.layers.0.input_layernorm.weight": ((D,), "n"),
    "gpt_neox.layers.0.input_layernorm.bias": ((D,), "n"),
    "gpt_neox.layers.0.post_attention_layernorm.bias": ((D,), "n"),
    "gpt_neox.layers.0.attention.bias": ((1, 1, T, T), "i", "bool"),
    "gpt_neox.layers.0.attention.masked_bias": ((), "f"),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": ((4,), "f"),
    "gpt_neox.layers.0.attention.query_key_value.weight": ((3 * D, D), "w"),
    "gpt_neox.layers.0.attention.query_key_value.bias": ((3 * D,), "b"),
    "gpt_neox.layers.0.attention.dense.weight": ((D, D), "w"),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": ((H, D), "w"),
    "gpt_neox.layers.0.mlp.dense_4h_to_h.bias": ((D,), "b"),
    "gpt_neox.final_layer_norm.weight": ((D,), "n"),
    "embed_out.weight": ((V, D), "u"),
}
LLAMA = {
    "model.embed_tokens.weight": ((V, D), "e"),
    "model.layers.0.self_attn.q_proj.weight": ((D, D), "w"),
    "model.layers.0.self_attn.q_norm.weight": ((4,), "n"),
    "model.layers.0.self_attn.rotary_emb.inv_freq": ((4,), "f"),
    "model.layers.0.mlp.gate_proj.weight": ((H, D), "w"),
    "model.layers.0.input_layernorm.weight": ((D,), "n"),
    "model.layers.0.post_attention_layernorm.weight": ((D,), "n"),
    "model.norm.weight": ((D,), "n"),
    "lm_head.weight": ((V, D), "u"),
}
LLAMA_ORIGINAL = {
    "tok_embeddings.weight": ((V, D), "e"),
    "layers.0.attention.wq.weight": ((D, D), "w"),
    "layers.0.attention_norm.weight": ((D,), "n"),
    "layers.0.ffn_norm.weight": ((D,), "n"),
    "output.weight": ((V, D), "u"),
    "rope.freqs": ((4,), "f"),
    "freqs_cis": ((T, 4), "i", "complex64"),
}
BERT = {
    "bert.embeddings.position_ids": ((1, T), "i", "int64"),
    "bert.embeddings.word_embeddings.weight": ((V, D), "e"),
    "bert.embeddings.position_embeddings.weight": ((T, D), "e"),
    "bert.embeddings.token_type_embeddings.weight": ((2, D), "e"),
    "bert.embeddings.LayerNorm.weight": ((D,), "n"),
    "bert.embeddings.LayerNorm.beta": ((D,), "n"),
    "bert.encoder.layer.0.attention.self.query.weight": ((D, D), "w"),
    "bert.encoder.layer.0.attention.self.query.bias": ((D,), "b"),
    "bert.encoder.layer.0.attention.output.dense.weight": ((D, D), "w"),
    "bert.encoder.layer.0.attention.output.LayerNorm.bias": ((D,), "n"),
    "bert.pooler.dense.weight": ((D, D), "w"),
    "cls.predictions.bias": ((V,), "b"),
    "cls.predictions.transform.LayerNorm.gamma": ((D,), "n"),
    "cls.seq_relationship.weight": ((2, D), "w"),
}
T5 = {
    "shared.weight": ((V, D), "e"),
    "encoder.block.0.layer.0.SelfAttention.q.weight": ((D, D), "w"),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": ((32, 2), "e"),
    "encoder.block.0.layer.0.layer_norm.weight": ((D,), "n"),
    "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": ((H, D), "w"),
    "encoder.final_layer_norm.weight": ((D,), "n"),
    "lm_head.weight": ((V, D), "u"),
}
RESNET18 = {
    "conv1.weight": ((8, 3, 7, 7), "w"),
    "bn1.weight": ((8,), "n"),
    "bn1.bias": ((8,), "n"),
    "bn1.running_mean": ((8,), "n"),
    "bn1.running_var": ((8,), "n"),
    "bn1.num_batches_tracked": ((), "i", "int64"),
    "layer1.0.conv1.weight": ((8, 8, 3, 3), "w"),
    "layer1.0.bn2.weight": ((8,), "n"),
    "layer2.0.downsample.0.weight": ((8, 8, 1, 1), "w"),
    "layer2.0.downsample.1.weight": ((8,), "n"),
    "layer2.0.downsample.1.bias": ((8,), "n"),
    "layer2.0.downsample.1.running_mean": ((8,), "n"),
    "fc.weight": ((10, 8), "w"),
    "fc.bias": ((10,), "b"),
}
VIT_TIMM = {
    "cls_token": ((1, 1, D), "e"),
    "reg_token": ((1, 4, D), "e"),
    "pos_embed": ((1, 197, D), "e"),
    "patch_embed.proj.weight": ((D, 3, 4, 4), "w"),
    "patch_embed.proj.bias": ((D,), "b"),
    "blocks.0.norm1.weight": ((D,), "n"),
    "blocks.0.norm1.bias": ((D,), "n"),
    "blocks.0.attn.qkv.weight": ((3 * D, D), "w"),
    "blocks.0.attn.qkv.bias": ((3 * D,), "b"),
    "blocks.0.attn.q_norm.weight": ((4,), "n"),
    "blocks.0.ls1.gamma": ((D,), "o"),
    "blocks.0.mlp.fc1.weight": ((H, D), "w"),
    "norm.bias": ((D,), "n"),
    "head.weight": ((10, D), "w"),
    "head.bias": ((10,), "b"),
}
VIT_OTHERS = {  # Hugging Face ViT, CLIP, Swin, DiT
    "vit.embeddings.cls_token": ((1, 1, D), "e"),
    "vit.embeddings.position_embeddings": ((1, 197, D), "e"),
    "vit.embeddings.patch_embeddings.projection.weight": ((D, 3, 4, 4), "w"),
    "vit.embeddings.patch_embeddings.projection.bias": ((D,), "b"),
    "vision_model.embeddings.class_embedding": ((D,), "e"),
    "vision_model.embeddings.patch_embedding.weight": ((D, 3, 4, 4), "w"),
    "vision_model.pre_layrnorm.weight": ((D,), "n"),
    "layers.0.blocks.0.attn.relative_position_bias_table": ((49, 2), "e"),
    "layers.0.blocks.0.attn.relative_position_index": ((49, 49), "i", "int64"),
    "time_embedding.linear_1.weight": ((D, D), "w"),
    "transformer_blocks.0.norm1.linear.weight": ((6 * D, D), "w"),
    "surface_normals.weight": ((3, D), "w"),
}
SEQUENTIAL = {
    "0.weight": ((H, 4), "w"),
    "0.bias": ((H,), "b"),
    "1.weight": ((H,), "n"),
    "1.bias": ((H,), "n"),
    "1.running_mean": ((H,), "n"),
    "1.running_var": ((H,), "n"),
    "1.num_batches_tracked": ((), "i", "int64"),
    "3.weight": ((2, H), "w"),
    "3.bias": ((2,), "b"),
}
LSTM = {
    "encoder.weight": ((V, D), "w"),  # nothing says that this is an embedding: use --exclude
    "rnn.weight_ih_l0": ((4 * D, D), "w"),
    "rnn.weight_hh_l0_reverse": ((4 * D, D), "w"),
    "rnn.bias_ih_l0": ((4 * D,), "b"),
    "rnn.bias_hh_l0_reverse": ((4 * D,), "b"),
    "attention.in_proj_weight": ((3 * D, D), "w"),
    "attention.in_proj_bias": ((3 * D,), "b"),
    "decoder.bias": ((V,), "b"),
}
TRANSFORMER_LENS = {
    "embed.W_E": ((V, D), "e"),
    "pos_embed.W_pos": ((T, D), "e"),
    "blocks.0.ln1.w": ((D,), "n"),
    "blocks.0.ln1.b": ((D,), "n"),
    "blocks.0.attn.W_Q": ((2, D, 4), "w"),
    "blocks.0.attn.b_Q": ((2, 4), "b"),
    "blocks.0.attn.b_O": ((D,), "b"),
    "blocks.0.attn.mask": ((T, T), "i", "bool"),
    "blocks.0.attn.IGNORE": ((), "f"),
    "blocks.0.mlp.W_in": ((D, H), "w"),
    "blocks.0.mlp.b_in": ((H,), "b"),
    "ln_final.w": ((D,), "n"),
    "unembed.W_U": ((D, V), "u"),
    "unembed.b_U": ((V,), "b"),
}
FLAX = {
    "params/Embed_0/embedding": ((V, D), "e"),
    "params/transformer/wte/embedding": ((V, D), "e"),
    "params/Conv_0/kernel": ((3, 3, 4, 8), "w"),
    "params/Conv_0/bias": ((8,), "b"),
    "params/BatchNorm_0/scale": ((8,), "n"),
    "params/BatchNorm_0/bias": ((8,), "n"),
    "batch_stats/BatchNorm_0/mean": ((8,), "n"),
    "params/attn/query/kernel": ((D, 2, 4), "w"),
    "params/attn/query/bias": ((2, 4), "b"),
    "params/LayerNorm_0/scale": ((D,), "n"),
    "params/Dense_0/kernel": ((D, 10), "w"),
    "params/Dense_0/bias": ((10,), "b"),
    "params/batch_normalization_1/gamma": ((D,), "n"),
}
BARE = {
    "w1": ((4, 3), "w"),
    "b1": ((4,), "b"),
    "bias2": ((4,), "b"),
    "layer.b": ((4,), "b"),
    "lora_B": ((4, 2), "w"),
    "temperature": ((), "o"),
    "scale_factors": ((4,), "o"),
    "optimizer.state.0.exp_avg": ((4, 3), "s"),
    "opt_state.mu.w1": ((4, 3), "s"),
    "state.0.exp_avg_sq": ((4, 3), "s"),
    "qlinear.weight": ((4, 3), "w"),
    "qlinear.scale": ((4,), "o"),
    "qlinear.bias": ((4,), "b"),
    "pruned": ((0, 3), "x"),
}

# Parameters that are no matrices, whatever their rank: gains, tokens, tables, copies.
NFNET = {
    "stem.conv1.weight": ((8, 3, 3, 3), "w"),
    "stem.conv1.gain": ((8, 1, 1, 1), "g"),
    "stages.0.0.skipinit_gain": ((), "o"),
    "head.fc.weight": ((10, 8), "w"),
}
GAINS = {
    "blocks.0.attn.logit_scale": ((2, 1, 1), "g"),
    "blocks.0.attn.temperature": ((2, 1, 1), "g"),
    "blocks.0.layer_scale.gamma": ((D, 1, 1), "g"),
    "blocks.0.grn.weight": ((1, 1, 1, D), "g"),
    "blocks.0.grn.bias": ((1, 1, 1, D), "g"),
    "affine.alpha": ((1, 1, D), "g"),
    "rwkv.blocks.0.attention.time_mix_key": ((1, 1, D), "g"),
    "rwkv.blocks.0.attention.time_decay": ((2, 4), "g"),
    "rwkv.blocks.0.attention.time_decay_w1": ((D, 4), "w"),
    "backbone.layers.0.mixer.A_log": ((H, 4), "g"),
    "backbone.layers.0.mixer.D": ((2, H), "g"),
    "free.D": ((2, H), "w"),
    "conv.weight_g": ((4, 1, 1), "g"),
    "conv.weight_v": ((4, 3, 5), "w"),
    "conv2.parametrizations.weight.original0": ((1, 1, 5), "g"),
    "conv2.parametrizations.weight.original1": ((4, 3, 5), "w"),
    "eca.conv.weight": ((1, 1, 5), "w"),
    "value_head.weight": ((1, D), "w"),
    "quantised.weight_scale_inv": ((4, 2), "g"),
}
TOKENS_AND_TABLES = {
    "query_tokens": ((1, 32, D), "k"),
    "attn_pool.latent": ((1, 1, D), "k"),
    "vision_model.head.probe": ((1, 1, D), "k"),
    "perceiver.latents": ((T, D), "k"),
    "decoder.queries_features.weight": ((T, D), "k"),
    "detection_tokens": ((1, T, D), "k"),
    "attn.attention_biases": ((4, 49), "l"),
    "attn.relative.height_rel": ((15, D), "l"),
    "position_enc": ((T, D), "e"),
    "blocks.0.scale_shift_table": ((6, D), "l"),
    "anything_else": ((1, 7, D), "l"),
    "level_embed": ((3, D), "e"),
    "key_tokens.bias": ((4,), "b"),
    "key_tokens.weight": ((4, D), "w"),  # a layer: it has a bias
}
COPIES = {
    "model.fc.weight": ((4, D), "w"),
    "model.fc.bias": ((4,), "b"),
    "model_ema.fc.weight": ((4, D), "c"),
    "model_ema.fcbias": ((4,), "c"),  # some drop the dots
    "critic.qf0.0.weight": ((4, 3), "w"),
    "critic_target.qf0.0.weight": ((4, 3), "c"),
    "student.backbone.proj.weight": ((4, 6), "w"),
    "teacher.backbone.proj.weight": ((4, 6), "c"),
    "teacher_proj.weight": ((4, 7), "w"),  # nothing of its shape without the word
    "target_head.weight": ((2, 7), "w"),
}
ONLY_AN_AVERAGE = {"ema.fc.weight": ((4, D), "w"), "ema.fc.bias": ((4,), "b")}
OUTPUTS = {
    "model.embed.weight": ((V, D), "e"),
    "model.position_embeddings.weight": ((T, D), "e"),
    "pred_layer.proj.weight": ((V, D), "u"),
    "lm_head.dense.weight": ((D, D), "w"),
    "lm_heads.0.weight": ((V, D), "u"),
    "logits/kernel": ((D, V), "u"),
    "to_positions.weight": ((T, D), "w"),
    "blocks.0.fc.weight": ((V, D), "w"),  # inside a block it is none
}
CTC = {"encoder.proj.weight": ((D, D), "w"), "lm_head.weight": ((V, D), "w")}  # no table

REASONS = {
    "e": "embedding",
    "u": "output embedding",
    "g": "gain or scale",
    "k": "token",
    "l": "learned table",
    "c": "copy that follows the live weights",
    "n": "normalisation",
    "f": "buffer",
    "i": "not floating-point numbers",
    "o": "neither a matrix nor a bias",
    "s": "optimizer state",
    "x": "empty",
}


def checkpoint_of(shapes, aliases=(), left_out=None):
    """A checkpoint with tensors of these shapes; ``aliases`` are names of one tensor."""
    tensors = {
        name: LazyTensor(
            shape,
            (*dtype, "float32")[0],
            lambda: pytest.fail("a tensor was read"),
            "tied" if name in aliases else None,
        )
        for name, (shape, *dtype) in shapes.items()
    }
    return Checkpoint(Path("x"), Contents("test", tensors, left_out=left_out or {}))


MODELS = {
    name: value
    for name, value in globals().items()
    if name.isupper() and isinstance(value, dict) and name != "REASONS"
}


@pytest.mark.parametrize("model", MODELS)
def test_roles_of_real_parameter_names(model):
    table = MODELS[model]
    shapes = {name: (shape, *dtype) for name, (shape, _, *dtype) in table.items()}
    found = select_parameters(checkpoint_of(shapes), ParameterRules())
    roles = dict.fromkeys(found.weights, "weight") | dict.fromkeys(found.biases, "bias")
    expected = {
        name: {"w": "weight", "b": "bias", **REASONS}[role] for name, (_, role, *_) in table.items()
    }
    assert roles | dict(found.left_out) == expected


def test_every_name_is_accounted_for_once_and_in_order():
    shapes = {name: (shape, *dtype) for name, (shape, _, *dtype) in GPT2.items()}
    found = select_parameters(checkpoint_of(shapes), ParameterRules())
    assert sorted([*found.weights, *found.biases, *found.left_out]) == sorted(GPT2)
    assert list(found.weights) == [name for name in GPT2 if name in found.weights]


@pytest.mark.parametrize(
    "order", [("lm_head.weight", "wte.weight"), ("wte.weight", "lm_head.weight")]
)
def test_an_unembedding_tied_to_an_embedding_is_the_embedding(order):
    shapes = dict.fromkeys(order, ((V, D),)) | {"fc.weight": ((D, D),)}
    found = select_parameters(checkpoint_of(shapes, aliases=order), ParameterRules())
    assert found.weights == ("fc.weight",)
    assert found.left_out == {"wte.weight": "embedding", "lm_head.weight": "tied with wte.weight"}
    untied = select_parameters(checkpoint_of(shapes), ParameterRules())
    assert untied.weights == ("fc.weight",)
    assert untied.left_out == {"wte.weight": "embedding", "lm_head.weight": "output embedding"}
    rules = ParameterRules(include=("lm_head",))
    found = select_parameters(checkpoint_of(shapes, aliases=order), rules)
    assert set(found.weights) == {"fc.weight", "lm_head.weight"}


def test_tied_weights_count_once():
    shapes = {"encoder.weight": ((4, 4),), "decoder.weight": ((4, 4),)}
    found = select_parameters(checkpoint_of(shapes, aliases=tuple(shapes)), ParameterRules())
    assert found.weights == ("encoder.weight",)
    assert found.left_out == {"decoder.weight": "tied with encoder.weight"}


def test_include_and_exclude():
    shapes = {
        "wte.weight": ((V, D),),
        "ln.weight": ((D,),),
        "ln.bias": ((D,),),
        "fc1.weight": ((D, D),),
        "fc2.weight": ((D, D),),
        "steps": ((2, 2), "int64"),
    }
    rules = ParameterRules(include=("wte", r"^ln\.", "steps", "fc1"), exclude=("fc1",))
    found = select_parameters(checkpoint_of(shapes), rules)
    assert found.weights == ("wte.weight", "ln.weight", "fc2.weight")
    assert found.biases == ("ln.bias",)
    assert found.left_out == {
        "fc1.weight": "excluded by request",
        "steps": "not floating-point numbers",
    }


def test_what_stood_beside_the_model_is_passed_on():
    checkpoint = checkpoint_of({"w1": ((2, 2),)}, left_out={"optimizer": "kept beside the model"})
    assert "optimizer" in select_parameters(checkpoint, ParameterRules()).left_out


# Matrices


def matrices(name, values, rules=DEFAULT_RULES, **beside):
    """The matrices of one weight, ``beside`` which are tensors of the same module."""
    module = name[: len(name) - len(re.split("[./]", name)[-1])]
    shapes = {name: (values.shape,)} | {module + leaf: (shape,) for leaf, shape in beside.items()}
    return matrices_of(name, values, rules, axes_of(name, checkpoint_of(shapes)))


def only(matrices):
    (matrix,) = matrices
    assert matrix.dtype == np.float64
    return matrix


def test_vectors_matrices_and_convolutions_as_matrices():
    vector = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(only(matrices("v", vector)), [[0, 1, 2]])
    np.testing.assert_array_equal(only(matrices("s", np.array(2.0))), [[2]])
    convolution = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    matrix = only(matrices("conv.weight", convolution))
    np.testing.assert_array_equal(matrix, [convolution[0].ravel(), convolution[1].ravel()])


def test_the_output_axis_of_a_flax_convolution_is_the_last():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 8))
    as_torch = kernel.transpose(3, 0, 1, 2)
    matrix = only(matrices("params/Conv_0/kernel", kernel))
    np.testing.assert_array_equal(matrix, as_torch.reshape(8, -1))
    assert only(matrices("params/Dense_0/kernel", np.ones((4, 2)))).shape == (4, 2)


def test_a_transposed_convolution_has_its_output_on_the_second_axis():
    kernel = np.random.default_rng(0).normal(size=(6, 4, 3, 3))
    expected = kernel.transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_array_equal(only(matrices("up.weight", kernel, bias=(4,))), expected)
    np.testing.assert_array_equal(only(matrices("deconv1.weight", kernel)), expected)
    assert only(matrices("group_conv3x3.weight", kernel)).shape == (6, 36)  # no "up_conv"
    # The bias has as many numbers as there are outputs: here it is none.
    assert only(matrices("deconv1.weight", kernel, bias=(6,))).shape == (6, 36)
    keras = kernel.transpose(2, 3, 1, 0)
    matrix = only(matrices("conv2d_transpose/kernel", keras))
    assert matrix.shape == expected.shape
    np.testing.assert_allclose(np.linalg.svd(matrix)[1], np.linalg.svd(expected)[1])
    # Flax keeps the output last in its transposed convolution, too.
    assert only(matrices("ConvTranspose_0/kernel", keras)).shape == (6, 36)


def test_a_depthwise_kernel_filters_every_channel_by_itself():
    kernel = np.arange(3 * 3 * 5 * 2, dtype=float).reshape(3, 3, 5, 2)
    matrix = only(matrices("dw/depthwise_kernel", kernel))
    assert matrix.shape == (10, 9)
    np.testing.assert_array_equal(matrix[3], kernel[:, :, 1, 1].ravel())
    assert only(matrices("conv_dw_1/kernel", kernel[..., :1])).shape == (5, 9)
    assert only(matrices("last/kernel", kernel[..., :1], bias=(1,))).shape == (1, 45)


@pytest.mark.parametrize(
    ("name", "shape", "bias", "matrix"),
    [
        ("attn/query/kernel", (8, 2, 4), (2, 4), (8, 8)),
        ("attn/key/kernel", (8, 2, 4), None, (8, 8)),
        ("attn/out/kernel", (2, 4, 8), (8,), (8, 8)),
        ("mha/attention_output/kernel", (2, 4, 6), None, (8, 6)),
        ("attn/qkv/kernel", (8, 3, 2, 4), (3, 2, 4), (8, 24)),
        ("conv/kernel", (5, 2, 4), (4,), (4, 10)),
    ],
)
def test_flax_keeps_the_heads_of_one_matrix_apart(name, shape, bias, matrix):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    found = only(matrices(name, values, **({"bias": bias} if bias else {})))
    assert found.shape == matrix
    if "conv" not in name:
        np.testing.assert_array_equal(found, values.reshape(matrix))


@pytest.mark.parametrize(
    "name",
    ["blocks.0.attn.W_Q", "blocks.0.attn._W_K", "layers.0.mlp.experts.down_proj", "moe.w1",
     "layers.0.block_sparse_moe.input_linear.weight"],
)  # fmt: skip
def test_every_head_and_every_expert_is_a_matrix(name):
    values = np.random.default_rng(0).normal(size=(3, 5, 4))
    found = matrices(name, values)
    assert len(found) == 3
    for part, matrix in zip(values, found, strict=True):
        np.testing.assert_array_equal(matrix, part)


def test_a_stack_of_matrices_is_told_from_a_convolution_by_its_size():
    assert [m.shape for m in matrices("mamba.x_proj_weight", np.ones((2, 70, 80)))] == [
        (70, 80)
    ] * 2
    assert only(matrices("conv.weight", np.ones((2, 70, 9)))).shape == (2, 630)
    assert only(matrices("pos_conv.weight", np.ones((96, 12, 64)))).shape == (96, 768)


def test_split_of_fused_and_per_head_tensors():
    rules = ParameterRules(split=(("c_attn", 1, 3), ("W_[QKV]", 0, 2), ("c_", 0, 2)))
    fused = np.arange(4 * 6).reshape(4, 6).astype(np.float32)
    q, k, v = matrices("h.0.c_attn.weight", fused, rules)
    np.testing.assert_array_equal(np.hstack([q, k, v]), fused)
    assert q.shape == (4, 2)
    heads = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(np.float32)
    first, second = matrices("attn.W_Q", heads, rules)
    np.testing.assert_array_equal(first, heads[0])
    np.testing.assert_array_equal(second, heads[1])
    # Of each expert, gate and up side by side, cut apart.
    rules = ParameterRules(split=(("gate_up", -1, 2),))
    parts = matrices("experts.gate_up_proj", heads, rules)
    assert [part.shape for part in parts] == [(3, 2)] * 4


@pytest.mark.parametrize("split", [("w", 1, 4), ("w", 2, 2), ("w", -3, 2)])
def test_a_split_that_does_not_fit(split):
    with pytest.raises(UsageError, match=r"w of shape \(4, 6\) cannot be split"):
        matrices("w", np.ones((4, 6)), ParameterRules(split=(split,)))


@pytest.mark.parametrize(
    "rules", [{"include": ("(",)}, {"exclude": ("[",)}, {"split": (("*", 0, 2),)}]
)
def test_wrong_expressions(rules):
    with pytest.raises(UsageError, match="not a regular expression"):
        ParameterRules(**rules)


def test_a_split_into_one_part():
    with pytest.raises(UsageError, match="at least 2 parts"):
        ParameterRules(split=(("w", 0, 1),))
