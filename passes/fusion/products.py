"""Products with weights over more than two axes, which TensorFlow writes with Reshapes around them or as Einsum."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.ir.data import derive
from uair.ir.dims import Dim, Shape, is_static, static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Concat, Einsum, Linear, MatMul, Reshape, Transpose
from uair.rewrite import NoMatch, Rule, no, of, optional


class ProductOfFlattened(Rule):
    """A product with a matrix between Reshapes that merge the axes in front and split them again needs neither.

    tf.tensordot, which Keras's Dense uses for more than two axes, and the Gemm of exporters. Where the axes that are
    split are not those that were merged, as behind heads of attention, one Reshape is left.
    """

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Reshape, the product, Reshape."""
        return of(Reshape)(of(MatMul, Linear)(of(Reshape)(x).named("flat"), w, optional(b)).named("product")).named(
            "root"
        )

    def check(self, x: Tensor, w: Tensor, flat: Node, product: Node, root: Node) -> bool | NoMatch:
        """What is flattened are more axes, and the result has the product's axis as its last one."""
        if x.type.shape is None or x.type.rank < 3 or flat.output.type.rank != 2:
            return no("what is flattened has not more than two axes", flat)
        if w.type.shape is None or w.type.rank != 2 or product.attributes.get("trans_a"):
            return no("the product is not with a matrix", product)
        shape = root.output.type.dims
        if shape[-1:] != product.output.type.dims[-1:] or len(shape) < 3:
            return no("the product's axis does not stay the last one", root)
        return True

    def rewrite(self, x: Tensor, flat: Node, product: Node, root: Node) -> Tensor:
        """The same product of more axes."""
        shape = (*root.output.type.dims[:-1], flat.output.type.dims[-1])
        return product.op(x if x.type.dims == shape else Reshape(shape=shape)(x), *product.inputs[1:])


class BiasBeforeSplit(Rule):
    """A bias [a, b] that is added after the last axis is split into a and b is one of the product in front."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Product, Reshape, sum."""
        return Add()(of(Reshape)(of(MatMul)(x, w).named("product")).named("split"), b).named("root")

    def check(self, x: Tensor, w: Tensor, b: Tensor, product: Node, split: Node, root: Node) -> bool | NoMatch:
        """Only the last axis is split, and the bias has the parts as its axes."""
        if not (b.is_constant and w.is_constant and w.type.rank == 2 and x.type.shape is not None):
            return no("the bias or the matrix is not a constant", root)
        before, after = product.output.type.dims, split.output.type.dims
        parts = _parts(before, after)
        if parts is None:
            return no("the Reshape does more than to split the last axis", split)
        dims = b.type.dims
        while len(dims) > len(parts) and dims[0] == 1:
            dims = dims[1:]
        return dims == parts or no(f"the summand is {b.type}, a bias would be {list(parts)}", b)

    def rewrite(self, x: Tensor, b: Tensor, product: Node, split: Node) -> Tensor:
        """The sum before the Reshape."""
        assert b.data is not None
        size = b.data.size
        flat = derive(functools.partial(np.reshape, shape=(size,)), (b.data,), b.data.dtype, (size,))
        return Reshape(shape=split.output.type.dims)(Add()(product.op(*product.inputs), constant(flat, b.name)))


def _parts(before: Shape, after: Shape) -> Shape | None:
    """What the last axis is split into."""
    front = len(before) - 1
    parts = after[front:]
    if len(parts) < 2 or after[:front] != before[:-1] or not is_static(parts):
        return None
    return parts if math.prod(static(parts)) == before[-1] else None


class TransposeFromEinsum(Rule):
    """An Einsum of one operand that sums over nothing is a Transpose; masked autoencoders order their patches so."""

    def pattern(self, x: Any) -> Any:
        """Any Einsum of one operand."""
        return of(Einsum)(x).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """The letters of the result are those of the operand in another order."""
        return _order(root) is not None or no("it does more than to put axes in another order", root)

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """The Transpose."""
        perm = _order(root)
        assert perm is not None
        return Transpose(perm=perm)(x)


def _order(root: Node) -> tuple[int, ...] | None:
    """Where the axes of the result of an Einsum of one operand were before."""
    assert isinstance(root.op, Einsum)
    given, arrow, result = root.op.equation.replace(" ", "").partition("->")
    letters = set(given)
    if not arrow or not given.isalpha() or not len(letters) == len(given) == len(result):
        return None
    return tuple(given.index(letter) for letter in result) if set(result) == letters else None


class NameAxesOfEllipsis(Rule):
    """An Einsum over "..." axes whose number and extents are known has letters for them, as all other rules expect."""

    def pattern(self) -> Any:
        """Any Einsum."""
        return of(Einsum)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """The ranks are known, and no axis is broadcast."""
        return _named_ellipsis(root) is not None or no('it has no "...", or axes that are not known or broadcast', root)

    def rewrite(self, root: Node) -> Tensor:
        """The same sum of named axes."""
        equation = _named_ellipsis(root)
        assert equation is not None
        return Einsum(equation=equation)(*root.inputs)


def _named_ellipsis(root: Node) -> str | None:
    """The equation with letters for "..."; None where there is none, or the letters would not mean the same."""
    assert isinstance(root.op, Einsum)
    left, arrow, result = root.op.equation.replace(" ", "").partition("->")
    if "..." not in left or "..." not in result or not arrow:
        return None
    terms = left.split(",")
    tensors = [tensor for tensor in root.inputs if tensor is not None]
    if any(tensor.type.shape is None for tensor in tensors):
        return None
    counts = [t.type.rank - len(term.replace("...", "")) for term, t in zip(terms, tensors, strict=True)]
    free = [letter for letter in string.ascii_letters if letter not in root.op.equation][: max(counts)]
    extents: dict[str, set[Dim]] = {}
    for k, (term, tensor, count) in enumerate(zip(terms, tensors, counts, strict=True)):
        hidden = "".join(free[len(free) - count :]) if count else ""
        terms[k] = term.replace("...", hidden)
        for letter, extent in zip(terms[k], tensor.type.dims, strict=True):
            if letter in free:
                extents.setdefault(letter, set()).add(extent)
    if len(free) < max(counts) or any(len(found) > 1 for found in extents.values()):
        return None
    return f"{','.join(terms)}->{result.replace('...', ''.join(free))}"


class EinsumOfWeights(Rule):
    """An Einsum that sums over the last axes of x and the first ones of a constant is a product with a matrix."""

    def pattern(self, x: Any, w: Any) -> Any:
        """Any Einsum of two operands."""
        return of(Einsum)(x, w).named("root")

    def check(self, x: Tensor, w: Tensor, root: Node) -> bool | NoMatch:
        """The letters of the result are those of x that are left, then those of w."""
        if not w.is_constant or x.is_constant or x.type.shape is None:
            return no("the second operand is not a constant", root)
        count = summed(root)
        if count is None:
            return no("the letters are not those of a product with a matrix", root)
        return is_static(x.type.dims[-count:]) or no("a size that is summed over is open", x)

    def rewrite(self, x: Tensor, w: Tensor, root: Node) -> Tensor:
        """Reshape, MatMul, Reshape, as far as they are needed."""
        count = summed(root)
        assert count is not None and w.data is not None
        rows = math.prod(w.data.shape[:count])
        columns = math.prod(w.data.shape[count:])
        matrix = w
        if w.type.rank != 2:
            reshape = functools.partial(np.reshape, shape=(rows, columns))
            matrix = constant(derive(reshape, (w.data,), w.data.dtype, (rows, columns)), w.name)
        flat = x if count == 1 else Reshape(shape=(*x.type.dims[:-count], rows))(x)
        result = MatMul()(flat, matrix)
        return result if w.type.rank - count == 1 else Reshape(shape=root.output.type.dims)(result)


class MatMulFromEinsum(Rule):
    """An Einsum of two tensors that is a product of matrices with the axes where MatMul has them is that MatMul."""

    def pattern(self, a: Any, b: Any) -> Any:
        """Any Einsum of two operands."""
        return of(Einsum)(a, b).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """The letters in front are the same ones everywhere, and one of the last two of each operand is summed over."""
        return turns(root) is not None or no("the letters are not those of a product of matrices", root)

    def rewrite(self, a: Tensor, b: Tensor, root: Node) -> Tensor:
        """The product."""
        found = turns(root)
        assert found is not None
        return MatMul(trans_a=found[0], trans_b=found[1])(a, b)


def turns(node: Node) -> tuple[bool, bool] | None:
    """Which of the operands' last two axes change places before a product of matrices; None for other Einsums."""
    assert isinstance(node.op, Einsum)
    left, arrow, result = node.op.equation.replace(" ", "").partition("->")
    a, _, b = left.partition(",")
    if not arrow or "," in b or "." in left or not len(a) == len(b) == len(result) >= 3:
        return None
    front, m, n = result[:-2], result[-2], result[-1]
    inner = set(a) & set(b) - set(front)
    if len(inner) != 1 or len({*result, *inner}) < len(result) + 1:
        return None
    (k,) = inner
    first = {front + m + k: False, front + k + m: True}.get(a)
    second = {front + k + n: False, front + n + k: True}.get(b)
    return None if first is None or second is None else (first, second)


def summed(node: Node) -> int | None:
    """Over how many axes an Einsum sums that is a product with a matrix."""
    assert isinstance(node.op, Einsum)
    left, arrow, result = node.op.equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in node.op.equation:
        return None
    x, w = terms
    if any(len(set(term)) < len(term) for term in (x, w)):
        return None
    count = sum(letter in w for letter in x)
    kept = len(x) - count
    fits = count and kept and x[kept:] == w[:count] and result == x[:kept] + w[count:] and len(w) > count
    return count if fits else None


class JoinProducts(Rule):
    """Products of one tensor that are joined along their columns are one product with all columns.

    So DiffLlama gives every head the values of two.
    """

    def pattern(self) -> Any:
        """Any Concat."""
        return of(Concat)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """Nothing else takes the products, and no more is joined than before."""
        nodes = [t.producer for t in root.inputs if t is not None and t.use_count == 1 and t.producer is not None]
        first = nodes[0] if nodes else root
        if len(nodes) != len(root.inputs) or not isinstance(first.op, (MatMul, Linear)):
            return no("what is joined are not products that nothing else takes", root)
        if any(n.op != first.op or n.inputs[0] is not first.inputs[0] for n in nodes) or len(set(nodes)) < len(nodes):
            return no("they are not products of one tensor", root)
        shapes = [[None if t is None else t.type.shape for t in n.inputs] for n in nodes]
        if any(shape is None for given in shapes for shape in given) or any(len(g) != len(shapes[0]) for g in shapes):
            return no("a rank is open, or not all have a bias", root)
        axis = root.attributes["axis"] % root.output.type.rank
        if axis != root.output.type.rank - 1 or not all(_have_columns(n, first) for n in nodes):
            return no("it is not their columns that are joined", root)
        return all(t is not None and t.is_constant for n in nodes for t in n.inputs[1:]) or _is_less(first)

    def rewrite(self, root: Node) -> Tensor:
        """The product."""
        nodes = [t.producer for t in root.inputs if t is not None and t.producer is not None]
        op, x = nodes[0].op, nodes[0].inputs[0]
        matrices, *biases = zip(*(n.inputs[1:] for n in nodes), strict=True)
        rows = nodes[0].attributes["transpose_w" if isinstance(op, Linear) else "trans_b"]
        joined = [_joined([t for t in matrices if t is not None], 2 if rows else 1)]
        joined += [_joined([t for t in given if t is not None], 1) for given in biases]
        result: Tensor = op(x, *joined)
        return result


def _have_columns(node: Node, first: Node) -> bool:
    """Whether a product's second operand is a matrix, or several, of the axes that another product's has in front."""
    matrix, other = node.inputs[1], first.inputs[1]
    assert matrix is not None and other is not None
    return matrix.type.rank == other.type.rank >= 2 and matrix.type.dims[:-2] == other.type.dims[:-2]


def _is_less(product: Node) -> bool | NoMatch:
    """Whether a product has no fewer rows than its second operand, so that joining that one moves no more."""
    inner = product.inputs[1]
    assert inner is not None
    rows = product.output.type.dims[-2]
    extent = inner.type.dims[-1 if product.attributes.get("trans_b") else -2]
    less = rows == extent or (isinstance(rows, int) and isinstance(extent, int) and rows > extent)
    return less or no("the matrices are larger than the products, or their extents are open", product)


def _joined(tensors: Sequence[Tensor], place: int) -> Tensor:
    """Tensors side by side along an axis counted from the end."""
    axis = tensors[0].type.rank - place
    sources = tuple(t.data for t in tensors if t.data is not None)
    if len(sources) != len(tensors):
        return Concat(axis=axis)(*tensors)
    shape = list(sources[0].shape)
    shape[axis] = sum(data.shape[axis] for data in sources)
    data = derive(lambda *parts: np.concatenate(parts, axis), sources, sources[0].dtype, tuple(shape))
    return constant(data, tensors[0].name)


RULES = (
    ProductOfFlattened,
    TransposeFromEinsum,
    NameAxesOfEllipsis,
    EinsumOfWeights,
    MatMulFromEinsum,
    BiasBeforeSplit,
    JoinProducts,
)
