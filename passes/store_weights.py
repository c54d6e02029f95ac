"""Weights in bf16: half the bytes of a file, computed with in f32."""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import Cast
from uair.pipeline import Pass, PassContext


@attrs.frozen
class StoreWeights(Pass):
    """Store large f32 constants in a 16-bit float behind a Cast, which runtimes compute when they load the model.

    Values are rounded to nearest even. Constants of quantization are left alone.

    Attributes:
        to: the type.
        least: elements from which on a constant is large.
    """

    to: Literal["bf16", "f16"] = "bf16"
    least: int = 1024

    def run(self, module: Module, context: PassContext) -> bool:
        """Store the constants of every graph."""
        changed = False
        for graph in module.all_graphs():
            made: dict[Tensor, Tensor] = {}
            for node in list(graph):
                if node.op_type in ("Quantize", "Dequantize"):
                    continue
                for i, tensor in enumerate(node.inputs):
                    if tensor is not None and self._is_large(tensor) and context.fuel.draw(self.name, node):
                        node.set_input(i, self._stored(graph, node, tensor, made))
                        changed = True
        return changed

    def _is_large(self, tensor: Tensor) -> bool:
        data = tensor.data
        return data is not None and tensor.type.dtype is DType.F32 and data.size >= self.least

    def _stored(self, graph: Graph, user: Node, tensor: Tensor, made: dict[Tensor, Tensor]) -> Tensor:
        """The constant in the narrow type behind a Cast in front of its first user."""
        if tensor not in made:
            dtype, data = DType(self.to), tensor.data
            assert data is not None

            def narrow(array: Array) -> Array:
                return np.asarray(array.astype(dtype.numpy))

            stored = constant(ComputedData(narrow, (data,), dtype, data.shape), tensor.name)
            name = f"{tensor.name}_f32" if tensor.name else ""
            cast = Node(Cast(to=DType.F32), [stored], loc=user.loc, output_names=[name])
            graph.insert_before(user, cast)
            made[tensor] = cast.output
        return made[tensor]
