"""Computing in 16-bit floats, stated in the model's types.

For tools that take the types as they stand (TensorRT 11, ONNX for devices with native bf16): constants, operands and
results of f32 become f16 or bf16, with Casts at the model's interface and around what is kept in f32.
"""

from __future__ import annotations

import functools
from typing import Literal

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Cast, Dequantize, Quantize
from uair.pipeline import Pass, PassContext

KEPT = (
    "BatchNorm",
    "Cast",
    "CumProd",
    "CumSum",
    "Exp",
    "Expm1",
    "GridSample",
    "GroupNorm",
    "InstanceNorm",
    "LRN",
    "LayerNorm",
    "Log",
    "Log1p",
    "LogSoftmax",
    "LpNormalize",
    "NonMaxSuppression",
    "Pow",
    "RMSNorm",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "RoiAlign",
    "Rsqrt",
    "Softmax",
    "Sqrt",
)
"""Operators whose sums, powers or quotients leave the range of f16, or whose results need its precision."""
LEAST, GREATEST = 2.0**-24, 65504.0
"""Of f16: the least number above 0, and the greatest."""
LEAST_SCALE = 2.0**-14
"""The least f16 with all its digits: scales of quantization below it would lose some."""


@attrs.frozen
class NarrowFloats(Pass):
    """Compute the main graph's f32 in a 16-bit float; inputs and outputs keep their types.

    A node stays f32 when its operator is in KEPT or `keep`, when it runs graphs, or when a constant of it would become
    0 (f16).
    Constants beyond the range of f16 become its greatest number.

    Attributes:
        to: the type.
        keep: further operators that stay f32.
    """

    to: Literal["f16", "bf16"] = "f16"
    keep: tuple[str, ...] = ()

    def run(self, module: Module, context: PassContext) -> bool:
        """Narrow the main graph."""
        work = _Narrowing(module.main, DType(self.to), self.name)
        for node in list(module.main):
            if node.op_type in (*KEPT, *self.keep) or node.regions or not work.fits(node):
                continue
            twin = work.twin(node)
            if twin is not None and context.fuel.draw(self.name, node):
                work.put(node, *twin)
        return work.finish()


class _Narrowing:
    """The state of one run: what stands for f32 tensors in the narrow type."""

    def __init__(self, graph: Graph, dtype: DType, maker: str) -> None:
        self.graph = graph
        self.dtype = dtype
        self.maker = maker
        self.narrow: dict[Tensor, Tensor] = {}
        self.replaced: list[tuple[Node, Node]] = []

    def fits(self, node: Node) -> bool:
        """Whether the node computes in f32, on constants that the narrow type can hold."""
        f32 = [t for t in (*node.inputs, *node.outputs) if t is not None and t.type.dtype is DType.F32]
        if not f32 or not all(t.type.is_tensor for t in (*node.outputs, *f32)):
            return False
        if self.dtype is not DType.F16:
            return True
        if isinstance(node.op, (Quantize, Dequantize)):
            scale = node.inputs[1]
            return scale is not None and scale.is_constant and bool((scale.numpy() >= LEAST_SCALE).all())
        return not any(_vanishes(t) for t in node.inputs if t is not None)

    def twin(self, node: Node) -> tuple[Node, list[Node]] | None:
        """The node on narrow operands, and the Casts that it needs; None when it would not give narrow results."""
        casts: list[Node] = []
        operands = [self._operand(t, casts) for t in node.inputs]
        location = Location.fused([node.loc], by=self.maker)
        names = [t.name for t in node.outputs]
        try:
            made = Node(node.op, operands, name=node.name, loc=location, output_names=names)
        except UairError:  # the operator is not defined on the type
            return None
        for old, new in zip(node.outputs, made.outputs, strict=True):
            wanted = self.dtype if old.type.dtype is DType.F32 else old.type.dtype
            if new.type.dtype is not wanted:
                return None
            new.type = old.type.with_dtype(wanted)
        return made, casts

    def put(self, node: Node, twin: Node, casts: list[Node]) -> None:
        """Insert the narrow node in front of the one that it stands for, which goes at the end."""
        for cast in casts:
            self.graph.insert_before(node, cast)
            assert cast.inputs[0] is not None
            self.narrow[cast.inputs[0]] = cast.output
        self.graph.insert_before(node, twin)
        self.replaced.append((node, twin))
        for old, new in zip(node.outputs, twin.outputs, strict=True):
            if old.type.dtype is DType.F32:
                self.narrow[old] = new
            else:
                old.replace_all_uses_with(new)

    def finish(self) -> bool:
        """Remove the f32 nodes; who still uses their results gets them by a Cast. Whether anything changed."""
        for node, twin in reversed(self.replaced):
            for old, new in zip(node.outputs, twin.outputs, strict=True):
                if old.use_count:
                    old.replace_all_uses_with(self._widened(old, new, node))
            self.graph.remove(node)
        return bool(self.replaced)

    def _operand(self, tensor: Tensor | None, casts: list[Node]) -> Tensor | None:
        if tensor is None or tensor.type.dtype is not DType.F32:
            return tensor
        known = self.narrow.get(tensor)
        if known is not None:
            return known
        if tensor.data is not None:
            compute = functools.partial(_converted, dtype=self.dtype)
            data = ComputedData(compute, (tensor.data,), self.dtype, tensor.data.shape)
            made = self.narrow[tensor] = constant(data, tensor.name)
            return made
        made_before = next((c.output for c in casts if c.inputs[0] is tensor), None)
        if made_before is not None:
            return made_before
        name = f"{tensor.name}_{self.dtype}" if tensor.name else ""
        location = tensor.producer.loc if tensor.producer is not None else Location()
        casts.append(Node(Cast(to=self.dtype), [tensor], name=f"narrow_{name}", loc=location, output_names=[name]))
        return casts[-1].output

    def _widened(self, old: Tensor, new: Tensor, before: Node) -> Tensor:
        """`new` in f32, under the name of `old`."""
        new.name = f"{old.name}_{self.dtype}" if old.name else ""
        cast = Node(Cast(to=DType.F32), [new], name=f"widen_{old.name}", loc=before.loc, output_names=[old.name])
        self.graph.insert_before(before, cast)
        return cast.output


def _vanishes(tensor: Tensor) -> bool:
    """Whether a constant number above 0 (an epsilon, say) would become 0; single small weights may."""
    if not tensor.is_constant or tensor.type.dtype is not DType.F32 or tensor.type.size != 1:
        return False
    size = float(np.abs(tensor.numpy()).reshape(-1)[0])
    return 0 < size < LEAST


def _converted(array: Array, *, dtype: DType) -> Array:
    """Rounded to the type, and limited to its range."""
    limited = np.clip(array, -GREATEST, GREATEST) if dtype is DType.F16 else array
    result: Array = limited.astype(dtype.numpy)
    return result
