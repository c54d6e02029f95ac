"""Pooling. Adaptive pooling becomes pooling with a fixed window, or over everything, wherever the extents divide."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from uair import ops
from uair.frontends.common import pooling as adaptive
from uair.frontends.torch.handlers.window import batched, numbers, symmetric, with_batch, without_batch
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.dims import is_static, product, static
from uair.ir.graph import Tensor

FAMILY = Family()

_MAX: dict[int, Any] = {1: ops.MaxPool1D, 2: ops.MaxPool2D, 3: ops.MaxPool3D}
_AVERAGE: dict[int, Any] = {1: ops.AvgPool1D, 2: ops.AvgPool2D, 3: ops.AvgPool3D}


def _window(node: TorchNode, rank: int, **more: Any) -> dict[str, Any]:
    kernel = numbers(node, "kernel_size", rank)
    return {
        "kernel": kernel,
        "strides": numbers(node, "stride", rank) if node.get("stride") else kernel,
        "pads": symmetric(numbers(node, "padding", rank, 0)),
        "ceil_mode": bool(node.get("ceil_mode", False)),
        **more,
    }


# ------------------------------------------------------------------------------------------------ maximum
def _max_pool(rank: int) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        op = _MAX[rank](**_window(node, rank, dilations=numbers(node, "dilation", rank)))
        return with_batch(node, node.tensor("self"), rank, lambda x: node(op, x))

    return handler


def _max_pool_with_indices(rank: int) -> Callable[[TorchNode], Result]:
    def handler(node: TorchNode) -> Result:
        window = _window(node, rank, dilations=numbers(node, "dilation", rank))
        return with_indices(node, rank, window)

    return handler


def with_indices(node: TorchNode, rank: int, window: dict[str, Any]) -> Result:
    """The maxima and, where the program uses them, their places within the plane of their channel."""
    given = node.tensor("self")
    x = batched(node, given, rank)
    if not node.wants(1):
        found: list[Tensor] = [node(_MAX[rank](**window), x)]
    else:
        values, flat = node.all(ops.MaxPoolIndices(**window), x)
        plane = node.number(product(node.shape(x)[2:]))
        found = [values, node(ops.Mod(sign="divisor"), flat, plane)]
    return found if x is given else [without_batch(node, t) for t in found]


for _rank in (1, 2, 3):
    FAMILY.add(f"aten.max_pool{_rank}d", _max_pool(_rank))
    FAMILY.add(f"aten.max_pool{_rank}d_with_indices", _max_pool_with_indices(_rank))


# ------------------------------------------------------------------------------------------------ mean
def _avg_pool(rank: int) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        divisor = node.get("divisor_override")
        counted = bool(node.get("count_include_pad", True)) or divisor is not None
        op = _AVERAGE[rank](**_window(node, rank), count_include_pad=counted)

        def pooled(x: Tensor) -> Tensor:
            if divisor is None:
                return node(op, x)
            mean = node(_whole_windows(node, x, op), x)
            return node(ops.Mul(), mean, node.like(math.prod(op.kernel) / divisor, mean))

        return with_batch(node, node.tensor("self"), rank, pooled)

    return handler


def _whole_windows(node: TorchNode, x: Tensor, op: Any) -> Any:
    """Pooling in which every window counts all its elements: padded as far as the windows of ceil_mode reach."""
    if not op.ceil_mode:
        return op
    spatial, rank = node.shape(x)[2:], len(op.kernel)
    if not is_static(spatial):
        node.refuse("divisor_override with ceil_mode needs known extents", "export the model with fixed sizes")
    counts, pads = op.extents_and_pads(static(spatial))
    ends = [
        max((count - 1) * stride + kernel - extent - begin, 0)
        for count, stride, kernel, extent, begin in zip(
            counts, op.strides, op.kernel, static(spatial), pads[:rank], strict=True
        )
    ]
    return attrs.evolve(op, ceil_mode=False, pads=(*pads[:rank], *ends))


for _rank in (1, 2, 3):
    FAMILY.add(f"aten.avg_pool{_rank}d", _avg_pool(_rank))


# ------------------------------------------------------------------------------------------------ adaptive
def _targets(node: TorchNode, x: Tensor, rank: int) -> list[int]:
    """The spatial extents of the result; None in PyTorch keeps the operand's.

    Raises:
        SourceOperatorError: one is symbolic.
    """
    given = node.get("output_size")
    sizes = given if isinstance(given, tuple) else (given,)
    sizes = sizes * rank if len(sizes) == 1 else sizes
    extents = node.shape(x)[2:]
    found = [extent if size is None else size for size, extent in zip(sizes, extents, strict=True)]
    if not all(isinstance(size, int) for size in found):
        node.refuse(f"the extents {found} of the result must be numbers", "export the model with fixed sizes")
    return [size for size in found if isinstance(size, int)]


def _even_window(node: TorchNode, x: Tensor, targets: Sequence[int]) -> dict[str, Any] | None:
    """The window that adaptive pooling has where every extent is a multiple of the result's."""
    spatial = node.shape(x)[2:]
    return adaptive.even_window(static(spatial), targets) if is_static(spatial) else None


def _require_static(node: TorchNode, x: Tensor, targets: Sequence[int]) -> None:
    spatial = node.shape(x)[2:]
    if not is_static(spatial):
        node.refuse(
            f"extents {list(spatial)} are pooled to {list(targets)}, which needs numbers",
            "export the model with fixed sizes, or pool to one element per channel",
        )


def _adaptive_avg(rank: int) -> Callable[[TorchNode], Tensor]:
    def pooled(node: TorchNode, x: Tensor) -> Tensor:
        targets = _targets(node, x, rank)
        if all(t == 1 for t in targets):
            return node(ops.GlobalAvgPool(), x)
        if node.shape(x)[2:] == tuple(targets):
            return x
        window = _even_window(node, x, targets)
        if window is not None:
            return node(_AVERAGE[rank](**window), x)
        _require_static(node, x, targets)
        return adaptive.average(node, x, targets)

    def handler(node: TorchNode) -> Tensor:
        return with_batch(node, node.tensor("self"), rank, functools.partial(pooled, node))

    return handler


def _adaptive_max(rank: int) -> Callable[[TorchNode], Result]:
    def handler(node: TorchNode) -> Result:
        given = node.tensor("self")
        x = batched(node, given, rank)
        targets = _targets(node, x, rank)
        window = _even_window(node, x, targets)
        if window is not None and (node.wants(1) or any(t != 1 for t in targets)):
            return with_indices(node, rank, window)
        if node.wants(1):
            node.refuse("places of maxima are only known where the extents divide", "export the model with fixed sizes")
        if all(t == 1 for t in targets):
            made = node(ops.GlobalMaxPool(), x)
        else:
            _require_static(node, x, targets)
            made = adaptive.maximum(node, x, targets)
        return [made if x is given else without_batch(node, made)]

    return handler


for _rank in (1, 2, 3):
    FAMILY.add(f"aten.adaptive_avg_pool{_rank}d", _adaptive_avg(_rank))
    FAMILY.add(f"aten.adaptive_max_pool{_rank}d", _adaptive_max(_rank))
    if _rank > 1:
        FAMILY.add(f"aten._adaptive_avg_pool{_rank}d", _adaptive_avg(_rank))
