"""Train two networks 2,048 wide, for spectra of weights that have learned something.

    python benchmarks/wide_networks.py FOLDER

A classifier of scikit-learn's digits (1,500 steps), and one block of a transformer that predicts
the next byte of Python's own library (400 steps); about a quarter of an hour on one core. Their
matrices go to ``digits.safetensors`` and ``bytes.safetensors``.
"""

from __future__ import annotations

import argparse
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

WIDTH, HEADS, LENGTH = 2048, 16, 64
TRAINED_ON = 1400  # of the 1,797 digits, in the order they come


class Block(nn.Module):
    """A language model of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 256)
        for embedding in (self.embed, self.place):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        heads = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        x = x + self.down(gelu(self.up(self.norms[1](x))))
        return self.head(self.norms[2](x))


def trained(network: nn.Module, loss_of_batch: Callable[[], Tensor], steps: int, lr: float) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.1)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 40, total_iters=40)
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of_batch()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3g}", flush=True)


def digits() -> nn.Module:
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    network = nn.Sequential(
        nn.Linear(64, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 10),
    )

    def loss_of_batch() -> Tensor:
        batch = torch.randint(0, TRAINED_ON, (64,))
        return cross_entropy(network(x[batch]), y[batch])

    trained(network, loss_of_batch, 1500, 1e-3)
    with torch.no_grad():
        right = network(x[TRAINED_ON:]).argmax(1) == y[TRAINED_ON:]
    print(f"digits: accuracy {right.float().mean():.3f} on the others")
    return network


def library() -> nn.Module:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)
    data = torch.tensor(np.frombuffer(text, np.uint8).astype(np.int64))
    network = Block()

    def loss_of_batch() -> Tensor:
        starts = torch.randint(0, len(data) - LENGTH - 1, (8,))
        batch = torch.stack([data[start : start + LENGTH + 1] for start in starts])
        return cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    trained(network, loss_of_batch, 400, 3e-4)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, train in (("digits", digits), ("bytes", library)):
        torch.manual_seed(0)
        save_file(train().state_dict(), folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
