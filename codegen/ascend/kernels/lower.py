"""From nodes to the steps of a program.

One function per operator, in the table `LOWERINGS`. A function asks for its operands as values of the type that the
program computes in, and answers with the value of the node's result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import attrs
import numpy as np

from uair import ops
from uair.codegen.ascend.kernels.program import Builder, Operand, Value, Verb
from uair.codegen.ascend.kernels.space import Space, extents, reduced_dims
from uair.codegen.ascend.ops import AscendDequant, AscendQuant, unpacked_scales
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator
from uair.ops.reduction import Reduction

FLOATS = (DType.F16, DType.F32)
Op = TypeVar("Op", bound=Operator)


@attrs.frozen
class Argument:
    """What an input of a kernel is.

    Attributes:
        tensor: the tensor whose values it takes, or from which they are derived.
        use: "tensor"; "sums": the plain products of an integer operator, before its bias; "bias": the integers that are
            added to these; "scale": the factors of an AscendDequant.
        values: of "bias" and "scale".
    """

    tensor: Tensor
    use: str = "tensor"
    values: Array | None = None


@attrs.define(eq=False)
class Lowering:
    """A program in the making.

    Attributes:
        builder: takes the steps.
        space: axes of the nodes' tensors.
        interface: element type of the float inputs and outputs.
        compute: element type of the float steps.
        arguments: what the inputs are, in order.
    """

    builder: Builder
    space: Space
    interface: DType
    compute: DType
    arguments: list[Argument] = attrs.field(factory=list[Argument])
    _values: dict[Tensor, Value] = attrs.field(factory=dict[Tensor, Value], init=False)

    def node(self, node: Node) -> None:
        """Add the steps of a node."""
        self._values[node.outputs[0]] = LOWERINGS[type(node.op)](self, node)

    def result(self, tensor: Tensor) -> Value:
        """The value of a tensor that a lowered node gives, as the kernel returns it."""
        value = self._values[tensor]
        return value if value.dtype is DType.I8 else self.builder.cast(value, self.interface)

    def operand(self, tensor: Tensor | None) -> Operand:
        """A tensor in the type that the program computes in; a constant with one element is a number."""
        assert tensor is not None
        if tensor.is_constant and tensor.type.size == 1:
            return float(np.asarray(tensor.numpy()).reshape(()))
        return self.value(tensor)

    def value(self, tensor: Tensor | None) -> Value:
        """As `operand`, for tensors that are no single constant."""
        assert tensor is not None
        if tensor not in self._values:
            dtype = self.interface if tensor.type.dtype.is_float else tensor.type.dtype
            self._values[tensor] = self.argument(Argument(tensor), dtype, self.space.axes[tensor])
        value = self._values[tensor]
        return self.builder.cast(value, self.compute) if value.dtype in FLOATS else value

    def argument(self, what: Argument, dtype: DType, axes: Sequence[int]) -> Value:
        """A further input of the kernel."""
        self.arguments.append(what)
        return self.builder.input(dtype, axes)


def unary(verb: Verb) -> Callable[[Lowering, Node], Value]:
    """The lowering of an operator that is one verb."""
    return lambda low, node: low.builder.unary(verb, low.value(node.inputs[0]))


def binary(verb: Verb) -> Callable[[Lowering, Node], Value]:
    """The lowering of an operator that is one verb of two operands."""
    return lambda low, node: low.builder.binary(verb, low.operand(node.inputs[0]), low.operand(node.inputs[1]))


def of(node: Node, kind: type[Op]) -> Op:
    """The node's operator, which is of that class."""
    assert isinstance(node.op, kind)
    return node.op


def same(low: Lowering, node: Node) -> Value:
    """Identity, and reshapes that add or remove axes of extent 1."""
    return low.value(node.inputs[0])


def sigmoid_of(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    return b.unary(Verb.REC, b.binary(Verb.ADD, b.unary(Verb.EXP, b.unary(Verb.NEG, x)), 1.0))


def sigmoid(low: Lowering, node: Node) -> Value:
    """See `sigmoid_of`."""
    return sigmoid_of(low.builder, low.value(node.inputs[0]))


def swish(low: Lowering, node: Node) -> Value:
    """X * sigmoid(alpha * x)."""
    b, x, alpha = low.builder, low.value(node.inputs[0]), of(node, ops.Swish).alpha
    return b.binary(Verb.MUL, x, sigmoid_of(b, x if alpha == 1 else b.binary(Verb.MUL, x, alpha)))


def clipped(b: Builder, x: Value, low: float | None, high: float | None) -> Value:
    """min(max(x, low), high)."""
    if low is not None:
        x = b.unary(Verb.RELU, x) if low == 0 else b.binary(Verb.MAX, x, low)
    return x if high is None else b.binary(Verb.MIN, x, high)


def clip(low: Lowering, node: Node) -> Value:
    """Bounds that are infinite do not bind."""
    op = of(node, ops.Clip)
    bounds = [None if bound is None or math.isinf(bound) else bound for bound in (op.min, op.max)]
    return clipped(low.builder, low.value(node.inputs[0]), *bounds)


def hard_sigmoid(low: Lowering, node: Node) -> Value:
    """min(max(alpha * x + beta, 0), 1)."""
    op, b = of(node, ops.HardSigmoid), low.builder
    line = b.binary(Verb.ADD, b.binary(Verb.MUL, low.value(node.inputs[0]), op.alpha), op.beta)
    return clipped(b, line, 0.0, 1.0)


def hard_swish(low: Lowering, node: Node) -> Value:
    """X * min(max(x / 6 + 1/2, 0), 1)."""
    b, x = low.builder, low.value(node.inputs[0])
    line = b.binary(Verb.ADD, b.binary(Verb.MUL, x, 1 / 6), 0.5)
    return b.binary(Verb.MUL, x, clipped(b, line, 0.0, 1.0))


def leaky(b: Builder, x: Value, slope: Operand) -> Value:
    """max(x, 0) + slope * min(x, 0)."""
    return b.binary(Verb.ADD, b.unary(Verb.RELU, x), b.binary(Verb.MUL, b.binary(Verb.MIN, x, 0.0), slope))


def leaky_relu(low: Lowering, node: Node) -> Value:
    """See `leaky`."""
    return leaky(low.builder, low.value(node.inputs[0]), of(node, ops.LeakyRelu).alpha)


def prelu(low: Lowering, node: Node) -> Value:
    """See `leaky`."""
    return leaky(low.builder, low.value(node.inputs[0]), low.operand(node.inputs[1]))


def gelu(low: Lowering, node: Node) -> Value:
    """The three forms of Gelu."""
    b, x, form = low.builder, low.value(node.inputs[0]), of(node, ops.Gelu).approximate
    if form == "quick":
        return b.binary(Verb.MUL, x, sigmoid_of(b, b.binary(Verb.MUL, x, 1.702)))
    if form == "tanh":
        cube = b.binary(Verb.MUL, b.binary(Verb.MUL, x, x), x)
        inner = b.binary(Verb.ADD, x, b.binary(Verb.MUL, cube, 0.044715))
        bend = b.unary(Verb.TANH, b.binary(Verb.MUL, inner, math.sqrt(2 / math.pi)))
    else:
        bend = b.unary(Verb.ERF, b.binary(Verb.MUL, x, math.sqrt(0.5)))
    return b.binary(Verb.MUL, b.binary(Verb.MUL, x, 0.5), b.binary(Verb.ADD, bend, 1.0))


def softplus(low: Lowering, node: Node) -> Value:
    """log(1 + exp(beta * x)) / beta, in a form that does not overflow."""
    b, x, beta = low.builder, low.value(node.inputs[0]), of(node, ops.Softplus).beta
    z = x if beta == 1 else b.binary(Verb.MUL, x, beta)
    small = b.unary(Verb.EXP, b.unary(Verb.NEG, b.unary(Verb.ABS, z)))
    result = b.binary(Verb.ADD, b.unary(Verb.RELU, z), b.unary(Verb.LOG, b.binary(Verb.ADD, small, 1.0)))
    return result if beta == 1 else b.binary(Verb.DIV, result, beta)


def softsign(low: Lowering, node: Node) -> Value:
    """X / (1 + |x|)."""
    b, x = low.builder, low.value(node.inputs[0])
    return b.binary(Verb.DIV, x, b.binary(Verb.ADD, b.unary(Verb.ABS, x), 1.0))


POWERS: Mapping[float, Sequence[Verb]] = {
    1.0: (),
    2.0: (Verb.MUL,),
    3.0: (Verb.MUL, Verb.MUL),
    0.5: (Verb.SQRT,),
    -0.5: (Verb.RSQRT,),
    -1.0: (Verb.REC,),
}


def power(low: Lowering, node: Node) -> Value:
    """A power with an exponent of `POWERS`."""
    x, exponent = low.value(node.inputs[0]), low.operand(node.inputs[1])
    assert isinstance(exponent, float)
    result = x
    for verb in POWERS[exponent]:
        result = low.builder.binary(verb, result, x) if verb is Verb.MUL else low.builder.unary(verb, result)
    return result


def softmax(low: Lowering, node: Node) -> Value:
    """exp(x - max) / sum(exp(x - max)) along an axis."""
    b, x = low.builder, low.value(node.inputs[0])
    e, total = exponentials(low, node, of(node, ops.Softmax).axis, x)
    return b.binary(Verb.DIV, e, total)


def log_softmax(low: Lowering, node: Node) -> Value:
    """X - max - log(sum(exp(x - max))) along an axis."""
    b, x = low.builder, low.value(node.inputs[0])
    e, total = exponentials(low, node, of(node, ops.LogSoftmax).axis, x)
    (difference,) = (step.operands[0] for step in b.steps if step.result is e)
    return b.binary(Verb.SUB, difference, b.unary(Verb.LOG, total))


def exponentials(low: Lowering, node: Node, axis: int, x: Value) -> tuple[Value, Value]:
    """exp(x - max) and its sum along an axis."""
    tensor = node.inputs[0]
    assert tensor is not None
    b, gone = low.builder, low.space.along(tensor, [axis % tensor.type.rank])
    e = b.unary(Verb.EXP, b.binary(Verb.SUB, x, b.reduce(Verb.LARGEST, x, gone)))
    return e, b.reduce(Verb.SUM, e, gone)


def mean(low: Lowering, x: Value, gone: Sequence[int]) -> Value:
    """The mean over axes: the sum times the reciprocal of their extent."""
    total = low.builder.reduce(Verb.SUM, x, gone)
    return total if total is x else low.builder.binary(Verb.MUL, total, 1 / math.prod(low.space.sizes[a] for a in gone))


def reduction(verb: Verb) -> Callable[[Lowering, Node], Value]:
    """The lowering of a reduction that is one verb."""

    def lowered(low: Lowering, node: Node) -> Value:
        return low.builder.reduce(verb, low.value(node.inputs[0]), reduced_of(low, node))

    return lowered


def reduced_of(low: Lowering, node: Node) -> tuple[int, ...]:
    """The axes that a reduction reduces."""
    x = node.inputs[0]
    assert x is not None
    return low.space.along(x, reduced_dims(of(node, Reduction), x))


def reduce_mean(low: Lowering, node: Node) -> Value:
    """See `mean`."""
    return mean(low, low.value(node.inputs[0]), reduced_of(low, node))


def reduce_square(low: Lowering, node: Node) -> Value:
    """The sum of squares, and its root for ReduceL2."""
    b, x = low.builder, low.value(node.inputs[0])
    total = b.reduce(Verb.SUM, b.binary(Verb.MUL, x, x), reduced_of(low, node))
    return b.unary(Verb.SQRT, total) if isinstance(node.op, ops.ReduceL2) else total


def normalization(low: Lowering, node: Node) -> Value:
    """LayerNorm, and RMSNorm, which does not subtract the mean."""
    op, x = cast("Any", node.op), node.inputs[0]
    assert x is not None
    b, value = low.builder, low.value(x)
    gone = low.space.along(x, range(op.axis % x.type.rank, x.type.rank))
    if isinstance(op, ops.LayerNorm):
        value = b.binary(Verb.SUB, value, mean(low, value, gone))
    variance = mean(low, b.binary(Verb.MUL, value, value), gone)
    deviation = b.unary(Verb.SQRT, b.binary(Verb.ADD, variance, op.epsilon))
    result = b.binary(Verb.DIV, value, deviation)
    for verb, parameter in zip((Verb.MUL, Verb.ADD), node.inputs[1:], strict=False):
        if parameter is not None:
            result = b.binary(verb, result, low.operand(parameter))
    return result


def batch_norm(low: Lowering, node: Node) -> Value:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, one of each a channel."""
    b = low.builder
    x, scale, bias, average, variance = (low.operand(t) for t in node.inputs[:5])
    if isinstance(variance, float):
        root: Operand = math.sqrt(variance + of(node, ops.BatchNorm).epsilon)
    else:
        root = b.unary(Verb.SQRT, b.binary(Verb.ADD, variance, of(node, ops.BatchNorm).epsilon))
    normal = b.binary(Verb.DIV, b.binary(Verb.SUB, x, average), root)
    return b.binary(Verb.ADD, b.binary(Verb.MUL, normal, scale), bias)


def cast_float(low: Lowering, node: Node) -> Value:
    """A conversion between float types, which the kernel's own types take the place of."""
    return low.value(node.inputs[0])


ROUNDING = 1.5 * 2**23
"""A f32 below 2^22 plus this number is a whole one: the sum is rounded half to even."""


def quant(low: Lowering, node: Node) -> Value:
    """clip(round(x * scale + offset)) as i8.

    It is rounded by an addition: how a conversion to i8 rounds differs from one tool to the next (what bishengir lowers
    for the CPU truncates, whatever mode the conversion has).
    """
    op, b = of(node, AscendQuant), low.builder
    x = b.cast(low.value(node.inputs[0]), DType.F32)
    line = b.binary(Verb.MUL, x, op.scale)
    if op.offset:
        line = b.binary(Verb.ADD, line, op.offset)
    inside = b.binary(Verb.MIN, b.binary(Verb.MAX, line, -128.0), 127.0)
    whole = b.binary(Verb.SUB, b.binary(Verb.ADD, inside, ROUNDING), ROUNDING)
    return b.cast(whole, DType.I8)


def dequant(low: Lowering, node: Node) -> Value:
    """(sums + bias) * scale: the integer operator in front only multiplies; its bias and zero point are added here."""
    sums, packed = node.inputs
    assert sums is not None and packed is not None and sums.producer is not None
    b, axes = low.builder, low.space.axes[sums]
    value = low.argument(Argument(sums, "sums"), DType.I32, axes)
    last = low.space.along(sums, [sums.type.rank - 1])
    bias = integer_bias(sums.producer)
    if bias.any():
        given = low.argument(Argument(sums, "bias", bias), DType.I32, last)
        value = b.binary(Verb.ADD, value, given)
    wide = b.cast(value, DType.F32)
    scale = unpacked_scales(packed.numpy())
    if scale.size == 1:
        return b.cast(b.binary(Verb.MUL, wide, float(scale.reshape(()))), low.compute)
    factor = low.argument(Argument(packed, "scale", scale), DType.F32, low.space.along(sums, [1]))
    return b.cast(b.binary(Verb.MUL, wide, factor), low.compute)


def integer_bias(node: Node) -> Array:
    """What must be added to the plain products of an IntegerLinear: i32 [out], bias - zero point * column sums of w."""
    _, w, zero, _, bias = (*node.inputs, None, None, None)[:5]
    assert w is not None
    weight = w.numpy().astype(np.int64)
    columns = weight.sum(axis=1 if of(node, ops.IntegerLinear).transpose_w else 0)
    total = -int(zero.numpy().reshape(())) * columns if zero is not None else np.zeros_like(columns)
    if bias is not None:
        total = total + bias.numpy()
    return np.asarray(total).astype(np.int32)


LOWERINGS: Mapping[type[Operator], Callable[[Lowering, Node], Value]] = {
    **{
        op: unary(verb)
        for op, verb in {
            ops.Exp: Verb.EXP,
            ops.Log: Verb.LOG,
            ops.Abs: Verb.ABS,
            ops.Neg: Verb.NEG,
            ops.Ceil: Verb.CEIL,
            ops.Floor: Verb.FLOOR,
            ops.Relu: Verb.RELU,
            ops.Sqrt: Verb.SQRT,
            ops.Rsqrt: Verb.RSQRT,
            ops.Reciprocal: Verb.REC,
            ops.Tanh: Verb.TANH,
            ops.Erf: Verb.ERF,
            ops.Sin: Verb.SIN,
            ops.Cos: Verb.COS,
        }.items()
    },
    **{
        op: binary(verb)
        for op, verb in {
            ops.Add: Verb.ADD,
            ops.Sub: Verb.SUB,
            ops.Mul: Verb.MUL,
            ops.Div: Verb.DIV,
            ops.Maximum: Verb.MAX,
            ops.Minimum: Verb.MIN,
        }.items()
    },
    ops.Identity: same,
    ops.Reshape: same,
    ops.Squeeze: same,
    ops.Unsqueeze: same,
    ops.Cast: cast_float,
    ops.Sigmoid: sigmoid,
    ops.Swish: swish,
    ops.Clip: clip,
    ops.HardSigmoid: hard_sigmoid,
    ops.HardSwish: hard_swish,
    ops.LeakyRelu: leaky_relu,
    ops.PRelu: prelu,
    ops.Gelu: gelu,
    ops.Softplus: softplus,
    ops.Softsign: softsign,
    ops.Pow: power,
    ops.Softmax: softmax,
    ops.LogSoftmax: log_softmax,
    ops.ReduceSum: reduction(Verb.SUM),
    ops.ReduceMax: reduction(Verb.LARGEST),
    ops.ReduceMin: reduction(Verb.LEAST),
    ops.ReduceMean: reduce_mean,
    ops.ReduceSumSquare: reduce_square,
    ops.ReduceL2: reduce_square,
    ops.LayerNorm: normalization,
    ops.RMSNorm: normalization,
    ops.BatchNorm: batch_norm,
    AscendQuant: quant,
    AscendDequant: dequant,
}


def takes(node: Node) -> bool:
    """Whether a node can be part of a kernel."""
    if type(node.op) not in LOWERINGS or len(node.outputs) != 1:
        return False
    tensors = [*(t for t in node.inputs if t is not None), node.outputs[0]]
    if not all(t.type.is_static and 0 not in t.type.dims for t in tensors):
        return False
    if all(t.is_constant for t in tensors[:-1]):
        return False
    return _takes_types(node, tensors) and _takes_form(node)


def _takes_types(node: Node, tensors: Sequence[Tensor]) -> bool:
    if isinstance(node.op, AscendDequant):
        return is_matrix_sum(node)
    if isinstance(node.op, AscendQuant):
        return tensors[0].type.dtype in FLOATS
    return all(t.type.dtype in FLOATS for t in tensors)


def _takes_form(node: Node) -> bool:
    """What an operator's attributes and operands must fulfil beyond their types."""
    x, op = node.inputs[0], node.op
    assert x is not None
    if isinstance(op, ops.Pow):
        exponent = node.inputs[1]
        assert exponent is not None
        return exponent.is_constant and exponent.type.size == 1 and float(exponent.numpy().reshape(())) in POWERS
    if isinstance(op, Reduction):
        return len(node.inputs) < 2 or node.inputs[1] is None
    if isinstance(op, (ops.Reshape, ops.Squeeze, ops.Unsqueeze)):
        long = [[d for d in extents(t) if d > 1] for t in (x, node.outputs[0])]
        return long[0] == long[1] and all(t is None or t.is_constant for t in node.inputs[1:])
    return not (x.is_constant and x.type.size == 1 and len(node.inputs) == 1)


def is_matrix_sum(node: Node) -> bool:
    """Whether an AscendDequant reads the sums of a matrix product that becomes a kernel, and nobody else does."""
    sums, scale = node.inputs
    assert sums is not None and scale is not None
    return (
        sums.producer is not None
        and takes_matrix(sums.producer)
        and sums.use_count == 1
        and scale.is_constant
        and (scale.type.size == 1 or sums.type.rank == 2)
    )


def takes_matrix(node: Node) -> bool:
    """Whether a node is a product of i8 matrices that a kernel can compute."""
    if not isinstance(node.op, ops.IntegerLinear):
        return False
    x, w, zero, weight_zero = (*node.inputs, None, None)[:4]
    assert x is not None and w is not None
    return (
        x.type.is_static
        and x.type.size > 0
        and x.type.dtype is DType.I8
        and w.type.dtype is DType.I8
        and w.is_constant
        and (zero is None or (zero.is_constant and zero.type.size == 1))
        and (weight_zero is None or (weight_zero.is_constant and not weight_zero.numpy().any()))
        and all(t is None or t.is_constant for t in node.inputs[4:])
    )
