"""Conversions between memory layouts. They change how a tensor lies in memory, never its values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from uair.ir.dtype import Array
from uair.ir.layout import Layout, nc1hwc0, nhwc, plain
from uair.ir.types import TensorType
from uair.ops.base import Operator, Sample, bad, case, operator, ranked, require


@operator(inputs="x", family="layout")
class Pack(Operator):
    """The tensor x in memory layout `layout`: same element type, same logical shape.

    `evaluate` takes the logical array and gives the storage array of `layout`, whose padding is zero.
    """

    layout: Layout = Layout.PLAIN

    def infer(self, x: TensorType) -> TensorType:
        shape = ranked(x)
        for axis, block in self.layout.blocks:
            require(0 <= axis < len(shape), "layout {} blocks axis {}, x has shape {}", self.layout, axis, list(shape))
            require(block >= 1, "layout {} has a block of {}", self.layout, block)
        order = self.layout.order
        require(
            not order or sorted(order) == list(range(len(shape) + len(self.layout.blocks))),
            "layout {} orders {} axes, x has shape {}",
            self.layout,
            len(order) - len(self.layout.blocks),
            list(shape),
        )
        return TensorType(x.dtype, x.shape, self.layout)

    def evaluate(self, x: Array) -> Array:
        return self.layout.pack(x)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(layout=nc1hwc0(16)), "f16[1,20,3,5]")
        yield case(cls(layout=nhwc()), "f32[1,3,4,5]")
        yield case(cls(layout=plain(32)), "i8[2,5]")
        yield bad(cls(layout=nc1hwc0(16)), "f16[20]", because="blocks axis 1")
        yield bad(cls(layout=nhwc()), "f32[3,4,5]", because="orders 4 axes")


@operator(inputs="x", family="layout")
class Unpack(Operator):
    """The tensor x, of any memory layout, in no particular one: dense and in logical order.

    The operand's layout is part of its type, so whoever evaluates hands over the logical array (the interpreter unpacks
    every operand that has a layout) and `evaluate` gives it back.
    """

    def infer(self, x: TensorType) -> TensorType:
        ranked(x)
        return attrs.evolve(x, layout=Layout.ANY)

    def evaluate(self, x: Array) -> Array:
        return x

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[1,3,4,5]")
        yield case(cls(), "i8[2,5]")
        yield bad(cls(), "i8[*]", because="the rank of x must be known")
