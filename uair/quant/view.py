"""The quantized view of a graph: nodes with the integers of their operands.

In a quantized module an operand is the result of a Dequantize, and an activation's Dequantize stands behind a Quantize.
Formats that have no such nodes need, for each node, the integers and parameters of its operands: `quantized_view`.
"""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ops import (
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
    Quantize,
)
from uair.ops.base import Operator

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
