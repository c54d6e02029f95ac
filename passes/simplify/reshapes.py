"""Operators that only change the shape."""

from __future__ import annotations

from typing import Any

from uair import ops
from uair.ir.data import derive
from uair.ir.dims import static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Expand, PRelu, Reshape, Slice, Squeeze, Transpose, Unsqueeze
from uair.passes.simplify.arithmetic import repeated_value
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Rule, no, of

BROADCASTING = (
    ops.Add, ops.Sub, ops.Mul, ops.Div, ops.IntDiv, ops.Mod, ops.Pow, ops.Atan2, ops.Maximum, ops.Minimum, ops.Where,
    ops.Equal, ops.NotEqual, ops.Less, ops.LessEqual, ops.Greater, ops.GreaterEqual, ops.LogicalAnd, ops.LogicalOr,
    ops.LogicalXor,
)  # fmt: skip
"""Operators that broadcast all their operands."""
FUNCTIONS = (
    ops.Abs, ops.Cast, ops.Ceil, ops.Clip, ops.Cos, ops.Erf, ops.Exp, ops.Floor, ops.Gelu, ops.HardSigmoid,
    ops.HardSwish, ops.LeakyRelu, ops.Log, ops.LogicalNot, ops.Neg, ops.Reciprocal, ops.Relu, ops.Round, ops.Rsqrt,
    ops.Sigmoid, ops.Sign, ops.Sin, ops.Softplus, ops.Sqrt, ops.Swish, ops.Tanh,
)  # fmt: skip
"""Operators of one operand that do the same with every element."""


class MergeReshapes(Rule):
    """A shape-only operator after another one is one Reshape."""

    def pattern(self, x: Any) -> Any:
        """Two in a row; the first may have other users."""
        inner = of(Reshape, Squeeze, Unsqueeze)(x).named("inner").shared()
        return of(Reshape, Squeeze, Unsqueeze)(inner).named("outer")

    def check(self, outer: Node) -> bool | NoMatch:
        """The final shape does not depend on data."""
        return _final_shape(outer) is not None or no(
            "the final shape is not known in terms of the inputs' sizes", outer
        )

    def rewrite(self, x: Tensor, outer: Node) -> Tensor:
        """Reshape at once."""
        shape = _final_shape(outer)
        assert shape is not None
        return x if x.type == outer.output.type else Reshape(shape=shape)(x)


def _final_shape(outer: Node) -> Any:
    shape = outer.output.type.shape
    if shape is None:
        return None
    if isinstance(outer.op, Reshape) and outer.op.shape is not None and -1 in outer.op.shape:
        return outer.op.shape
    return shape if not any(_is_data_dependent(d) for d in shape) else None


def _is_data_dependent(extent: Any) -> bool:
    """Whether an extent mentions a size named only where it arises (u1, u2, ...)."""
    if isinstance(extent, int):
        return False
    return any(s.name[0] == "u" and s.name[1:].isdecimal() for s in extent.free_symbols)


class ReshapeRepeatedNumber(Rule):
    """One number that is repeated, and then given another shape, is repeated in that shape."""

    def pattern(self, c: Any) -> Any:
        """Expand, then an operator that leaves the elements as they are."""
        return of(Reshape, Squeeze, Unsqueeze, Transpose)(of(Expand)(c)).named("root")

    def check(self, c: Tensor, root: Node) -> bool | NoMatch:
        """The constant consists of one number, and the final shape does not depend on data."""
        if repeated_value(c) is None:
            return no("it is no constant of one number", c)
        shape = _final_shape(root)
        known = shape is not None and -1 not in shape
        return known or no("the final shape is not known in terms of the inputs' sizes", root)

    def rewrite(self, c: Tensor, root: Node) -> Tensor:
        """Expand of the number."""
        number = constant(c.numpy().reshape(-1)[0], c.name)
        return Expand(shape=root.output.type.dims)(number)


class DropSlopeBatch(Rule):
    """Slopes of a PRelu, one for each channel, have no axis for the batch: [1, C, 1, 1] is [C, 1, 1]."""

    def pattern(self, x: Any, slope: Any) -> Any:
        """Any PRelu."""
        return PRelu()(x, slope)

    def check(self, x: Tensor, slope: Tensor) -> bool | NoMatch:
        """They are stored, and have as many axes as the operand."""
        if slope.data is None or x.type.shape is None:
            return no("the slopes are no constant, or the operand's rank is not known", slope)
        return x.type.rank == slope.type.rank > 1 == slope.type.dims[0] or no("there is no such axis", slope)

    def rewrite(self, x: Tensor, slope: Tensor) -> Tensor:
        """The slopes without it."""
        assert slope.data is not None
        shape = static(slope.type.dims)[1:]
        data = derive(lambda a: a.reshape(shape), (slope.data,), slope.data.dtype, shape)
        return PRelu()(x, constant(data, slope.name))


class ExpandBroadcastOperand(Rule):
    """Expand in front of an elementwise operator that broadcasts anyway is dropped."""

    def pattern(self) -> Any:
        """Any operator that broadcasts."""
        return of(*BROADCASTING)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """An operand is an Expand, and without it the result has the same type."""
        if all(t is None or t.producer is None or not isinstance(t.producer.op, Expand) for t in node.inputs):
            return no("no operand is an Expand", node)
        return bool(self.dropped(node)) or no("without the Expand the result would have another shape", node)

    def rewrite(self, node: Node) -> Tensor:
        """The operator on what was expanded."""
        return node.op(*self.dropped(node))

    @staticmethod
    def dropped(node: Node) -> list[Tensor | None]:
        """The operands without one Expand that is not needed; empty when there is none."""
        for i, tensor in enumerate(node.inputs):
            if tensor is None or tensor.producer is None or not isinstance(tensor.producer.op, Expand):
                continue
            operands = list(node.inputs)
            operands[i] = tensor.producer.inputs[0]
            types = [None if t is None else t.type for t in operands]
            if node.op.infer_types(types)[0] == node.output.type:
                return operands
        return []


class MergeSlices(Rule):
    """Slices of different axes in a row are one Slice."""

    def pattern(self, x: Any) -> Any:
        """Two in a row, bounds as attributes."""
        return of(Slice)(of(Slice)(x).named("inner")).named("outer")

    def check(self, inner: Node, outer: Node) -> bool | NoMatch:
        """Bounds are known and the axes differ."""
        a, b = inner.op, outer.op
        if not has_known_bounds(a) or not has_known_bounds(b):
            return no("bounds are computed at run time", outer)
        x = inner.inputs[0]
        assert x is not None
        axes = a.axes + b.axes
        if x.type.shape is not None:
            axes = tuple(axis % x.type.rank for axis in axes)
        elif min(axes, default=0) < 0 <= max(axes, default=0):
            return no("the rank is not known: an axis counted from the end may be any of the others", outer)
        return len(set(axes)) == len(axes) or no("both slice the same axis", outer)

    def rewrite(self, x: Tensor, inner: Node, outer: Node) -> Tensor:
        """One Slice over both sets of axes."""
        a, b = inner.op, outer.op
        assert has_known_bounds(a) and has_known_bounds(b)
        return Slice(axes=a.axes + b.axes, starts=a.starts + b.starts, ends=a.ends + b.ends, steps=a.steps + b.steps)(x)


class DropReshapesAroundFunction(Rule):
    """A function of every element between two Reshapes, the second of which undoes the first one, needs neither."""

    def pattern(self, x: Any) -> Any:
        """Three in a row."""
        inner = of(Reshape, Squeeze, Unsqueeze)(x).named("inner")
        return of(Reshape, Squeeze, Unsqueeze)(of(*FUNCTIONS)(inner).named("function")).named("outer")

    def check(self, x: Tensor, outer: Node) -> bool | NoMatch:
        """The shapes before and after are the same."""
        same = x.type.shape is not None and x.type.shape == outer.output.type.shape
        return same or no("the shapes before and after are not known to be the same", outer)

    def rewrite(self, x: Tensor, function: Node) -> Tensor:
        """The function alone."""
        result: Tensor = function.op(x)
        return result


class FlattenConcat(Rule):
    """A Concat of Concats along the same axis is one Concat."""

    def pattern(self) -> Any:
        """Any Concat."""
        return of(Concat)(...).named("outer")

    def check(self, outer: Node) -> bool | NoMatch:
        """An operand is a private Concat along the same axis."""
        return any(_is_inner(t, outer) for t in outer.inputs) or no(
            "no operand is a private Concat on that axis", outer
        )

    def rewrite(self, outer: Node) -> Tensor:
        """All pieces side by side."""
        pieces: list[Tensor | None] = []
        for tensor in outer.inputs:
            pieces += (
                tensor.producer.inputs
                if tensor is not None and _is_inner(tensor, outer) and tensor.producer
                else [tensor]
            )
        return outer.op(*pieces)


def _is_inner(tensor: Tensor | None, outer: Node) -> bool:
    inner = None if tensor is None else tensor.producer
    if inner is None or inner.graph is not outer.graph:  # what a loop sees is not joined again in every run
        return False
    return inner.op == outer.op and inner.output.use_count == 1


RULES = (
    MergeReshapes,
    ReshapeRepeatedNumber,
    DropSlopeBatch,
    ExpandBroadcastOperand,
    MergeSlices,
    DropReshapesAroundFunction,
    FlattenConcat,
)
