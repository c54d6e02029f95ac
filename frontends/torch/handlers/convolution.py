"""Convolutions. PyTorch's order of weights is the canonical one: [M, C/groups, ...], transposed [C, M/groups, ...]."""

from __future__ import annotations

from typing import Any

from uair import ops
from uair.frontends.torch.handlers.window import numbers, symmetric, with_batch
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.graph import Tensor

FAMILY = Family()

_CONVOLUTIONS: dict[int, Any] = {1: ops.Conv1D, 2: ops.Conv2D, 3: ops.Conv3D}
_TRANSPOSED: dict[int, Any] = {1: ops.ConvTranspose1D, 2: ops.ConvTranspose2D, 3: ops.ConvTranspose3D}


def _spatial(node: TorchNode) -> int:
    rank = node.rank(node.tensor("weight")) - 2
    if rank not in _CONVOLUTIONS:
        node.refuse(f"a convolution over {rank} spatial axes has no canonical form")
    return rank


def _same_pads(node: TorchNode, rank: int) -> tuple[int, ...]:
    """Padding that keeps the extent at stride 1: what is odd goes to the end."""
    kernel = node.shape(node.tensor("weight"))[2:]
    total = [d * (int(k) - 1) for d, k in zip(numbers(node, "dilation", rank), kernel, strict=True)]  # type: ignore[arg-type]
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))


@FAMILY.op("aten.conv1d", "aten.conv2d", "aten.conv3d")
def _conv(node: TorchNode) -> Tensor:
    rank = _spatial(node)
    padding = node.get("padding", 0)
    if padding == "same":
        pads = _same_pads(node, rank)
    elif padding == "valid":
        pads = (0,) * (2 * rank)
    else:
        pads = symmetric(numbers(node, "padding", rank, 0))
    return _applied(node, rank, pads)


def _applied(node: TorchNode, rank: int, pads: tuple[int, ...]) -> Tensor:
    op = _CONVOLUTIONS[rank](
        strides=numbers(node, "stride", rank),
        pads=pads,
        dilations=numbers(node, "dilation", rank),
        groups=node.get("groups", 1),
    )
    weight, bias = node.tensor("weight"), node.optional("bias")
    return with_batch(node, node.tensor("input"), rank, lambda x: node(op, x, weight, bias))


@FAMILY.op("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def _conv_transpose(node: TorchNode) -> Tensor:
    rank = _spatial(node)
    op = _TRANSPOSED[rank](
        strides=numbers(node, "stride", rank),
        pads=symmetric(numbers(node, "padding", rank, 0)),
        dilations=numbers(node, "dilation", rank),
        groups=node.get("groups", 1),
        output_padding=numbers(node, "output_padding", rank, 0),
    )
    weight, bias = node.tensor("weight"), node.optional("bias")
    return with_batch(node, node.tensor("input"), rank, lambda x: node(op, x, weight, bias))


@FAMILY.op("aten.convolution", "aten._convolution")
def _convolution(node: TorchNode) -> Result:
    if node.get("transposed"):
        return _conv_transpose(node)
    rank = _spatial(node)
    return _applied(node, rank, symmetric(numbers(node, "padding", rank, 0)))


@FAMILY.op("aten._convolution_mode")
def _convolution_mode(node: TorchNode) -> Result:
    return _conv(node)
