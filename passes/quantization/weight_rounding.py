"""Rounding of weights, and correction of biases, by what they do to the results of the float model.

Rounding every weight to the nearest integer is best only where inputs are uncorrelated and have no mean. A depthwise
convolution sees the same background at all its taps: nine roundings that do not add up to zero shift whole images, and
shifts go on through a model where noise averages out. Rows of inputs that a few samples show tell what a rounding does;
rows of other samples decide whether it stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.placement import Plan, QuantizedNode
from uair.passes.quantization.products import Products
from uair.quant.gptq import Grid, round_with_feedback
from uair.quant.parameters import WEIGHT_LIMIT, Parameters, quantize_weight
from uair.quant.scheme import TRANSPOSED

JUDGED = 4
"""Every so many samples one is not learned from and judges what was learned."""
LEAST_ROWS = 256
"""Rows of inputs that are taken from a sample, where it has so many."""
JUDGING_ROWS = 256
MOST_DEPTH = 1152
"""Weights of a row above which only the bias is corrected: the effort of rounding grows with the cube of it."""
HESSIANS = 32 << 20
"""Bytes that the Hessians of all nodes may take; the nodes of the longest rows go without."""


@attrs.frozen(eq=False)
class RoundedWeight:
    """Integers of a weight.

    Attributes:
        parameters: of the integers.
        integers: in the weight's shape.
        shift: what the roundings take away from the mean of each output channel, to be added to the bias; None: 0.
        is_fitted: whether the integers are others than the nearest ones.
    """

    parameters: Parameters
    integers: Array
    shift: Array | None = None
    is_fitted: bool = False

    @staticmethod
    def nearest(w: Array, parameters: Parameters, limit: int) -> RoundedWeight:
        """Every number by itself; no integer is greater than the limit."""
        return RoundedWeight(parameters, quantize_weight(w, parameters, limit))


@attrs.define(eq=False)
class _Rows:
    """What was seen of the inputs of a weight.

    Attributes:
        products: the weight as matrices.
        takes: rows that are taken from a sample.
        hessian: [G, K, K], f32: the sum of x x^T over the rows that are learned from; None where there is no room.
        total: [G, K], f64: the sum of these rows.
        count: of them.
        judging: arrays [G, rows, K] of the others.
    """

    products: Products
    takes: int
    hessian: Array | None
    total: Array
    count: int = 0
    judging: list[Array] = attrs.Factory(list[Array])

    def learn(self, x: Array) -> None:
        rows = self.products.inputs(x, self.takes)
        if self.hessian is not None:
            self.hessian += np.matmul(rows.swapaxes(1, 2), rows)
        self.total += rows.sum(axis=1, dtype=np.float64)
        self.count += rows.shape[1]

    def noise(self, change: Array, shift: Array | None) -> float:
        """Of the judging rows: the sum of squares of what a change [G, M, K] of the weight leaves in the results."""
        total = 0.0
        for rows in self.judging:
            results = np.matmul(rows, change.swapaxes(1, 2).astype(np.float32))
            if shift is not None:
                results = results - shift[:, None, :].astype(np.float32)
            total += float(np.square(results, dtype=np.float64).sum())
        return total


class SeenRows:
    """Rows of the inputs of all weights of a plan, gathered from samples as they pass."""

    def __init__(self, plan: Plan, known: Mapping[Tensor, RoundedWeight]) -> None:
        """Prepare for the weights that no rounding is known of and that one node has for itself."""
        items = [item for item in plan.nodes if item.weight is not None]
        users: dict[Tensor, int] = {}
        for item in items:
            users[_weight(item)] = users.get(_weight(item), 0) + 1
        left = HESSIANS
        self._rows: dict[Node, _Rows] = {}
        found: list[tuple[int, Node, Products]] = []
        for item in items:
            weight = _weight(item)
            products = Products.of(item.node, static(weight.type.dims))
            if products is not None and users[weight] == 1 and weight not in known and weight.type.size:
                found.append((products.depth, item.node, products))
        for depth, node, products in sorted(found, key=lambda each: each[0]):
            g = products.groups
            left -= 4 * g * depth * depth
            fits = left >= 0 and 1 < depth <= MOST_DEPTH
            hessian = np.zeros((g, depth, depth), np.float32) if fits else None
            takes = max(LEAST_ROWS, depth // 2) if fits else LEAST_ROWS
            self._rows[node] = _Rows(products, takes, hessian, np.zeros((g, depth)))

    def see(self, number: int, item: QuantizedNode, x: Array) -> None:
        """Take in the input of a node on a sample, by the sample's number."""
        rows = self._rows.get(item.node)
        if rows is None:
            return
        if number % JUDGED == JUDGED - 1:
            rows.judging.append(rows.products.inputs(x, JUDGING_ROWS))
        else:
            rows.learn(x)

    def rounded(self, item: QuantizedNode, nearest: RoundedWeight) -> RoundedWeight:
        """The best of the nearest integers, those with a corrected bias, and integers rounded with feedback.

        Best is the least noise on the samples that were not learned from. What was seen of this node is let go.
        """
        rows = self._rows.pop(item.node, None)
        if rows is None or not rows.judging or not rows.count:
            return nearest
        products, w = rows.products, _weight(item).numpy()
        matrices = products.matrices(w).astype(np.float64)
        has_bias = item.bias is not None and item.node.op_type not in TRANSPOSED
        tried = [nearest]
        if rows.hessian is not None:
            grid = Grid(products.scales(nearest.parameters), np.zeros((1, 1, 1)), -WEIGHT_LIMIT, WEIGHT_LIMIT)
            integers = products.restored(round_with_feedback(matrices, rows.hessian, grid)).astype(np.int8)
            tried.append(RoundedWeight(nearest.parameters, integers, is_fitted=True))
        best, least = nearest, np.inf
        for each in tried:
            change = matrices - products.matrices(each.parameters.dequantize(each.integers))
            shift = np.einsum("gmk,gk->gm", change, rows.total / rows.count) if has_bias else None
            for candidate in (None, shift) if has_bias else (None,):
                noise = rows.noise(change, candidate)
                if noise < least:
                    flat = None if candidate is None else candidate.reshape(-1)
                    best, least = attrs.evolve(each, shift=flat), noise
        return best


def _weight(item: QuantizedNode) -> Tensor:
    assert item.weight is not None
    return item.operand(item.weight)
