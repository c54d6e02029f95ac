"""A whole model in float32, for targets that lack the other floating-point types."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import numpy as np

from uair.errors import InternalError, UairError
from uair.ir.data import derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Cast
from uair.ops.base import Operator
from uair.pipeline import Pass, PassContext

REPORT = "to-f32"
AS_THEY_ARE = ("BitCast", "Opaque")
"""Operators whose meaning is in the bits of an element, or is not known."""
GREATEST = float(np.finfo(np.float32).max)

Convertible = Literal["f16", "bf16", "f64"]


@attrs.frozen
class ToF32(Pass):
    """Compute in float32 what a model computes in other floating-point types, its weights, inputs and outputs included.

    What a model rounds to 16 bits on the way is not rounded any more. Numbers of f64 beyond the range of f32 become its
    greatest. An operator that is not defined on f32, and one whose meaning is in the bits (BitCast, Opaque), keeps its
    types between Casts.

    Attributes:
        types: the types that are converted.
        inputs: whether inputs are converted, too; otherwise a graph with an input of these types stays as it is.
    """

    types: tuple[Convertible, ...] = ("f16", "bf16", "f64")
    inputs: bool = True

    def run(self, module: Module, context: PassContext) -> bool:
        """Convert every graph, with a note for each input and output that changes its type."""
        work = _Conversion(frozenset(map(DType, self.types)), context, self.name)
        if not self.inputs and any(map(work.converts, module.main.inputs)):
            return False
        before = _interface(module.main)
        changed = work.graph(module.main)
        notes = [
            f"{place} is {now} instead of {dtype}"
            for (place, dtype), (_, now) in zip(before, _interface(module.main), strict=True)
            if now is not dtype
        ]
        if notes:
            context.reports[REPORT] = notes
        return changed


def _interface(graph: Graph) -> list[tuple[str, DType]]:
    """The inputs and outputs in words, with their types."""
    inputs, outputs = (
        zip(graph.input_names, graph.inputs, strict=True),
        zip(graph.output_names, graph.outputs, strict=True),
    )
    return [
        *((f"input {name!r}", t.type.dtype) for name, t in inputs),
        *((f"output {name!r}", t.type.dtype) for name, t in outputs),
    ]


class _Conversion:
    """The state of one run.

    Attributes:
        were: the types that tensors had which have another one now.
    """

    def __init__(self, types: frozenset[DType], context: PassContext, maker: str) -> None:
        self.types = types
        self.context = context
        self.maker = maker
        self.were: dict[Tensor, DType] = {}
        self.constants: dict[Tensor, Tensor] = {}

    def converts(self, tensor: Tensor | None) -> bool:
        """Whether a tensor has a type that is converted."""
        return tensor is not None and tensor.type.dtype in self.types

    def graph(self, graph: Graph) -> bool:
        """Convert a graph and those in it; whether anything changed."""
        changed = False
        for tensor in filter(self.converts, graph.inputs):
            self.were[tensor] = tensor.type.dtype
            tensor.type = tensor.type.with_dtype(DType.F32)
            changed = True
        for node in graph:
            for region in node.regions:
                changed |= self.graph(region)
            if self._is_concerned(node):
                changed |= self._convert(graph, node)
        for i, tensor in enumerate(graph.outputs):
            if tensor.is_constant and self.converts(tensor):
                graph.set_output(i, self._constant(tensor))
                changed = True
        return changed

    def _is_concerned(self, node: Node) -> bool:
        tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
        return any(self.converts(t) or t in self.were for t in tensors) or bool(self._typed(node))

    def _typed(self, node: Node) -> dict[str, DType]:
        """The attributes that are types to convert, as f32."""
        found = node.op.attributes.items()
        return {name: DType.F32 for name, value in found if isinstance(value, DType) and value in self.types}

    def _convert(self, graph: Graph, node: Node) -> bool:
        """Put the node on f32; where it is not defined there, or fuel is spent, on its own types between Casts."""
        if node.regions:
            self._retype(node)
            return True
        twin = None
        if node.op_type not in AS_THEY_ARE and self.context.fuel.draw(self.maker, node):
            with contextlib.suppress(UairError):  # the operator is not defined on f32
                twin = self._twin(node)
        made = self._kept(graph, node) if twin is None else twin
        if made is None:
            return False
        graph.insert_before(node, made)
        graph.replace(node, [self._result(graph, node, *pair) for pair in zip(node.outputs, made.outputs, strict=True)])
        return True

    def _retype(self, node: Node) -> None:
        """A node that runs graphs, which are converted in place, and so is the node."""
        for i, tensor in enumerate(node.inputs):
            if tensor is not None and tensor.is_constant and self.converts(tensor):
                node.set_input(i, self._constant(tensor))
        inferred = node.op.infer_types([None if t is None else t.type for t in node.inputs])
        for tensor, new in zip(node.outputs, inferred, strict=True):
            if tensor.type.dtype is not new.dtype:
                self.were[tensor] = tensor.type.dtype
                tensor.type = tensor.type.with_dtype(new.dtype)

    def _twin(self, node: Node) -> Node:
        """The node on f32.

        Raises:
            UairError: its operator is not defined there.
        """
        typed = self._typed(node)
        operands = [
            self._constant(t) if t is not None and self.converts(t) and t.is_constant else t for t in node.inputs
        ]
        return self._made(node, _evolved(node.op, typed) if typed else node.op, operands)

    def _kept(self, graph: Graph, node: Node) -> Node | None:
        """The node on the types that its operands had; None when it has them."""
        casts = {
            t: Node(Cast(to=self.were[t]), [t], loc=node.loc) for t in node.inputs if t is not None and t in self.were
        }
        if not casts and not any(map(self.converts, node.outputs)):
            return None
        for cast in casts.values():
            graph.insert_before(node, cast)
        return self._made(node, node.op, [casts[t].output if t in casts else t for t in node.inputs])

    def _made(self, node: Node, op: Operator, operands: Sequence[Tensor | None]) -> Node:
        location = Location.fused([node.loc], by=self.maker)
        made = Node(op, operands, name=node.name, loc=location, output_names=[t.name for t in node.outputs])
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.type = old.type.with_dtype(new.type.dtype)
        return made

    def _result(self, graph: Graph, node: Node, old: Tensor, new: Tensor) -> Tensor:
        """What stands for a result: itself, or in f32 when the node still gives another type."""
        if self.converts(new):
            new.name = f"{old.name}_{new.type.dtype}" if old.name else ""
            cast = Node(Cast(to=DType.F32), [new], loc=node.loc, output_names=[old.name])
            new = graph.insert_before(node, cast).output
        if new.type.dtype is not old.type.dtype:
            self.were[new] = old.type.dtype
        return new

    def _constant(self, tensor: Tensor) -> Tensor:
        """The constant in f32."""
        data = tensor.data
        if data is None:
            raise InternalError(f"{tensor!r} is no constant")
        if tensor not in self.constants:
            self.constants[tensor] = constant(derive(_single, (data,), DType.F32, data.shape), tensor.name)
        return self.constants[tensor]


def _evolved(op: Any, attributes: dict[str, DType]) -> Operator:
    result: Operator = attrs.evolve(op, **attributes)
    return result


def _single(values: Array) -> Array:
    """Rounded to f32; finite numbers stay finite."""
    if values.dtype == np.float64:
        values = np.where(np.isinf(values), values, np.clip(values, -GREATEST, GREATEST))
    result: Array = values.astype(np.float32)
    return result
