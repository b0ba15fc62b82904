"""How well names and shapes tell what is a weight matrix, on published architectures.

What a tensor is comes from the type of the module that holds it; the rules see its name, its shape
and its neighbours. `tests/checkpoints/architectures/collect.py` makes the lists. Run from the
repository:

    PYTHONPATH=. python benchmarks/weights.py > benchmarks/weights.md
"""

from __future__ import annotations

from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters
from tests.checkpoints.architectures import FAMILIES, Model, checkpoint_of, models_of

# The rules before they were revised (commit 0b89af6), measured on the same lists: weights found,
# others taken for weights, weights missed, weights cut or flattened into other matrices.
BEFORE = {
    "diffusers": (1858, 233, 1, 4),
    "diffusers-held-out": (1778, 132, 0, 0),
    "flax": (67, 4, 0, 15),
    "keras": (48, 2, 0, 19),
    "timm": (3894, 265, 0, 0),
    "timm-held-out": (5993, 68, 0, 0),
    "transformer_lens": (86, 14, 0, 44),
    "transformers": (3914, 339, 0, 212),
    "transformers-held-out": (3208, 128, 0, 14),
}
# The revised rules when they met the held-out lists for the first time. What they had wrong there
# was mended then: names that hold "up_conv", codebooks, decays, embeddings of two widths.
FIRST = {
    "diffusers-held-out": (1776, 1, 2, 0),
    "timm-held-out": (5993, 0, 0, 20),
    "transformers-held-out": (3208, 25, 0, 0),
}


def measured(models: dict[str, Model]) -> tuple[int, int, int, int]:
    """Weights found, others taken for weights, weights missed, and wrongly shaped ones."""
    found = extra = missed = misshaped = 0
    for model in models.values():
        selected = select_parameters(checkpoint_of(model), DEFAULT_RULES)
        weights = {name for name, tensor in model.items() if tensor.role == "w"}
        taken = set(selected.weights)
        found += len(weights & taken)
        extra += len(taken - weights)
        missed += len(weights - taken)
        misshaped += sum(
            selected.axes[name].shapes(model[name].shape) != model[name].matrices
            for name in weights & taken
        )
    return found, extra, missed, misshaped


def row(counts: tuple[int, int, int, int]) -> str:
    found, extra, missed, misshaped = counts
    return f"{found / (found + extra):.4f} | {found / (found + missed):.4f} | {misshaped:,}"


def main() -> None:
    print(_HEAD)
    heading = "library | models | tensors | weights | precision | recall | misshapen"
    print(f"| {heading} | before: precision | recall | misshapen |")
    print("|---|" + 9 * "--:|")
    for family in FAMILIES:
        models = models_of(family)
        counts = measured(models)
        name = family.replace("-held-out", ", held out").replace("_", "-")
        print(
            f"| {name} | {len(models)} | {sum(map(len, models.values())):,} "
            f"| {counts[0] + counts[2]:,} | {row(counts)} | {row(BEFORE[family])} |"
        )
    print(_FIRST)
    print("| library | precision | recall | misshapen |")
    print("|---|--:|--:|--:|")
    for family, counts in FIRST.items():
        print(f"| {family.replace('-held-out', '')} | {row(counts)} |")
    print(_KNOWN)


_HEAD = """# What counts as a weight, on published architectures

    PYTHONPATH=. python benchmarks/weights.py > benchmarks/weights.md

What a tensor is comes from the type of the module that holds it; the rules see names and shapes
alone. Precision: the share of tensors taken for weight matrices that are. Recall: the share of
weight matrices that are taken. Misshapen: weights found that are cut or flattened into other
matrices than the module multiplies with. Before: the rules up to commit 0b89af6, on the same lists.
"""
_FIRST = """
The rules were written in sight of the lists that are not held out, so those rows say what is
understood, not what to expect of a new architecture. The others were made only after the rules were
fixed (of some 25 of their models, the parameters that modules declare themselves had been looked
through before, and the type of one module, I-BERT's linear layer, was mended in the lists after).
When the rules met them first:
"""
_KNOWN = """
What was wrong there, and could be told by a name, was mended then. What names and shapes do not
tell needs `--include` or `--exclude`: linear layers without a bias that are called an embedding
(AuraFlow, T5 for music), a matrix of one column under a name of its own (SwiftFormer), a table of
tokens called `w` (CTRL), integers kept as floating-point copies of the weights (I-BERT)."""


if __name__ == "__main__":
    main()
