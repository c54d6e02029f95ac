"""Quantized models in floating point: for tools that take no quantization but their own.

Models are published with three kinds of 8-bit arithmetic: QDQ (Quantize, Dequantize around float operators), dynamic
quantization (ranges measured in every run; integer products and LSTMs), and integer operators. What they compute is a
float model with rounding noise. Without the rounding it can be compiled in float16, or quantized anew with the scales
of a target. That integers saturate is no noise: what leaves their range is cut off as before.

    Dequantize(Quantize(x, s, z), s, z)                                  x, clipped unless it is within the range
    Dequantize(DynamicQuantize(x))                                       x
    Dequantize(constant)                                                 the constant in f32
    Cast(IntegerMatMul(DynamicQuantize(x), w)) * (x_scale * w_scale)     MatMul(x, (w - w_zero_point) * w_scale)
    Cast(product + Cast(Floor(b / s))) * s                               Cast(product) * s + b
    DynamicQuantizeLSTM(x, w, r, scales and zero points)                 LSTM(x, w and r in f32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.graph import Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import (
    Add,
    Cast,
    Clip,
    Conv2D,
    Dequantize,
    Div,
    DynamicQuantize,
    DynamicQuantizeLSTM,
    Floor,
    Gather,
    IntegerConv2D,
    IntegerMatMul,
    MatMul,
    Mul,
    Quantize,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.ops.integer import centred
from uair.passes.canonicalise import Canonicalise
from uair.passes.rewrites.quantization import FloatConstant
from uair.pipeline import Pass, PassContext
from uair.rewrite import NoMatch, Rule, RuleSet, no, of, optional

COMPUTE = frozenset({"Conv1D", "Conv2D", "ConvTranspose2D", "Linear", "MatMul"})


@attrs.frozen
class RemoveQuantization(Pass):
    """Let a quantized model compute in floating point.

    Attributes:
        which: "all", "dynamic" (only what is measured at run time and integer products), or "auto": "all" for models
            that multiply two activations, or feed floats to operators with a weight; else "dynamic".
    """

    which: str = attrs.field(default="all", validator=attrs.validators.in_(("all", "auto", "dynamic")))

    def rulesets(self) -> Sequence[RuleSet]:
        """All rules; those of "dynamic" are among them."""
        return (ALL,)

    def run(self, module: Module, context: PassContext) -> bool:
        """Apply the rules, then clean up."""
        everything = self.which == "all" or (self.which == "auto" and not is_all_integer(module))
        changed = context.apply_rules(module, ALL if everything else DYNAMIC)
        if changed:
            context.reports["quantization-removed"] = "all" if everything else "dynamic"
            Canonicalise().run(module, context)
        return changed


def is_all_integer(module: Module) -> bool:
    """Whether a model is QDQ with fixed scales, quantizes every operator with a weight, and multiplies no activations.

    Such convolutional nets are what compilers with INT8 units take as they are.
    """
    everything = [node for graph in module.all_graphs() for node in graph]
    nodes = [node for node in everything if node.op_type in COMPUTE]
    fixed = any(isinstance(node.op, Quantize) for node in everything)
    return (
        fixed
        and all(_is_dequantized(t) for node in nodes for t in node.inputs[:2])
        and all(_is_constant(node.inputs[1]) for node in nodes)
    )


def _is_dequantized(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Dequantize)


def _is_constant(tensor: Tensor | None) -> bool:
    if tensor is None or tensor.producer is None:
        return tensor is not None and tensor.is_constant
    return all(t is None or t.is_constant for t in tensor.producer.inputs)


class DropDynamicPair(Rule):
    """What went through integers of a range measured at run time is itself."""

    def pattern(self, q: Any, s: Any, z: Any) -> Any:
        """A Dequantize."""
        return of(Dequantize)(q, s, z).named("node")

    def check(self, q: Tensor, s: Tensor, node: Node) -> bool | NoMatch:
        """Its operands are the results of one DynamicQuantize."""
        source = _dynamic(q, s)
        if source is None:
            return no("it does not undo a DynamicQuantize", node)
        return source.type.dtype is node.output.type.dtype or no("it gives another type", node)

    def rewrite(self, q: Tensor, s: Tensor) -> Tensor:
        """What was quantized."""
        source = _dynamic(q, s)
        assert source is not None
        return source


def _dynamic(q: Tensor, s: Tensor) -> Tensor | None:
    """What a DynamicQuantize that gave integers and their scale has quantized."""
    node = q.producer
    same = node is not None and isinstance(node.op, DynamicQuantize) and s.producer is node
    return node.inputs[0] if same and node is not None else None


class FloatOfIntegerProduct(Rule):
    """An integer product of dynamically quantized numbers, scaled to real ones, is the product of the numbers."""

    def pattern(self, x: Any, w: Any, xz: Any, wz: Any, s: Any, ws: Any) -> Any:
        """The scales multiplied with each other first, or one after the other."""
        product = of(IntegerMatMul, IntegerConv2D)(x, w, xz, optional(wz)).named("product")
        real = of(Cast)(product)
        return [Mul()(real, Mul()(s, ws)).named("node"), Mul()(Mul()(real, s), ws).named("node")]

    def check(self, x: Tensor, w: Tensor, s: Tensor, ws: Tensor, wz: Tensor | None, product: Node) -> bool | NoMatch:
        """One scale is that of the activation; the weight is constant."""
        if _pair(x, s, ws) is None:
            return no("the scale is not the one of the activation", product)
        if len(product.inputs) > 4 and product.inputs[4] is not None:
            return no("it adds an integer bias", product)
        known = w.is_constant and (wz is None or wz.is_constant)
        return known or no("its weight is computed", product)

    def rewrite(self, x: Tensor, w: Tensor, s: Tensor, ws: Tensor, wz: Tensor | None, product: Node) -> Tensor:
        """The float product with the centred weight, and the weight's scale behind it."""
        found = _pair(x, s, ws)
        assert found is not None
        source, scale = found
        axis = 0 if isinstance(product.op, IntegerConv2D) else w.type.rank - 1
        weight = centred(w.numpy(), None if wz is None else wz.numpy(), axis).astype(np.float32)
        if isinstance(product.op, IntegerMatMul):
            return Mul()(MatMul()(source, constant(weight, w.name)), scale)
        assert isinstance(product.op, IntegerConv2D)
        op = product.op.as_plain()
        assert isinstance(op, Conv2D)
        return Mul()(op(source, constant(weight, w.name)), scale)


class FloatOfIntegerBias(Rule):
    """A bias that is rounded to the unit of integer sums in every run is the bias.

    onnxruntime's quantizer wrote convolutions so until 1.8.
    """

    def pattern(self, product: Any, bias: Any, s: Any, t: Any) -> Any:
        """The sums with the bias, as real numbers."""
        rounded = of(Cast)(Floor()(Div()(bias, s)))
        return Mul()(of(Cast)(Add()(product, of(Reshape)(rounded).named("shaped"))), t).named("node")

    def check(self, product: Tensor, s: Tensor, t: Tensor, node: Node) -> bool | NoMatch:
        """The unit is that of the sums."""
        if product.producer is None or not isinstance(product.producer.op, (IntegerConv2D, IntegerMatMul)):
            return no("what it is added to is no integer product", node)
        return s is t or no("the bias has another unit than the sums", node)

    def rewrite(self, product: Tensor, bias: Tensor, t: Tensor, shaped: Node, node: Node) -> Tensor:
        """The real sums, and the bias in their shape."""
        assert isinstance(shaped.op, Reshape)
        return Add()(Mul()(Cast(to=node.output.type.dtype)(product), t), shaped.op(bias))


def _pair(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor] | None:
    """The activation behind integers, and the other scale, when one of two is the activation's."""
    for own, other in ((a, b), (b, a)):
        source = _dynamic(x, own)
        if source is not None:
            return source, other
    return None


class FloatOfQuantizedLstm(Rule):
    """A layer that quantizes what it multiplies is one that does not."""

    def pattern(self) -> Any:
        """A dynamically quantized LSTM."""
        return of(DynamicQuantizeLSTM)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Its weights, their scales and zero points are constant."""
        known = all(t is not None and t.is_constant for t in node.inputs[1:7])
        return known or no("a weight is computed", node)

    def rewrite(self, node: Node) -> tuple[Tensor, ...]:
        """The LSTM with the weights in floating point, turned."""
        assert isinstance(node.op, DynamicQuantizeLSTM)
        x, w, r, *parameters = node.inputs[:7]
        rest = node.inputs[7:]
        weights = [_real_weight(w, *parameters[:2]), _real_weight(r, *parameters[2:])]
        return Node(node.op.layer, (x, *weights, *rest), name=node.name).outputs


def _real_weight(matrix: Tensor | None, *parameters: Tensor | None) -> Tensor:
    """An 8-bit weight [directions, rows, columns] as an LSTM has it, [directions, columns, rows]."""
    assert matrix is not None
    values = matrix.numpy().astype(np.int32)
    scale, zero_point = (t.numpy().reshape(len(values), 1, -1) for t in parameters if t is not None)
    real: Any = (values - zero_point).astype(np.float32) * scale
    return constant(np.ascontiguousarray(real.transpose(0, 2, 1)), matrix.name)


class DropPair(Rule):
    """What went through integers of a fixed range is itself within the range, and an end of it outside."""

    def pattern(self, x: Any, s: Any, z: Any, s2: Any, z2: Any) -> Any:
        """A Dequantize of a Quantize."""
        return of(Dequantize)(of(Quantize)(x, s, optional(z)), s2, optional(z2)).named("node")

    def check(self, x: Tensor, s: Tensor, z: Tensor | None, s2: Tensor, z2: Tensor | None, node: Node) -> Any:
        """Both have the same constant parameters."""
        if x.type.dtype is not node.output.type.dtype:
            return no("it gives another type", node)
        same = _equal(s, s2) and (z is z2 if z is None or z2 is None else _equal(z, z2))
        return same or no("scales or zero points differ", node)

    def rewrite(self, x: Tensor, z: Tensor | None, node: Node) -> Tensor:
        """The operand, clipped; a range for each channel only where it begins at 0."""
        bounds = _range_of(node)
        if bounds is not None:
            return x if _is_within(x, *bounds) else Clip(min=bounds[0], max=bounds[1])(x)
        assert node.inputs[0] is not None
        least = node.inputs[0].type.dtype.range[0]
        begins_at_zero = least == 0 if z is None else bool(z.is_constant and (z.numpy() == least).all())
        return Relu()(x) if begins_at_zero else x


def _range_of(node: Node) -> tuple[float, float] | None:
    """What a Dequantize with constant parameters for the whole tensor can give."""
    q, scale = node.inputs[:2]
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if q is None or scale is None or not scale.is_constant or scale.type.rank or not q.type.dtype.is_integer:
        return None
    if zero_point is not None and not zero_point.is_constant:
        return None
    zero, step = 0 if zero_point is None else int(zero_point.numpy()), float(scale.numpy())
    least, greatest = q.type.dtype.range
    return (least - zero) * step, (greatest - zero) * step


MOVING = frozenset({"Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten", "MaxPool2D", "Concat"})
"""Operators whose results are among the numbers that they are given."""
STEP = 1 / 128
"""By how much of its length a range may be left: sigmoids end at 1, their integers at 255/256."""


def _is_within(x: Tensor, low: float, high: float, depth: int = 8) -> bool:
    """Whether a tensor is known to stay within a range, but for a step at its ends."""
    node = x.producer
    if node is None or not depth:
        return False
    if node.op_type in MOVING:
        return all(t is not None and _is_within(t, low, high, depth - 1) for t in node.inputs)
    bounds: tuple[float | None, float | None] | None = None
    if isinstance(node.op, Clip):
        bounds = node.op.min, node.op.max
    elif isinstance(node.op, (Sigmoid, Softmax)):
        bounds = 0.0, 1.0
    elif isinstance(node.op, Dequantize):
        bounds = _range_of(node)
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return False
    slack = STEP * (high - low)
    return low - slack <= bounds[0] and bounds[1] <= high + slack


def _equal(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.is_constant and b.is_constant and np.array_equal(a.numpy(), b.numpy()))


class FloatOfMovedIntegers(Rule):
    """Integers that are looked up or moved may as well become real numbers before."""

    def pattern(self, s: Any, z: Any) -> Any:
        """A Dequantize of what a Gather or a change of shape gives."""
        moved = of(Gather, Reshape, Squeeze, Transpose, Unsqueeze)(...).named("moved")
        return of(Dequantize)(moved, s, optional(z)).named("node")

    def check(self, moved: Node, s: Tensor, node: Node) -> bool | NoMatch:
        """With one scale for all."""
        return s.type.rank == 0 or no("it has several scales", node)

    def rewrite(self, moved: Node, s: Tensor, z: Tensor | None, node: Node) -> Tensor:
        """The same with the operators exchanged."""
        x, *rest = moved.inputs
        return moved.op(node.op(x, s, z) if z is not None else node.op(x, s), *rest)


_RUN_TIME = (DropDynamicPair(), FloatOfIntegerBias(), FloatOfIntegerProduct(), FloatOfQuantizedLstm())
DYNAMIC = RuleSet(list(_RUN_TIME))
ALL = RuleSet([*_RUN_TIME, DropPair(), FloatConstant(), FloatOfMovedIntegers()])
