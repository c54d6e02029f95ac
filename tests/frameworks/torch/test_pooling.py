"""Pooling against PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import uair
from tests.frameworks.torch.harness import WARNINGS, check, check_batches
from uair.frontends.common.errors import SourceOperatorError

pytestmark = WARNINGS

X1, X2, X3 = torch.randn(2, 3, 11), torch.randn(2, 3, 9, 8), torch.randn(2, 3, 5, 6, 7)

LAYERS: dict[str, tuple[nn.Module, torch.Tensor]] = {
    "max 1d": (nn.MaxPool1d(3, 2, padding=1), X1),
    "max 2d": (nn.MaxPool2d(2), X2),
    "max 2d all": (nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), X2),
    "max 2d ceil": (nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), X2),
    "max 3d": (nn.MaxPool3d(2, ceil_mode=True), X3),
    "max indices": (nn.MaxPool2d(2, return_indices=True), X2),
    "max 1d indices": (nn.MaxPool1d(2, return_indices=True), X1),
    "max 3d indices": (nn.MaxPool3d(2, return_indices=True), X3),
    "avg 1d": (nn.AvgPool1d(3, 2, padding=1), X1),
    "avg 2d": (nn.AvgPool2d(3, stride=2, padding=1), X2),
    "avg 2d exclude": (nn.AvgPool2d((3, 2), padding=(1, 1), count_include_pad=False), X2),
    "avg 2d ceil": (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), X2),
    "avg 2d ceil exclude": (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), X2),
    "avg 2d divisor": (nn.AvgPool2d(2, divisor_override=3), X2),
    "avg 3d": (nn.AvgPool3d((2, 3, 2)), X3),
    "lp 1d": (nn.LPPool1d(2, 3), X1.abs()),
    "lp 2d": (nn.LPPool2d(2, 2), X2.abs()),
    "adaptive avg 1": (nn.AdaptiveAvgPool2d(1), X2),
    "adaptive avg even": (nn.AdaptiveAvgPool2d((3, 4)), X2),
    "adaptive avg uneven": (nn.AdaptiveAvgPool2d((4, 5)), X2),
    "adaptive avg up": (nn.AdaptiveAvgPool2d((12, 3)), X2),
    "adaptive avg none": (nn.AdaptiveAvgPool2d((None, 4)), X2),
    "adaptive avg 1d": (nn.AdaptiveAvgPool1d(4), X1),
    "adaptive avg 3d": (nn.AdaptiveAvgPool3d((2, 4, 7)), X3),
    "adaptive max 1": (nn.AdaptiveMaxPool2d(1), X2),
    "adaptive max even": (nn.AdaptiveMaxPool2d((3, 2), return_indices=True), X2),
    "adaptive max uneven": (nn.AdaptiveMaxPool2d((4, 5)), X2),
    "adaptive max 1d": (nn.AdaptiveMaxPool1d(3), X1),
    "adaptive max 3d": (nn.AdaptiveMaxPool3d((5, 2, 3)), X3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    check_batches(*LAYERS[name])


def test_divisor_with_ceil() -> None:
    check(nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, divisor_override=5), X2)


def test_image_without_a_batch() -> None:
    check(nn.MaxPool2d(2), X2[0])
    check(nn.AvgPool1d(2), X1[0])
    check(nn.AdaptiveAvgPool2d(1), X2[0])
    check(nn.MaxPool2d(2, return_indices=True), X2[0])
    check(nn.AdaptiveMaxPool2d(2, return_indices=False), X2[0])


def test_area_interpolation() -> None:
    check(lambda x: F.interpolate(x, size=(3, 4), mode="area"), X2)


def test_open_extents_are_pooled_to_one() -> None:
    free = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    module = check(nn.AdaptiveAvgPool2d(1), X2, dynamic_shapes=(free,), others=[[torch.randn(2, 3, 6, 13)]])
    assert [node.op_type for node in module.main] == ["GlobalAvgPool"]
    with pytest.raises(SourceOperatorError, match="needs numbers"):
        uair.load(nn.AdaptiveAvgPool2d(2), X2, dynamic_shapes=(free,))
