"""Convolutions: images and weights with the channels last become canonical ones with the channels first.

Filters: CONV_2D [M, kH, kW, C/groups], DEPTHWISE_CONV_2D [1, kH, kW, C * multiplier], TRANSPOSE_CONV [M, kH, kW, C],
CONV_3D [kD, kH, kW, C/groups, M], CONV_3D_TRANSPOSE [kD, kH, kW, M, C].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite import schema
from uair.frontends.tflite.litert import in_8_bits, is_hybrid
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import Shape, is_static, normal, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import Conv2D, Conv3D, ConvTranspose2D, ConvTranspose3D, Dequantize, Mul

FAMILY = Family()

_AXES = ("d", "h", "w")


def strides(n: TfliteNode, rank: int) -> tuple[int, ...]:
    """The strides along the spatial axes.

    Raises:
        SourceOperatorError: one is not positive.
    """
    found = tuple(n.options.integer(f"stride_{axis}") for axis in _AXES[-rank:])
    if min(found) < 1:
        n.refuse(f"strides must be at least 1, got {list(found)}")
    return found


def is_same(n: TfliteNode) -> bool:
    """Whether the padding is SAME."""
    return n.options.choice("padding", schema.PADDINGS) == "SAME"


def window(n: TfliteNode, rank: int) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution."""
    if n.operator.dilation is not None:
        return {"strides": (1,) * rank, "dilations": n.operator.dilation.block, "pads": n.operator.dilation.pads}
    return {
        "strides": strides(n, rank),
        "dilations": tuple(n.options.integer(f"dilation_{axis}_factor", 1) for axis in _AXES[-rank:]),
        "auto_pad": "same_upper" if is_same(n) else "notset",
    }


@FAMILY.op("CONV_2D")
def _conv(n: TfliteNode) -> Result:
    return _convolved(n, Conv2D, n.weight(1, (0, 3, 1, 2)))


@FAMILY.op("DEPTHWISE_CONV_2D")
def _depthwise(n: TfliteNode) -> Result:
    """One group for every channel of the image; the multiplier follows from the shapes."""
    w = n.weight(1, (3, 0, 1, 2))
    groups = n.extent(n[0], -1)
    if not isinstance(groups, int) or n.extent(w, 1) != 1:
        n.refuse(f"the image has {groups} channels, the filter shape {list(n.shape(w))}")
    return _convolved(n, Conv2D, w, groups=groups)


@FAMILY.op("CONV_3D")
def _conv3d(n: TfliteNode) -> Result:
    return _convolved(n, Conv3D, n.weight(1, (4, 3, 0, 1, 2)))


def _convolved(n: TfliteNode, kind: type[Conv2D] | type[Conv3D], w: Tensor, groups: int = 0) -> Tensor:
    """A convolution with the weight's channels first, its bias, padding in numbers, and the fused activation."""
    x = channels_first(n, n[0])
    rank = kind.spatial_rank
    if n.rank(x) != rank + 2:
        n.refuse(f"an image of {rank + 2} axes is needed, it has {n.rank(x)}")
    channels, taken = n.extent(x, 1), n.extent(w, 1)
    if not groups:
        fits = isinstance(channels, int) and isinstance(taken, int) and taken > 0 and channels % taken == 0
        if not fits:
            n.refuse(f"the image has {channels} channels, the filter takes {taken}")
        groups = channels // taken if isinstance(channels, int) and isinstance(taken, int) else 1
    op = kind(groups=groups, **window(n, rank))
    kernel = n.shape(w)[2:]
    if is_static(kernel):
        op = op.with_explicit_pads(n.shape(x)[2:], static(kernel))
    if is_hybrid(n):
        point = kind is Conv2D and set(kernel) == {1} and n.op_type == "CONV_2D" and set(op.strides) == {1}
        x = in_8_bits(n, x, (1,) if point else range(1, rank + 2))
    return n.activated(channels_last(n, n(op, x, w, bias(n, 2))))


def bias(n: TfliteNode, i: int) -> Tensor | None:
    """The bias as real numbers: integers without a scale have that of the products, operand 0 times operand 1."""
    if not n.has(i):
        return None
    value = n[i]
    if value.type.dtype.is_float:
        return value
    x, w = n.info(0).quantization, n.info(1).quantization
    if x is None or w is None:
        return n.cast(value, DType.F32)
    scales = x.scales[0] * w.scales
    axis = None if w.axis is None else 0
    scale = n.stored(scales if axis == 0 else scales.reshape(()), f"{n.info(i).name}/scale")
    if value.type.dtype.is_quantizable:
        return n(Dequantize(axis=axis), value, scale)
    return n(Mul(), n.cast(value, DType.F32), scale)


@FAMILY.op("TRANSPOSE_CONV")
def _transposed_conv(n: TfliteNode) -> Result:
    """Operands: the result's shape, the filter, the image, a bias. The shape decides how much is cut off."""
    return _spread(n, ConvTranspose2D, n.weight(1, (3, 0, 1, 2)))


@FAMILY.op("CONV_3D_TRANSPOSE")
def _transposed_conv3d(n: TfliteNode) -> Result:
    return _spread(n, ConvTranspose3D, n.weight(1, (4, 3, 0, 1, 2)))


def _spread(n: TfliteNode, kind: type[ConvTranspose2D] | type[ConvTranspose3D], w: Tensor) -> Tensor:
    steps, same = strides(n, kind.spatial_rank), is_same(n)
    wanted = n.dims(n.raw(0))
    full = None if wanted is None else wanted[1 : 1 + len(steps)]
    y = spread(n, kind, n[2], w, _spread_bias(n) if n.has(3) else None, steps, same=same, full=full)
    return n.activated(y)


def spread(
    n: TfliteNode,
    kind: type[ConvTranspose2D] | type[ConvTranspose3D],
    image: Tensor,
    w: Tensor,
    bias: Tensor | None,
    steps: tuple[int, ...],
    *,
    same: bool,
    full: Shape | None = None,
) -> Tensor:
    """A transposed convolution.

    Args:
        n: the operator.
        kind: the canonical operator.
        image: with the channels last.
        w: the filter, [C, M, *kernel].
        bias: [M] real numbers.
        steps: the strides.
        same: whether the padding is SAME.
        full: extents of the result; from the padding alone when None.

    Raises:
        SourceOperatorError: what is cut off depends on an extent that is not known.
    """
    x = channels_first(n, image)
    rank = kind.spatial_rank
    kernel = n.shape(w)[2:]
    if not is_static(kernel) or n.rank(x) != rank + 2 or n.rank(w) != rank + 2:
        n.refuse(f"an image and a filter of {rank + 2} axes are needed")
    pads, extra = _cut(n, n.shape(x)[2:], static(kernel), steps, same=same, full=full)
    op = kind(strides=steps, pads=pads, output_padding=extra)
    return channels_last(n, n(op, x, w, bias))


def _spread_bias(n: TfliteNode) -> Tensor:
    value = n[3]
    return value if value.type.dtype.is_float else n.cast(value, DType.F32)


def _cut(
    n: TfliteNode, extents: Shape, kernel: Sequence[int], steps: Sequence[int], *, same: bool, full: Shape | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is cut off on both sides, and added at the end, so that the result has the wanted extents.

    With SAME the part in front is half, rounded down, of what the forward convolution of the result would pad; with
    VALID nothing is cut off in front.
    """
    if full is None:
        full = tuple(d * s if same else (d - 1) * s + max(k, s) for d, s, k in zip(extents, steps, kernel, strict=True))
    begins: list[int] = []
    ends: list[int] = []
    extra: list[int] = []
    for d, s, k, target in zip(extents, steps, kernel, full, strict=True):
        # A number also where the extent has none, when the shape follows from it.
        rest = normal((d - 1) * s + k - target)
        if not isinstance(rest, int):
            n.refuse("how much is cut off depends on an extent that is not known", "fix the shapes of the inputs")
        forward = _padded(target, s, k) if isinstance(target, int) else max(k - s, 0)
        begin = forward // 2 if same else 0
        begins.append(begin)
        ends.append(max(rest - begin, 0))
        extra.append(max(begin - rest, 0))
    return (*begins, *ends), tuple(extra)


def _padded(extent: int, stride: int, kernel: int) -> int:
    """The padding of a SAME convolution."""
    return max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
