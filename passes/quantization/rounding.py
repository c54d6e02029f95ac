"""Rounding of weights that looks at what they are multiplied with, node by node behind the nodes already rounded.

The inputs are those of the quantized model so far. A rounding that is best for these may shift the mean of a result,
and shifts add up through a model where noise averages out: the mean error goes into the bias at once (see `bias`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.passes.quantization.bias import bias_corrected
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.lockstep import ChannelErrors, Decision, Step, walk
from uair.passes.quantization.products import Products
from uair.passes.quantization.trial import Study

ROWS = 4
"""Inputs that are looked at, for every weight of a row."""
LEAST_ROWS = 4096
MOST_DEPTH = 4608
"""Weights of a row above which a node is left as it is: the effort grows with the cube of it."""


def round_weights(
    study: Study, results: Sequence[NodeResult], samples: Sequence[Mapping[str, Array]], held_out: int
) -> list[NodeResult]:
    """The results with weights rounded by `round_with_feedback`, and biases that take up the shift.

    Args:
        study: the float model and what runs it.
        results: how its nodes are quantized.
        samples: those to learn from, then those to check on.
        held_out: how many of the samples are only checked on. Of each node the weights and the bias, or the
            bias alone, change only where that makes its error on these less.
    """

    def refine(step: Step) -> Decision:
        tried = [(Decision(step.result, step.result), *step.errors(step.result))]
        tried.append(_with_bias(*tried[0]))
        found = _rounded(step, study.scheme.weight_limit)
        if found is not None:
            tried.append(_with_bias(Decision(found, found), *step.errors(found)))
        return min(tried, key=lambda each: each[2].squared(each[0].change))[0]

    return walk(study, results, samples, held_out, refine)


def _with_bias(
    decision: Decision, learned: ChannelErrors, checked: ChannelErrors
) -> tuple[Decision, ChannelErrors, ChannelErrors]:
    """The same with the mean error in the bias."""
    result, change = bias_corrected(decision.result, learned)
    return Decision(result, decision.evaluated, change), learned, checked


def _rounded(step: Step, limit: int) -> NodeResult | None:
    """The node with other integers; None where there is nothing to gain."""
    result = step.result
    if result.constants.weight is None or result.item.weight is None or not step.learned:
        return None
    w = result.item.operand(result.item.weight).numpy()
    products = Products.of(result.node, w.shape)
    if products is None or not w.size:
        return None
    matrices = products.matrices(w)
    depth = matrices.shape[2]
    if depth < 2 or depth > MOST_DEPTH:
        return None
    rows = -(-max(ROWS * depth, LEAST_ROWS) // step.learned)
    parameters, old = result.constants.weight
    new = products.fitted(matrices, _hessian(step, products, depth, rows), parameters, limit)
    if np.array_equal(new, old):
        return None
    return attrs.evolve(result, constants=attrs.evolve(result.constants, weight=(parameters, new)))


def _hessian(step: Step, products: Products, depth: int, rows: int) -> Array:
    """[G, K, K], f32: sums of x x^T over some of the inputs."""
    hessian = np.zeros((products.groups, depth, depth), np.float32)
    for operand in step.inputs():
        x = products.inputs(operand, rows)
        hessian += np.matmul(x.swapaxes(1, 2), x)
    return hessian
