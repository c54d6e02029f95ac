"""Rounding of weights, and correction of biases, by what they do to the results of the float model.

Rounding every weight to the nearest integer is best only where inputs are uncorrelated and have no mean. A depthwise
convolution sees the same background at all its taps: nine roundings that do not add up to zero shift whole images, and
shifts go on through a model where noise averages out. Rows of inputs that a few samples show tell what a rounding does;
rows of other samples decide whether it stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import attrs
import numpy as np

from uair.ir.data import ArrayData, Data
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.parking import SMALL, Place, Store, parked
from uair.passes.quantization.placement import Plan, QuantizedNode
from uair.passes.quantization.products import Products
from uair.quant.parameters import Parameters, quantize_weight
from uair.quant.scheme import TRANSPOSED

JUDGED = 4
"""Every so many samples one is not learned from and judges what was learned."""
LEAST_ROWS = 128
"""Rows of inputs that are taken from a sample, where it has so many; half as many as there are weights, if those are
more; for many groups as many as there are weights, where more would take much room."""
MUCH = 1 << 18
"""Numbers in the rows of one sample."""
MOST_DEPTH = 1152
"""Weights of a row above which only the bias is corrected: the effort of rounding grows with the cube of it."""
LONG = 2 * LEAST_ROWS
"""Weights of a row above which the rows that judge take less room than their second moments."""
AT_ONCE = 1024
"""Rows of a weight whose noise is computed at a time."""
MOMENTS = 16 << 20
"""Bytes that the second moments to learn from may take in a temporary file; the nodes of the longest rows go without.
"""


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
    integers: Data
    shift: Array | None = None
    is_fitted: bool = False

    @staticmethod
    def nearest(w: Array, parameters: Parameters, limit: int) -> RoundedWeight:
        """Every number by itself; no integer is greater than the limit."""
        return RoundedWeight(parameters, ArrayData(quantize_weight(w, parameters, limit)))

    def parked(self, store: Store) -> RoundedWeight:
        """The same with its integers in a file: a quantized node reads them when it runs."""
        return attrs.evolve(self, integers=parked(self.integers, store))


@attrs.define(eq=False)
class _Moments:
    """Of the inputs x of a weight [G, M, K].

    The second ones of all weights of a model are more than a run of it takes, and each is needed for a moment in every
    sample: they lie in a file meanwhile.

    Attributes:
        first: [G, K], f64: the sum of x.
        store: where second moments are; None where there is no room for them.
        count: how many there were.
    """

    first: Array
    store: Store | None
    count: int = 0
    _second: Array | Place | None = None

    @staticmethod
    def of(products: Products, store: Store | None) -> _Moments:
        """Of no inputs yet."""
        return _Moments(np.zeros((products.groups, products.depth)), store)

    @property
    def second(self) -> Array | None:
        """[G, K, K], f32: the sum of x x^T; None where there is no room, or nothing was seen."""
        second = self._second
        if not isinstance(second, Place):
            return second
        assert self.store is not None  # it gave the place
        return self.store.get(second)

    def add(self, rows: Array) -> None:
        """Take in inputs [G, rows, K]."""
        self.first += np.einsum("grk->gk", rows, dtype=np.float64)  # half the time of `sum`, and no copy in f64
        if self.store is not None:
            sums, before = np.matmul(rows.swapaxes(1, 2), rows), self.second
            if before is not None:
                sums += before
            self.free()
            self._second = self.store.put(sums) if sums.nbytes > SMALL else sums
        self.count += rows.shape[1]

    def free(self) -> None:
        """Let others have the place of the second moments."""
        if self.store is not None and isinstance(self._second, Place):
            self.store.free(self._second)
        self._second = None

    def mean(self, change: Array) -> Array:
        """[G, M]: the mean of `change @ x`, for a change [G, M, K] of the weight."""
        mean: Array = np.einsum("gmk,gk->gm", change, self.first / max(self.count, 1))
        return mean

    def noise(self, change: Array, shift: Array) -> float:
        """The mean of `(change @ x - shift)^2`, summed over the results; without second moments that of the mean."""
        mean, second = self.mean(change), self.second
        if second is None:
            return float(np.square(mean - shift).sum())
        squares = float((np.matmul(change, second) * change).sum())
        return squares / self.count + float((shift * (shift - 2 * mean)).sum())


@attrs.define(eq=False)
class _Rows:
    """Inputs [G, rows, K] of a weight themselves: less than their second moments where they are few and long.

    They lie in a file, too.

    Attributes:
        store: where they are.
        count: how many there are.
    """

    store: Store
    count: int = 0
    _places: list[Place] = attrs.Factory(list[Place])

    def add(self, rows: Array) -> None:
        """Take in inputs."""
        self._places.append(self.store.put(rows))
        self.count += rows.shape[1]

    def noise(self, change: Array, shift: Array) -> float:
        """As of moments."""
        rows = (self.store.get(place) for place in self._places)
        results = (np.matmul(each, change.swapaxes(1, 2)) - shift[:, None] for each in rows)
        return sum(float(np.square(r, dtype=np.float64).sum()) for r in results) / self.count


@attrs.define(eq=False)
class _Seen:
    """What was seen of the inputs of a weight.

    Attributes:
        products: the weight as matrices.
        takes: rows that are taken from a sample.
        learned: of most samples.
        judging: of the others.
    """

    products: Products
    takes: int
    learned: _Moments
    judging: _Moments | _Rows


class SeenInputs:
    """Moments of the inputs of all weights of a plan, gathered from samples as they pass.

    Attributes:
        readers: the nodes that are to be told about, by the value that each multiplies with its weight.
    """

    def __init__(self, plan: Plan, known: Collection[Tensor]) -> None:
        """Prepare for the weights that one node has for itself, but for those that are known."""
        items = [item for item in plan.nodes if item.weight is not None]
        users = Counter(_weight(item) for item in items)
        self.readers: dict[Tensor, list[Node]] = {}
        found: list[tuple[int, Node, Products]] = []
        for item in items:
            weight = _weight(item)
            products = Products.of(item.node, static(weight.type.dims))
            if products is not None and users[weight] == 1 and weight not in known and weight.type.size:
                found.append((products.depth, item.node, products))
                self.readers.setdefault(item.operand(0), []).append(item.node)
        left, store = MOMENTS, Store()
        self._seen: dict[Node, _Seen] = {}
        for depth, node, products in sorted(found, key=lambda each: each[0]):
            left -= 4 * products.groups * depth * depth
            fits = left >= 0 and depth <= MOST_DEPTH
            learned = _Moments.of(products, store if fits else None)
            judging = _Rows(store) if fits and depth > LONG else _Moments.of(products, store if fits else None)
            self._seen[node] = _Seen(products, _takes(products, fits), learned, judging)

    def see(self, number: int, node: Node, x: Array) -> None:
        """Take in the input of a reader on a sample, by the sample's number."""
        seen = self._seen[node]
        is_judging = number % JUDGED == JUDGED - 1
        rows = seen.products.inputs(x, min(seen.takes, LEAST_ROWS) if is_judging else seen.takes)
        (seen.judging if is_judging else seen.learned).add(rows)

    def rounded(self, item: QuantizedNode, nearest: RoundedWeight, limit: int) -> RoundedWeight:
        """The best of the nearest integers, those with a corrected bias, and integers rounded with feedback.

        Best is what leaves the least noise on the samples that were not learned from. What was seen of this node is let
        go.

        Args:
            item: the node.
            nearest: of its weight.
            limit: greatest magnitude of an integer.
        """
        seen = self._seen.pop(item.node, None)
        if seen is None or not seen.judging.count or not seen.learned.count:
            return nearest
        products = seen.products
        w = products.matrices(_weight(item).numpy())
        has_bias = item.bias is not None and item.node.op_type not in TRANSPOSED
        tried = [nearest]
        second = seen.learned.second
        if second is not None and products.depth > 1:
            integers = products.fitted(w, second, nearest.parameters, limit)
            tried.append(RoundedWeight(nearest.parameters, ArrayData(integers), is_fitted=True))
        best, least = nearest, np.inf
        for each in tried:
            for shift, noise in _judged(seen, w, each, has_bias=has_bias):
                if noise < least:
                    best, least = attrs.evolve(each, shift=shift.reshape(-1) if has_bias else None), noise
        return best


def _judged(seen: _Seen, w: Array, rounded: RoundedWeight, *, has_bias: bool) -> list[tuple[Array, float]]:
    """The noise of integers [G, M, K] of a weight without a shift, and with the one that makes up for the mean.

    Some rows at a time: what all rows of a wide layer change by is as large as the weight itself.
    """
    products = seen.products
    integers, scales = (
        products.matrices(rounded.integers.array()),
        products.scales(rounded.parameters).astype(np.float32),
    )
    scales = np.broadcast_to(scales, (*w.shape[:2], 1))
    mean = np.empty(w.shape[:2])
    noises = [0.0, 0.0] if has_bias else [0.0]
    for start in range(0, w.shape[1], AT_ONCE):
        some = slice(start, start + AT_ONCE)
        change = w[:, some] - integers[:, some].astype(np.float32) * scales[:, some]
        mean[:, some] = seen.learned.mean(change)
        for i, shift in enumerate((np.zeros_like(mean[:, some]), mean[:, some])[: len(noises)]):
            noises[i] += seen.judging.noise(change, shift)
    return list(zip((np.zeros_like(mean), mean), noises, strict=False))


def _takes(products: Products, fits: bool) -> int:
    """Rows to take from a sample."""
    depth = products.depth
    most = MUCH // max(products.groups * depth, 1)
    return min(max(LEAST_ROWS, depth // 2 if fits else 0), max(depth, most))


def _weight(item: QuantizedNode) -> Tensor:
    assert item.weight is not None
    return item.operand(item.weight)
