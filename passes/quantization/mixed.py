"""Mixed precision: which parts of a model stay in float so that its outputs stay close to the float model's.

Some layers bear 8 bits badly: spectrograms whose logarithm shows the rounding of quiet sounds, narrow channels behind
few filters, gates of recurrent layers. Nobody can tell which by looking, so they are measured: the model is cut into
segments of neighbouring nodes, and each is quantized alone, which tells what its rounding costs the outputs. Then the
costly ones are computed with more precision, as few as make the outputs good enough: with activations of 16 bits where
the target has them (weights keep 8), and in float where that is not enough and the target has floats between integers.

What stays float is judged in the type that the device computes floats in (`dtypes.float` of its file): f16 overflows,
and what would is not chosen for it.

For rknn-toolkit2 models that shuffle channels stay quantized throughout: its version 2.5.0 makes convolutions of
shuffles, and where a part of the model is float it may fail at another convolution with "Invalid w_par['dtype'] =
float16".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import ml_dtypes
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.passes.quantization.choose import NodeResult, QuantizedConstants, accumulation_depth
from uair.passes.quantization.placement import ISLAND, lone_nodes
from uair.passes.quantization.statistics import Comparison, Interpreter
from uair.passes.quantization.trial import Study, is_comparable
from uair.quant.errors import QuantizationError
from uair.quant.parameters import (
    Parameters,
    activation_parameters,
    bias_room,
    product_scale,
    quantize_bias,
    widen_for_bias,
)
from uair.quant.ranges import minmax_range
from uair.quant.scheme import COMPUTE, TRANSPOSED
from uair.targets.steps import shuffled

MOST_SEGMENTS = 24
"""Segments that a model is cut into at most; each is run by itself."""
RANKING = 2
"""Samples by which segments are ranked; what is chosen is checked on all."""
ROUNDING = 1e-9
"""What sums of shares may be off."""
NO_NUMBER = -1.0
"""The cosine of an output that is no number and should be one."""
Runner: TypeAlias = Callable[[Module], Interpreter]
"""What runs a module: floats in the type of the module, or in that of a device."""


@attrs.frozen
class Budget:
    """What mixed precision is for, and what it may cost.

    Attributes:
        least_cosine: lowest cosine similarity that every output shall have on every sample at hand; 0: whatever it is.
        most_float: greatest share of the multiply-adds of operators with weights that may be in float; 1: any.
        wide: whether the target has activations of 16 bits.
        floats: whether it has floats between integers.
        float_type: what it computes these in.
    """

    least_cosine: float = 0.0
    most_float: float = 1.0
    wide: bool = False
    floats: bool = True
    float_type: DType = DType.F32

    @property
    def is_stated(self) -> bool:
        """Whether there is anything to keep to."""
        return self.least_cosine > 0 or self.most_float < 1


@attrs.define(eq=False)
class Split:
    """What is computed how.

    Attributes:
        results: the quantized nodes in order; those with activations of 16 bits among them.
        stay: nodes that stay in float, with the reason.
        notes: what could not be reached.
        cosine: the lowest that an output has on a sample; None where no limit asked for it.
        samples: how many of them there are.
    """

    results: list[NodeResult]
    stay: list[tuple[Node, str]] = attrs.Factory(list["tuple[Node, str]"])
    notes: list[str] = attrs.Factory(list[str])
    cosine: float | None = None
    samples: int = 0


def split_precision(study: Study, results: list[NodeResult], budget: Budget, device: Runner) -> Split:
    """Which nodes have activations of 8 bits, which of 16, and which stay in float.

    Args:
        study: the float model and what runs it.
        results: the nodes that could be quantized, in order.
        budget: what is wanted.
        device: runs a module as the device does: floats in `budget.float_type`.
    """
    split = _split(study, results, budget, device)
    split.samples = len(study.statistics.kept)
    split.notes += beyond_budget(float_share(study.module.main, split.results), budget)
    return split


def spent(budget: Budget, split: Split, graph: Graph) -> dict[str, Any]:
    """What was wanted, and what it took, as plain data.

    Returns:
        `least_cosine` and `most_float`; `cosine`, the lowest that an output has on one of `samples` (None: no limit
        asked for it); `float_share` and `wide_share` of the multiply-adds; `float_type`.
    """
    wide = [r for r in split.results if any(p.dtype is DType.I16 for p in r.activations.values())]
    whole = max(total_multiply_adds(graph), 1)
    return {
        "least_cosine": budget.least_cosine,
        "cosine": None if split.cosine is None else round(split.cosine, 6),
        "samples": split.samples,
        "most_float": budget.most_float,
        "float_share": round(float_share(graph, split.results), 4),
        "wide_share": round(sum(multiply_adds(result.node) for result in wide) / whole, 4),
        "float_type": str(budget.float_type),
    }


def beyond_budget(share: float, budget: Budget) -> list[str]:
    """What there is to say when more of the multiply-adds is in float than was allowed."""
    if share <= budget.most_float:
        return []
    return [
        f"{share:.1%} of the multiply-adds are in float, {budget.most_float:.1%} were allowed: see why each of these "
        "nodes is"
    ]


def _split(study: Study, results: list[NodeResult], budget: Budget, device: Runner) -> Split:
    least = budget.least_cosine
    if least <= 0 or not results:
        return Split(results)
    outputs = _Outputs(study, device)
    before = outputs.worst_cosine(results)
    if before >= least:
        return Split(results, cosine=before)
    if study.scheme.whole_shuffles and any(map(shuffled, study.module.main)):
        why = "models that shuffle channels stay quantized throughout: the target's tool may not build them otherwise"
        return Split(results, notes=[f"an output has {_shown(before)}, not {least}: {why}"], cosine=before)
    mix = _Mix.of(study, results, budget)
    lifts, floats, reached = _mixture(mix, outputs, budget, before)
    if not lifts and not floats and (mix.floatable or budget.wide):
        why = "more precision where the target has it does not make it better"
        return Split(results, notes=[f"an output has {_shown(before)}, not {least}: {why}"], cosine=before)
    kept = mix.results(lifts, floats)
    scheme = study.scheme
    lone = set(lone_nodes({result.node for result in kept}) if floats and not (scheme.ends or scheme.islands) else ())
    if lone:
        kept = [result for result in kept if result.node not in lone]
        reached = outputs.worst_cosine(kept)
    staying = {result.node for result in kept} | lone
    reason = f"its part of the model stays float: quantized throughout, an output has {_shown(before)}"
    split = Split(kept, [(result.node, reason) for result in results if result.node not in staying])
    split.stay += [(result.node, ISLAND) for result in results if result.node in lone]
    split.cosine = reached
    if reached < least:
        split.notes.append(_shortfall(study, split, budget, reached))
    if mix.barred:
        split.notes.append(
            f"{mix.barred} of {len(mix.order)} segments of the model were not tried in float: {budget.float_type} does "
            "not hold their values"
        )
    return split


def _mixture(mix: _Mix, outputs: _Outputs, budget: Budget, before: float) -> tuple[int, int, float]:
    """How many segments have 16 bits, how many are in float, and the cosine with that: the fewest, or the best tried.

    More is not always better: errors cancel, and f16 makes errors of its own.
    """
    tried = {(0, 0): before}

    def cosine(lifts: int, floats: int) -> float:
        if (lifts, floats) not in tried:
            tried[lifts, floats] = outputs.worst_cosine(mix.results(lifts, floats))
        return tried[lifts, floats]

    least, most = budget.least_cosine, len(mix.floatable)
    lifts = floats = 0
    if budget.wide:
        lifts = _fewest(0, len(mix.order), lambda n: cosine(n, 0) >= least)
    if cosine(lifts, 0) < least and budget.floats:
        floats = _fewest(min(1, most), most, lambda n: cosine(lifts, n) >= least)
        lifts = _fewest(0, lifts, lambda n: cosine(n, floats) >= least)
    if cosine(lifts, floats) < least:
        lifts, floats = max(tried, key=lambda pair: (tried[pair], -pair[1], -pair[0]))
    return lifts, floats, tried[lifts, floats]


def _shortfall(study: Study, split: Split, budget: Budget, reached: float) -> str:
    """What was reached in the place of what was wanted."""
    share = float_share(study.module.main, split.results)
    limit = (
        f"with at most {budget.most_float:.1%} of the multiply-adds in float"
        if budget.floats and budget.most_float < 1
        else "with activations of 16 bits throughout"
        if budget.wide
        else "with the nodes that can be in float"
    )
    return f"an output has {_shown(reached)}, not {budget.least_cosine}: that is out of reach {limit} ({share:.1%} are)"


def _shown(cosine: float) -> str:
    return f"cosine {cosine:.4f}" if cosine > NO_NUMBER else "values that are no numbers in the device's floats"


def _fewest(low: int, high: int, is_enough: Callable[[int], bool]) -> int:
    """The least number from `low` to `high` that is enough, if more is never worse; `high` where none is."""
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


@attrs.frozen(eq=False)
class _Mix:
    """The segments of a model in each precision.

    Attributes:
        segments: in the model's order.
        lifted: the same with activations of 16 bits.
        order: their numbers, those that lose most first.
        floatable: of these, those that may be in float together: what the share leaves room for, in the same order.
        barred: how many cannot be in float: its type does not hold their values.
        costs: of each the multiply-adds, as a part of those of the model.
        before: the part that is in float anyhow.
    """

    segments: list[list[NodeResult]]
    lifted: list[list[NodeResult]]
    order: list[int]
    floatable: list[int]
    barred: int

    @staticmethod
    def of(study: Study, results: list[NodeResult], budget: Budget) -> _Mix:
        """Cut the model, and measure what each segment loses in 8 bits."""
        segments = cut(results)
        few = study.on(study.statistics.kept[:RANKING])
        reference = few.references()
        losses = [few.loss(segment, reference) for segment in segments]
        beyond = _beyond(few, budget.float_type)
        barred = [any(result.node in beyond for result in segment) for segment in segments]
        order = sorted(range(len(segments)), key=lambda i: -losses[i])
        lifted = [[lift(study, result) for result in segment] for segment in segments] if budget.wide else segments
        graph = study.module.main
        whole = total_multiply_adds(graph)
        costs = [sum(multiply_adds(r.node) for r in segment) / max(whole, 1) for segment in segments]
        share, floatable = float_share(graph, results), list[int]()
        for i in order:
            if not barred[i] and share + costs[i] <= budget.most_float + ROUNDING:
                share += costs[i]
                floatable.append(i)
        return _Mix(segments, lifted, order, floatable, barred.count(True))

    def results(self, lifts: int, floats: int) -> list[NodeResult]:
        """The quantized nodes when the first `floats` that may be are in float, and of the order `lifts` in 16 bits."""
        left, raised = set(self.floatable[:floats]), set(self.order[:lifts])
        kept: list[NodeResult] = []
        for i, (narrow, wide) in enumerate(zip(self.segments, self.lifted, strict=True)):
            if i not in left:
                kept += wide if i in raised else narrow
        return kept


def _beyond(study: Study, dtype: DType) -> set[Node]:
    """The nodes that give or take finite values, on the samples that are kept, that a type of floats does not hold."""
    most = float(ml_dtypes.finfo(dtype.numpy).max)  # type: ignore[no-untyped-call]
    found: set[Node] = set()

    def observe(tensor: Tensor, values: Any) -> None:
        if not tensor.type.is_tensor or not tensor.type.dtype.is_float or not values.size:
            return
        if np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max() > most:
            found.update(tensor.users if tensor.producer is None else (tensor.producer, *tensor.users))

    if dtype.bits < DType.F32.bits:
        interpreter = study.run(study.module)
        for sample in study.statistics.kept:
            interpreter.run(sample, observe=observe)
    return found


def lift(study: Study, result: NodeResult) -> NodeResult:
    """A node with activations of 16 bits; as it is where they cannot be expressed."""
    item, wide = result.item, study.scheme.wide
    try:
        activations: dict[int, Parameters] = {}
        for i in item.activations:
            observer = study.statistics.observers[study.plan.groups[item.operand(i)]]
            activations[i] = activation_parameters(*minmax_range(observer), wide, name=observer.name)
        constants = _wide_constants(study, result, activations)
    except QuantizationError:
        return result
    methods = dict.fromkeys(activations, "minmax")
    return attrs.evolve(result, activations=activations, constants=constants, methods=methods)


def _wide_constants(study: Study, result: NodeResult, activations: Mapping[int, Parameters]) -> QuantizedConstants:
    """The constants beside activations of 16 bits: the weight as it is, the bias in steps that are finer.

    Raises:
        QuantizationError: the bias does not fit, or a constant cannot be expressed.
    """
    item, wide = result.item, study.scheme.wide
    found = attrs.evolve(result.constants, bias=None, others={})
    for i in item.constants:
        array = item.operand(i).numpy()
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        parameters = activation_parameters(low, high, wide)
        found.others[i] = parameters, parameters.quantize(array)
    if item.bias is None or result.constants.weight is None:
        return found
    x, (weight, _), bias = activations[0], result.constants.weight, result.constants.real_bias
    assert bias is not None
    if widen_for_bias(weight, bias, x, bias_room(accumulation_depth(item), x, wide), wide)[1]:
        raise QuantizationError("the bias does not fit beside activations of 16 bits")
    repeat = int(getattr(item.node.op, "groups", 1)) if item.node.op_type in TRANSPOSED else 1
    scale = product_scale(x, weight, repeat)
    parameters = Parameters(scale, np.zeros(scale.shape, np.int32), DType.I32, 0 if scale.ndim else None)
    found.bias = parameters, quantize_bias(bias, scale)
    return found


# -------------------------------------------------------------------------------------------------------- what it costs
def multiply_adds(node: Node) -> int:
    """Of an operator with a weight, for each sample of a batch whose size is open; 0 of others."""
    if node.op_type not in COMPUTE:
        return 0
    operands = [None if t is None else _closed(t.type) for t in node.inputs]
    results = [_closed(t.type) for t in node.outputs]
    if any(t is not None and t.shape is None for t in (*operands, *results)):
        return 0
    return node.op.flops(operands, results) // 2


def _closed(type: TensorType) -> TensorType:
    """The type with 1 in the place of sizes that are not known."""
    if type.shape is None:
        return type
    return type.with_shape(tuple(d if isinstance(d, int) else 1 for d in type.shape))


def total_multiply_adds(graph: Graph) -> int:
    """Of a graph and those in it."""
    return sum(multiply_adds(node) for each in (graph, *graph.nested()) for node in each)


def float_share(graph: Graph, results: Sequence[NodeResult]) -> float:
    """The part of a graph's multiply-adds that is not of quantized nodes."""
    whole = total_multiply_adds(graph)
    quantized = sum(multiply_adds(result.node) for result in results)
    return 1 - quantized / whole if whole else 0.0


class _Outputs:
    """The float model's comparable outputs on every sample that is kept, and what the device makes of them."""

    def __init__(self, study: Study, device: Runner) -> None:
        graph = study.module.main
        self.study = study
        self.device = device
        self.names = [
            name
            for name, tensor in zip(graph.output_names, graph.outputs, strict=True)
            if tensor.type.dtype.is_float and is_comparable(tensor, graph)
        ]
        exact = study.run(study.module)
        self.expected = [self._of(exact.run(sample)) for sample in study.statistics.kept]

    def _of(self, results: Mapping[str, Any]) -> dict[str, Array]:
        return {name: results[name] for name in self.names}

    def worst_cosine(self, results: list[NodeResult]) -> float:
        """The lowest of an output on a sample; 1 for a model without comparable outputs; may be `NO_NUMBER`."""
        if not self.names:
            return 1.0
        worst = 1.0
        with self.study.quantized_copy(results) as (copy, _):
            rounded = self.device(copy)
            for sample, expected in zip(self.study.statistics.kept, self.expected, strict=True):
                actual = rounded.run(sample)
                for name in self.names:
                    worst = min(worst, _cosine(expected[name], actual[name]))
        return worst


def _cosine(expected: Array, actual: Array) -> float:
    """Of one output; `NO_NUMBER` where it is none though it should be one."""
    if np.isfinite(expected).all() and not np.isfinite(actual).all():
        return NO_NUMBER
    comparison = Comparison()
    comparison.add(expected, actual)
    return comparison.cosine if math.isfinite(comparison.cosine) else NO_NUMBER


def cut(results: Sequence[NodeResult]) -> list[list[NodeResult]]:
    """Neighbouring nodes in segments of about equal numbers, each from an operator with a weight on.

    What activates, pools or moves its results stays with it: rknn-toolkit2 fails on channel shuffles and activations of
    which a part is in float16.
    """
    size = -(-len(results) // MOST_SEGMENTS)
    segments: list[list[NodeResult]] = []
    for result in results:
        if segments and (len(segments[-1]) < size or result.node.op_type not in COMPUTE):
            segments[-1].append(result)
        else:
            segments.append([result])
    return segments
