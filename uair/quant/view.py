"""The quantized view of a graph: nodes with the integers of their operands, and the same graph computed on integers.

In a quantized module an operand is the result of a Dequantize, and an activation's Dequantize stands behind a Quantize.
Formats that have no such nodes need, for each node, the integers and parameters of its operands: `quantized_view`.

`lower_to_integer` makes the module in which these nodes compute on integers. Its arithmetic is the definition of what
an integer device computes, bit for bit, for y = Conv(x, w, b), ConvTranspose(x, w, b), Linear(x, w, b), MatMul(a, b):

1. q_x = Quantize(x): round(x / s_x) half to even, plus z_x, saturated; i8 or u8 (or i16, z_x = 0). The division is
   one f32 division.
2. acc = sum of (q_x - z_x) * (q_w - z_w) + q_b: exact integers, i32, wrapping around at 32 bits (the quantize-int8 pass
   keeps sums within 32 bits); i64 for a q_x of i16. Outside x a convolution's padding is z_x. Without an i32 bias
   q_b is 0.
3. s[c] = s_x * s_w[c]: one f32 product per output channel (or one for the tensor), computed when the module is lowered.
4. y = f32(acc) * s[c]: acc is converted to f32 (round half to even beyond 2^24), then one f32 product.
5. y + b in f32, where the bias is float, or is an i32 bias whose scale is not the product of step 3.

Steps 3 and 4 are the Dequantize operator applied to an i32 tensor. The float module rounds differently: it multiplies
and adds real numbers in f32, in the order of its matrix product. The two agree to f32 rounding.

Devices do not go back to real numbers between two layers. With `requantization` a node whose result goes through Relu
or Clip at most into one Quantize becomes integers throughout: steps 3 to 5 and the Quantize are one Requantize, whose
documentation says how each arithmetic rounds ("litert": "fixed_point" for convolutions, "fixed_point_once" for matrix
products, bit for bit what LiteRT's reference kernels give). Its scale is s_x * s_w / s_y: for "float" in f32, from the
left, as onnxruntime computes it; otherwise in f64, as TFLite does. A node with a bias that is not i32 of scale
s_x * s_w stays as above.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import (
    Add,
    Cast,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    Dequantize,
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
    IntegerLinear,
    IntegerMatMul,
    Linear,
    MatMul,
    Mul,
    Quantize,
)
from uair.ops.base import Operator
from uair.quant.requantize import Requantization, find_tail, requantize

MAKER = "lower-to-integer"
INTEGER: dict[type[Operator], type[Operator]] = {
    Conv1D: IntegerConv1D,
    Conv2D: IntegerConv2D,
    Conv3D: IntegerConv3D,
    ConvTranspose1D: IntegerConvTranspose1D,
    ConvTranspose2D: IntegerConvTranspose2D,
    ConvTranspose3D: IntegerConvTranspose3D,
    Linear: IntegerLinear,
    MatMul: IntegerMatMul,
}
"""The integer operator of the same attributes."""
TRANSPOSED = (ConvTranspose1D, ConvTranspose2D, ConvTranspose3D)


@attrs.frozen(eq=False)
class QuantizedOperand:
    """The integers behind an operand.

    Attributes:
        integers: the tensor of integers: the result of a Quantize, or a constant.
        scale: f32, a scalar or one number per index of `axis`.
        zero_point: of the integers' type, in scale's shape; 0 when the Dequantize has none.
        axis: None for one scale.
        source: the real tensor that was quantized; None for a constant.
    """

    integers: Tensor
    scale: Array
    zero_point: Array
    axis: int | None
    source: Tensor | None

    @property
    def dtype(self) -> DType:
        """Type of the integers."""
        return self.integers.type.dtype

    @property
    def is_symmetric(self) -> bool:
        """Whether every zero point is 0."""
        return not self.zero_point.any()


@attrs.frozen(eq=False)
class QuantizedView:
    """A node whose first two operands are integers behind Dequantize.

    Attributes:
        node: the node.
        x: the first operand.
        w: the second one (of MatMul perhaps an activation too).
        bias: the third one when it is i32 behind Dequantize.
        float_bias: the third one when it is real.
        output: parameters of the one Quantize that takes the result, when nothing else does.
    """

    node: Node
    x: QuantizedOperand
    w: QuantizedOperand
    bias: QuantizedOperand | None
    float_bias: Tensor | None
    output: QuantizedOperand | None

    def accumulator_scale(self) -> Array:
        """s_x * s_w as f32: a scalar or one number per output channel."""
        return self.repeated(np.asarray(self.x.scale * self.w.scale, np.float32))

    def repeated(self, scale: Array) -> Array:
        """Scales of the weight's channels as those of the result's: a transposed convolution's groups share them."""
        if scale.ndim and isinstance(self.node.op, TRANSPOSED):
            return np.tile(scale, self.node.op.groups)
        return scale

    def integer_bias(self) -> Tensor | None:
        """The i32 bias when its scale is the accumulator's and its zero point 0: it can be added to the sums."""
        bias = self.bias
        if bias is None or bias.dtype is not DType.I32 or not bias.is_symmetric:
            return None
        scale = self.accumulator_scale()
        return bias.integers if np.array_equal(np.broadcast_to(bias.scale, scale.shape), scale) else None


def quantized_operand(tensor: Tensor | None) -> QuantizedOperand | None:
    """The integers behind a tensor; None when it is not the result of a Dequantize with constant parameters."""
    node = tensor.producer if tensor is not None else None
    if node is None or not isinstance(node.op, Dequantize) or node.op.block_size:
        return None
    integers, scale = node.inputs[0], node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if integers is None or scale is None or not scale.is_constant or (zero is not None and not zero.is_constant):
        return None
    values = scale.numpy().astype(np.float32)
    points = np.zeros(values.shape, integers.type.dtype.numpy) if zero is None else zero.numpy()
    axis = node.op.axis
    if axis is not None and axis < 0:
        axis += integers.type.rank
    maker = integers.producer
    if integers.is_constant:
        return QuantizedOperand(integers, values, points, axis, None)
    source = maker.inputs[0] if maker is not None and isinstance(maker.op, Quantize) else None
    return QuantizedOperand(integers, values, points, axis, source)


def quantized_view(node: Node) -> QuantizedView | None:
    """The quantized view of a node; None when it does not compute on integers exactly.

    It does when it is a convolution or product whose first operand is 8-bit integers (or i16 ones without a zero point)
    with one scale, and whose second is 8-bit integers with one scale or, for a constant weight, one per output channel.
    """
    if type(node.op) not in INTEGER:
        return None
    x, w = quantized_operand(node.inputs[0]), quantized_operand(node.inputs[1])
    if x is None or w is None or x.scale.ndim or not _are_multiplied(x, w):
        return None
    if w.scale.ndim and w.axis != _channel_axis(node):
        return None
    if w.zero_point.ndim and not w.is_symmetric and isinstance(node.op, (MatMul, *TRANSPOSED)):
        return None
    third = node.inputs[2] if len(node.inputs) > 2 else None
    bias = quantized_operand(third)
    if bias is not None and (bias.dtype is not DType.I32 or not bias.integers.is_constant):
        bias = None
    return QuantizedView(node, x, w, bias, third if bias is None else None, _output(node))


def _are_multiplied(x: QuantizedOperand, w: QuantizedOperand) -> bool:
    """Whether there is an integer product of these types."""
    wide = x.dtype is DType.I16 and x.is_symmetric
    return w.dtype in (DType.I8, DType.U8) and (wide or x.dtype in (DType.I8, DType.U8))


def _channel_axis(node: Node) -> int | None:
    """The axis of the second operand that stands for output channels."""
    op, w = node.op, node.inputs[1]
    if isinstance(op, Linear):
        return 0 if op.transpose_w else 1
    if isinstance(op, MatMul):
        return (0 if op.trans_b else 1) if w is not None and w.type.rank == 2 else None
    return 1 if isinstance(op, TRANSPOSED) else 0


def _output(node: Node) -> QuantizedOperand | None:
    uses = node.output.uses
    quantize = uses[0][0] if len(uses) == 1 else node
    if not isinstance(quantize.op, Quantize) or quantize.op.block_size:
        return None
    scale, zero = quantize.inputs[1], quantize.inputs[2] if len(quantize.inputs) > 2 else None
    if scale is None or not scale.is_constant or (zero is not None and not zero.is_constant):
        return None
    values = scale.numpy().astype(np.float32)
    points = np.zeros(values.shape, quantize.output.type.dtype.numpy) if zero is None else zero.numpy()
    return QuantizedOperand(quantize.output, values, points, quantize.op.axis, node.output)


def quantized_nodes(graph: Graph) -> list[QuantizedView]:
    """The views of all nodes that compute on integers, in order."""
    return [view for node in graph if (view := quantized_view(node)) is not None]


def lower_to_integer(
    module: Module,
    requantization: Requantization | None = None,
    *,
    where: Callable[[QuantizedView], bool] | None = None,
) -> Module:
    """A copy of a quantized module in which every node with a quantized view computes on integers.

    Such a node becomes an Integer operator, a Dequantize of its i32 sums, and an Add where the bias stays real.
    Everything else is as it was; what nobody uses any more is removed.

    Args:
        module: the module; not changed.
        requantization: how sums become the next tensor's integers; None: by way of real numbers.
        where: which nodes; all when not given.
    """
    result = module.clone()
    for graph in result.graphs.values():
        for node in list(graph):
            if (view := quantized_view(node)) is not None and (where is None or where(view)):
                _lower(graph, view, requantization)
        for node in reversed(graph):
            if not any(t.use_count for t in node.outputs) and isinstance(node.op, (Dequantize, Quantize)):
                graph.remove(node)
    return result


def _lower(graph: Graph, view: QuantizedView, requantization: Requantization | None) -> None:
    """Replace one node, and what makes integers of its result."""
    node, name = view.node, view.node.output.name or view.node.name
    location = Location.fused([node.loc], by=MAKER)
    operands: list[Tensor | None] = [
        view.x.integers,
        view.w.integers,
        None if view.x.is_symmetric else constant(view.x.zero_point, f"{name}_x_zero_point"),
        None if view.w.is_symmetric else constant(view.w.zero_point, f"{name}_w_zero_point"),
    ]
    added = view.integer_bias()
    if not isinstance(node.op, MatMul):
        operands.append(added)
    op = INTEGER[type(node.op)](**node.attributes)
    accumulate = Node(op, operands, name=node.name, loc=location, output_names=[f"{name}_acc"])
    graph.insert_before(node, accumulate)
    has_32_bits = accumulate.output.type.dtype is DType.I32
    if requantization is not None and has_32_bits and (added is not None or not _has_bias(node)):
        if (tail := find_tail(node)) is not None:
            requantize(graph, view, accumulate.output, tail, requantization, _scale_axis(view))
            return
    result = _scaled(graph, view, accumulate.output, name)
    if added is None and (bias := _real_bias(graph, view)) is not None:
        total = Node(Add(), [result, bias], name=node.name, loc=location, output_names=[node.output.name])
        graph.insert_before(node, total)
        result = total.output
    graph.replace(node, [result])


def _has_bias(node: Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None


def _scale_axis(view: QuantizedView) -> int | None:
    """The axis of the result along which the scales of its sums lie; None for one scale."""
    if view.accumulator_scale().ndim == 0:
        return None
    return view.node.output.type.rank - 1 if isinstance(view.node.op, (Linear, MatMul)) else 1


def _scaled(graph: Graph, view: QuantizedView, acc: Tensor, name: str) -> Tensor:
    """The sums as real numbers, in front of the node: Dequantize, which of i64 is written as what it does."""
    node, scale, axis = view.node, view.accumulator_scale(), _scale_axis(view)
    rank, location = node.output.type.rank, Location.fused([node.loc], by=MAKER)

    def put(op: Operator, *operands: Tensor) -> Tensor:
        made = Node(op, operands, name=node.name, loc=location, output_names=[node.output.name])
        return graph.insert_before(node, made).output

    if acc.type.dtype is DType.I32:
        return put(Dequantize(axis=axis), acc, constant(scale, f"{name}_acc_scale"))
    shape = [] if axis is None else [-1 if i == axis else 1 for i in range(rank)]
    return put(Mul(), put(Cast(to=DType.F32), acc), constant(scale.reshape(shape), f"{name}_acc_scale"))


def _real_bias(graph: Graph, view: QuantizedView) -> Tensor | None:
    """The bias as real numbers, shaped to be added to the result."""
    tensor = view.node.inputs[2] if len(view.node.inputs) > 2 else None
    if tensor is None or isinstance(view.node.op, Linear):
        return tensor
    from uair.ops import Reshape

    shape = (-1, *(1 for _ in view.node.output.type.dims[2:]))
    if tensor.is_constant:
        return constant(tensor.numpy().reshape(shape), tensor.name)
    reshape = Node(Reshape(shape=shape), [tensor], name=view.node.name, loc=view.node.loc)
    graph.insert_before(view.node, reshape)
    return reshape.output
