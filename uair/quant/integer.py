"""A quantized graph computed on integers.

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

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Add, Cast, Dequantize, Linear, MatMul, Mul, Quantize, Reshape
from uair.ops.base import Operator
from uair.quant.requantize import MAKER, Requantization, find_tail, requantize
from uair.quant.view import INTEGER, QuantizedView, quantized_view


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
        None if view.w.is_symmetric else constant(_merged(view.w.zero_point), f"{name}_w_zero_point"),
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


def _merged(zero_points: Array) -> Array:
    """One zero point where all channels have the same: runtimes' ConvInteger takes no others."""
    first = zero_points.flat[:1]
    return first.reshape(()) if (zero_points == first).all() else zero_points


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
    shape = (-1, *(1 for _ in view.node.output.type.dims[2:]))
    if tensor.is_constant:
        return constant(tensor.numpy().reshape(shape), tensor.name)
    reshape = Node(Reshape(shape=shape), [tensor], name=view.node.name, loc=view.node.loc)
    graph.insert_before(view.node, reshape)
    return reshape.output
