"""From explicit quantization to Ascend's operators.

A quantized layer,

    Quantize -> Dequantize -> Conv2D(.., Dequantize(weight), Dequantize(bias))

becomes what AMCT, Huawei's quantization tool, writes and ATC reads:

    AscendQuant "<layer>.quant" -> IntegerConv2D "<layer>" -> AscendDequant "<layer>.dequant"

Every layer has an AscendQuant of its own, as in AMCT's models, also when several read the same tensor: one in front of
several layers was never seen by ATC's fusions. The bias stays round(bias / (scale_x * scale_w)): ATC subtracts zero
point * sum of weights from it. What does not have this form (a tensor that is quantized for its own sake, as models
with QuantizeLinear may hold) becomes AscendQuant and AscendAntiQuant.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.codegen.ascend.ops import AscendAntiQuant, AscendDequant, AscendQuant, packed_scales
from uair.errors import UairError
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.names import Namer
from uair.ops import Add, Conv2D, ConvTranspose2D, Dequantize, Linear, MatMul, Quantize, Reshape
from uair.passes.fold_constants import fold
from uair.pipeline import Pass, PassContext
from uair.quant.view import INTEGER, QuantizedOperand, QuantizedView, quantized_view

REPORT = "ascend"
QUANTIZER = "quantize-int8"
"""Name of the pass by which UAIR quantizes."""
NAMES = r"[A-Za-z0-9_.-]+"
"""Names of nodes that ATC takes wherever it writes or reads them."""
LAYERS = (Conv2D, ConvTranspose2D, Linear, MatMul)


class LoweringError(UairError):
    """A quantized model holds a form of quantization that Ascend has no operators for."""

    code = "UAIR-E0530"
    title = "Quantization has no Ascend form"


@attrs.frozen
class LowerToAscend(Pass):
    """Give nodes the names they have for ATC, and quantized layers Ascend's own operators.

    Layers that Ascend does not compute on integers become float; they and the parameters of the others are reported in
    `context.reports["ascend"]`.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """Lower every graph.

        Raises:
            LoweringError: naming the node.
        """
        layers: list[dict[str, Any]] = []
        floats: list[dict[str, Any]] = []
        name_nodes(module)
        for graph in module.all_graphs():
            for node in graph:
                view = quantized_view(node)  # asked here, not before: the layer in front has been replaced by now
                if view is None:
                    continue
                reason = refusal(view)
                if reason:
                    floats.append({"name": view.node.name, "operator": view.node.op_type, "reason": reason})
                    restore_operand(view)
                elif context.fuel.draw(self.name, view.node):
                    layers.append(lower_layer(graph, view))
            remove_unused(graph)
            for node in list(graph):
                if isinstance(node.op, (Quantize, Dequantize)):
                    lower_alone(graph, node)
            remove_unused(graph)
        context.reports[REPORT] = {"layers": layers, "float": floats}
        return True


def name_nodes(module: Module) -> None:
    """Unique and legal names of nodes, which no input and no constant has: ATC makes nodes of these."""
    namer = Namer(NAMES, default="node")
    graphs = list(module.all_graphs())
    for name in (name for graph in graphs for name in graph.input_names):
        namer.unique(name)
    for node in (node for graph in graphs for node in graph):
        node.name = namer.unique(node.name or next((t.name for t in node.outputs if t.name), ""), node.op_type)
    for tensor in (tensor for graph in graphs for tensor in graph.constants()):
        if namer.legal(tensor.name or "constant") in namer:
            tensor.name = f"{tensor.name}.value"


def refusal(view: QuantizedView) -> str:
    """Why a layer is not computed on integers; empty when it is.

    Sources: hicann/ge, docs, quantization_layers_constraints.md; hicann/amct, QUANTIZABLE_ONNX_TYPES.
    """
    node = view.node
    if not isinstance(node.op, LAYERS):
        return f"Ascend does not quantize {node.op_type}"
    if view.x.dtype is not DType.I8 or view.w.dtype is not DType.I8:
        return f"Ascend computes on i8, its operands are {view.x.dtype} and {view.w.dtype}"
    if not is_quantized_here(view.x):
        return "its operand is not quantized in front of it"
    if not view.w.integers.is_constant or not view.w.is_symmetric:
        return "its weight is not a constant with zero point 0"
    if isinstance(node.op, ConvTranspose2D) and any(d != 1 for d in node.op.dilations):
        return "Ascend quantizes transposed convolutions with dilation 1 only"
    if isinstance(node.op, (Linear, MatMul)) and view.w.scale.ndim:
        return "Ascend quantizes matrices with one scale"
    if isinstance(node.op, MatMul) and (
        node.op.trans_a or view.w.integers.type.rank != 2 or not view.x.integers.type.rank
    ):
        return "Ascend quantizes products by a constant matrix"
    return ""


def is_quantized_here(x: QuantizedOperand) -> bool:
    """Whether the operand's integers come from a Quantize with the same parameters, which AscendQuant can express."""
    node = x.integers.producer
    if x.source is None or node is None or not isinstance(node.op, Quantize):
        return False
    scale, zero = parameters(node)
    same = scale is not None and np.array_equal(scale, x.scale) and np.array_equal(zero, x.zero_point)
    return same and not x.scale.ndim and node.op.rounding == "half_even" and node.op.dtype is DType.I8


def parameters(node: Node) -> tuple[Array | None, Array]:
    """Scale and zero point of a Quantize or Dequantize; no scale when they are not constants."""
    scale = node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if scale is None or not scale.is_constant or (zero is not None and not zero.is_constant):
        return None, np.zeros((), np.int8)
    values = scale.numpy().astype(np.float32)
    return values, np.zeros(values.shape, np.int8) if zero is None else zero.numpy()


def reciprocal(scale: Array) -> float:
    """1 / scale rounded once to f32: what AscendQuant multiplies by."""
    return float(np.float32(1.0 / float(scale)))


# --------------------------------------------------------------------------------------------------------------- layers
def lower_layer(graph: Graph, view: QuantizedView) -> dict[str, Any]:
    """Replace one quantized layer; its parameters, for the record."""
    node, layer = view.node, view.node.name
    bias = view.integer_bias()
    quant = _put(
        graph,
        node,
        AscendQuant(scale=reciprocal(view.x.scale), offset=float(view.x.zero_point)),
        [view.x.source],
        f"{layer}.quant",
        f"{layer}.quant.output0",
    )
    zero = None if view.x.is_symmetric else constant(view.x.zero_point, f"{layer}.quant.offset")
    operands = [quant, view.w.integers, zero, None]
    if not isinstance(node.op, MatMul):
        operands.append(bias)
    sums = _put(graph, node, INTEGER[type(node.op)](**node.attributes), operands, layer, f"{layer}.output0")
    scales = constant(packed_scales(view.accumulator_scale()), f"{layer}.dequant.param")
    name = node.output.name or f"{layer}.dequant.output0"
    result = _put(graph, node, AscendDequant(), [sums, scales], f"{layer}.dequant", name)
    if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        result = _put(graph, node, Add(), [result, _real_bias(graph, node)], f"{layer}.bias", name)
    graph.replace(node, [result])
    weight_scales = np.tile(view.w.scale, node.op.groups if isinstance(node.op, ConvTranspose2D) else 1)
    return {
        "name": layer,
        "operator": node.op_type,
        "scale_d": float(view.x.scale),
        "offset_d": int(view.x.zero_point),
        "scale_w": [float(s) for s in weight_scales.reshape(-1)],
    }


def _put(graph: Graph, anchor: Node, op: Any, operands: list[Tensor | None], name: str, result: str) -> Tensor:
    """A new node in front of `anchor`, with its location."""
    made = Node(op, operands, name=name, loc=Location.fused([anchor.loc], by=LowerToAscend.name), output_names=[result])
    graph.insert_before(anchor, made)
    return made.output


def _real_bias(graph: Graph, node: Node) -> Tensor:
    """The bias as real numbers, shaped to be added to the result."""
    bias = node.inputs[2]
    assert bias is not None
    if isinstance(node.op, Linear):
        return bias
    shape = (-1, *(1 for _ in node.output.type.dims[2:]))
    if bias.is_constant:
        return constant(bias.numpy().reshape(shape), bias.name)
    return _put(graph, node, Reshape(shape=shape), [bias], f"{node.name}.bias_shape", "")


# --------------------------------------------------------------------------------------------------------- what is left
def restore_operand(view: QuantizedView) -> None:
    """Let a layer that stays float read the real numbers, where UAIR's own quantization was to prepare it.

    What the model itself quantizes stays so: its rounding and saturation belong to the model.
    """
    quantize = view.x.integers.producer
    if view.x.source is not None and quantize is not None and QUANTIZER in quantize.loc.by:
        view.node.set_input(0, view.x.source)


def lower_alone(graph: Graph, node: Node) -> None:
    """Replace a Quantize or Dequantize of no layer: fold a constant's, state others in Ascend's operators.

    Raises:
        LoweringError: Ascend has no form of it.
    """
    if all(t is None or t.is_constant for t in node.inputs):
        fold(graph, node)
        return
    scale, zero = parameters(node)
    x = node.inputs[0]
    assert x is not None
    if scale is None or scale.ndim:
        raise _refused(node, "takes one constant scale for a whole tensor")
    if isinstance(node.op, Quantize):
        if node.op.dtype is not DType.I8 or node.op.rounding != "half_even":
            raise _refused(node, "gives i8, rounded half to even")
        op: Any = AscendQuant(scale=reciprocal(scale), offset=float(zero))
    else:
        if x.type.dtype is not DType.I8:
            raise _refused(node, f"takes i8, not {x.type.dtype}")
        op = AscendAntiQuant(scale=float(scale), offset=float(zero), dtype=node.output.type.dtype)
    made = Node(op, [x], name=node.name, loc=Location.fused([node.loc], by=LowerToAscend.name))
    graph.insert_before(node, made)
    graph.replace(node, [made.output])


def _refused(node: Node, what: str) -> LoweringError:
    error = LoweringError(
        f"{node.op_type} {node.name!r} has no Ascend form: the chip {what}",
        place=str(node.loc),
        hint="give UAIR the float model and let it quantize (--quantize int8)",
    )
    error.node = node
    return error


def remove_unused(graph: Graph) -> None:
    """Remove the quantization that no layer uses any more."""
    for node in reversed(graph):
        if isinstance(node.op, (Quantize, Dequantize)) and not node.output.use_count:
            graph.remove(node)


def has_quantization(module: Module) -> bool:
    """Whether a lowered module computes on integers."""
    return any(isinstance(node.op, AscendQuant) for graph in module.all_graphs() for node in graph)
