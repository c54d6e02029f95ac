"""UAIR's predicted cycles beside those of the compiler's own table of layers.

The compiler prints cycles of convolutions, of what it makes convolutions of, and of some matrix products; every other
layer stands with 0 in its table. Its layers and UAIR's steps are paired by what they compute: element type, kernel,
channels and pixels. Parts of one convolution (`_tile0`, `_branch1`, `_group_1`) are added up first.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable

import attrs

from uair.codegen.rockchip.layer_table import Layer
from uair.ir.graph import Graph
from uair.targets.cost import cost_of
from uair.targets.description import DeviceDescription
from uair.targets.products import in_groups, unit_for
from uair.targets.steps import Step, StepFinder

_PART = re.compile(r"_(tile|branch|group_)\d+")
_DTYPES = {"i8": "INT8", "f16": "FLOAT16"}
Signature = tuple[str, bool, int, int, int, int]
"""Element type, whether it is depthwise, elements of the kernel, channels in and out, pixels."""


@attrs.frozen
class Pair:
    """A convolution as UAIR and as the compiler count it.

    Attributes:
        what: it computes, for people.
        predicted: UAIR's cycles.
        compiler: the compiler's.
    """

    what: str
    predicted: float
    compiler: int

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.compiler - 1


@attrs.frozen
class Comparison:
    """UAIR's predictions for a model beside the compiler's.

    Attributes:
        pairs: the convolutions that both know.
        only_compiler: layers that UAIR did not foresee, with their cycles.
        only_predicted: steps that the compiler did not make, with their cycles.
        predicted: UAIR's sum over the layers that the compiler gives cycles for.
        compiler: the compiler's sum.
        all_predicted: UAIR's sum over all nodes, also those for which the compiler prints no cycles (uncertain).
    """

    pairs: tuple[Pair, ...]
    only_compiler: tuple[tuple[str, int], ...]
    only_predicted: tuple[tuple[str, float], ...]
    predicted: float
    compiler: int
    all_predicted: float

    @property
    def error(self) -> float:
        """Relative error of the sum."""
        return self.predicted / self.compiler - 1 if self.compiler else math.inf

    @property
    def worst(self) -> float:
        """Greatest relative error of a pair, cycles being whole: less than one cycle is no error."""
        return max((abs(p.error) for p in self.pairs if abs(p.predicted - p.compiler) >= 1), default=0.0)


def compare(layers: Iterable[Layer], graph: Graph, description: DeviceDescription) -> Comparison:
    """Predictions for the emitted graph beside the compiler's table.

    Args:
        layers: of the table.
        graph: of the module that was emitted.
        description: of the device.
    """
    theirs = _compiled(layers)
    finder = StepFinder(description)
    steps = [step for each in finder.of_graph(graph).values() for step in each]
    ours: dict[Signature, list[float]] = defaultdict(list)
    for step in steps:
        if step.work is not None:
            ours[_signature_of(step, description)].append(cost_of([step], description).cycles or 0.0)
    pairs: list[Pair] = []
    only_compiler: list[tuple[str, int]] = []
    for signature, cycles in theirs.items():
        predicted = sorted(ours.pop(signature, []))
        found = sorted(cycles)
        pairs += [Pair(_text(signature), p, c) for p, c in zip(predicted, found, strict=False)]
        only_compiler += [(_text(signature), c) for c in found[len(predicted) :]]
        ours[signature] = predicted[len(found) :]
    return Comparison(
        tuple(pairs),
        tuple(only_compiler),
        tuple((_text(s), c) for s, rest in ours.items() for c in rest),
        sum(cost_of([s], description).cycles or 0.0 for s in steps if s.work is not None),
        sum(sum(c) for c in theirs.values()),
        sum(cost_of([s], description).cycles or 0.0 for s in steps),
    )


def _compiled(layers: Iterable[Layer]) -> dict[Signature, list[int]]:
    """Cycles of the compiler's layers by what they compute."""
    parts: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        if layer.cycles and len(layer.inputs) > 1 and layer.output is not None:
            parts[_PART.split(layer.name)[0] if _PART.search(layer.name) else layer.name].append(layer)
    found: dict[Signature, list[int]] = defaultdict(list)
    for same in parts.values():
        found[_signature_of_layers(same)].append(sum(layer.cycles for layer in same))
    return found


def _signature_of_layers(parts: list[Layer]) -> Signature:
    x, w = parts[0].inputs[:2]
    y: tuple[int, ...] = tuple(parts[0].output or ())
    if parts[0].op == "exMatMul":
        return (parts[0].dtype, False, 1, x[-1], w[-1] if w[-2] == x[-1] else w[-2], math.prod(x[:-1]))
    depthwise = w[0] == 1 and w[1] == x[1] == y[1] and x[1] > 1
    inputs, outputs = (1, y[1]) if depthwise else (w[1], y[1])
    if len(parts) > 1 and "_group_" not in parts[0].name:
        inputs = sum(layer.inputs[1][1] for layer in parts)
    elif len(parts) > 1:
        outputs *= len(parts)
    if parts[0].op.startswith("ConvTranspose") and not depthwise:
        inputs = x[1]
    return (parts[0].dtype, depthwise, math.prod(w[2:]), inputs, outputs, y[0] * math.prod(y[2:]))


def _signature_of(step: Step, description: DeviceDescription) -> Signature:
    work = step.work
    assert work is not None
    unit = unit_for(work, step.dtype, description)
    dtype = _DTYPES.get(step.dtype.value, step.dtype.value)
    if unit is not None and unit.does == "depthwise":
        return (dtype, True, work.taps, 1, work.groups * work.outputs, work.batch * work.rows)
    block = description.channel_block(step.dtype)
    made = work if unit is None else in_groups(work, unit, step.dtype, block)
    return (dtype, False, made.taps, made.inputs, made.outputs * made.groups, made.batch * made.rows)


def _text(signature: Signature) -> str:
    dtype, depthwise, taps, inputs, outputs, pixels = signature
    return f"{dtype} {'depthwise ' if depthwise else ''}{inputs} -> {outputs} channels, {taps} taps, {pixels} pixels"
