"""Trying whole quantizations on some of the samples, and measuring what they do to nodes and to the model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs
import numpy as np

from uair.ir.dims import symbols_of
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import (
    METHODS,
    NodeResult,
    Options,
    Settings,
    WeightCache,
    best_for_users,
    quantize_nodes,
    range_options,
)
from uair.passes.quantization.insert import Inserter
from uair.passes.quantization.placement import Plan
from uair.passes.quantization.statistics import Interpreter, Statistics, comparable
from uair.quant.comparison import ErrorSums
from uair.quant.scheme import Scheme

SATURATING = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid")
"""Functions whose results hide errors: where one ends the model, its operand is compared."""
PER_USER = "per-user"
FLOOR = 1e-3
"""Part of the mean signal of a channel that a weaker channel is taken to have: noise in silence does not decide."""


@attrs.define(eq=False)
class Trial:
    """One way to quantize the model.

    Attributes:
        name: how its ranges were chosen.
        results: the quantized nodes.
        failed: nodes that could not be quantized, with the reason.
        losses: noise by signal at the outputs of all ways that were tried, by name; empty when only one was.
    """

    name: str = ""
    results: list[NodeResult] = attrs.Factory(list[NodeResult])
    failed: list[tuple[Node, str]] = attrs.Factory(list["tuple[Node, str]"])
    losses: dict[str, float] = attrs.Factory(dict[str, float])


@attrs.define(eq=False)
class Study:
    """The float model with its plan and statistics, and what runs it.

    Attributes:
        module: the float model; not changed.
        plan: what is quantized.
        statistics: of the calibration samples.
        scheme: the target's.
        run: class of the interpreter.
    """

    module: Module
    plan: Plan
    statistics: Statistics
    scheme: Scheme
    run: Callable[[Module], Interpreter]

    def quantized_copy(self, results: list[NodeResult]) -> tuple[Module, dict[Tensor, Tensor]]:
        """A quantized copy of the model, and the copies of the float model's results."""
        copy = self.module.clone()
        nodes = dict(zip(self.module.main, copy.main, strict=True))
        tensors = {a: b for node, twin in nodes.items() for a, b in zip(node.outputs, twin.outputs, strict=True)}
        plan = Plan(nodes=[attrs.evolve(result.item, node=nodes[result.node]) for result in results])
        inserter = Inserter(copy.main, plan, everywhere=self.scheme.placement == "all")
        for result in results:
            item = attrs.evolve(result.item, node=nodes[result.node])
            inserter.quantize(item, result.activations, result.constants)
        inserter.connect_float_users()
        return copy, tensors

    def loss(self, results: list[NodeResult], reference: list[dict[Tensor, Array]]) -> float:
        """Noise by signal where it counts, see `decisive_tensors`; the mean over channels and outputs."""
        copy, tensors = self.quantized_copy(results)
        watched = {tensors[t]: t for t in reference[0]}
        energies = {t: Energies(has_channels(t)) for t in reference[0]}
        interpreter = self.run(copy)
        for sample, expected in zip(self.statistics.kept, reference, strict=True):

            def observe(tensor: Tensor, values: Array, expected: Mapping[Tensor, Array] = expected) -> None:
                original = watched.get(tensor)
                if original is not None:
                    energies[original].add(expected[original], values)

            interpreter.run(sample, observe=observe)
        return float(np.mean([e.loss() for e in energies.values()])) if energies else 0.0

    def references(self) -> list[dict[Tensor, Array]]:
        """Values of the decisive tensors in the float model, for every kept sample."""
        wanted = set(decisive_tensors(self.module.main))
        result: list[dict[Tensor, Array]] = []
        interpreter = self.run(self.module)
        for sample in self.statistics.kept:
            found: dict[Tensor, Array] = {}

            def observe(tensor: Tensor, values: Array, found: dict[Tensor, Array] = found) -> None:
                if tensor in wanted:
                    found[tensor] = values

            interpreter.run(sample, observe=observe)
            result.append(found)
        return result


def choose_trial(study: Study, settings: Settings) -> Trial:
    """Decide all parameters. With "auto", the whole model is tried under each way of choosing ranges.

    The ways are every method for all activations, and for every activation the method that is best for its users alone
    (which errs where errors of several layers cancel or add up). The one with the least noise by signal at the model's
    outputs wins.
    """
    options, refused = range_options(study.statistics, study.scheme, settings)
    cache: WeightCache = {}

    def trial(name: str, methods: Mapping[Tensor, str]) -> Trial:
        chosen = {root: (found[methods[root]], methods[root]) for root, found in options.items()}
        return Trial(name, *quantize_nodes(study.plan, chosen, refused, study.scheme, settings=settings, cache=cache))

    if settings.method != "auto":
        return trial(settings.method, dict.fromkeys(options, settings.method))
    ways: dict[str, dict[Tensor, str]] = {name: dict.fromkeys(options, name) for name in METHODS}
    ways[PER_USER] = best_for_users(study.plan, study.statistics, options, study.run(study.module))
    return _best(study, {name: trial(name, methods) for name, methods in ways.items()}, options)


def _best(study: Study, trials: Mapping[str, Trial], options: Options) -> Trial:
    """The trial with the least loss; the first one when nothing can be compared."""
    reference = study.references()
    if not options or not reference[0]:
        return next(iter(trials.values()))
    losses = {name: study.loss(trial.results, reference) for name, trial in trials.items()}
    best = min(losses, key=lambda name: losses[name])
    return attrs.evolve(trials[best], losses=losses)


@attrs.define(eq=False)
class Energies:
    """Signal and noise of a tensor over samples, per channel (axis 1) or of the whole."""

    per_channel: bool
    signal: Array | float = 0.0
    noise: Array | float = 0.0

    def add(self, expected: Array, actual: Array) -> None:
        """Take in one sample."""
        a, b = comparable(expected, actual)
        axes = tuple(i for i in range(a.ndim) if i != 1) if self.per_channel else None
        self.signal = self.signal + np.square(a).sum(axis=axes)
        self.noise = self.noise + np.square(a - b).sum(axis=axes)

    def loss(self) -> float:
        """Mean over the channels of noise by signal."""
        return float(np.mean(self.noise / (self.signal + FLOOR * np.mean(self.signal) + 1e-30)))


def compare_outputs(
    module: Module, quantized: Module, samples: Iterable[Mapping[str, Array]], run: Callable[[Module], Interpreter]
) -> dict[str, ErrorSums]:
    """The floating-point outputs of two modules.

    Outputs whose size depends on the data, and sequences, are left out: they need not fit together.
    """
    graph, comparisons = module.main, dict[str, ErrorSums]()
    names = [n for n, t in zip(graph.output_names, graph.outputs, strict=True) if is_comparable(t, graph)]
    exact, rounded = run(module), run(quantized)
    for sample in samples:
        actual, expected = rounded.run(sample), exact.run(sample)
        for name in names:
            if expected[name].dtype.kind == "f":
                comparisons.setdefault(name, ErrorSums()).add(expected[name], actual[name])
    return comparisons


def has_channels(tensor: Tensor) -> bool:
    """Whether axis 1 of a tensor is channels: there is an axis behind it, and its extent is the same in every run."""
    dims = tensor.type.dims
    return len(dims) > 2 and isinstance(dims[1], int)


def is_comparable(tensor: Tensor, graph: Graph) -> bool:
    """Whether a value of the graph has the same size in the float and in the quantized model: the inputs decide it."""
    known = {name for t in graph.inputs for name in symbols_of(t.type.shape or ())}
    t = tensor.type
    return t.is_tensor and t.shape is not None and known.issuperset(symbols_of(t.shape))


def decisive_tensors(graph: Graph) -> list[Tensor]:
    """What quantizations are compared by: the floating-point outputs, before a final softmax or sigmoid.

    In the place of an output that is no tensor, or whose size depends on the data, stands what it is computed from:
    the boxes and scores in front of a suppression.
    """
    found: dict[Tensor, None] = {}
    pending = [_unsaturated(tensor) for tensor in reversed(graph.outputs)]
    seen: set[Tensor] = set()
    while pending:
        tensor = pending.pop()
        producer = tensor.producer
        if producer is None or tensor in seen:
            continue
        seen.add(tensor)
        if not is_comparable(tensor, graph):
            captured = [t for region in producer.regions for t in region.captures()]
            pending.extend(reversed([*(t for t in producer.inputs if t is not None), *captured]))
        elif tensor.type.dtype.is_float:
            found[tensor] = None
    return list(found)


def _unsaturated(tensor: Tensor) -> Tensor:
    """The operand of the final softmax or sigmoid that gives `tensor`; `tensor` itself without one."""
    producer = tensor.producer
    if producer is not None and producer.op_type in SATURATING and producer.inputs[0] is not None:
        return producer.inputs[0]
    return tensor
