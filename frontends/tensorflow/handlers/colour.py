"""Colours of images, their contrast, and their patches."""

from __future__ import annotations

import math

import numpy as np

from uair.frontends.common.layout import channels_first
from uair.frontends.tensorflow.handlers.convolution import restored
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Abs,
    Add,
    Clip,
    Concat,
    Conv2D,
    Div,
    Equal,
    Floor,
    MatMul,
    Maximum,
    Minimum,
    Mul,
    ReduceMean,
    Reshape,
    Split,
    Sub,
    Transpose,
    Where,
)

FAMILY = Family()


@FAMILY.op("AdjustContrastv2")
def _contrast(n: TfNode) -> Result:
    """(x - mean) * factor + mean, with the mean of each channel over the image."""
    x, rank = n[0], n.rank(n[0])
    mean = n(ReduceMean(axes=(rank - 3, rank - 2), keepdims=True), x)
    return n(Add(), n(Mul(), n(Sub(), x, mean), n.single(n[1])), mean)


@FAMILY.op("RGBToHSV")
def _rgb_to_hsv(n: TfNode) -> Result:
    return n(Concat(axis=n.rank(n[0]) - 1), *_hsv(n, n[0]))


@FAMILY.op("HSVToRGB")
def _hsv_to_rgb(n: TfNode) -> Result:
    return _rgb(n, *_parts(n, n[0]))


@FAMILY.op("AdjustHue")
def _hue(n: TfNode) -> Result:
    """The hue is an angle in turns."""
    h, s, v = _hsv(n, n[0])
    turned = n(Add(), h, n.single(n[1]))
    return _rgb(n, n(Sub(), turned, n(Floor(), turned)), s, v)


@FAMILY.op("AdjustSaturation")
def _saturation(n: TfNode) -> Result:
    h, s, v = _hsv(n, n[0])
    return _rgb(n, h, n(Clip(min=0.0, max=1.0), n(Mul(), s, n.single(n[1]))), v)


def _parts(n: TfNode, x: Tensor) -> tuple[Tensor, ...]:
    """The three channels, each with an axis of 1."""
    return n.all(Split(axis=n.rank(x) - 1, sizes=(1, 1, 1)), x)


def _hsv(n: TfNode, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value; gray has no hue (tensorflow/core/kernels/image/colorspace_op.h)."""
    r, g, b = _parts(n, x)
    zero, one = n.like(0, x), n.like(1, x)
    value = n(Maximum(), n(Maximum(), r, g), b)
    span = n(Sub(), value, n(Minimum(), n(Minimum(), r, g), b))
    is_gray = n(Equal(), span, zero)
    safe = n(Where(), is_gray, one, span)
    dark = n(Equal(), value, zero)
    saturation = n(Where(), dark, zero, n(Div(), span, n(Where(), dark, one, value)))

    def sixth(a: Tensor, c: Tensor, turn: float) -> Tensor:
        part = n(Div(), n(Sub(), a, c), safe)
        return n(Div(), n(Add(), part, n.like(turn, x)), n.like(6, x))

    hue = n(Where(), n(Equal(), value, g), sixth(b, r, 2), sixth(r, g, 4))
    hue = n(Where(), n(Equal(), value, r), sixth(g, b, 0), hue)
    hue = n(Where(), is_gray, zero, n(Sub(), hue, n(Floor(), hue)))
    return hue, saturation, value


def _rgb(n: TfNode, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """Each channel is v * (1 - s + s * ramp of the hue)."""
    one = n.like(1, v)
    six = n(Mul(), h, n.like(6, v))

    def ramp(centre: float, factor: float, shift: float) -> Tensor:
        away = n(Abs(), n(Sub(), six, n.like(centre, v)))
        return n(Clip(min=0.0, max=1.0), n(Add(), n(Mul(), away, n.like(factor, v)), n.like(shift, v)))

    rest = n(Sub(), one, s)
    channels = [ramp(3, 1, -1), ramp(2, -1, 2), ramp(4, -1, 2)]
    return n(Concat(axis=n.rank(v) - 1), *(n(Mul(), n(Add(), rest, n(Mul(), s, c)), v) for c in channels))


# -------------------------------------------------------------------------------------------------------------- patches
@FAMILY.op("ExtractImagePatches")
def _patches(n: TfNode) -> Result:
    """Every patch as a pixel, its channels in the order (row, column, channel): a convolution by single ones."""
    sizes, steps, rates = (n.ints(name)[1:3] for name in ("ksizes", "strides", "rates"))
    x = channels_first(n, n.cast(n[0], DType.F32) if not n[0].type.dtype.is_float else n[0])
    batch, channels, *extents = n.shape(x)
    if not isinstance(channels, int):
        n.refuse("the number of channels is not known")
    places = math.prod(sizes)
    weights = np.tile(np.eye(places, dtype=x.type.dtype.numpy).reshape(places, 1, *sizes), (channels, 1, 1, 1))
    pads = _pads(n, extents, sizes, steps, rates)
    op = Conv2D(strides=steps, dilations=rates, groups=channels, pads=pads)
    y = n(op, x, n.of(weights, x.type.dtype))  # channels in the order (channel, row, column)
    height, width = n.shape(y)[2:]
    split = n(Reshape(shape=(batch, channels, places, height, width)), y)
    turned = n(Transpose(perm=(0, 2, 1, 3, 4)), split)
    return n.cast(restored(n, n(Reshape(shape=(batch, places * channels, height, width)), turned)), n[0].type.dtype)


def _pads(
    n: TfNode, extents: list[Dim], sizes: tuple[int, ...], steps: tuple[int, ...], rates: tuple[int, ...]
) -> tuple[int, ...]:
    """Top, left, bottom, right."""
    if n.choice("padding", "VALID", ("VALID", "SAME")) == "VALID":
        return (0, 0, 0, 0)
    total: list[int] = []
    for extent, size, step, rate in zip(extents, sizes, steps, rates, strict=True):
        if not isinstance(extent, int):
            n.refuse("SAME patches of an image of open size are not supported", "give the model's inputs fixed shapes")
        covered = (size - 1) * rate + 1
        total.append(max((-(-extent // step) - 1) * step + covered - extent, 0))
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))


# ----------------------------------------------------------------------------------------------------------------- area
@FAMILY.op("ResizeArea")
def _area(n: TfNode) -> Result:
    """Every pixel is the mean of what it covers of the image: a matrix for the rows, and one for the columns.

    tensorflow/core/kernels/image/resize_area_op.cc; the scale is of the corners' distance when they are aligned.
    """
    sizes = n.numbers(1, "the size")
    x = channels_first(n, n.cast(n[0], DType.F32))
    extents = n.shape(x)[2:]
    rows, columns = (_cover(n, e, s) for e, s in zip(extents, sizes, strict=True))
    y = n(MatMul(), n.of(rows, DType.F32), n(MatMul(trans_b=True), x, n.of(columns, DType.F32)))
    return restored(n, y)


def _cover(n: TfNode, extent: Dim, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """[size, extent]: how much of each pixel lies under each of the results."""
    if not isinstance(extent, int):
        n.refuse("an image of open size cannot be resized by area", "give the model's inputs fixed shapes")
    aligned = n.flag("align_corners") and size > 1
    scale = (extent - 1) / (size - 1) if aligned else extent / size
    low = np.arange(size)[:, None] * scale
    places = np.arange(max(math.ceil(float(low[-1, 0]) + scale), extent))
    share = np.clip(np.minimum(low + scale, places + 1) - np.maximum(low, places), 0, None)
    result = np.zeros((size, extent))
    for column, place in enumerate(np.minimum(places, extent - 1).tolist()):
        result[:, place] += share[:, column]
    return np.asarray(result / scale)
