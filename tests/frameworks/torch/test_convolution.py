"""Convolutions against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

# PyTorch itself pays for an even kernel with a copy.
EVEN = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
pytestmark = [WARNINGS, EVEN]

EXTENTS = {1: (9,), 2: (8, 7), 3: (5, 6, 4)}
LAYERS: dict[str, tuple[int, dict[str, Any]]] = {
    "1d": (1, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "1d same": (1, {"kernel_size": 4, "padding": "same", "dilation": 2}),
    "2d": (2, {"kernel_size": 3}),
    "2d all": (2, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "bias": False}),
    "2d depthwise": (2, {"kernel_size": 3, "groups": 4, "padding": 1}),
    "2d same": (2, {"kernel_size": (3, 4), "padding": "same"}),
    "2d valid": (2, {"kernel_size": 2, "padding": "valid"}),
    "2d reflect": (2, {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}),
    "2d replicate": (2, {"kernel_size": 3, "padding": (1, 2), "padding_mode": "replicate"}),
    "2d circular": (2, {"kernel_size": 3, "padding": 2, "padding_mode": "circular"}),
    "2d same circular": (2, {"kernel_size": 4, "padding": "same", "padding_mode": "circular"}),
    "3d": (3, {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": 1, "groups": 2}),
}
TRANSPOSED: dict[str, tuple[int, dict[str, Any]]] = {
    "1d": (1, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    "2d": (2, {"kernel_size": (3, 2), "stride": 2}),
    "2d all": (
        2,
        {"kernel_size": 3, "stride": (2, 3), "padding": 1, "dilation": 2, "output_padding": (1, 0), "groups": 2},
    ),
    "3d": (3, {"kernel_size": 2, "stride": 2, "bias": False}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_convolution(name: str) -> None:
    rank, options = LAYERS[name]
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](4, 8, **options)
    check_batches(layer, torch.randn(2, 4, *EXTENTS[rank]))


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name: str) -> None:
    rank, options = TRANSPOSED[name]
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](4, 6, **options)
    check_batches(layer, torch.randn(2, 4, *EXTENTS[rank]))


def test_image_without_a_batch() -> None:
    check(nn.Conv2d(3, 4, 3), torch.randn(3, 8, 8))
    check(nn.ConvTranspose1d(3, 4, 3), torch.randn(3, 8))


def test_weights_that_are_computed() -> None:
    check(lambda x, w: F.conv2d(x, w * 2, padding=1), torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3))


def test_functional_form() -> None:
    check(
        lambda x, w: torch.ops.aten.convolution(x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        torch.randn(2, 3, 6, 6),
        torch.randn(4, 3, 3, 3),
    )
    check(
        lambda x, w: torch.ops.aten.convolution(x, w, None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1),
        torch.randn(2, 3, 6, 6),
        torch.randn(3, 4, 3, 3),
    )


def test_convolution_is_one_node() -> None:
    module = check(nn.Conv2d(3, 4, (3, 4), padding="same"), torch.randn(1, 3, 8, 8))
    (node,) = module.main
    assert node.op_type == "Conv2D"
    assert node.attributes["pads"] == (1, 1, 1, 2)


def test_half_precision() -> None:
    check(nn.Conv2d(3, 4, 3).half(), torch.randn(2, 3, 6, 6).half(), tolerance=2e-3)
    check(nn.Conv2d(3, 4, 3).bfloat16(), torch.randn(2, 3, 6, 6).bfloat16(), tolerance=1e-2)
