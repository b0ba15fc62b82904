"""ResNet18 for images of 32 x 32 pixels; imported only when it is trained: needs torchvision."""

from __future__ import annotations

import torch
from torchvision.models.resnet import BasicBlock, ResNet


class _BlockWithoutResidual(BasicBlock):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        return torch.relu(self.bn2(self.conv2(out)))


def resnet18(
    n_classes: int, batch_norm: bool, residual: bool, rng: torch.Generator
) -> torch.nn.Module:
    """Give torchvision's ResNet18, with its own kind of first weights, for small images.

    The first layer sees 3 x 3 pixels at stride 1, and nothing is pooled after it. Without
    residuals, blocks have no shortcut that would have to be shaped.

    Parameters
    ----------
    n_classes : int
        How many classes the output tells apart.
    batch_norm : bool
        Normalise over the batch; else not at all.
    residual : bool
        Add each block's input to its output.
    rng : torch.Generator
        Draws the first weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        network: torch.nn.Module = ResNet(
            BasicBlock if residual else _BlockWithoutResidual,
            [2, 2, 2, 2],
            num_classes=n_classes,
            norm_layer=torch.nn.BatchNorm2d if batch_norm else torch.nn.Identity,
        )
        network.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = torch.nn.Identity()
    if not residual:
        for module in network.modules():
            if isinstance(module, BasicBlock):
                module.downsample = None
    return network
