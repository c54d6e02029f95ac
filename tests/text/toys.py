"""A few operators with attributes of every kind, for texts that must not depend on UAIR's own operators."""

from __future__ import annotations

from typing import Literal

from uair.context import Context
from uair.ir import DType, Graph, Layout, TensorType
from uair.ir.dims import Shape
from uair.ops.base import Floats, Ints, Operator, Results, Strs, Types, operator


@operator(inputs="x", family="toy")
class Twice(Operator):
    """The operand, twice."""

    def infer(self, x: TensorType) -> Results:
        return x


@operator(inputs="x w? b?", family="toy")
class Mix(Operator):
    """Optional operands and an attribute of every kind."""

    count: int = 1
    ratio: float = 0.0
    flag: bool = False
    label: str = ""
    mode: Literal["none", "tanh", "half_pixel"] = "none"
    axes: Ints = ()
    scales: Floats = ()
    words: Strs = ()
    target: Shape | None = None
    limit: float | None = None
    end: int | None = None
    to: DType = DType.F32
    layout: Layout = Layout.ANY
    like: Types = ()

    def infer(self, x: TensorType, w: TensorType | None = None, b: TensorType | None = None) -> Results:
        return x


@operator(inputs="parts*", outputs="first second", family="toy")
class Pair(Operator):
    """Any number of operands, two results."""

    def infer(self, *parts: TensorType) -> Results:
        return parts[0], parts[0]


@operator(inputs="x", outputs="", family="toy")
class Sink(Operator):
    """No result."""

    def infer(self, x: TensorType) -> Results:
        return ()


@operator(inputs="condition", family="toy")
class Choose(Operator):
    """Two graphs that may use what is around them."""

    then_branch: Graph | None = None
    else_branch: Graph | None = None

    def infer(self, condition: TensorType) -> Results:
        return condition


TOYS = Context({cls.__name__: cls for cls in (Twice, Mix, Pair, Sink, Choose)})
