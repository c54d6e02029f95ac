"""Whether two modules are the same, and if not, where they first differ."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from uair.ir.data import Data, SplatData
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module


def difference(a: Module, b: Module) -> str:
    """The first difference in words, or "" when the modules are equal.

    Compared are graphs, nodes in order, operators with attributes (floats by their bits), which operand is which value,
    types with layouts, constants' values, all names, locations, origin, history and metadata.
    """
    for what in ("name", "origin", "metadata", "applied"):
        if getattr(a, what) != getattr(b, what):
            return f"{what}: {getattr(a, what)!r} and {getattr(b, what)!r}"
    if list(a.graphs) != list(b.graphs):
        return f"graphs: {list(a.graphs)} and {list(b.graphs)}"
    same = _Pairs()
    for name, graph in a.graphs.items():
        found = same.graphs(graph, b.graphs[name])
        if found:
            return f"graph {name!r}: {found}"
    return ""


def graph_difference(a: Graph, b: Graph) -> str:
    """The first difference of two graphs in words, or "" when they are equal."""
    return _Pairs().graphs(a, b)


def structural_difference(a: Graph, b: Graph) -> str:
    """The first difference of two graphs in words, names and locations left out, or "" when there is none.

    Graphs without one compute the same by the same steps: they have the same operators with the same attributes in the
    same order, over values of the same types that flow the same way, and over equal constants.
    """
    return _Pairs(hints=False).graphs(a, b)


class _Pairs:
    """The values found to correspond so far.

    Args:
        hints: whether names and locations are compared, too.
    """

    def __init__(self, *, hints: bool = True) -> None:
        self.hints = hints
        self.left: dict[Tensor, Tensor] = {}
        self.right: dict[Tensor, Tensor] = {}

    def named_alike(self, a: Any, b: Any, attributes: Sequence[str]) -> str:
        """The first of these names and locations that differs."""
        for what in attributes if self.hints else ():
            if getattr(a, what) != getattr(b, what):
                return f"{what}: {getattr(a, what)!r} and {getattr(b, what)!r}"
        return ""

    def graphs(self, a: Graph, b: Graph) -> str:
        if found := self.named_alike(a, b, ("name", "input_names", "output_names")):
            return found
        if (len(a.inputs), len(a.outputs)) != (len(b.inputs), len(b.outputs)):
            return f"{len(a.inputs)} inputs and {len(a.outputs)} outputs, against {len(b.inputs)} and {len(b.outputs)}"
        for x, y in zip(a.inputs, b.inputs, strict=True):
            found = self.define(x, y)
            if found:
                return f"inputs {x!r} and {y!r}: {found}"
        for x_node, y_node in zip(a, b, strict=False):
            found = self.nodes(x_node, y_node)
            if found:
                return f"nodes {x_node!r} and {y_node!r}: {found}"
        if len(a) != len(b):
            return f"{len(a)} nodes and {len(b)} nodes"
        found = self.operands(a.end, b.end)
        return found and f"outputs: {found}"

    def nodes(self, a: Node, b: Node) -> str:
        if type(a.op) is not type(b.op):
            return f"{a.op_type} and {b.op_type}"
        for name, value in a.attributes.items():
            found = self.attribute(value, b.attributes[name])
            if found:
                return f"attribute {name}: {found}"
        if found := self.named_alike(a, b, ("name", "loc")):
            return found
        if len(a.outputs) != len(b.outputs):
            return f"{len(a.outputs)} results and {len(b.outputs)} results"
        for i, (x, y) in enumerate(zip(a.outputs, b.outputs, strict=True)):
            found = self.define(x, y)
            if found:
                return f"result {i}: {found}"
        return self.operands(a, b)

    def attribute(self, a: Any, b: Any) -> str:
        if isinstance(a, Graph) and isinstance(b, Graph):
            return self.graphs(a, b)
        return "" if exactly_equal(a, b) else f"{a!r} and {b!r}"

    def define(self, a: Tensor, b: Tensor) -> str:
        """Let two values correspond, unless one corresponds to another already."""
        if self.left.setdefault(a, b) is not b or self.right.setdefault(b, a) is not a:
            return "not the same value"
        if self.hints and a.name != b.name:
            return f"names {a.name!r} and {b.name!r}"
        return "" if a.type == b.type else f"types {a.type} and {b.type}"

    def operands(self, a: Node, b: Node) -> str:
        if len(a.inputs) != len(b.inputs):
            return f"{len(a.inputs)} operands and {len(b.inputs)} operands"
        for i, (x, y) in enumerate(zip(a.inputs, b.inputs, strict=True)):
            if (x is None) != (y is None):
                return f"operand {i}: {x!r} and {y!r}"
            if x is None or y is None:
                continue
            seen = x in self.left
            found = self.define(x, y)
            if not found and not seen:
                found = self.constants(x.data, y.data)
            if found:
                return f"operand {i}, {x!r} and {y!r}: {found}"
        return ""

    @staticmethod
    def constants(a: Data | None, b: Data | None) -> str:
        if a is None or b is None:
            return "" if a is b else "only one is a constant"
        return "" if same_values(a, b) else "their values differ"


def same_values(a: Data, b: Data) -> bool:
    """Whether two constants agree in type, shape and every bit; repeated values are not written out for that."""
    if isinstance(a, SplatData) and isinstance(b, SplatData) and a.dtype is b.dtype and a.shape == b.shape:
        return bool(a.value.tobytes() == b.value.tobytes()) if a.dtype.bits else bool(a.value[()] == b.value[()])
    return a.equals(b)


def exactly_equal(a: Any, b: Any) -> bool:
    """Equality that tells 0.0 from -0.0 and finds a nan equal to a nan of the same bits."""
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        x: Sequence[Any] = a
        y: Sequence[Any] = b
        return len(x) == len(y) and all(exactly_equal(p, q) for p, q in zip(x, y, strict=True))
    return bool(a == b) and (type(a) is type(b) or hasattr(a, "free_symbols") or hasattr(b, "free_symbols"))
