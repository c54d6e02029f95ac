"""Vision models: torchvision's, and those that stand for a kind of network."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

TORCHVISION = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
    "vit_b_16",
    "swin_t",
)
"""Whole models of torchvision that are read and compared."""


def _torchvision() -> Any:
    """Torchvision's models. Beside PyTorch for CPUs its compiled operators do not load: two of them are declared here.

    Without the declarations torchvision cannot be imported at all: it registers their fake implementations.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to load image Python extension", UserWarning)
        from torchvision import models
    _LIBRARIES.append(library)
    return models


_LIBRARIES: list[Any] = []
"""A library's declarations are gone with it."""
_MODELS = _torchvision()


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """A model in evaluation whose normalizations are not the identity and whose scales are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) * 0.1)
            layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
            layer.weight.data.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
        if type(layer).__name__ == "CNBlock":  # ConvNeXt's layer scale begins at 1e-6
            layer.layer_scale.data.copy_(torch.rand(layer.layer_scale.shape, generator=generator))
    return model.eval()


def torchvision_model(name: str) -> nn.Module:
    """A model of torchvision with random weights."""
    torch.manual_seed(0)
    return randomized(getattr(_MODELS, name)(weights=None))


class UNet(nn.Module):
    """An encoder and a decoder of two levels, joined by skips; the decoder resizes to what the skip is."""

    def __init__(self, mode: str = "bilinear") -> None:
        super().__init__()
        self.mode = mode
        self.down = nn.ModuleList([self._block(3, 8), self._block(8, 16)])
        self.bottom = self._block(16, 32)
        self.up = nn.ModuleList([self._block(48, 16), self._block(24, 8)])
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[2:], mode=self.mode)
            x = block(torch.cat([x, skip], 1))
        return self.head(x)


class LstmClassifier(nn.Module):
    """Two layers in both directions, and a linear head on the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0].mean(1))


class Detector(nn.Module):
    """A YOLO-style head: boxes from anchors on a grid, the best of them by score."""

    def __init__(self, classes: int = 5, count: int = 10) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        )
        self.heads = nn.ModuleList([nn.Conv2d(32, 3 * (5 + classes), 1), nn.Conv2d(32, 3 * (5 + classes), 1)])
        self.classes, self.count = classes, count
        self.register_buffer("anchors", torch.tensor([[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]).view(1, 3, 1, 1, 2))

    def _decoded(self, raw: torch.Tensor, stride: int) -> torch.Tensor:
        n, _, height, width = raw.shape
        raw = raw.view(n, 3, 5 + self.classes, height, width).permute(0, 1, 3, 4, 2).contiguous()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([columns, rows], -1).view(1, 1, height, width, 2).to(raw.dtype)
        place, size, score = raw.sigmoid().split([2, 2, 1 + self.classes], -1)
        centre = (place * 2 - 0.5 + grid) * stride
        extent = (size * 2) ** 2 * self.anchors
        return torch.cat([centre, extent, score], -1).view(n, -1, 5 + self.classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.backbone(x)
        coarse = F.max_pool2d(features, 2)
        found = torch.cat(
            [self._decoded(head(f), s) for head, f, s in zip(self.heads, (features, coarse), (4, 8), strict=True)], 1
        )
        best, kind = (found[..., 5:] * found[..., 4:5]).max(-1)
        scores, index = best.topk(self.count, dim=1)
        boxes = found[..., :4].gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
        low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
        return torch.cat([low, high], -1), scores, kind.gather(1, index)


def spread(model: nn.Module) -> nn.Module:
    """A detector whose scores differ by more than rounding: top-k is not compared where it is a coin's toss."""
    torch.manual_seed(3)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=2 / math.sqrt(layer.in_channels * layer.kernel_size[0] ** 2))
    return model.eval()
