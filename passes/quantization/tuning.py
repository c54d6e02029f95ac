"""Scales, zero points and biases that gradients of the outputs' noise have tuned.

The default decides layer by layer. What a layer's error does to the outputs is known to nobody then: how far clipping
may go, whether the errors of two layers add up or make up for each other. Here the quantized model is run forwards and
backwards, rounding counts as the identity on the way back (straight through), and what is learned is little, so that
few samples suffice: of every activation the scale and the zero point, of every channel of a layer the scale of its
integers and the bias. The integers of the weights stay. The gradient of an activation's scale is that of learned step
sizes (Esser et al. 2020, arXiv 1902.08153): rounding errors by the scale inside of the range, its end beyond.

A step is Adam's, of which the scales are logarithms and biases parts of their result's root mean square. The noise of
rounding makes the loss rugged; what comes out is the mean over the second half of the steps, which is flat where
single ones are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import NodeResult, accumulation_depth
from uair.passes.quantization.judging import Judge, Samples
from uair.passes.quantization.parking import Store
from uair.passes.quantization.trial import Study
from uair.quant.parameters import Parameters, bias_room, product_scale, quantize_bias
from uair.quant.scheme import TRANSPOSED, Scheme

EPOCHS = 12
BATCH = 4
"""Samples of a step."""
RATES = {"scale": 5e-5, "zero": 2.5e-3, "weight": 1.2e-5, "bias": 1.2e-5}
"""Greatest length of a step: of logarithms of scales, of zero points, and of biases as parts of what they are added to.
With twenty times as much the noise doubles at once, and half of it is what all steps together win back."""
MEMORY, SQUARES = 0.9, 0.99
"""Parts of the mean gradient, and of its mean square, that a step keeps."""
TINY = 1e-30

Kind: TypeAlias = str
Key: TypeAlias = "tuple[Kind, Any]"
Values: TypeAlias = "dict[Key, Array]"


class Differentiator(Protocol):
    """What runs a module backwards: `uair.codegen.reference.Differentiator`."""

    def run(
        self,
        feeds: Mapping[str, Any],
        seeds: Callable[[dict[str, Any]], Mapping[str, Array]],
        *,
        observe: Callable[[Tensor, Array], None] | None = None,
    ) -> Any:
        """Forwards and backwards; the result has `gradients` by tensor."""
        ...


MakeDifferentiator: TypeAlias = Callable[[Module, Sequence[Tensor]], Differentiator]


def tune(
    study: Study, results: Sequence[NodeResult], samples: Samples, differentiator: MakeDifferentiator
) -> list[NodeResult]:
    """The results with tuned parameters and biases.

    Args:
        study: the float model and what runs it.
        results: how its nodes are quantized.
        samples: those to learn from.
        differentiator: class of what finds gradients.

    Raises:
        NoGradientError: there is no gradient through a node.
    """
    judge = Judge.of(study, samples, Store())
    knobs = Knobs.of(study, results, samples)
    if not knobs.values or not judge.signal:
        return list(results)
    rng = np.random.default_rng(0)
    total = EPOCHS * -(-len(samples) // BATCH)
    mean: Values = {}
    descent, taken = Descent(), 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(samples))
        for start in range(0, len(samples), BATCH):
            rate = (1 + np.cos(np.pi * descent.count / total)) / 2
            batch = [int(i) for i in order[start : start + BATCH]]
            results = knobs.results()
            with study.quantized_copy(results) as (copy, tensors):
                found = Backwards.of(knobs, judge, results, (copy, tensors), differentiator).gradients(batch)
            descent.step(knobs, found, rate)
            if 2 * descent.count > total:
                taken += 1
                mean = {key: mean.get(key, 0.0) + value for key, value in knobs.values.items()}
    judge.close()
    knobs.values = {key: np.asarray(value / taken) for key, value in mean.items()}
    return knobs.results()


# --------------------------------------------------------------------------------------------------------------- knobs
@attrs.define(eq=False)
class Knobs:
    """What is learned.

    Attributes:
        scheme: the target's.
        groups: by activation the one that it shares parameters with.
        start: how the nodes are quantized.
        sizes: by number of the node, the root mean square of its result in the float model.
        values: changes, by ("scale" or "zero", group and type) or ("weight" or "bias", number of a node).
    """

    scheme: Scheme
    groups: Mapping[Tensor, Tensor]
    start: Sequence[NodeResult]
    sizes: Mapping[int, float]
    values: Values

    @staticmethod
    def of(study: Study, results: Sequence[NodeResult], samples: Samples) -> Knobs:
        """All that may change, by 0."""
        scheme, groups = study.scheme, study.plan.groups
        values: Values = {}
        for number, result in enumerate(results):
            for i, parameters in result.activations.items():
                group = groups[result.item.operand(i)], parameters.dtype
                least, greatest = parameters.dtype.range
                if not scheme.power_of_two:
                    values["scale", group] = np.zeros(())
                if (
                    not (scheme.symmetric or group[0] in study.plan.symmetric)
                    and least < int(parameters.zero_point) < greatest
                ):
                    values["zero", group] = np.zeros(())  # at an end of the integers: the values have one sign
            constants = result.constants
            if constants.weight is not None and not scheme.power_of_two:
                values["weight", number] = np.zeros(constants.weight[0].scale.shape)
            if constants.bias is not None and constants.real_bias is not None:
                values["bias", number] = np.zeros(constants.real_bias.shape)
        return Knobs(scheme, groups, results, _sizes(study, results, samples), values)

    def results(self) -> list[NodeResult]:
        """How the nodes are quantized with these changes."""
        return [self._changed(number, result) for number, result in enumerate(self.start)]

    def _changed(self, number: int, result: NodeResult) -> NodeResult:
        activations = {
            i: self._activation(parameters, (self.groups[result.item.operand(i)], parameters.dtype))
            for i, parameters in result.activations.items()
        }
        constants = attrs.evolve(result.constants)
        if constants.weight is not None and ("weight", number) in self.values:
            parameters, integers = constants.weight
            scale = self._allowed(parameters.scale * np.exp(self.values["weight", number]))
            constants.weight = attrs.evolve(parameters, scale=scale), integers
        if constants.bias is not None and constants.real_bias is not None:
            assert constants.weight is not None
            op, real = result.node.op, constants.real_bias
            real = np.asarray(real + self.values["bias", number], real.dtype)
            repeat = int(getattr(op, "groups", 1)) if op.op_type in TRANSPOSED else 1
            scale = product_scale(activations[0], constants.weight[0], repeat)
            room = bias_room(accumulation_depth(result.item), activations[0], self.scheme)
            constants.real_bias = real
            clipped = np.clip(quantize_bias(real, scale), -room, room).astype(np.int32)
            constants.bias = attrs.evolve(constants.bias[0], scale=scale), clipped
        return attrs.evolve(result, activations=activations, constants=constants)

    def _activation(self, parameters: Parameters, group: tuple[Tensor, DType]) -> Parameters:
        scale, zero = parameters.scale, parameters.zero_point
        if ("scale", group) in self.values:
            scale = self._allowed(scale * np.exp(self.values["scale", group]))
        if ("zero", group) in self.values:
            moved = np.rint(zero + self.values["zero", group])
            zero = np.asarray(np.clip(moved, *parameters.dtype.range), zero.dtype)
        return attrs.evolve(parameters, scale=scale, zero_point=zero)

    def _allowed(self, scale: Array) -> Array:
        return np.clip(scale, self.scheme.scale_min, self.scheme.scale_max).astype(np.float32)


def _sizes(study: Study, results: Sequence[NodeResult], samples: Samples) -> dict[int, float]:
    """The root mean squares of the nodes' results, by the nodes' numbers."""
    numbers = {result.node.outputs[0]: number for number, result in enumerate(results)}
    squares = dict.fromkeys(range(len(results)), 0.0)

    def observe(tensor: Tensor, values: Array) -> None:
        if tensor in numbers and values.size:
            squares[numbers[tensor]] += float(np.mean(np.square(values, dtype=np.float64)))

    interpreter = study.run(study.module)
    for sample in samples:
        interpreter.run(sample, observe=observe)
    return {number: float(np.sqrt(square / len(samples))) for number, square in squares.items()}


# ----------------------------------------------------------------------------------------------------------- gradients
@attrs.define(eq=False)
class Backwards:
    """The quantized model as it is now, to be run backwards.

    Attributes:
        knobs: what is learned.
        judge: of the samples that are learned from.
        results: how the nodes are quantized.
        differentiator: of the quantized copy.
        outputs: what is compared, by the names that the copy gives out.
        wrt: by tensor of the copy what its gradient is for: ("scale", group), ("weight" or "bias", number).
        rounded: by activation of the copy, what its integers stand for, and their parameters.
        inputs: of the copy.
    """

    knobs: Knobs
    judge: Judge
    results: Sequence[NodeResult]
    differentiator: Differentiator
    outputs: Mapping[str, Tensor]
    wrt: Mapping[Tensor, Key]
    rounded: Mapping[Tensor, tuple[Tensor, Parameters]]
    inputs: Mapping[str, Tensor]

    @staticmethod
    def of(
        knobs: Knobs,
        judge: Judge,
        results: Sequence[NodeResult],
        quantized: tuple[Module, Mapping[Tensor, Tensor]],
        differentiator: MakeDifferentiator,
    ) -> Backwards:
        """Of a quantized copy and what its tensors are copies of; the copy gets more outputs."""
        copy, tensors = quantized
        outputs: dict[str, Tensor] = {}
        for tensor in judge.signal:
            name = f"compared{len(copy.main.output_names)}"
            while name in copy.main.output_names:
                name += "_"
            copy.main.add_output(name, tensors[tensor])
            outputs[name] = tensor
        wrt: dict[Tensor, Key] = {}
        rounded: dict[Tensor, tuple[Tensor, Parameters]] = {}
        for number, result in enumerate(results):
            node = tensors[result.node.outputs[0]].producer
            assert node is not None
            for i, parameters in result.activations.items():
                tensor = _operand(node, i)
                wrt[tensor] = "scale", (knobs.groups[result.item.operand(i)], parameters.dtype)
                rounded[_operand(_made(_operand(_made(tensor), 0)), 0)] = tensor, parameters
            if result.constants.weight is not None and result.item.weight is not None:
                wrt[_operand(node, result.item.weight)] = "weight", number
            if result.constants.bias is not None and result.item.bias is not None:
                wrt[_operand(node, result.item.bias)] = "bias", number
        inputs = dict(zip(copy.main.input_names, copy.main.inputs, strict=True))
        return Backwards(knobs, judge, results, differentiator(copy, list(wrt)), outputs, wrt, rounded, inputs)

    def gradients(self, batch: Sequence[int]) -> Values:
        """By what is learned, the gradient of the mean noise of some samples."""
        found: Values = {key: np.zeros_like(value) for key, value in self.knobs.values.items()}
        for number in batch:
            seen: dict[Tensor, Array] = {}

            def observe(tensor: Tensor, values: Array, seen: dict[Tensor, Array] = seen) -> None:
                if tensor in self.rounded:
                    seen[tensor] = values

            def seeds(outputs: Mapping[str, Any], number: int = number) -> Mapping[str, Array]:
                return {name: self.judge.slope(t, number, outputs[name]) for name, t in self.outputs.items()}

            sample = self.judge.samples[number]
            for name, tensor in self.inputs.items():
                observe(tensor, sample[name])
            gradients: Mapping[Tensor, Array] = self.differentiator.run(sample, seeds, observe=observe).gradients
            for values, (tensor, parameters) in self.rounded.items():
                if tensor in gradients:
                    self._add_activation(found, self.wrt[tensor][1], gradients[tensor], seen[values], parameters)
            for tensor, (kind, key) in self.wrt.items():
                if tensor in gradients and kind != "scale" and (kind, key) in found:
                    self._add_constant(found, kind, key, gradients[tensor])
        return found

    def _add_activation(self, found: Values, group: Any, g: Array, x: Array, parameters: Parameters) -> None:
        """What an activation's scale and zero point do; `g` is by what its integers stand for."""
        scale, zero = float(parameters.scale), int(parameters.zero_point)
        least, greatest = parameters.dtype.range
        whole = np.rint(x / parameters.scale) + zero
        is_outside = (whole < least) | (whole > greatest)
        rounded = parameters.rounded(x)
        if ("scale", group) in found:  # by its logarithm
            change = np.where(is_outside, rounded, rounded - x)
            found["scale", group] += np.sum(g * change, dtype=np.float64)
        if ("zero", group) in found:
            found["zero", group] -= scale * np.sum(g, where=is_outside, dtype=np.float64)

    def _add_constant(self, found: Values, kind: Kind, number: int, g: Array) -> None:
        """What the scales of a weight, or a bias, do."""
        key = kind, number
        if kind == "weight":
            weight = self.results[number].constants.weight
            assert weight is not None
            parameters, integers = weight
            axis = None if parameters.axis is None else parameters.axis % g.ndim
            others = tuple(i for i in range(g.ndim) if i != axis)
            g = np.sum(g * integers.array(), axis=others, dtype=np.float64) * parameters.scale
        found[key] += g.reshape(found[key].shape)


def _operand(node: Node, i: int) -> Tensor:
    tensor = node.inputs[i]
    assert tensor is not None
    return tensor


def _made(tensor: Tensor) -> Node:
    assert tensor.producer is not None
    return tensor.producer


# ------------------------------------------------------------------------------------------------------------- descent
@attrs.define(eq=False)
class Descent:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), with rates by kind.

    Attributes:
        count: steps so far.
    """

    count: int = 0
    _means: Values = attrs.Factory(dict)
    _squares: Values = attrs.Factory(dict)

    def step(self, knobs: Knobs, gradients: Values, rate: float) -> None:
        """Change what is learned against its gradients."""
        self.count += 1
        for key, g in gradients.items():
            mean = self._means[key] = MEMORY * self._means.get(key, 0.0) + (1 - MEMORY) * g
            square = self._squares[key] = SQUARES * self._squares.get(key, 0.0) + (1 - SQUARES) * np.square(g)
            direction = mean / (1 - MEMORY**self.count) / (np.sqrt(square / (1 - SQUARES**self.count)) + TINY)
            kind, number = key
            length = rate * RATES[kind] * (knobs.sizes[number] if kind == "bias" else 1.0)
            knobs.values[key] = knobs.values[key] - length * direction
