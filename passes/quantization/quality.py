"""What quantization does to a model: each quantized node alone and behind all others, and the outputs.

The float and the quantized model run on the kept samples, one after the other; what the first computes lies in a file
meanwhile, so that no more is in memory than one of them needs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.passes.quantization.channels import channel_axis
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.parking import Place, Store
from uair.passes.quantization.statistics import Execution, Interpreter, rounded_operands
from uair.passes.quantization.trial import OUTPUTS_SEEN, Study, is_comparable, measured_outputs
from uair.quant.comparison import ErrorSums, OutputErrors

MEASURED, NODES_MEASURED = OUTPUTS_SEEN
"""Every second of the kept samples is measured: all of them cost as much as calibration. Every second of those measures
nodes, too, which takes longer than the runs themselves: the figures rank nodes, of whose results a sample shows many.
"""


@attrs.define(eq=False)
class Quality:
    """Errors over the samples.

    Attributes:
        alone: of the result of each quantized node when only it is quantized.
        accumulated: of the same when all are.
        outputs: of the model's floating-point outputs, by name. Outputs whose size depends on the data, and sequences,
            are left out: they need not fit together.
        channels: least and greatest value of each channel of what a quantized node reads first, in the float model on
            the samples that measure nodes; not of a scalar or of one axis.
    """

    alone: dict[Node, ErrorSums] = attrs.Factory(dict[Node, ErrorSums])
    accumulated: dict[Node, ErrorSums] = attrs.Factory(dict[Node, ErrorSums])
    outputs: dict[str, OutputErrors] = attrs.Factory(dict[str, OutputErrors])
    channels: dict[Node, tuple[Array, Array]] = attrs.Factory(dict[Node, "tuple[Array, Array]"])

    def see_channels(self, node: Node, values: Array) -> None:
        """Take in what a node reads first."""
        if values.ndim < 2 or not values.size:
            return
        axis = channel_axis(node, values.ndim)
        others = tuple(i for i in range(values.ndim) if i != axis)
        low, high = values.min(axis=others), values.max(axis=others)
        before = self.channels.get(node)
        if before is not None and before[0].shape == low.shape:
            low, high = np.minimum(before[0], low), np.maximum(before[1], high)
        self.channels[node] = low, high


def measure_quality(
    study: Study,
    results: Sequence[NodeResult],
    device: Callable[[Module], Interpreter],
    known: Mapping[str, OutputErrors] | None = None,
) -> Quality:
    """Compare the quantized model, as `device` runs it, with the float one on half of the kept samples.

    On half of these nodes are compared, too. Nothing is measured without quantized nodes.

    Args:
        study: the float model.
        results: the quantized nodes.
        device: what runs the quantized model.
        known: errors of its outputs on the samples that do not measure nodes, if there are any: those do not run again.
    """
    quality = Quality(outputs=copy.deepcopy(dict(known or {})))
    if not results:
        return quality
    graph, exact, store = study.module.main, study.run(study.module), Store()
    compared = {result.node: result for result in results if is_comparable(result.node.outputs[0], graph)}
    names = list(measured_outputs(graph))
    with study.quantized_copy(list(results)) as (twin, twins):
        rounded = device(twin)
        for number in range(0, len(study.statistics.kept), NODES_MEASURED if known else MEASURED):
            sample, seen = study.statistics.kept[number], _Seen(store)
            here = {} if number % NODES_MEASURED else compared
            by_twin = {twins[node.outputs[0]].producer: node for node in here}
            _run_exact(exact.start(sample), graph, here, names, quality, seen)
            _run_rounded(rounded.start(sample), twin.main, by_twin, names, quality, seen)
    return quality


@attrs.define(eq=False)
class _Seen:
    """What the float model computed on a sample, in a file.

    Attributes:
        store: the file.
        nodes: the results of nodes.
        outputs: by name.
    """

    store: Store
    nodes: dict[Node, Place] = attrs.Factory(dict[Node, Place])
    outputs: dict[str, Place] = attrs.Factory(dict[str, Place])

    def compare(self, place: Place, actual: Array, errors: ErrorSums | OutputErrors) -> None:
        """Let errors take in an actual value and what the float model computed, which is needed for the last time."""
        errors.add(self.store.get(place), actual)
        self.store.free(place)


def _run_exact(
    run: Execution,
    graph: Graph,
    compared: Mapping[Node, NodeResult],
    names: Sequence[str],
    quality: Quality,
    seen: _Seen,
) -> None:
    """Run the float model to its end; beside it each quantized node computes from the same operands."""
    for node in graph:
        if node in compared:
            seen.nodes[node] = seen.store.put(_advance_beside(compared[node], run, quality))
        else:
            run.advance()
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        if name in names:
            seen.outputs[name] = seen.store.put(run.value(tensor))


def _advance_beside(result: NodeResult, run: Execution, quality: Quality) -> Array:
    """The result of the node that the float model stands in front of; `quality` sees that of the quantized one."""
    if 0 in result.activations:
        quality.see_channels(result.node, run.value(result.item.operand(0)))
    alone = _alone(result, run)
    expected: Array = run.advance()[0]
    quality.alone.setdefault(result.node, ErrorSums()).add(expected, alone)
    return expected


def _run_rounded(
    run: Execution,
    graph: Graph,
    compared: Mapping[Node | None, Node],
    names: Sequence[str],
    quality: Quality,
    seen: _Seen,
) -> None:
    """Run the quantized model to its end; `compared` has the float model's node for each that it compares."""
    for node in graph:
        original = compared.get(node)
        if original is not None:
            sums = quality.accumulated.setdefault(original, ErrorSums())
            seen.compare(seen.nodes[original], run.advance()[0], sums)
        else:
            run.advance()
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        if name in names:
            errors = quality.outputs.setdefault(name, OutputErrors(name))
            seen.compare(seen.outputs[name], run.value(tensor), errors)


def _alone(result: NodeResult, run: Execution) -> Any:
    """The result of a node that the float model stands in front of, if only this node were quantized.

    Its constants are made for each sample: kept, those of all nodes would be a copy of the model.
    """
    constants = result.constants.values(result.item)
    operands = [None if t is None or i in constants else run.value(t) for i, t in enumerate(result.node.inputs)]
    rounded = rounded_operands(result.item, operands, result.activations, constants)
    return result.node.op.evaluate_all(rounded)[0]
