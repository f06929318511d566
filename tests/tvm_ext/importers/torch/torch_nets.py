"""Small PyTorch networks for tests of importers: untrained, with the statistics of batch normalisation filled."""

from __future__ import annotations

import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.is_residual = stride == 1 and channels == out
        expand = [*conv_bn(channels, hidden, 1)] if expansion > 1 else []
        depthwise = conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.conv = nn.Sequential(*expand, *depthwise, nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.is_residual else self.conv(x)


def conv_bn(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU6()]


class MobileNet(nn.Module):
    """MobileNetV2 at a quarter of its width, for 32 x 32 pixels."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*conv_bn(3, 8, 3, 2))]
        channels = 8
        for expansion, out, stride in ((1, 8, 1), (4, 8, 2), (4, 8, 1), (4, 16, 2), (4, 16, 1), (4, 24, 1)):
            layers.append(InvertedResidual(channels, out, stride, expansion))
            channels = out
        self.features = nn.Sequential(*layers, nn.Sequential(*conv_bn(channels, 64, 1)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class Branches(nn.Module):
    """Pools, concatenation, padding, a residual with ReLU, a flattened image, two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, (1, 3), stride=1, padding=(0, 1))
        self.hidden, self.out = nn.Linear(16 * 4 * 4, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = torch.cat([torch.relu(x + self.left(x)), self.right(x)], 1)
        x = nn.functional.avg_pool2d(x, 2)
        x = torch.relu(self.hidden(x.view(x.size(0), -1)))
        return torch.softmax(self.out(x), 1)


class Sequence(nn.Module):
    """One axis, as for sensors; mean over time, a Sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv1d(2, 6, 5, stride=2, padding=2), nn.BatchNorm1d(6), nn.ReLU()]
        self.body = nn.Sequential(*first, nn.Conv1d(6, 8, 3), nn.Hardtanh(-1, 1))
        self.out = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(self.body(x).mean(-1)))


def prepared(net: nn.Module, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    """The network in evaluation mode, its batch normalisations as after some training."""
    torch.manual_seed(seed)
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    net.train()
    with torch.no_grad():
        for _ in range(5):
            net(torch.randn(16, *shape[1:]))
    return net.eval()


def exported(net: nn.Module, shape: tuple[int, ...], **options: object) -> torch.export.ExportedProgram:
    return torch.export.export(net, (torch.randn(*shape),), **options)


def quantised_program(net: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """int8 by PT2E, calibrated on noise."""
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(exported(net, shape).module(), quantizer)
    for _ in range(3):
        prepared(torch.randn(*shape))
    return torch.export.export(convert_pt2e(prepared), (torch.randn(*shape),))
