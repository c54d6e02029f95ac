"""Writing the chosen parameters into the graph as Quantize and Dequantize nodes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from uair.ir.data import Data
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ops import Dequantize, Quantize
from uair.passes.quantization.choose import QuantizedConstants
from uair.passes.quantization.placement import Plan, QuantizedNode
from uair.passes.quantization.statistics import display_name
from uair.quant.parameters import Parameters
from uair.quant.scheme import COMPUTE, Scheme

MAKER = "quantize-int8"


@attrs.define(eq=False)
class Inserter:
    """Inserts pairs of Quantize and Dequantize, one for each quantized activation and integer type.

    Attributes:
        graph: the graph.
        plan: what is quantized.
        everywhere: whether all users of a result of a quantized node take its integers ("all"), or only the quantized
            nodes ("compute").
        one_value: whether all users of anything that is quantized take its integers, but for layers with weights.
    """

    graph: Graph
    plan: Plan
    everywhere: bool
    one_value: bool = False
    _pairs: dict[tuple[Tensor, DType], tuple[Node, Tensor]] = attrs.Factory(
        dict["tuple[Tensor, DType]", "tuple[Node, Tensor]"]
    )

    @staticmethod
    def of(graph: Graph, plan: Plan, scheme: Scheme) -> Inserter:
        """For a target's scheme."""
        return Inserter(graph, plan, scheme.placement == "all", scheme.one_value)

    def quantize(
        self, item: QuantizedNode, activations: Mapping[int, Parameters], constants: QuantizedConstants
    ) -> None:
        """Let a node read integers: its activations, its weight and its bias."""
        node = item.node
        for i, parameters in activations.items():
            node.set_input(i, self._activation(item.operand(i), parameters, node))
        for i, pair in constants.by_operand(item).items():
            node.set_input(i, self._constant(item.operand(i), pair, node))

    def connect_float_users(self) -> None:
        """Let the float users of quantized results read what the integers stand for, where `everywhere` asks for it."""
        if not (self.everywhere or self.one_value):
            return
        members = {item.node for item in self.plan.nodes}
        quantizers = {quantize for quantize, _ in self._pairs.values()}
        widest = sorted(self._pairs.items(), key=lambda pair: -pair[0][1].bits)
        for (tensor, _), (_, stored) in widest:
            is_made_of_integers = tensor.producer in members
            if not (is_made_of_integers or self.one_value):
                continue
            for user, i in tensor.uses:
                # rknn-toolkit2 takes a layer for a quantized one that reads integers beside weights in float
                if user not in quantizers and (is_made_of_integers or user.op_type not in COMPUTE):
                    user.set_input(i, stored)

    def _activation(self, tensor: Tensor, parameters: Parameters, user: Node) -> Tensor:
        """What stands for `tensor` after it went through integers."""
        found = self._pairs.get((tensor, parameters.dtype))
        if found is not None:
            return found[1]
        name = display_name(tensor)
        location = tensor.producer.loc if tensor.producer is not None else user.loc
        scale, zero = constant(parameters.scale, f"{name}_scale"), constant(parameters.zero_point, f"{name}_zero_point")
        op = Quantize(dtype=parameters.dtype, rounding=parameters.rounding)
        quantize = self._node(op, [tensor, scale, zero], f"{name}_quantized", location)
        dequantize = self._node(Dequantize(), [quantize.output, scale, zero], f"{name}_dequantized", location)
        anchor = self._behind(tensor)
        self.graph.insert_before(anchor, quantize)
        self.graph.insert_before(anchor, dequantize)
        self._pairs[tensor, parameters.dtype] = quantize, dequantize.output
        return dequantize.output

    def _behind(self, tensor: Tensor) -> Node:
        """The node in front of which a user of `tensor` may stand."""
        if tensor.producer is None:
            return next(iter(self.graph), self.graph.end)
        return tensor.producer.next or self.graph.end

    def _constant(self, tensor: Tensor, pair: tuple[Parameters, Array | Data], user: Node) -> Tensor:
        """A constant's integers behind Dequantize, in front of their user."""
        parameters, integers = pair
        name = display_name(tensor)
        operands = [constant(integers, name), constant(parameters.scale, f"{name}_scale")]
        if parameters.dtype is not DType.I32:
            operands.append(constant(parameters.zero_point, f"{name}_zero_point"))
        node = self._node(Dequantize(axis=parameters.axis), operands, f"{name}_dequantized", user.loc)
        self.graph.insert_before(user, node)
        return node.output

    def _node(self, op: Quantize | Dequantize, operands: list[Tensor], name: str, location: Location) -> Node:
        return Node(op, operands, name=name, loc=Location.fused([location], by=MAKER), output_names=[name])
