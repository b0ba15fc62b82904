"""Make the lists of names and shapes beside this file from the libraries that define the models.

Run it in an environment of its own (nothing is downloaded: models are built from their default or
published configurations, without numbers):

    pip install torch==2.13.0 transformers timm diffusers transformer-lens flax keras jax
    python collect.py transformers timm diffusers transformer_lens flax keras
    python collect.py transformers-held-out timm-held-out diffusers-held-out

(transformer-lens before version 4: later ones load the models of transformers as they are.)

What a tensor *is* comes from the type of the module that holds it, never from its name:

w   weight matrix: of Linear, Conv, attention, recurrent and mixture-of-experts modules; with the
    number, rows and columns of the matrices it stands for
b   bias of such a module
u   output embedding: the module that `get_output_embeddings()` returns, or a Linear as long as the
    vocabulary
e   weight of an Embedding
n   parameter of a normalisation
p   any other parameter that a module declares itself: gains, tokens, tables, temperatures, …
f   buffer
t   the same tensor under a second name
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import math
import os
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent

# Parameters that modules declare themselves and multiply activations with, by the module's class:
# how many leading axes count matrices, and how many of the others are rows.
OWN_MATRICES = {
    (r"\w+Experts", r"\w*(gate_up_proj|down_proj|weight)"): (1, 1),
    (r"\w+(TopKRouter|Router)", r"weight"): (0, 1),
    (r"QuantLinear", r"weight"): (0, 1),
    (r"XLNetRelativeAttention", r"[qkvor]"): (0, 1),
    (r"FunnelRelMultiheadAttention", r"r_kernel"): (0, 1),
    (r"ZambaMambaMixer", r"(x|dt)_proj_weight"): (1, 1),
    (r"EfficientAdditiveAttention", r"w_g"): (0, 1),
    (r"(Abstract|Grouped\w+|T5)?Attention", r"_?W_[QKV]"): (1, 1),
    (r"(Abstract|Grouped\w+|T5)?Attention", r"_?W_O"): (1, 1),
    (r"(Gated)?MLP\w*|CanBeUsedAsMLP|BertMLMHead|BertNSPHead|BertPooler|MoE\w*", r"W(_\w+)?"): (
        0,
        1,
    ),
}
OWN_BIASES = {
    (r"\w+Experts", r"\w+_bias"),
    (r"\w+TopKRouter", r"bias"),
    (r"(Abstract|Grouped\w+|T5)?Attention|(Gated)?MLP\w*|Bert\w+|MoE\w*", r"_?b(_\w+)?"),
}

TRANSFORMERS = """
gpt2 GPT2LMHeadModel | gpt_neo GPTNeoForCausalLM | gpt_neox GPTNeoXForCausalLM
gptj GPTJForCausalLM | llama LlamaForCausalLM | mixtral MixtralForCausalLM
qwen2_moe Qwen2MoeForCausalLM | qwen3 Qwen3ForCausalLM | gemma2 Gemma2ForCausalLM
qwen3_next Qwen3NextForCausalLM | phi3 Phi3ForCausalLM | falcon FalconForCausalLM
mpt MptForCausalLM | bloom BloomForCausalLM | opt OPTForCausalLM | olmo2 Olmo2ForCausalLM
olmoe OlmoeForCausalLM | deepseek_v3 DeepseekV3ForCausalLM | gpt_oss GptOssForCausalLM
llama4_text Llama4ForCausalLM | jetmoe JetMoeForCausalLM | granitemoe GraniteMoeForCausalLM
mamba MambaForCausalLM | mamba2 Mamba2ForCausalLM | zamba ZambaForCausalLM
rwkv RwkvForCausalLM | bert BertForMaskedLM | roberta RobertaForMaskedLM
deberta-v2 DebertaV2ForMaskedLM | deberta DebertaForMaskedLM | electra ElectraForPreTraining
albert AlbertForMaskedLM | distilbert DistilBertForMaskedLM | xlnet XLNetLMHeadModel
modernbert ModernBertForMaskedLM | t5 T5ForConditionalGeneration
bart BartForConditionalGeneration | switch_transformers SwitchTransformersForConditionalGeneration
longformer LongformerForMaskedLM | fnet FNetForMaskedLM | convbert ConvBertForMaskedLM
funnel FunnelForMaskedLM | canine CanineForSequenceClassification | perceiver PerceiverForMaskedLM
vit ViTForImageClassification | vit_mae ViTMAEForPreTraining | deit DeiTForImageClassification
beit BeitForImageClassification | swin SwinForImageClassification
swinv2 Swinv2ForImageClassification | dinov2 Dinov2ForImageClassification
convnextv2 ConvNextV2ForImageClassification | resnet ResNetForImageClassification
mobilevit MobileViTForImageClassification | segformer SegformerForSemanticSegmentation
detr DetrForObjectDetection | mask2former Mask2FormerForUniversalSegmentation | clip CLIPModel
siglip SiglipModel | blip-2 Blip2ForConditionalGeneration | flava FlavaForPreTraining
sam SamModel | wav2vec2 Wav2Vec2ForCTC | whisper WhisperForConditionalGeneration
encodec EncodecModel | vits VitsModel | musicgen_decoder MusicgenForCausalLM
decision_transformer DecisionTransformerModel | patchtst PatchTSTForPrediction
clap ClapModel | yolos YolosForObjectDetection | cvt CvtForImageClassification
levit LevitForImageClassification | poolformer PoolFormerForImageClassification
speecht5 SpeechT5ForTextToSpeech | xlm XLMWithLMHeadModel | mobilebert MobileBertForMaskedLM
openai-gpt OpenAIGPTLMHeadModel | xlstm xLSTMForCausalLM
"""
TIMM = """
resnet50 dm_nfnet_f0 nf_resnet50 eca_nfnet_l0 efficientnet_b0 mobilenetv3_large_100 convnext_tiny
convnextv2_tiny vit_base_patch16_224 vit_base_patch16_siglip_224 deit3_small_patch16_224
deit_small_distilled_patch16_224 beitv2_base_patch16_224 eva02_tiny_patch14_224 cait_xxs24_224
xcit_nano_12_p16_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 maxvit_tiny_tf_224
levit_128 mixer_s16_224 resmlp_12_224 gmlp_s16_224 pit_ti_224 twins_svt_small volo_d1_224
crossvit_tiny_240 poolformer_s12 caformer_s18 regnety_002 densenet121 inception_v4 vgg11_bn
mvitv2_tiny hiera_tiny_224 samvit_base_patch16 fastvit_t8 tiny_vit_5m_224 focalnet_tiny_srf
sequencer2d_s nest_tiny convmixer_768_32 repvgg_a0 ghostnet_100 botnet26t_256 halonet26t
lambda_resnet26t rdnet_tiny hgnetv2_b0 vit_base_patch16_dinov3 convit_tiny visformer_tiny
mobilevit_s swiftformer_xs edgenext_small
"""
DIFFUSERS = """
UNet2DModel UNet2DConditionModel AutoencoderKL VQModel DiTTransformer2DModel SD3Transformer2DModel
FluxTransformer2DModel PixArtTransformer2DModel ControlNetModel UNetSpatioTemporalConditionModel
UVit2DModel HunyuanDiT2DModel CogVideoXTransformer3DModel Kandinsky3UNet AutoencoderTiny
PriorTransformer AuraFlowTransformer2DModel WanTransformer3DModel MochiTransformer3DModel
SanaTransformer2DModel AutoencoderDC UNet1DModel AutoencoderOobleck LTXVideoTransformer3DModel
StableAudioDiTModel
"""

# Collected only after the rules had been written and were judged on all of the others.
HELD_OUT_TRANSFORMERS = """
qwen2 Qwen2ForCausalLM | gemma3_text Gemma3ForCausalLM | phi PhiForCausalLM
mistral MistralForCausalLM | starcoder2 Starcoder2ForCausalLM | stablelm StableLmForCausalLM
cohere CohereForCausalLM | glm4 Glm4ForCausalLM | persimmon PersimmonForCausalLM
minimax MiniMaxForCausalLM | bamba BambaForCausalLM | codegen CodeGenForCausalLM
ctrl CTRLLMHeadModel | falcon_h1 FalconH1ForCausalLM | ernie4_5_moe Ernie4_5_MoeForCausalLM
dots1 Dots1ForCausalLM | m2m_100 M2M100ForConditionalGeneration
pegasus PegasusForConditionalGeneration | led LEDForConditionalGeneration
prophetnet ProphetNetForConditionalGeneration | layoutlm LayoutLMForMaskedLM
splinter SplinterModel | nystromformer NystromformerForMaskedLM | yoso YosoForMaskedLM
rembert RemBertForMaskedLM | roformer RoFormerForMaskedLM
megatron-bert MegatronBertForMaskedLM | squeezebert SqueezeBertForMaskedLM
ibert IBertForMaskedLM | align AlignModel | altclip AltCLIPModel | groupvit GroupViTModel
owlvit OwlViTModel | clipseg CLIPSegModel | dpt DPTForDepthEstimation
glpn GLPNForDepthEstimation | focalnet FocalNetForImageClassification
pvt PvtForImageClassification | swiftformer SwiftFormerForImageClassification
mobilenet_v2 MobileNetV2ForImageClassification | regnet RegNetForImageClassification
efficientnet EfficientNetForImageClassification | bit BitForImageClassification
vitdet VitDetModel | vit_msn ViTMSNForImageClassification | hiera HieraForImageClassification
ijepa IJepaModel | dinov3_vit DINOv3ViTModel | unispeech UniSpeechForCTC | sew SEWForCTC
data2vec-audio Data2VecAudioForCTC | univnet UnivNetModel | mimi MimiModel | dac DacModel
bark_semantic BarkSemanticModel | timesfm TimesFmModel | patchtsmixer PatchTSMixerForPrediction
vilt ViltForMaskedLM | bridgetower BridgeTowerForMaskedLM | visual_bert VisualBertForPreTraining
lxmert LxmertModel
"""
HELD_OUT_TIMM = """
bat_resnext26ts dpn68 dla34 darknet53 res2net50_26w_4s senet154 legacy_xception hrnet_w18_small
mnasnet_small tinynet_a fbnetc_100 lcnet_050 vovnet39a ese_vovnet19b_dw nfnet_l0
resnetv2_50x1_bit inception_resnet_v2 nasnetalarge pnasnet5large convformer_s18 randformer_s12
caformer_b36 efficientvit_m0 efficientformerv2_s0 mobileone_s0 mobilenetv4_conv_small
repghostnet_050 hardcorenas_a selecsls42 wide_resnet50_2 resnext50_32x4d seresnet50 ecaresnet26t
gcresnet33ts gernet_s haloregnetz_b sebotnet33ts_256 lamhalobotnet50ts_256 swinv2_cr_tiny_224
maxxvit_rmlp_nano_rw_256 coatnext_nano_rw_224 pvt_v2_b0 gcvit_xxtiny inception_next_tiny
starnet_s1 mambaout_femto vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224
vitamin_small_224 vit_large_patch14_clip_224 eva_large_patch14_196 beit3_base_patch16_224
convnext_zepto_rms davit_tiny resnest14d nextvit_small cs3darknet_s tresnet_m skresnet18
repvit_m0_9 shvit_s1 rexnet_100 sequencer2d_m twins_pcpvt_small
"""
HELD_OUT_DIFFUSERS = """
HunyuanVideoTransformer3DModel QwenImageTransformer2DModel AllegroTransformer3DModel
UNetMotionModel UNet3DConditionModel T5FilmDecoder StableCascadeUNet LuminaNextDiT2DModel
CogView4Transformer2DModel AutoencoderKLWan AutoencoderKLCogVideoX ChromaTransformer2DModel
"""


# ---------------------------------------------------------------------------------------- PyTorch


def of_torch(model, vocabulary: int | None = None) -> dict:
    """Walk the modules of a PyTorch model and say what each tensor of its state dictionary is."""
    from torch import nn

    linear: tuple = (nn.Linear, nn.Bilinear)
    transposed: tuple = ()
    try:
        from transformers.pytorch_utils import Conv1D

        linear += (Conv1D,)
    except ImportError:
        pass
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    embedded = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(False)
    }
    weights = ("weight", "weight_v")  # the second under weight normalisation
    output = set()
    if hasattr(model, "get_output_embeddings") and model.get_output_embeddings() is not None:
        output |= {
            id(p) for n, p in model.get_output_embeddings().named_parameters() if "bias" not in n
        }
    roles: dict[str, tuple] = {}
    first: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        kind = type(module).__name__
        norm = "Norm" in kind and not list(module.children())
        tensors = dict(module.named_parameters(recurse=False))
        for leaf, p in tensors.items():
            name = f"{path}.{leaf}".lstrip(".")
            shape = tuple(p.shape)
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                role = ("e",)
            elif isinstance(module, linear):
                role = (
                    ("w", 1, shape[0], math.prod(shape[1:]))
                    if leaf in weights
                    else (("b",) if leaf == "bias" else ("p",))
                )
                if leaf == "weight" and (
                    id(p) in output | embedded
                    or (vocabulary and vocabulary in shape and vocabulary > 1000)
                ):
                    role = ("u",)
            elif isinstance(module, nn.modules.conv._ConvNd):
                # Where every channel is filtered by itself, each has a row of its own.
                alone = module.groups == module.in_channels
                out = 1 if isinstance(module, transposed) and not alone else 0
                role = (
                    ("w", 1, shape[out], math.prod(shape) // shape[out])
                    if leaf in weights
                    else (("b",) if leaf == "bias" else ("p",))
                )
            elif kind == "ParametrizationList":
                owner = model.get_submodule(path.split(".parametrizations.")[0])
                out = 1 if isinstance(owner, transposed) else 0
                held = max((q for q in tensors.values()), key=lambda q: q.numel())
                role = ("w", 1, shape[out], math.prod(shape) // shape[out]) if p is held else ("p",)
            elif isinstance(module, nn.MultiheadAttention):
                role = (
                    ("w", 1, *shape)
                    if leaf.endswith("weight")
                    else (("b",) if leaf == "in_proj_bias" else ("p",))
                )
            elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
                role = ("w", 1, *shape) if leaf.startswith("weight") else ("b",)
            elif norm:
                role = ("n",)
            else:
                role = _own(kind, leaf, shape)
            if id(p) in first and name != first[id(p)]:
                role = ("t", first[id(p)])
            first.setdefault(id(p), name)
            roles[name] = role
    found = {}
    for name, tensor in model.state_dict().items():
        role = roles.get(name, ("f",))
        dtype = str(tensor.dtype).removeprefix("torch.")
        found[name] = [
            list(tensor.shape),
            *([dtype] if not dtype.startswith("float") else [""]),
            *role,
        ]
    return found


def _own(kind: str, leaf: str, shape: tuple) -> tuple:
    """Say what a parameter is that a module of this class declares itself."""
    for (of_class, of_leaf), (apart, rows) in OWN_MATRICES.items():
        if (
            re.fullmatch(of_class, kind)
            and re.fullmatch(of_leaf, leaf)
            and len(shape) > apart + rows
        ):
            n = math.prod(shape[:apart])
            r = math.prod(shape[apart : apart + rows])
            return ("w", n, r, math.prod(shape) // n // r)
    if any(re.fullmatch(c, kind) and re.fullmatch(a, leaf) for c, a in OWN_BIASES):
        return ("b",)
    return ("p",)


def transformers(entries: str = TRANSFORMERS) -> dict:
    import torch
    import transformers as library

    depth = (
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        "encoder_layers",
        "decoder_layers",
        "num_decoder_layers",
        "num_blocks",
    )
    models = {}
    for entry in entries.replace("\n", "|").split("|"):
        if not entry.strip():
            continue
        kind, class_name = entry.split()
        try:
            config = library.CONFIG_MAPPING[kind]()
        except Exception as error:
            print("left out:", kind, repr(error)[:200])
            continue
        for name in depth:
            if isinstance(getattr(config, name, None), int):
                with suppress(NotImplementedError):
                    setattr(config, name, min(2, getattr(config, name)))
        if isinstance(config.__dict__.get("layer_types"), list):
            config.layer_types = config.layer_types[:2]
        try:
            with torch.device("meta"):
                model = getattr(library, class_name)(config)
                if hasattr(model, "tie_weights"):
                    model.tie_weights()
        except Exception as error:  # a default that does not build in this version
            print("left out:", kind, repr(error)[:200])
            continue
        text = getattr(config, "text_config", config)
        models[kind] = of_torch(model, getattr(text, "vocab_size", None))
    return models


def timm(names: str = TIMM) -> dict:
    import timm as library
    import torch

    models = {}
    for name in names.split():
        if library.is_model(name):
            with torch.device("meta"):
                models[name] = of_torch(library.create_model(name))
    return models


def diffusers(names: str = DIFFUSERS) -> dict:
    import diffusers as library
    import torch

    models = {}
    for name in names.split():
        try:
            with torch.device("meta"):
                model = getattr(library, name)()
        except Exception as error:
            print("left out:", name, repr(error)[:200])
            continue
        models[name] = _without_repeats(of_torch(model))
    return models


def _without_repeats(found: dict) -> dict:
    """Keep the first two of long stacks of equal blocks: the others say nothing new."""
    return {n: role for n, role in found.items() if not re.search(r"blocks\.([2-9]|\d\d+)\.", n)}


def transformer_lens() -> dict:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    base = {
        "n_layers": 2,
        "d_model": 128,
        "n_ctx": 64,
        "d_head": 32,
        "d_vocab": 1000,
        "act_fn": "gelu",
        "n_heads": 4,
        "d_mlp": 512,
    }
    variants = {
        "gpt2-like": {},
        "llama-like": {
            "normalization_type": "RMS",
            "gated_mlp": True,
            "act_fn": "silu",
            "positional_embedding_type": "rotary",
            "rotary_dim": 32,
            "n_key_value_heads": 2,
        },
        "attn-only": {"attn_only": True},
        "modular addition": {
            "n_layers": 1,
            "d_vocab": 114,
            "n_ctx": 3,
            "act_fn": "relu",
            "normalization_type": None,
        },
        "t5-bias": {
            "positional_embedding_type": "relative_positional_bias",
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
        },
        "mixture": {"num_experts": 4, "experts_per_token": 2, "gated_mlp": True, "act_fn": "silu"},
    }
    models = {}
    for name, changes in variants.items():
        try:
            config = HookedTransformerConfig(**{**base, **changes})
            model = HookedTransformer(config)
        except Exception as error:
            print("left out:", name, repr(error)[:200])
            continue
        found = of_torch(model)
        # TransformerLens declares its embeddings and unembedding itself.
        for path, module in model.named_modules():
            kind = type(module).__name__
            role = {"Embed": "e", "PosEmbed": "e", "TokenTypeEmbed": "e", "Unembed": "u"}.get(kind)
            for leaf, p in module.named_parameters(recurse=False):
                if role and p.ndim == 2:
                    found[f"{path}.{leaf}"] = [list(p.shape), "", role]
                elif role:
                    found[f"{path}.{leaf}"] = [list(p.shape), "", "b"]
                elif "Norm" in kind:
                    found[f"{path}.{leaf}"] = [list(p.shape), "", "n"]
        models[name] = found
    return models


# ------------------------------------------------------------------------------------------- Flax


def flax() -> dict:
    """Published architectures, written in flax.linen with the names of their repositories."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    class Mlp(nn.Module):
        @nn.compact
        def __call__(self, x):
            d = x.shape[-1]
            return nn.Dense(d)(nn.gelu(nn.Dense(4 * d)(x)))

    class EncoderBlock(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(y, y)
            return x + Mlp(name="MlpBlock_0")(nn.LayerNorm()(x))

    class ViT(nn.Module):  # google-research/vision_transformer
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(96, (16, 16), strides=(16, 16), name="embedding")(x)
            x = x.reshape(x.shape[0], -1, 96)
            cls = self.param("cls", nn.initializers.zeros, (1, 1, 96))
            x = jnp.concatenate([jnp.tile(cls, (x.shape[0], 1, 1)), x], 1)
            x = x + self.param("pos_embedding", nn.initializers.normal(), (1, x.shape[1], 96))
            for i in range(2):
                x = EncoderBlock(name=f"encoderblock_{i}")(x)
            return nn.Dense(10, name="head")(nn.LayerNorm(name="encoder_norm")(x)[:, 0])

    class MapHead(nn.Module):  # google-research/big_vision
        @nn.compact
        def __call__(self, x):
            probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, x.shape[-1]))
            y = nn.MultiHeadDotProductAttention(num_heads=4)(jnp.tile(probe, (x.shape[0], 1, 1)), x)
            return y + Mlp(name="MlpBlock_0")(nn.LayerNorm()(y))

    class ResNetBlock(nn.Module):  # flax/examples/imagenet
        @nn.compact
        def __call__(self, x):
            y = nn.Conv(16, (3, 3), use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=False)(y))
            y = nn.Conv(32, (3, 3), use_bias=False)(y)
            y = nn.BatchNorm(use_running_average=False)(y)
            return y + nn.Conv(32, (1, 1), use_bias=False, name="conv_proj")(x)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (7, 7), use_bias=False, name="conv_init")(x)
            x = nn.BatchNorm(use_running_average=False, name="bn_init")(x)
            for _ in range(2):
                x = ResNetBlock()(x)
            return nn.Dense(10)(x.mean((1, 2)))

    class Unet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.GroupNorm(num_groups=1)(nn.Conv(8, (3, 3))(x))
            x = nn.ConvTranspose(16, (2, 2), strides=(2, 2))(x)
            return nn.Conv(3, (1, 1))(x)

    class Transformer(nn.Module):  # flax/examples/lm1b
        @nn.compact
        def __call__(self, x):
            embed = nn.Embed(1000, 64, name="Embed_0")
            x = embed(x)
            x = x + self.param("posembed_output", nn.initializers.normal(), (1, 16, 64))
            for i in range(2):
                y = nn.LayerNorm(name=f"ln_{i}")(x)
                x = x + nn.SelfAttention(num_heads=4, name=f"attention_{i}")(y)
                x = x + Mlp(name=f"mlp_{i}")(nn.RMSNorm(name=f"rms_{i}")(x))
            return nn.Dense(1000, name="logitdense")(x)

    class Seq2seq(nn.Module):  # flax/examples/seq2seq
        @nn.compact
        def __call__(self, x):
            x = nn.RNN(nn.LSTMCell(32), name="encoder")(x)
            x = nn.RNN(nn.GRUCell(32), name="decoder")(x)
            return nn.Dense(20)(x)

    class Depthwise(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(12, (3, 3), feature_group_count=12, name="depthwise")(
                nn.Conv(12, (1, 1))(x)
            )
            return nn.Conv(5, (5,), name="over_time")(x[:, 0])

    class Mixer(nn.Module):  # google-research/vision_transformer
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(24, (16, 16), strides=(16, 16), name="stem")(x).reshape(2, -1, 24)
            y = nn.LayerNorm()(x).swapaxes(1, 2)
            x = x + Mlp(name="token_mixing")(y).swapaxes(1, 2)
            return nn.Dense(10, name="head")(nn.LayerNorm(name="pre_head_layer_norm")(x).mean(1))

    class WeightNormed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(7))(nn.WeightNorm(nn.Conv(4, (3,)))(x))

    image = jnp.zeros((2, 32, 32, 3))
    series = jnp.zeros((2, 9, 6))
    tokens = jnp.zeros((2, 16), int)
    inputs = {
        "ViT": (ViT(), image),
        "MapHead": (MapHead(), series.repeat(2, -1)[..., :12]),
        "ResNet": (ResNet(), image),
        "U-Net": (Unet(), image),
        "Transformer": (Transformer(), tokens),
        "Seq2seq": (Seq2seq(), series),
        "Depthwise": (Depthwise(), image),
        "Mixer": (Mixer(), image),
        "WeightNorm": (WeightNormed(), series),
    }
    models = {}
    for name, (module, x) in inputs.items():
        rows: dict[tuple, tuple] = {}

        def walk(call, args, kwargs, context, rows=rows):
            rows[tuple(context.module.path)] = (type(context.module).__name__, context.module)
            return call(*args, **kwargs)

        with nn.intercept_methods(walk):
            shapes = jax.eval_shape(module.init, jax.random.key(0), x)
        found = {}
        for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
            keys = [k.key for k in path]
            owner = rows.get(tuple(keys[1:-1]), ("", None))
            found["/".join(keys)] = [list(leaf.shape), "", *_flax_role(keys, leaf.shape, *owner)]
        models[name] = found
    return models


def _flax_role(keys: list[str], shape: tuple, kind: str, module) -> tuple:
    leaf = keys[-1]
    if keys[0] == "batch_stats" or kind in ("LayerNorm", "RMSNorm", "BatchNorm", "GroupNorm"):
        return ("n",)
    if kind == "Embed":
        return ("e",)
    if leaf == "bias":
        return ("b",)
    if kind == "Dense" and leaf == "kernel":
        return ("u",) if shape[-1] == 1000 else ("w", 1, *shape)
    if kind == "DenseGeneral" and leaf == "kernel":
        axes = module.axis if isinstance(module.axis, tuple) else (module.axis,)
        rows = math.prod(shape[: len(axes)])
        return ("w", 1, rows, math.prod(shape) // rows)
    if kind in ("Conv", "ConvTranspose") and leaf == "kernel":
        return ("w", 1, shape[-1], math.prod(shape[:-1]))
    if leaf == "kernel":  # inside a cell
        return ("w", 1, *shape)
    return ("p",)


# ------------------------------------------------------------------------------------------ Keras


def keras() -> dict:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras as library

    layers = library.layers
    names = "MobileNet"
    models = {
        n: getattr(library.applications, n)(weights=None)
        for n in names.split()
        if hasattr(library.applications, n)
    }
    x = layers.Input((12,), dtype="int32")
    y = layers.Embedding(1000, 32)(x)
    z = layers.MultiHeadAttention(4, 8)(y, y)
    z = layers.LayerNormalization()(y + z)
    z = layers.Dense(32)(layers.Dense(64, "relu")(z))
    models["transformer"] = library.Model(x, layers.Dense(1000)(z))
    x = layers.Input((9, 6))
    y = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    y = layers.Conv1D(12, 3)(layers.GRU(16, return_sequences=True)(y))
    models["recurrent"] = library.Model(x, layers.Dense(3)(layers.SeparableConv1D(5, 3)(y)))
    x = layers.Input((8, 8, 3))
    y = layers.Conv2DTranspose(16, 2, strides=2)(layers.Conv2D(8, 3)(x))
    y = layers.PReLU()(layers.GroupNormalization(4)(y))
    y = layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 4), bias_axes="e")(y)
    models["u-net"] = library.Model(x, layers.DepthwiseConv2D(3, depth_multiplier=2)(y))
    return {name: _of_keras(model) for name, model in models.items()}


def _of_keras(model) -> dict:
    found = {}
    for layer in model._flatten_layers(include_self=False):
        kind = type(layer).__name__
        children = list(layer._flatten_layers(include_self=False))
        inner = {id(v) for child in children for v in child.variables}
        for variable in layer.variables:
            if id(variable) in inner or variable.path in found:
                continue
            role = _keras_role(kind, layer, variable.path.split("/")[-1], tuple(variable.shape))
            dtype = "" if "float" in str(variable.dtype) else str(variable.dtype)
            found[variable.path] = [list(variable.shape), dtype, *role]
    return found


def _keras_role(kind: str, layer, leaf: str, shape: tuple) -> tuple:
    if "Normalization" in kind:
        return ("n",)
    if kind == "Embedding":
        return ("e",)
    if "bias" in leaf:
        return ("b",)
    if kind == "EinsumDense" and leaf == "kernel":
        inputs, rest = layer.equation.split(",")
        kernel, _ = rest.split("->")
        rows = math.prod(n for n, axis in zip(shape, kernel, strict=True) if axis in inputs)
        return ("w", 1, rows, math.prod(shape) // rows)
    if kind == "Dense" and leaf == "kernel":
        return ("u",) if shape == (32, 1000) else ("w", 1, *shape)
    if "Transpose" in kind:
        return ("w", 1, shape[-2], math.prod(shape) // shape[-2])
    if leaf == "depthwise_kernel" or ("Depthwise" in kind and leaf == "kernel"):
        rows = shape[-1] * shape[-2]
        return ("w", 1, rows, math.prod(shape) // rows)
    if "Conv" in kind and "kernel" in leaf:
        return ("w", 1, shape[-1], math.prod(shape[:-1]))
    if "kernel" in leaf:
        return ("w", 1, *shape)
    return ("f",) if "seed" in leaf else ("p",)


def main() -> None:
    warnings.filterwarnings("ignore")
    for family in sys.argv[1:]:
        if family not in ("flax", "keras"):
            import torch

            # A torchvision of another build cannot register its operators, and none is needed.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor a) -> Tensor")
        held_out = family.endswith("-held-out")
        family = family.removesuffix("-held-out")
        models = globals()[family](*([globals()[f"HELD_OUT_{family.upper()}"]] if held_out else []))
        package = {"transformer_lens": "transformer-lens"}.get(family, family)
        document = {"library": f"{package} {importlib.metadata.version(package)}", "models": models}
        text = json.dumps(document, separators=(",", ":"))
        path = HERE / f"{family}{'-held-out' if held_out else ''}.json.gz"
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(
            family,
            len(models),
            "models,",
            sum(map(len, models.values())),
            "tensors,",
            path.stat().st_size,
            "bytes",
        )


if __name__ == "__main__":
    main()
