"""The float and the quantized model side by side, one node at a time, on several samples.

What is decided for a node is decided knowing what the nodes before it have become: their errors reach it as they will
in the end. Runs stop and go on, so that every node is evaluated once per sample and model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.trial import Study
from uair.quant.parameters import Parameters


@attrs.frozen(eq=False)
class Step:
    """A quantized node that both models have come to, on several samples.

    Attributes:
        result: how the node is quantized.
        expected: its results in the float model.
        actual: its results as quantized so far.
        operands: the operands that integers stand for, as they leave them, by number.
        others: all its operands, before they become integers, in the quantized model.
    """

    result: NodeResult
    expected: list[Array]
    actual: list[Array]
    operands: list[dict[int, Array]]
    others: list[list[Array | None]]

    def evaluate(self, result: NodeResult) -> list[Array]:
        """The node's results with other constants."""
        constants = result.constants.values(result.item)
        found: list[Array] = []
        for given, all_ in zip(self.operands, self.others, strict=True):
            operands = list(all_)
            for i, value in {**given, **constants}.items():
                operands[i] = value
            found.append(result.node.op.evaluate_all(operands)[0])
        return found


Refine: TypeAlias = Callable[[Step], "tuple[NodeResult, list[Array]]"]
"""What a node becomes, and its results then."""


def walk(
    study: Study, results: Sequence[NodeResult], samples: Sequence[Mapping[str, Array]], refine: Refine
) -> list[NodeResult]:
    """Show every quantized node with one result to `refine`, in order; the results with what became of them.

    Args:
        study: the float model and what runs it.
        results: how its nodes are quantized.
        samples: feeds.
        refine: what decides.
    """
    interpreter = study.run(study.module)
    exact = [interpreter.start(sample) for sample in samples]
    rounded = [interpreter.start(sample) for sample in samples]
    by_node = {result.node: result for result in results}
    stored = _stored(study, results)
    found: list[NodeResult] = []
    for node in study.module.main:
        expected = [run.advance() for run in exact]
        result = by_node.get(node)
        if result is None:
            for run in rounded:
                run.advance()
            continue
        operands = [_operands(result, run) for run in rounded]
        others = [[None if t is None else run.value(t) for t in node.inputs] for run in rounded]
        actual = [run.advance(given) for run, given in zip(rounded, operands, strict=True)]
        refined = result
        if len(node.outputs) == 1:
            step = Step(result, [e[0] for e in expected], [a[0] for a in actual], operands, others)
            refined, values = refine(step)
            for run, value in zip(rounded, values, strict=True):
                run.replace(node.output, value)
        found.append(refined)
        for tensor in node.outputs:
            parameters = stored.get(tensor)
            if parameters is not None and tensor.use_count:
                for run in rounded:
                    run.replace(tensor, parameters.rounded(run.value(tensor)))
    return found


def _stored(study: Study, results: Sequence[NodeResult]) -> dict[Tensor, Parameters]:
    """Activations that are integers for all their users, with their parameters."""
    if study.scheme.placement != "all":
        return {}
    return {r.item.operand(i): p for r in results for i, p in r.activations.items()}


def _operands(result: NodeResult, run: Any) -> dict[int, Array]:
    """The operands of a quantized node that integers stand for, as they leave them."""
    activations = {i: p.rounded(run.value(result.item.operand(i))) for i, p in result.activations.items()}
    return {**activations, **result.constants.values(result.item)}


def squared_error(expected: Sequence[Array], actual: Sequence[Array]) -> float:
    """Summed over all samples."""
    return sum(float(np.square(e - a, dtype=np.float64).sum()) for e, a in zip(expected, actual, strict=True))
