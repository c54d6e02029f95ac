"""Heads of attention: projections that are packed into one product, and the order of axes around them.

torch.nn.MultiheadAttention projects queries, keys and values by one product, with the batch behind the places, and
merges the batch with the heads where it gives weights back. Keras and most others have one product for each, and heads
as an axis of their own; so does the IR. Three products are as fast as one and a Split, and each has its own range when
it is quantized.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import attrs

from uair.ir.data import Data, derive
from uair.ir.dims import Dim, is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    Cast,
    Div,
    Expand,
    GatherElements,
    Linear,
    MatMul,
    Mul,
    Reshape,
    Softmax,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
)
from uair.passes.simplify.parts import MOST_AXES
from uair.passes.simplify.regroup import Moves, moves
from uair.rewrite import NoMatch, Replacement, Rule, no, of, optional

_DEEPEST = 8


# --------------------------------------------------------------------------------------------------- packed projections
class SeparateProjections(Rule):
    """A product by a constant that a Split cuts into heads' features is one product for each part."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Product, Split."""
        return of(Split)(of(Linear, MatMul)(x, w, optional(b)).named("product")).named("root")

    def check(self, w: Tensor, product: Node, root: Node) -> bool | NoMatch:
        """The weights are constants, the last axis is cut, and every part is shaped into heads."""
        assert isinstance(root.op, Split)
        if not all(t is None or t.is_constant for t in product.inputs[1:]) or w.type.rank != 2:
            return no("the weights are not constants", product)
        if product.attributes.get("trans_a") or root.op.axis % product.output.type.rank != product.output.type.rank - 1:
            return no("what is cut is not the last axis", root)
        for part in root.outputs:
            if not all(isinstance(user.op, Reshape) for user in part.users) or not part.use_count:
                return no("a part is not shaped into heads", part)
        return is_static([part.type.dims[-1] for part in root.outputs]) or no("an extent is open", root)

    def rewrite(self, x: Tensor, product: Node, root: Node) -> Replacement:
        """The products."""
        sizes = static([part.type.dims[-1] for part in root.outputs])
        ends = list(itertools.accumulate(sizes))
        op = product.op
        across = not (op.transpose_w if isinstance(op, Linear) else product.attributes["trans_b"])
        results: list[Tensor] = []
        for part, start, end in zip(root.outputs, (0, *ends), ends, strict=False):
            own = [_cut(t, start, end, across) for t in product.inputs[1:] if t is not None]
            results.append(op.node(x, *own, name=part.name).output)
        return Replacement(tuple(results))


def _cut(tensor: Tensor, start: int, end: int, across: bool) -> Tensor:
    """Some rows of a matrix or elements of a vector, or columns of a matrix."""
    assert tensor.data is not None
    data: Data = tensor.data
    columns = across and len(data.shape) == 2
    shape = (*data.shape[:-1], end - start) if columns else (end - start, *data.shape[1:])

    def cut(values: Array) -> Array:
        return values[:, start:end] if columns else values[start:end]

    return constant(derive(cut, (data,), data.dtype, shape), tensor.name and f"{tensor.name}[{start}:{end}]")


# ------------------------------------------------------------------------------------------------------ order of axes
class TransposeBehindProduct(Rule):
    """A Transpose in front of a product goes behind it where it meets the Transpose that puts heads in front."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Transpose, product, Reshape, Transpose; other products may take the first one's result."""
        first = of(Transpose)(x).named("first").shared()
        product = of(Linear, MatMul)(first, w, optional(b)).named("product")
        return of(Transpose)(of(Reshape)(product).named("reshape")).named("second")

    def check(self, w: Tensor, first: Node, product: Node, reshape: Node, second: Node) -> bool | NoMatch:
        """The product's axis stays the last one, and one Transpose does it."""
        if not _keeps_last(first) or not _is_with_matrix(product, w):
            return no("the product is not over the last axis before and after", product)
        found = self.found(first, product, reshape, second)
        if found is None or len(found.perm) > MOST_AXES:
            return no(f"the Reshape cuts across axes, or makes more than {MOST_AXES}", reshape)
        return True

    def rewrite(self, x: Tensor, first: Node, product: Node, reshape: Node, second: Node) -> Tensor:
        """The product, then what moves the axes."""
        found = self.found(first, product, reshape, second)
        assert found is not None
        return found.apply(product.op(x, *product.inputs[1:]))

    @staticmethod
    def found(first: Node, product: Node, reshape: Node, second: Node) -> Moves | None:
        """What is done behind the product."""
        x = first.inputs[0]
        if x is None or x.type.shape is None or reshape.output.type.shape is None:
            return None
        given = (*x.type.dims[:-1], product.output.type.dims[-1])
        return moves(given, _perm(first), reshape.output.type.dims, _perm(second))


class TransposeBeforeProduct(Rule):
    """A Transpose behind a product goes in front of it where it meets the Transpose that heads are put back by."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Transpose, Reshape, product, Transpose."""
        reshape = of(Reshape)(of(Transpose)(x).named("first")).named("reshape")
        return of(Transpose)(of(Linear, MatMul)(reshape, w, optional(b)).named("product")).named("second")

    def check(self, w: Tensor, first: Node, reshape: Node, product: Node, second: Node) -> bool | NoMatch:
        """The product's axis stays the last one, and one Transpose does it."""
        if not _keeps_last(second) or not _is_with_matrix(product, w):
            return no("the product is not over the last axis before and after", product)
        found = self.found(first, reshape, second)
        if found is None or found.splits or len(found.perm) > MOST_AXES:
            return no("the Reshape does more than to merge axes", reshape)
        return True

    def rewrite(self, first: Node, reshape: Node, product: Node, second: Node) -> Tensor:
        """What moves the axes, then the product."""
        found, x = self.found(first, reshape, second), first.inputs[0]
        assert found is not None and x is not None
        return product.op(found.apply(x), *product.inputs[1:])

    @staticmethod
    def found(first: Node, reshape: Node, second: Node) -> Moves | None:
        """What is done in front of the product."""
        x = first.inputs[0]
        if x is None or x.type.shape is None or reshape.output.type.shape is None:
            return None
        return moves(x.type.dims, _perm(first), reshape.output.type.dims, _perm(second))


def _perm(node: Node) -> tuple[int, ...]:
    assert isinstance(node.op, Transpose)
    return node.op.perm


def _keeps_last(node: Node) -> bool:
    return _perm(node)[-1] == len(_perm(node)) - 1


def _is_with_matrix(product: Node, w: Tensor) -> bool:
    return w.type.shape is not None and w.type.rank == 2 and not product.attributes.get("trans_a")


# ------------------------------------------------------------------------------------ heads that are part of the batch
_Front: TypeAlias = "tuple[Dim, Dim]"


class SeparateHeadsFromBatch(Rule):
    """Heads that a Reshape merges with the batch as it splits them from the features are merged as the last step.

    [places, batch, heads * size] as [places, batch * heads, size], and a Transpose that puts the places second.
    """

    def pattern(self, x: Any) -> Any:
        """Reshape, Transpose."""
        return of(Transpose)(of(Reshape)(x).named("reshape")).named("root")

    def check(self, x: Tensor, reshape: Node, root: Node) -> bool | NoMatch:
        """Three axes before and after, four of which the heads are one, and products of matrices that take them."""
        found = self.found(x, reshape, root)
        if found is None or not (found.splits and found.merges) or len(found.perm) != 4:
            return no("the Reshape does not both split and merge axes", reshape)
        if root.output.type.rank != 3 or not any(map(_leads_to_product, root.output.users)):
            return no("no product of matrices takes it", root)
        return True

    def rewrite(self, x: Tensor, reshape: Node, root: Node) -> Tensor:
        """Reshape, Transpose, Reshape, the last of which goes on behind the product."""
        found = self.found(x, reshape, root)
        assert found is not None
        return found.apply(x)

    @staticmethod
    def found(x: Tensor, reshape: Node, root: Node) -> Moves | None:
        """What both do."""
        if x.type.shape is None or reshape.output.type.shape is None:
            return None
        return moves(x.type.dims, range(x.type.rank), reshape.output.type.dims, _perm(root))


def _leads_to_product(node: Node) -> bool:
    """Whether a node is a product of matrices, or a product by a number or a Transpose in front of one."""
    if isinstance(node.op, (Mul, Transpose)):
        return any(isinstance(user.op, MatMul) for user in node.outputs[0].users)
    return isinstance(node.op, MatMul)


class SeparateMergedHeads(Rule):
    """A product of matrices whose batch is a batch and heads in one axis has them as two axes."""

    def pattern(self, a: Any, b: Any) -> Any:
        """Any product of two tensors."""
        return of(MatMul)(a, b).named("root")

    def check(self, b: Tensor, root: Node) -> bool | NoMatch:
        """Both operands come of tensors with two axes."""
        front = _front(b)
        if front is None:
            return no("no Reshape merges the first two axes of the second operand", b)
        if all(_is_separable(t, front, _DEEPEST) for t in root.inputs if t is not None):
            return True
        return no("the operands do not have the same two axes in one", root)

    def rewrite(self, b: Tensor, root: Node) -> Tensor:
        """The product of four axes, and what merges two of them."""
        front = _front(b)
        assert front is not None
        made = root.op(*(_separated(t, front) for t in root.inputs if t is not None))
        return Reshape(shape=root.output.type.dims)(made)


class SeparateGivenWeights(Rule):
    """A Softmax over scores whose batch and heads are one axis has them as two axes where its result gets them."""

    def pattern(self, x: Any) -> Any:
        """Any Softmax."""
        return of(Softmax)(x).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """A Reshape separates the axes of the result, and in front of it they come apart as well."""
        front = next((f for f in map(_split_by, root.output.users) if f is not None), None)
        if front is None or not _goes_along(root):
            return no("no Reshape of the result has batch and heads as axes", root)
        return _is_separable(x, front, _DEEPEST) or no("the scores do not have the same two axes in one", x)

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """The Softmax of four axes, and what merges two of them."""
        front = next(f for f in map(_split_by, root.output.users) if f is not None)
        made: Tensor = _over_heads(root.op)(_separated(x, front, whole=True))
        return Reshape(shape=root.output.type.dims)(made)


class SeparateScores(Rule):
    """What is done with scores whose batch and heads are one axis is done with two where they get them after it."""

    def pattern(self, x: Any) -> Any:
        """A Reshape."""
        return of(Reshape)(x).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """It separates the axes, and in front of what is done they come apart as well."""
        front = _split_by(root)
        if front is None or x.producer is None or x.use_count != 1 or not _goes_along(x.producer):
            return no("it does not make batch and heads of the first axis of what is computed", root)
        return _is_separable(x, front, _DEEPEST) or no("what is computed does not have the same two axes in one", x)

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """The same without the Reshape."""
        front = _split_by(root)
        assert front is not None
        return _separated(x, front, whole=True)


class AddWithoutUnitAxis(Rule):
    """A constant that is added between a Reshape that puts an axis of extent 1 in front and one that drops it again.

    The mask of Swin's shifted windows is added so, where there is one image: with five axes, which become four.
    """

    def pattern(self, x: Any, c: Any) -> Any:
        """Reshape, sum, Reshape."""
        apart = of(Reshape, Unsqueeze)(x).named("apart")
        return of(Reshape, Squeeze)(Add()(apart, c)).named("root")

    def check(self, x: Tensor, c: Tensor, apart: Node, root: Node) -> bool | NoMatch:
        """The axis comes and goes, and the constant has no more axes."""
        if x.type.shape is None or apart.output.type.shape != (1, *x.type.shape) or root.output.type != x.type:
            return no("it is not an axis of extent 1 in front that comes and goes", apart)
        if not c.is_constant or not c.type.is_static:
            return no("what is added is not a constant", c)
        fits = c.type.rank <= x.type.rank or (c.type.rank == x.type.rank + 1 and c.type.dims[0] == 1)
        return fits or no("the constant has other axes", c)

    def rewrite(self, x: Tensor, c: Tensor) -> Tensor:
        """The sum alone."""
        if c.type.rank <= x.type.rank:
            return Add()(x, c)
        assert c.data is not None
        shape = static(c.type.dims)[1:]
        return Add()(x, constant(derive(lambda a: a.reshape(shape), (c.data,), c.data.dtype, shape), c.name))


def _split_by(node: Node) -> _Front | None:
    """The two axes that a Reshape makes of the first one of three."""
    x = node.inputs[0] if isinstance(node.op, Reshape) else None
    if x is None or x.type.shape is None or x.type.rank != 3 or node.output.type.shape is None:
        return None
    batch, heads, *rest = (*node.output.type.dims, 1, 1)[:4]
    fits = node.output.type.rank == 4 and tuple(rest) == x.type.dims[1:] and 1 not in (batch, heads)
    return (batch, heads) if fits else None


def _front(tensor: Tensor) -> _Front | None:
    """The two axes that a Reshape merges into the first of three; products by numbers and the like may follow it."""
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.type.shape is None or tensor.type.rank != 3:
            return None
        if isinstance(node.op, Reshape):
            return _merged_by(node)
        if not _goes_along(node) or isinstance(node.op, MatMul) or node.inputs[0] is None:
            return None
        tensor = node.inputs[0]
    return None


def _merged_by(node: Node) -> _Front | None:
    x = node.inputs[0]
    if x is None or x.type.shape is None or x.type.rank != 4:
        return None
    batch, heads, *rest = x.type.dims
    return (batch, heads) if tuple(rest) == node.output.type.dims[1:] and 1 not in (batch, heads) else None


def _is_separable(tensor: Tensor, front: _Front, depth: int) -> bool:
    """Whether a tensor's first axis can be told apart without another Reshape."""
    if tensor.type.shape is None or tensor.type.rank > 3 or depth == 0:
        return False
    if tensor.type.rank < 3 or tensor.type.dims[0] == 1 or tensor.is_constant:
        return True
    node = tensor.producer
    if node is None:
        return False
    if isinstance(node.op, (Reshape, Expand)) and node.inputs[0] is not None:
        source = node.inputs[0]
        if isinstance(node.op, Reshape):
            return source.type.shape is not None and source.type.dims[:2] == front
        return source.type.shape is not None and source.type.rank == 3 and source.type.dims[0] == 1
    if isinstance(node.op, Tile):
        return _repeats_batch(node, front)
    if (tensor.use_count != 1 and not isinstance(node.op, Cast)) or not _goes_along(node):
        return False
    return all(_is_separable(t, front, depth - 1) for t in node.inputs if t is not None)


def _goes_along(node: Node) -> bool:
    """Whether an operator does the same for each of the first axis's places."""
    if isinstance(node.op, (Softmax, GatherElements)):
        return node.op.axis % 3 != 0
    if isinstance(node.op, Transpose):
        return node.op.perm == (0, 2, 1)
    return isinstance(node.op, (Add, Cast, Mul, Div, MatMul))


def _repeats_batch(node: Node, front: _Front) -> bool:
    """Whether a Tile repeats what the heads have, the same for everything in the batch."""
    x = node.inputs[0]
    assert isinstance(node.op, Tile) and x is not None
    return x.type.shape is not None and node.op.repeats == (front[0], 1, 1) and x.type.dims[0] == front[1]


def _separated(tensor: Tensor, front: _Front, *, whole: bool = False) -> Tensor:
    """The tensor with two axes in place of the first one; extents of 1 may stand for those of the front.

    With `whole` they are those of the front.
    """
    if tensor.type.rank < 3:
        return tensor
    shape = (*front, *tensor.type.dims[1:])
    node = tensor.producer
    if tensor.type.dims[0] == 1:
        made = Unsqueeze(axes=(0,))(tensor)
    elif tensor.is_constant:
        made = Reshape(shape=shape)(tensor)
    else:
        assert node is not None and node.inputs[0] is not None
        if isinstance(node.op, (Expand, Tile)):
            made = Unsqueeze(axes=(0,))(node.inputs[0])
        elif isinstance(node.op, Reshape):
            made = node.inputs[0] if node.inputs[0].type.shape == shape else Reshape(shape=shape)(node.inputs[0])
        else:
            made = _computed(node, front)
    return made if not whole or made.type.shape == shape else Expand(shape=shape)(made)


def _computed(node: Node, front: _Front) -> Tensor:
    """What an operator gives of operands with two axes in place of the first one; places are not broadcast."""
    whole = isinstance(node.op, GatherElements)
    operands = [_separated(t, front, whole=whole) for t in node.inputs if t is not None]
    if isinstance(node.op, Transpose):
        return Transpose(perm=(0, 1, 3, 2))(*operands)
    result: Tensor = _over_heads(node.op)(*operands)
    return result


def _over_heads(op: Any) -> Any:
    """An operator for tensors with one more axis in front."""
    if not isinstance(op, (Softmax, GatherElements)):
        return op
    one: Any = op  # an attrs class by its decorator, which mypy does not see
    return attrs.evolve(one, axis=op.axis % 3 + 1)


RULES = (
    SeparateProjections,
    TransposeBehindProduct,
    SeparateHeadsFromBatch,
    SeparateMergedHeads,
    SeparateGivenWeights,
    SeparateScores,
    AddWithoutUnitAxis,
)
LAST_RULES = (TransposeBeforeProduct,)
