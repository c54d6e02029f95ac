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
from uair.passes.quantization.lockstep import Step, squared_error, walk
from uair.passes.quantization.products import Products
from uair.passes.quantization.trial import Study
from uair.quant.gptq import Grid, round_with_feedback
from uair.quant.parameters import WEIGHT_LIMIT, Parameters

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
    learned = len(samples) - held_out
    check = slice(learned, None) if held_out else slice(None)

    def refine(step: Step) -> tuple[NodeResult, list[Array]]:
        tried = [(step.result, step.actual)]
        tried.append(bias_corrected(step.result, step.expected, step.actual, learned))
        found = _rounded(step, learned)
        if found is not None:
            tried.append(bias_corrected(found, step.expected, step.evaluate(found), learned))
        errors = [squared_error(step.expected[check], values[check]) for _, values in tried]
        return tried[errors.index(min(errors))]

    return walk(study, results, samples, refine)


def _rounded(step: Step, learned: int) -> NodeResult | None:
    """The node with other integers; None where there is nothing to gain."""
    result = step.result
    if result.constants.weight is None or result.item.weight is None or not learned:
        return None
    w = result.item.operand(result.item.weight).numpy()
    products = Products.of(result.node, w.shape)
    if products is None or not w.size:
        return None
    matrices = products.matrices(w)
    depth = matrices.shape[2]
    if depth < 2 or depth > MOST_DEPTH:
        return None
    rows = -(-max(ROWS * depth, LEAST_ROWS) // learned)
    hessian = np.zeros((len(matrices), depth, depth))
    for operands in step.operands[:learned]:
        x = products.inputs(operands[0], rows)
        hessian += np.matmul(x.swapaxes(1, 2), x)
    parameters, old = result.constants.weight
    grid = Grid(_spread(products, parameters, w), np.zeros((1, 1, 1)), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    new = products.restored(round_with_feedback(matrices, hessian, grid)).astype(np.int8)
    if np.array_equal(new, old):
        return None
    return attrs.evolve(result, constants=attrs.evolve(result.constants, weight=(parameters, new)))


def _spread(products: Products, parameters: Parameters, w: Array) -> Array:
    """The scale of each weight, broadcast against [G, M, K]."""
    scale = np.asarray(parameters.scale, np.float64)
    if scale.ndim == 0:
        return scale.reshape(1, 1, 1)
    shaped = scale.reshape(tuple(-1 if i == parameters.axis else 1 for i in range(w.ndim)))
    return products.matrices(np.broadcast_to(shaped, w.shape))
