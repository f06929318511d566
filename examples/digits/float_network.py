"""The float network that is trained and then quantised: a small MobileNetV2 for 16x16 grey images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

FIRST_CHANNELS, CLASSES = 16, 10


@dataclass(frozen=True)
class Block:
    """Inverted residual: 1x1 to `hidden` channels (absent when equal to the input's), k x k depthwise, 1x1 to `out`."""

    hidden: int
    out: int
    kernel: int
    stride: int
    residual: bool = False


BLOCKS = (
    Block(16, 12, 3, 1),
    Block(48, 24, 5, 2),
    Block(72, 24, 3, 1, residual=True),
    Block(96, 40, 5, 2),
    Block(160, 40, 3, 1, residual=True),
    Block(160, 64, 3, 1),
)


class Conv(nn.Module):
    """Convolution and batch norm, then ReLU unless `linear`; `range` is what left it in evaluation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.linear = linear
        self.range = (0.0, 0.0)  # smallest and largest value of the last batch in evaluation mode

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        y = y if self.linear else torch.relu(y)
        if not self.training:
            self.range = (y.min().item(), y.max().item())
        return y

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight OIHW and bias with the batch norm inside, float64."""
        factor = (self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)).double()
        weight = self.conv.weight.double() * factor[:, None, None, None]
        bias = self.norm.bias.double() - self.norm.running_mean.double() * factor
        return weight.detach().numpy(), bias.detach().numpy()


class InvertedResidual(nn.Module):
    """One `Block`; `range` is that of the sum where there is a residual."""

    def __init__(self, inputs: int, block: Block):
        super().__init__()
        hidden = block.hidden
        self.residual = block.residual
        self.pointwise1 = None if hidden == inputs else Conv(inputs, hidden)
        self.depthwise = Conv(hidden, hidden, block.kernel, block.stride, groups=hidden)
        self.pointwise2 = Conv(hidden, block.out, linear=True)
        self.range = (0.0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.pointwise1 is None else self.pointwise1(x)
        y = self.pointwise2(self.depthwise(y))
        y = x + y if self.residual else y
        if not self.training:
            self.range = (y.min().item(), y.max().item())
        return y


class Network(nn.Module):
    """First conv, blocks, global average pool, linear classifier; float (N, 1, 16, 16) in 0..1 to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv(1, FIRST_CHANNELS, 3)
        channels = [FIRST_CHANNELS, *(block.out for block in BLOCKS)]
        self.blocks = nn.ModuleList(InvertedResidual(c, b) for c, b in zip(channels, BLOCKS, strict=False))
        self.classifier = nn.Linear(channels[-1], CLASSES)
        self.range = (0.0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        y = self.classifier(x.mean(dim=(2, 3)))
        if not self.training:
            self.range = (y.min().item(), y.max().item())
        return y
