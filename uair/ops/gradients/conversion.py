"""Gradients of conversions: between floats the gradient itself, of integers none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uair.ir.dtype import Array
from uair.ops.gradients.base import Parts, gradient_type, part
from uair.ops.gradients.elementwise import ROUNDING


def cast(op: Any, g: Array, x: Array) -> Array:
    """In the type of the operand; what is rounded away does not count."""
    return g.astype(gradient_type(x))


GRADIENTS: Mapping[str, Parts] = {"Cast": {"x": part(cast)}, "BitCast": ROUNDING}
