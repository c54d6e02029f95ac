"""Preprocessing of images and numbers; what works on text stays in front of the model."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from uair import ops
from uair.frontends.keras.handlers.reshaping import resized
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.graph import Tensor, constant

FAMILY = Family()

_EPSILON = 1e-7
"""keras.backend.epsilon(), the least standard deviation."""


def _floats(n: KerasNode, x: Tensor) -> Tensor:
    return n.cast(x, n.policy.compute)


def _numbers(n: KerasNode, name: str, default: float, x: Tensor) -> Tensor:
    """An entry that is a number, or one for each channel (the last axis, or axis 1)."""
    given: Any = n.get(name, default)
    if isinstance(given, dict):
        given = cast("dict[str, Any]", given).get("config", {}).get("value")
    try:
        values = np.asarray(given, x.type.dtype.numpy)
    except (TypeError, ValueError):
        n.refuse(f"{name} is {given!r}")
    if values.ndim == 1 and not n.channels_last:
        values = values.reshape(-1, *[1] * (n.rank(x) - 2))
    return constant(values, f"{n.name}/{name}")


@FAMILY.op("Rescaling")
def _rescaling(n: KerasNode) -> Result:
    """X * scale + offset, floats whatever x is."""
    x = _floats(n, n.x)
    y = n(ops.Mul(), x, _numbers(n, "scale", 1.0, x))
    offset = n.get("offset", 0.0)
    return y if offset == 0.0 else n(ops.Add(), y, _numbers(n, "offset", 0.0, x))


@FAMILY.op("Normalization")
def _normalization(n: KerasNode) -> Result:
    """(x - mean) / max(sqrt(variance), 1e-7), or with invert its opposite."""
    x = _floats(n, n.x)
    mean, variance = (_statistic(n, name, x) for name in ("mean", "variance"))
    deviation = np.maximum(np.sqrt(variance), np.asarray(_EPSILON, variance.dtype))
    center, spread = (constant(v, f"{n.name}/{name}") for name, v in (("mean", mean), ("deviation", deviation)))
    if n.flag("invert"):
        return n(ops.Add(), center, n(ops.Mul(), x, spread))
    return n(ops.Div(), n(ops.Sub(), x, center), spread)


def _statistic(n: KerasNode, name: str, x: Tensor) -> Any:
    """The mean or variance with the axes that make it broadcast: adapted, or given to the constructor."""
    if n.has(name):
        data = n.variable(name).data
        assert data is not None
        values = data.array()
    else:
        given = n.get(name, n.get(f"input_{name}"))
        n.require(given is not None, f"it was never adapted: it has no {name}")
        values = np.asarray(given, x.type.dtype.numpy)
    axis = n.layer.config.get("axis", -1)
    if axis is None or values.ndim == 0:
        return values.reshape(())
    kept = n.axes([axis] if isinstance(axis, int) else cast("list[int]", axis), n.rank(x))
    shape = [int(cast(int, n.extent(x, i))) if i in kept else 1 for i in range(n.rank(x))]
    return np.broadcast_to(values.reshape(shape if values.size > 1 else [1] * len(shape)), shape)


@FAMILY.op("Resizing")
def _resizing(n: KerasNode) -> Result:
    """tf.image.resize of the layer's floats."""
    given = n.x
    x = n.image(_floats(n, given), 2)
    size = (n.integer("height"), n.integer("width"))
    for entry in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        n.require(
            not n.flag(entry), f"{entry} is not expressed", "crop or pad the images with Cropping2D or ZeroPadding2D"
        )
    y = resized(n, x, size, str(n.get("interpolation", "bilinear")), antialias=n.flag("antialias"))
    return n.picture(y)


@FAMILY.op("CenterCrop")
def _center_crop(n: KerasNode) -> Result:
    x = n.image(_floats(n, n.x), 2)
    size = (n.integer("height"), n.integer("width"))
    starts: list[int] = []
    for extent, wanted in zip(n.shape(x)[2:], size, strict=True):
        if not isinstance(extent, int) or extent < wanted:
            n.refuse(f"crops {extent} elements to {wanted}", "give images of a known size that is no smaller")
        starts.append((extent - wanted) // 2)
    ends = tuple(s + w for s, w in zip(starts, size, strict=True))
    return n.picture(n(ops.Slice(axes=(2, 3), starts=tuple(starts), ends=ends, steps=(1, 1)), x))


@FAMILY.op("Pipeline")
def _pipeline(n: KerasNode) -> Result:
    n.refuse("a Pipeline is not walked", "write its layers into the model itself")
