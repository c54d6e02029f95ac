"""Gradient of padding: that of what was put in front and behind goes nowhere, or to the element that it repeats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uair.ir.dtype import Array
from uair.ops._forms import numbers
from uair.ops.gradients.base import Parts, part
from uair.ops.padding import Pad, pad


def pad_x(op: Pad, g: Array, x: Array, pads: Array | None = None, value: Array | None = None) -> Array:
    """Places that hold a constant count as 0, those of x from 1."""
    places = _places(op, x, pads)
    return np.bincount(places.ravel(), g.ravel(), x.size + 1)[1:].reshape(x.shape).astype(g.dtype)


def pad_value(op: Pad, g: Array, x: Array, pads: Array | None, value: Array) -> Array:
    """The sum over the places that hold the constant."""
    return np.asarray(g[_places(op, x, pads) == 0].sum()).reshape(value.shape)


def _places(op: Pad, x: Array, pads: Array | None) -> Array:
    return pad(np.arange(1, x.size + 1).reshape(x.shape), numbers(op, op.pads, pads), op.mode, 0)


GRADIENTS: Mapping[str, Parts] = {"Pad": {"x": part(pad_x, "pads"), "value": part(pad_value, "pads")}}
