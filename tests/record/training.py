"""Small networks of several kinds, and a few steps of training for them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

N_STEPS = 4


class Block(nn.Module):
    """A transformer's block in small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        normed = self.ln_1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    """Tied embeddings: the head's weight is that of ``wte``."""

    def __init__(self, n_words: int = 11, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.wte = nn.Embedding(n_words, width)
        self.wpe = nn.Embedding(6, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, n_words, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, words):
        x = self.wte(words) + self.wpe.weight[: words.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class WithConstants(nn.Module):
    """A frozen layer, a parameter that nothing uses, and a constant matrix that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.unused = nn.Linear(4, 3)
        self.register_buffer("projection", torch.randn(5, 5))
        self.trained = nn.Linear(5, 2)

    def forward(self, x):
        return self.trained(self.frozen(x) @ self.projection)


class WithMovingBuffer(nn.Module):
    """A matrix that is no parameter and changes all the same, as moving averages do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(3, 5))
        self.trained = nn.Linear(5, 2)

    def forward(self, x):
        if self.training:
            self.codebook.mul_(0.9)
        return self.trained(x)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)
    )


def batch(model: nn.Module) -> torch.Tensor:
    layers = [type(layer) for layer in model.modules()]
    if LanguageModel in layers:
        return torch.randint(11, (4, 6))
    if nn.Conv2d in layers:
        return torch.randn(4, 1, 5, 5)
    return torch.randn(4, 5, dtype=next(model.parameters()).dtype)


def training(model: nn.Module, n_steps: int = N_STEPS, lr: float = 0.05) -> Iterator[tuple]:
    """Yield (step, loss) before the first step and after each; the loss keeps its graph."""
    for step, loss, _ in optimized(model, n_steps, lr):
        yield step, loss


def optimized(model: nn.Module, n_steps: int = N_STEPS, lr: float = 0.05) -> Iterator[tuple]:
    """Yield the optimizer, too."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    for step in range(n_steps + 1):
        loss = model(batch(model)).square().mean()
        yield step, loss, optimizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
