"""What the edges of a TensorFlow graph carry beside tensors."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from uair.frontends.tensorflow.program import Variable
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Tensor


@attrs.frozen(eq=False)
class TensorList:
    """A TensorList of elements of one shape, as a tensor that holds them along axis 0.

    Attributes:
        items: all elements; None while nothing has been written.
        count: how many there are.
        dtype: of an element.
        element: shape of an element as far as it is known.
        written: what was written since the loop's body was entered, as (index, element), without an index where the
            element was added at the end: the body's state stands for the rest.
        state: which state of the loop's body it is, in the body.
    """

    dtype: DType
    items: Tensor | None = None
    count: Tensor | None = None
    element: InferredShape | None = None
    written: tuple[tuple[Tensor | None, Tensor], ...] = ()
    state: int | None = None


@attrs.frozen(eq=False)
class Nothing:
    """The result of an operator that gives none that can be used: its name is for the message."""

    what: str


@attrs.frozen(eq=False)
class Complex:
    """A complex tensor as a real one, with real and imaginary part along a last axis of 2."""

    parts: Tensor


Value: TypeAlias = Tensor | Variable | TensorList | Complex | Nothing


def describe(value: TensorList | Complex | Nothing) -> str:
    """A value that is no tensor in words, for messages."""
    if isinstance(value, Nothing):
        return value.what
    return "complex" if isinstance(value, Complex) else "a list of tensors"


__all__ = ["Complex", "Nothing", "TensorList", "Value", "Variable", "describe"]
