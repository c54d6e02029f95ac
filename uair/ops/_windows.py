"""Sliding windows: the arithmetic that convolution and pooling share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import attrs
import numpy as np
from typing_extensions import Self

from uair.ir.dims import Dim, InferredShape, ceil_div, floor_div, is_static, minimum, static
from uair.ir.dtype import Array
from uair.ops.base import Ints, Operator, require

AutoPad: TypeAlias = Literal["notset", "same_upper", "same_lower"]


def output_extent(
    extent: Dim | None, kernel: int, stride: int, dilation: int, pads: tuple[int, int], *, ceil_mode: bool = False
) -> Dim | None:
    """Number of windows along one axis: floor((extent + begin + end - dilation*(kernel-1) - 1) / stride) + 1.

    `ceil_mode` rounds up instead, but a window that would start in the end padding is dropped (as PyTorch and ONNX
    Runtime do): no more windows than there are starts before `extent + begin`.
    """
    if extent is None:
        return None
    begin, end = pads
    room = extent + (begin + end - dilation * (kernel - 1) - 1)
    if ceil_mode:
        return minimum(ceil_div(room, stride) + 1, ceil_div(extent + begin, stride))
    return floor_div(room, stride) + 1


def same_pads(extent: int, kernel: int, stride: int, dilation: int, mode: AutoPad) -> tuple[int, int]:
    """Padding (begin, end) that makes ceil(extent / stride) windows; the odd one is at the end for same_upper.

    Source: ONNX Conv and TensorFlow "SAME".
    """
    total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "same_upper" else (large, small)


class WindowOperator(Operator):
    """Base of the operators that slide a window over the spatial axes of x: [N, C, spatial...].

    Attributes:
        strides: step of the window per axis.
        pads: padding at the begin of every axis, then at the end of every axis.
        dilations: distance of the window's taps per axis.
        auto_pad: "same_upper" or "same_lower" while the padding depends on an extent that is not known yet; `pads` is
            then all zeros. `with_explicit_pads` resolves it.
    """

    spatial_rank: ClassVar[int] = 0
    strides: Ints
    pads: Ints
    dilations: Ints
    auto_pad: AutoPad

    def require_window(self) -> None:
        """Refuse attributes of the wrong length or range."""
        n = self.spatial_rank
        for name, values, least in (("strides", self.strides, 1), ("dilations", self.dilations, 1)):
            require(len(values) == n, "{} has {} numbers, {} needs {}", name, len(values), self.op_type, n)
            require(min(values) >= least, "{} must be at least {}, got {}", name, least, list(values))
        require(
            len(self.pads) == 2 * n,
            "pads has {} numbers, {} needs {}",
            len(self.pads),
            self.op_type,
            2 * n,
            hint="give the padding at the begin of every axis, then at the end of every axis",
        )
        require(min(self.pads) >= 0, "pads must not be negative, got {}", list(self.pads), hint="crop with Slice")
        require(
            self.auto_pad == "notset" or not any(self.pads),
            "pads {} contradict auto_pad {}",
            list(self.pads),
            self.auto_pad,
        )

    def window_extents(
        self, spatial: InferredShape, kernel: Sequence[int], *, ceil_mode: bool = False
    ) -> tuple[Dim | None, ...]:
        """Number of windows along each spatial axis."""
        n = self.spatial_rank
        if self.auto_pad != "notset":
            return tuple(None if d is None else ceil_div(d, s) for d, s in zip(spatial, self.strides, strict=True))
        result: list[Dim | None] = []
        for i, extent in enumerate(spatial):
            begin, end = pads = self.pads[i], self.pads[n + i]
            count = output_extent(extent, kernel[i], self.strides[i], self.dilations[i], pads, ceil_mode=ceil_mode)
            span = self.dilations[i] * (kernel[i] - 1) + 1
            require(
                not isinstance(count, int) or count >= 1,
                "a window of {} does not fit into the extent {} of spatial axis {} padded by {} and {}",
                span,
                extent,
                i,
                begin,
                end,
            )
            result.append(count)
        return tuple(result)

    def explicit_pads(self, spatial: Sequence[int], kernel: Sequence[int]) -> Ints:
        """`pads`, or what `auto_pad` means for these extents."""
        if self.auto_pad == "notset":
            return self.pads
        pairs = [
            same_pads(extent, k, s, d, self.auto_pad)
            for extent, k, s, d in zip(spatial, kernel, self.strides, self.dilations, strict=True)
        ]
        return tuple(begin for begin, _ in pairs) + tuple(end for _, end in pairs)

    def with_explicit_pads(self, spatial: InferredShape, kernel: Sequence[int]) -> Self:
        """The operator with `auto_pad` resolved into `pads`; itself when an extent is still symbolic.

        Args:
            spatial: extents of x without N and C.
            kernel: extents of the window.
        """
        if self.auto_pad == "notset" or not is_static(spatial):
            return self
        changes: dict[str, Any] = {"auto_pad": "notset", "pads": self.explicit_pads(static(spatial), kernel)}
        resolved: Self = attrs.evolve(self, **changes)  # type: ignore[misc]
        return resolved


def require_window(strides: Ints, pads: Ints, dilations: Ints, rank: int) -> None:
    """Refuse a window of other than `rank` axes, or one that cannot move or reaches out of the image."""
    for name, values, count in (("strides", strides, rank), ("pads", pads, 2 * rank), ("dilations", dilations, rank)):
        require(len(values) == count, "{} has {} numbers, {} axes need {}", name, len(values), rank, count)
    require(min(strides + dilations, default=1) >= 1, "strides and dilations must be at least 1")
    require(min(pads, default=0) >= 0, "pads must not be negative, got {}", list(pads))


def padded(x: Array, before: Sequence[int], after: Sequence[int], value: Any = 0) -> Array:
    """x: [N, C, spatial...] with constant padding on the spatial axes; x itself when there is none."""
    if not any(before) and not any(after):
        return x
    spatial = [b + d + a for b, d, a in zip(before, x.shape[2:], after, strict=True)]
    result = np.full((*x.shape[:2], *spatial), value, x.dtype) if value else np.zeros((*x.shape[:2], *spatial), x.dtype)
    result[inner_axes(slice(b, b + d) for b, d in zip(before, x.shape[2:], strict=True))] = x
    return result


def inner_axes(slices: Iterable[slice]) -> tuple[slice, ...]:
    """An index that takes all of the first two axes and the given slices of the spatial ones."""
    return (slice(None), slice(None), *slices)
