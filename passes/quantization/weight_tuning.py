"""How weights of few bits are rounded so that products change little, as calibration samples show them.

With H = E[x x^T] of the inputs of a product y = W x, replacing W by W' changes y by a mean square of tr((W - W') H
(W - W')^T): what a way of rounding costs is computed from H, without running the model. Tried are

- grids of least squared error of the weights, or of the weights times the mean squares of their inputs;
- rounding to the nearest, or with feedback (GPTQ, uair.quant.gptq);
- inputs divided, and columns of W multiplied, by powers of the inputs' root mean squares (AWQ, Lin et al., arXiv
  2306.00978): columns that matter more are rounded more finely. All products of one activation share the factors. The
  division goes into the LayerNorm or operator that makes the activation, or is a multiplication of its own.
- a bias that takes over the mean of the error.

H of every fourth sample is not used for any of this, only for judging: what is not better on it is not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ops import Linear, MatMul
from uair.passes.quantization.equalise import Edits, Equalisation, divide_activation, maker_of
from uair.passes.quantization.statistics import Interpreter
from uair.passes.quantization.weight_sites import WeightSite
from uair.quant.gptq import round_with_feedback
from uair.quant.groups import GroupGrid, choose_grid
from uair.quant.scheme import Scheme

EXPONENTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Powers of the inputs' root mean squares that are tried as factors."""
SOME_ROWS = 256
"""Output channels on which exponents are compared."""
FOLDED_GAIN = 0.98
"""The error, as a part of that without factors, at which factors are used that cost nothing."""
INSERTED_GAIN = 0.8
"""The same for factors that cost a multiplication."""
HELD_OUT = 4
"""Every so manieth sample is for judging only."""
LEAST_SAMPLES = 8
"""Samples below which none is held out."""
BUDGET = 1 << 29
"""Bytes of moments that are kept at once; a model with more is looked at in several passes over the samples."""
LEAST_FACTOR = 1e-3
"""Channels are not scaled up further than by this."""
FEEDBACK_PIECE = 1 << 23
"""Weights that are rounded with feedback at once."""


@attrs.define(eq=False)
class Moments:
    """First and second moments of an activation's rows.

    Attributes:
        second: [K, K], f32, sum of x x^T.
        first: [K], f64, sum of x.
        count: rows.
    """

    second: Array
    first: Array
    count: int = 0

    @staticmethod
    def empty(extent: int) -> Moments:
        """Of no rows."""
        return Moments(np.zeros((extent, extent), np.float32), np.zeros(extent))

    def add(self, rows: Array) -> None:
        """Take in rows [n, K]."""
        wide = rows.astype(np.float32, copy=False)
        self.second += wide.T @ wide
        self.first += wide.sum(axis=0, dtype=np.float64)
        self.count += len(wide)

    def merged(self, other: Moments) -> Moments:
        """Of the rows of both."""
        return Moments(self.second + other.second, self.first + other.first, self.count + other.count)

    @property
    def hessian(self) -> Array:
        """E[x x^T]."""
        mean: Array = self.second / np.float32(max(self.count, 1))
        return mean

    @property
    def mean(self) -> Array:
        """E[x]."""
        return self.first / max(self.count, 1)


@attrs.define(eq=False)
class InputGroup:
    """An activation and the matrices that it is multiplied with.

    Attributes:
        sites: the matrices.
        fit: moments that weights are rounded by.
        judge: moments that decide; those of `fit` where no sample is held out.
    """

    sites: list[WeightSite]
    fit: Moments
    judge: Moments

    @property
    def tensor(self) -> Tensor:
        """The activation."""
        x = self.sites[0].readers[0].inputs[0]
        assert x is not None
        return x

    @property
    def nbytes(self) -> int:
        """Of the moments."""
        return 2 * self.fit.second.nbytes


@attrs.frozen(eq=False)
class Rounded:
    """A matrix on a grid.

    Attributes:
        grid: the grid.
        q: the integers [out, in].
        method: how they were found.
        error: mean square of the products' change, by that of the products, on the samples for judging.
        cosine: between the products, on the same samples.
        shift: [out], what the bias takes over; None: nothing.
    """

    grid: GroupGrid
    q: Array
    method: str
    error: float
    cosine: float
    shift: Array | None = None


@attrs.frozen
class Ways:
    """What is tried.

    Attributes:
        bits, group, symmetric: of the grids.
        method: "auto", "nearest", "gptq" or "awq".
    """

    bits: int
    group: int
    symmetric: bool
    method: str


Tuned: TypeAlias = list[tuple[WeightSite, Rounded]]


# ---------------------------------------------------------------------------------------------------------- statistics
def input_groups(sites: Sequence[WeightSite], graph: Graph) -> list[list[WeightSite]]:
    """The matrices of a graph that read one activation each, by activation; of those in it nothing is known."""
    found: dict[Tensor, list[WeightSite]] = {}
    for site in sites:
        inputs = {(reader.inputs[0], is_turned(reader)) for reader in site.readers}
        x, turned = next(iter(inputs))
        if site.kind == "matrix" and len(inputs) == 1 and not turned and x is not None and _is_in(site, graph):
            found.setdefault(x, []).append(site)
    return list(found.values())


def is_turned(node: Node) -> bool:
    """Whether a product's first operand has its channels along the last axis but one."""
    return isinstance(node.op, MatMul) and node.op.trans_a


def _is_in(site: WeightSite, graph: Graph) -> bool:
    return all(reader.graph is graph for reader in site.readers)


def batches(groups: Sequence[list[WeightSite]]) -> list[list[list[WeightSite]]]:
    """The groups in the order given, in batches whose moments fit the budget; without those that do not fit alone."""
    result: list[list[list[WeightSite]]] = []
    left = 0
    for group in groups:
        size = 8 * group[0].rows().shape[1] ** 2
        if size > BUDGET:
            continue
        if not result or size > left:
            result.append([])
            left = BUDGET
        result[-1].append(group)
        left -= size
    return result


def collect_moments(
    groups: Sequence[list[WeightSite]], interpreter: Interpreter, samples: Iterable[Mapping[str, Array]]
) -> list[InputGroup]:
    """Run the samples once. UairError from a sample or from the interpreter."""
    own = {_input(group): group for group in groups}
    kept = {x: (Moments.empty(g[0].rows().shape[1]), Moments.empty(g[0].rows().shape[1])) for x, g in own.items()}
    count = 0

    def observe(tensor: Tensor, values: Array) -> None:
        if tensor in kept:
            kept[tensor][count % HELD_OUT == HELD_OUT - 1].add(values.reshape(-1, values.shape[-1]))

    for sample in samples:
        interpreter.run(sample, observe=observe)
        count += 1
    found: list[InputGroup] = []
    for x, (fit, held) in kept.items():
        if count < LEAST_SAMPLES:
            fit = held = fit.merged(held)
        if fit.count and held.count:
            found.append(InputGroup(own[x], fit, held))
    return found


def _input(group: Sequence[WeightSite]) -> Tensor:
    x = group[0].readers[0].inputs[0]
    assert x is not None
    return x


# ------------------------------------------------------------------------------------------------------------ rounding
def tune(group: InputGroup, ways: Ways) -> tuple[Tuned, Equalisation | None]:
    """The best way found for every matrix of a group, and the change of their input that it needs.

    Raises:
        QuantizationError: a weight is not finite.
    """
    plain = [(site, best_rounding(site, group, ways, None)) for site in group.sites]
    if ways.method not in ("auto", "awq"):
        return plain, None
    factor = _best_factor(group, ways)
    if factor is None:
        return plain, None
    scaled = [(site, best_rounding(site, group, ways, factor)) for site in group.sites]
    readers = tuple(reader for site in group.sites for reader in site.readers)
    change = Equalisation(group.tensor, readers, factor, maker_of(group.tensor, readers, Scheme()), 1.0)
    needed = INSERTED_GAIN if change.maker is None else FOLDED_GAIN
    before, after = (sum(rounded.error for _, rounded in each) for each in (plain, scaled))
    return (plain, None) if after > needed * before else (scaled, change)


def best_rounding(site: WeightSite, group: InputGroup, ways: Ways, factor: Array | None) -> Rounded:
    """The best integers of one matrix, with its inputs divided by the factor."""
    w = site.rows().astype(np.float32)
    fit, judge = group.fit.hessian, group.judge.hessian
    if factor is not None:
        w = w * factor.astype(np.float32)
        outer = np.outer(factor, factor).astype(np.float32)
        fit, judge = fit / outer, judge / outer
    found: Rounded | None = None
    for is_weighted in (False, True) if ways.method != "nearest" else (False,):
        grid = choose_grid(
            w,
            ways.bits,
            ways.group,
            symmetric=ways.symmetric,
            importance=np.diagonal(fit) + 1e-30 if is_weighted else None,
            scale_type=site.tensor.type.dtype,
            name=site.name,
        )
        prefix = ("awq " if factor is not None else "") + ("weighted " if is_weighted else "")
        for rounding, q in _roundings(w, fit, grid, ways):
            each = _judged(w, q, grid, judge, prefix + rounding)
            if found is None or each.error < found.error:
                found = each
    assert found is not None
    return _with_bias(site, group, w, found, factor)


def _roundings(w: Array, hessian: Array, grid: GroupGrid, ways: Ways) -> Iterable[tuple[str, Array]]:
    """The ways of rounding to a grid that are asked for."""
    if ways.method in ("auto", "nearest", "awq"):
        yield "nearest", grid.nearest(w)
    if ways.method in ("auto", "gptq"):
        yield "gptq", with_feedback(w, hessian, grid)


def with_feedback(w: Array, hessian: Array, grid: GroupGrid) -> Array:
    """The integers of rounding with feedback, some rows at a time."""
    extent = w.shape[1]
    step = max(2 * extent, FEEDBACK_PIECE // extent)
    pieces: list[Array] = []
    for start in range(0, len(w), step):
        part = grid.part(start, start + step).spread(extent)
        pieces.append(round_with_feedback(w[start : start + step], hessian, part))
    return np.concatenate(pieces)


def _judged(w: Array, q: Array, grid: GroupGrid, hessian: Array, method: str) -> Rounded:
    """A rounding with what it costs."""
    lost = w - grid.real(q)
    exact = w @ hessian
    signal, cross, noise = _sum(exact, w), _sum(exact, lost), max(_sum(lost @ hessian, lost), 0.0)
    norm = np.sqrt(max(signal, 0.0) * max(signal - 2 * cross + noise, 0.0))  # of W x and of W' x = W x - lost x
    cosine = float((signal - cross) / norm) if norm > 0 else float(noise <= 0)
    return Rounded(grid, q, method, noise / signal if signal > 0 else float(noise > 0), cosine)


def _sum(a: Array, b: Array) -> float:
    """Of the products of two matrices' elements."""
    return float(np.einsum("ij,ij->i", a, b).sum(dtype=np.float64))


def _with_bias(site: WeightSite, group: InputGroup, w: Array, found: Rounded, factor: Array | None) -> Rounded:
    """With a bias that takes over the mean error, where there is a bias and it helps."""
    if not all(has_bias(reader) for reader in site.readers):
        return found
    by = 1.0 if factor is None else 1.0 / factor
    lost = w - found.grid.real(found.q)
    shift = lost @ (group.fit.mean * by)
    there = lost @ (group.judge.mean * by)  # E|e - s|^2 = E|e|^2 - 2 s E[e] + s^2
    gain = float((2 * shift * there - shift**2).sum())
    judge = group.judge.hessian if factor is None else group.judge.hessian / np.outer(factor, factor)
    signal = _sum(w @ judge.astype(np.float32), w)
    if gain <= 0 or signal <= 0:
        return found
    return attrs.evolve(found, shift=shift, error=max(found.error - gain / signal, 0.0))


def has_bias(node: Node) -> bool:
    """Whether a product adds a constant bias."""
    bias = node.inputs[2] if isinstance(node.op, Linear) and len(node.inputs) > 2 else None
    return bias is not None and bias.is_constant


def _best_factor(group: InputGroup, ways: Ways) -> Array | None:
    """The factors of the inputs that serve some rows of the matrices best; None: none is better than 1."""
    size = np.sqrt(np.diagonal(group.fit.hessian).astype(np.float64))
    if not size.max() > 0:
        return None
    size = np.maximum(size / size.max(), LEAST_FACTOR)
    hessian = group.fit.hessian
    least, best = sum(_quick_error(site, hessian, ways, None) for site in group.sites), None
    for exponent in EXPONENTS:
        factor = size**exponent
        factor = factor / np.sqrt(factor.max() * factor.min())
        error = sum(_quick_error(site, hessian, ways, factor) for site in group.sites)
        if error < least:
            least, best = error, factor
    return best


def _quick_error(site: WeightSite, hessian: Array, ways: Ways, factor: Array | None) -> float:
    """Of rounding some of the rows to the nearest."""
    rows = site.rows()
    w = rows[:: max(len(rows) // SOME_ROWS, 1)].astype(np.float32)
    scaled = w if factor is None else w * factor.astype(np.float32)
    grid = choose_grid(scaled, ways.bits, ways.group, symmetric=ways.symmetric, scale_type=DType.F32, name=site.name)
    real = grid.real(grid.nearest(scaled))
    lost = w - (real if factor is None else real / factor.astype(np.float32))
    signal = _sum(w @ hessian, w)
    return _sum(lost @ hessian, lost) / signal if signal > 0 else 0.0


# ------------------------------------------------------------------------------------------------------------- writing
def apply_change(graph: Graph, change: Equalisation) -> None:
    """Divide the channels of an activation whose readers' weights are multiplied elsewhere."""
    divide_activation(Edits(graph), change)


def apply_shift(site: WeightSite, shift: Array) -> None:
    """Add to the biases of a matrix's readers."""
    for reader in site.readers:
        bias = reader.inputs[2]
        assert bias is not None
        moved = (bias.numpy().astype(np.float64) + shift).astype(bias.type.dtype.numpy)
        reader.set_input(2, constant(moved, bias.name))
