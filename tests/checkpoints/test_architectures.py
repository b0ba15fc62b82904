"""What counts as a weight, held against the types of the modules of published architectures.

The lists in `architectures/` say what each tensor is, by the module that holds it. The rules see
names and shapes alone.
"""

from __future__ import annotations

import pytest

from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters
from tests.checkpoints.architectures import FAMILIES, checkpoint_of, models_of

MODELS = [(family, model) for family in FAMILIES for model in models_of(family)]
# What names and shapes alone do not tell: model -> tensors that are taken for something else.
KNOWN = {
    # A Linear without a bias that is called an embedder, taller than wide like a table.
    "AuraFlowTransformer2DModel": {"context_embedder.weight"},
    # A matrix of one column, declared under a name that says nothing.
    "swiftformer_xs": {
        f"stages.{stage}.blocks.{block}.attn.w_g"
        for stage, block in ((0, 2), (1, 2), (2, 5), (3, 3))
    },
    # One in a sequence that is called an embedding.
    "T5FilmDecoder": {f"conditioning_emb.{i}.weight" for i in (0, 2)},
    # A table of tokens called "w".
    "ctrl": {"transformer.w.weight"},
    # Integers kept as floating-point copies of the weights.
    "ibert": {
        f"ibert.encoder.layer.{layer}.{module}.weight_integer"
        for layer in (0, 1)
        for module in (
            *(f"attention.self.{part}" for part in ("query", "key", "value")),
            *("attention.output.dense", "intermediate.dense", "output.dense"),
        )
    },
}


def test_there_are_enough():
    assert len(MODELS) >= 60
    assert {"timm", "transformers", "diffusers", "transformer_lens", "flax", "keras"} <= {*FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_the_matrices_of_modules(family):
    wrong = {}
    for name, model in models_of(family).items():
        found = select_parameters(checkpoint_of(model), DEFAULT_RULES)
        expected = {tensor for tensor, is_ in model.items() if is_.role == "w"}
        differing = expected.symmetric_difference(found.weights) - KNOWN.get(name, set())
        if differing:
            wrong[name] = sorted(differing)
    assert not wrong


@pytest.mark.parametrize("family", FAMILIES)
def test_each_weight_stands_for_the_right_matrices(family):
    wrong = {}
    for name, model in models_of(family).items():
        found = select_parameters(checkpoint_of(model), DEFAULT_RULES)
        for tensor in found.weights:
            axes, is_ = found.axes[tensor], model[tensor]
            if is_.matrices and axes.shapes(is_.shape) != is_.matrices:
                wrong[name, tensor] = (is_.shape, axes.shapes(is_.shape), is_.matrices)
    assert not wrong


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_of_layers_are_biases_and_those_of_norms_are_not(family):
    wrong = {}
    for name, model in models_of(family).items():
        found = select_parameters(checkpoint_of(model), DEFAULT_RULES)
        for tensor, is_ in model.items():
            if (is_.role == "b") != (tensor in found.biases) and is_.role in "bn":
                wrong[name, tensor] = is_.role
    assert not wrong
