"""How well names and shapes tell what is a weight matrix, on published architectures.

    python benchmarks/weights.py > benchmarks/weights.md

What a tensor is comes from the type of the module that holds it
(`tests/checkpoints/architectures/collect.py`); the rules see its name, its shape and its neighbours.
"""

from __future__ import annotations

from tests.checkpoints.architectures import FAMILIES, Model, checkpoint_of, models_of

from hmmdyn.checkpoints.parameters import DEFAULT_RULES, select_parameters

# The rules before they were revised (commit 0b89af6), measured on the same lists: weights found,
# others taken for weights, weights missed, weights flattened into other matrices.
BEFORE = {BEFORE}


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
    print("# What counts as a weight, on published architectures\n")
    print(
        "Precision: the share of tensors taken for weight matrices that are. Recall: the share of\n"
        "weight matrices that are taken. Shape: weights found whose matrices are cut or flattened\n"
        "along other axes than the module's. *Held out*: listed only after the rules were fixed.\n"
    )
    print("| library | models | tensors | weights | precision | recall | shape | "
          "before: precision | recall | shape |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for family in FAMILIES:
        models = models_of(family)
        counts = measured(models)
        name = family.replace("-held-out", ", held out").replace("_", "-")
        print(
            f"| {name} | {len(models)} | {sum(map(len, models.values())):,} "
            f"| {counts[0] + counts[2]:,} | {row(counts)} | {row(BEFORE[family])} |"
        )


if __name__ == "__main__":
    main()
