"""Choosing parameters of activations, weights and biases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

import attrs
import numpy as np

from uair.ir.data import ArrayData, Data
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.placement import Plan, QuantizedNode, weight_axis
from uair.passes.quantization.statistics import Statistics, display_name
from uair.passes.quantization.weight_rounding import RoundedWeight
from uair.quant.errors import QuantizationError
from uair.quant.observers import RangeObserver
from uair.quant.parameters import (
    Parameters,
    activation_parameters,
    bias_room,
    product_scale,
    quantize_bias,
    quantize_weight,
    weight_parameters,
    widen_for_bias,
)
from uair.quant.ranges import entropy_range, minmax_range, mse_range, percentile_range
from uair.quant.scheme import TRANSPOSED, Scheme
from uair.request import RangeMethod

METHODS: tuple[RangeMethod, ...] = ("minmax", "percentile", "mse")
FEW_VALUES = 10_000
"""Of an activation that shows no more than so many values in all samples (pooled means, the hidden layer of a gate),
the next sample often has one beyond them, and one value of a few counts: its range is made wider."""
FEW_MARGIN = 1.1
"""How far the range of few values reaches beyond them. PP-OCR's text direction has 1.2 dB less noise in front of the
softmax for it (eight sets of 32 samples, in each of them), ViT 0.7; with rk3588's scheme it makes no difference there
(28.0 beside 28.4 dB in front of the softmax, 30.5 beside 29.0 behind it). Ending it at what a gate can be at most, 1,
is no better (27.7 beside 28.0, rk3588)."""


@attrs.define(eq=False)
class QuantizedConstants:
    """Integers of a node's weight and bias.

    Attributes:
        weight: parameters and integers of the weight.
        bias: parameters and integers of the bias, when it becomes i32.
        real_bias: what the bias stands for: the model's own, and what rounding the weight takes away from the mean.
        others: of constants that are quantized like activations, by operand number.
        widened: how many weight scales had to grow for the bias to fit.
    """

    weight: tuple[Parameters, Data] | None = None
    bias: tuple[Parameters, Array] | None = None
    real_bias: Array | None = None
    others: dict[int, tuple[Parameters, Array]] = attrs.Factory(dict[int, "tuple[Parameters, Array]"])
    widened: int = 0

    def by_operand(self, item: QuantizedNode) -> dict[int, tuple[Parameters, Array | Data]]:
        """Parameters and integers by operand number."""
        result: dict[int, tuple[Parameters, Array | Data]] = {**self.others}
        if item.weight is not None and self.weight is not None:
            result[item.weight] = self.weight
        if item.bias is not None and self.bias is not None:
            result[item.bias] = self.bias
        return result

    def values(self, item: QuantizedNode) -> dict[int, Array]:
        """The real numbers that the integers stand for, by operand number."""
        pairs = self.by_operand(item).items()
        return {i: parameters.dequantize(q.array() if isinstance(q, Data) else q) for i, (parameters, q) in pairs}


@attrs.define(eq=False)
class NodeResult:
    """How one node is quantized.

    Attributes:
        item: the node and which of its operands are quantized.
        activations: parameters by operand number.
        constants: integers of weight and bias.
        methods: by operand number the method that chose the range.
    """

    item: QuantizedNode
    activations: dict[int, Parameters]
    constants: QuantizedConstants
    methods: dict[int, str]

    @property
    def node(self) -> Node:
        """The node."""
        return self.item.node


@attrs.frozen
class Settings:
    """What the user chose.

    Attributes:
        method: how activation ranges are chosen.
        percentile: how much of the values "percentile" keeps, in per cent.
        per_channel: whether weights may have one scale per output channel.
        weight_search: whether weight scales are chosen by least squared error.
        weight_rounding: whether weights are rounded, and biases corrected, by what they do to results.
    """

    method: RangeMethod = "auto"
    percentile: float = 99.99
    per_channel: bool = True
    weight_search: bool = True
    weight_rounding: bool = True


Options: TypeAlias = dict[Tensor, dict[str, Parameters]]
"""For every group its parameters by the method that chose the range."""
WeightCache: TypeAlias = dict[Tensor, RoundedWeight]
"""Integers of weights: all ways to quantize a model that are tried hold the same arrays."""


def range_options(
    statistics: Statistics, scheme: Scheme, settings: Settings, symmetric: Collection[Tensor] = ()
) -> tuple[Options, dict[Tensor, str]]:
    """Parameters of every group by method, and for groups that cannot be quantized the reason.

    Groups that are `symmetric` have that zero point also where the scheme's others have their own.
    """
    even = attrs.evolve(scheme, symmetric=True)
    options: Options = {}
    refused: dict[Tensor, str] = {}
    for root, observer in statistics.observers.items():
        own = even if root in symmetric else scheme
        try:
            options[root] = {
                method: activation_parameters(*ends, own, name=observer.name)
                for method, ends in _ranges(observer, own, settings).items()
            }
        except QuantizationError as error:
            refused[root] = error.message
    return options, refused


def _ranges(observer: RangeObserver, scheme: Scheme, settings: Settings) -> dict[str, tuple[float, float]]:
    """The range by every method that is tried; the one that the user asks for is what it says.

    Otherwise few values leave room for what they do not show: see `FEW_VALUES`.
    """
    if settings.method != "auto":
        return {settings.method: _range(observer, scheme, settings.method, settings)}
    found: dict[str, tuple[float, float]] = {m: _range(observer, scheme, m, settings) for m in METHODS}
    if observer.count > FEW_VALUES:
        return found
    low, high = (end * FEW_MARGIN for end in minmax_range(observer))
    return {method: (min(low, start), max(high, end)) for method, (start, end) in found.items()}


def _range(observer: RangeObserver, scheme: Scheme, method: str, settings: Settings) -> tuple[float, float]:
    if method == "minmax":
        return minmax_range(observer)
    if method == "mse":
        return mse_range(observer, scheme)
    if method == "entropy":
        return entropy_range(observer, scheme)
    return percentile_range(observer, settings.percentile)


def quantize_nodes(
    plan: Plan,
    chosen: Mapping[Tensor, tuple[Parameters, str]],
    refused: Mapping[Tensor, str],
    scheme: Scheme,
    *,
    settings: Settings,
    cache: WeightCache,
) -> tuple[list[NodeResult], list[tuple[Node, str]]]:
    """Parameters and integers of every node that can be quantized, and the other nodes with the reason.

    Args:
        plan: what is quantized.
        chosen: for every group its parameters and the method that they come from.
        refused: groups that cannot be quantized, with the reason.
        scheme: the target's.
        settings: the user's.
        cache: what does not depend on activations, filled on the way.
    """
    results: list[NodeResult] = []
    failed: list[tuple[Node, str]] = []
    for item in plan.nodes:
        roots = {i: plan.groups[item.operand(i)] for i in item.activations}
        reasons = [refused[root] for root in roots.values() if root in refused]
        if reasons:
            failed.append((item.node, reasons[0]))
            continue
        activations = {i: chosen[root][0] for i, root in roots.items()}
        try:
            constants = quantize_constants(item, activations, scheme, settings, cache)
        except QuantizationError as error:
            failed.append((item.node, error.message))
            continue
        results.append(NodeResult(item, activations, constants, {i: chosen[root][1] for i, root in roots.items()}))
    return results, failed


def quantize_constants(
    item: QuantizedNode,
    activations: Mapping[int, Parameters],
    scheme: Scheme,
    settings: Settings,
    cache: WeightCache,
) -> QuantizedConstants:
    """Integers of the constants of one node.

    Raises:
        QuantizationError: the weight or bias cannot be expressed.
    """
    result = QuantizedConstants()
    for i in item.constants:
        tensor = item.operand(i)
        array = tensor.numpy()
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        parameters = activation_parameters(low, high, scheme, name=display_name(tensor))
        result.others[i] = parameters, parameters.quantize(array)
    if item.weight is None:
        return result
    tensor = item.operand(item.weight)
    w, name = tensor.numpy(), display_name(tensor)
    rounded = cached_weight(item, scheme, settings, cache)
    parameters = rounded.parameters
    x = activations[0]
    repeat = int(getattr(item.node.op, "groups", 1)) if item.node.op_type in TRANSPOSED else 1
    depth = accumulation_depth(item)
    if item.bias is not None:
        bias = item.operand(item.bias).numpy()
        if rounded.shift is not None and rounded.shift.size == bias.size:
            bias = bias + rounded.shift.reshape(bias.shape).astype(bias.dtype)
        result.real_bias = bias
        parameters, result.widened = widen_for_bias(parameters, bias, x, bias_room(depth, x, scheme), scheme, name=name)
        scale = product_scale(x, parameters, repeat)
        integers = quantize_bias(bias, scale)
        zero = np.zeros(scale.shape, np.int32)
        result.bias = Parameters(scale, zero, DType.I32, 0 if scale.ndim else None), integers
    elif bias_room(depth, x, scheme) < 1:
        raise QuantizationError(f"sums of {depth} products with {name!r} may exceed 32 bits")
    is_widened = bool(result.widened)
    weight = ArrayData(quantize_weight(w, parameters, scheme.weight_limit)) if is_widened else rounded.integers
    result.weight = parameters, weight
    return result


def cached_weight(item: QuantizedNode, scheme: Scheme, settings: Settings, cache: WeightCache) -> RoundedWeight:
    """Integers of a node's weight from the cache; where it is not in there yet, the nearest ones, which it then has.

    Raises:
        QuantizationError: the weight cannot be expressed.
    """
    assert item.weight is not None
    tensor, op = item.operand(item.weight), item.node.op
    w = tensor.numpy()
    axis = weight_axis(op, w.ndim) if settings.per_channel and item.node.op_type in scheme.per_channel else None
    cached = cache.get(tensor)
    if cached is None or cached.parameters.axis != axis:
        found = weight_parameters(w, axis, scheme, search=settings.weight_search, name=display_name(tensor))
        cached = cache[tensor] = RoundedWeight.nearest(w, found, scheme.weight_limit)
    return cached


def accumulation_depth(item: QuantizedNode) -> int:
    """The greatest number of products in one element of the result (an upper bound for transposed convolutions)."""
    assert item.weight is not None
    shape = static(item.operand(item.weight).type.dims)
    op = item.node.op
    axis = weight_axis(op, len(shape))
    total = 1
    for extent in shape:
        total *= extent
    if op.op_type in TRANSPOSED:
        return total // max(shape[1] * int(getattr(op, "groups", 1)), 1)
    if axis is None:
        rows_last = len(shape) < 2 or bool(getattr(op, "trans_b", False))
        return shape[-1 if rows_last else -2]
    return total // max(shape[axis], 1)
