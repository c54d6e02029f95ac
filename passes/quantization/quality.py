"""What quantization does to a model: each quantized node alone and behind all others, and the outputs.

The float and the quantized model run side by side on the kept samples, one node at a time: one run of each tells all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from uair.errors import InternalError
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.statistics import Execution, Interpreter, rounded_operands
from uair.passes.quantization.trial import Study, is_comparable
from uair.quant.comparison import ErrorSums, OutputErrors

MEASURED = 2
"""Every second of the kept samples is measured: the figures rank nodes, and all of them cost as much as calibration."""


@attrs.define(eq=False)
class Quality:
    """Errors over the samples.

    Attributes:
        alone: of the result of each quantized node when only it is quantized.
        accumulated: of the same when all are.
        outputs: of the model's floating-point outputs, by name. Outputs whose size depends on the data, and sequences,
            are left out: they need not fit together.
    """

    alone: dict[Node, ErrorSums] = attrs.Factory(dict[Node, ErrorSums])
    accumulated: dict[Node, ErrorSums] = attrs.Factory(dict[Node, ErrorSums])
    outputs: dict[str, OutputErrors] = attrs.Factory(dict[str, OutputErrors])


def measure_quality(study: Study, results: Sequence[NodeResult], device: Callable[[Module], Interpreter]) -> Quality:
    """Compare the quantized model, as `device` runs it, with the float one on half of the kept samples.

    Nothing is measured without quantized nodes.
    """
    quality = Quality()
    if not results:
        return quality
    with study.quantized_copy(list(results)) as (copy, twins):
        _compare(quality, study, results, device(copy), copy.main, twins)
    return quality


def _compare(
    quality: Quality,
    study: Study,
    results: Sequence[NodeResult],
    rounded: Interpreter,
    quantized: Graph,
    twins: Mapping[Tensor, Tensor],
) -> None:
    """Run both models side by side; `rounded` runs the quantized graph, which has `twins` of the float tensors."""
    exact = study.run(study.module)
    by_node = {result.node: result for result in results}
    graph = study.module.main
    compared = {node for node in by_node if is_comparable(node.outputs[0], graph)}
    for sample in study.statistics.kept[::MEASURED]:
        left, right = exact.start(sample), rounded.start(sample)
        behind = iter(quantized)
        for node in graph:
            result = by_node.get(node)
            if result is None or node not in compared:
                left.advance()
                continue
            alone = _alone(result, left)
            expected = left.advance()[0]
            actual = _advance_to(twins[node.outputs[0]], right, behind)
            quality.alone.setdefault(node, ErrorSums()).add(expected, alone)
            quality.accumulated.setdefault(node, ErrorSums()).add(expected, actual)
        for _ in behind:
            right.advance()
        for name, tensor, twin in zip(graph.output_names, graph.outputs, quantized.outputs, strict=True):
            if is_comparable(tensor, graph) and tensor.type.dtype.is_float:
                errors = quality.outputs.setdefault(name, OutputErrors(name))
                errors.add(left.value(tensor), right.value(twin))


def _alone(result: NodeResult, run: Execution) -> Any:
    """The result of a node that the float model stands in front of, if only this node were quantized.

    Its constants are made for each sample: kept, those of all nodes would be a copy of the model.
    """
    constants = result.constants.values(result.item)
    operands = [None if t is None else run.value(t) for t in result.node.inputs]
    rounded = rounded_operands(result.item, operands, result.activations, constants)
    return result.node.op.evaluate_all(rounded)[0]


def _advance_to(tensor: Tensor, run: Execution, behind: Iterator[Node]) -> Any:
    """Run on until the node that computes a tensor has run; its value."""
    for node in behind:
        results = run.advance()
        if node is tensor.producer:
            return results[tensor.index]
    raise InternalError(f"the quantized model does not compute {tensor!r} where the float one does")
