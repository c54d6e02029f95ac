"""Queries, keys and values that one product gives packed in an axis of their own, in front of, behind or between heads.

timm's vision transformers and Swin shape the product to [batch, places, 3, heads, size], put the 3 in front and take
it apart; BLOOM has the 3 behind the heads, GPT-NeoX three sizes side by side in every head. One product for each part
needs no tensor of five axes, which many devices do not transpose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dims import Shape, is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Gather, Linear, MatMul, Reshape, Split, Transpose
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of


@attrs.frozen(eq=False)
class Packed:
    """A product by constants whose features are shaped into several axes, which a Transpose may move.

    Attributes:
        product: Linear or MatMul.
        front: extents in front of the features.
        parts: extents that the features are shaped into.
        perm: how all axes lie in the end.
    """

    product: Node
    front: Shape
    parts: tuple[int, ...]
    perm: tuple[int, ...]

    def place(self, axis: int) -> int:
        """Which of the parts an axis of the end is; negative for one in front of them."""
        return self.perm[axis % len(self.perm)] - len(self.front)

    def taken(self, part: int, start: int, end: int, *, dropped: bool) -> Tensor:
        """What is from `start` to `end` of a part, as a product of its own; the axis is dropped or kept."""
        features = np.arange(math.prod(self.parts)).reshape(self.parts).take(range(start, end), axis=part)
        axis = len(self.front) + part
        sizes = [end - start if i == part else d for i, d in enumerate(self.parts)]
        perm = list(self.perm)
        if dropped:
            del sizes[part]
            perm = [p - (p > axis) for p in perm if p != axis]
        made = self.product.op(self.product.inputs[0], *self.weights(features.reshape(-1)))
        shaped = Reshape(shape=(*self.front, *sizes))(made)
        return shaped if perm == sorted(perm) else Transpose(perm=tuple(perm))(shaped)

    def weights(self, features: Array) -> list[Tensor]:
        """The product's constants for some of its features."""
        op = self.product.op
        rows = op.transpose_w if isinstance(op, Linear) else self.product.attributes["trans_b"]
        return [
            _some(t, features, 0 if rows or t.type.rank == 1 else 1) for t in self.product.inputs[1:] if t is not None
        ]


def _some(tensor: Tensor, features: Array, axis: int) -> Tensor:
    """Rows or columns of a matrix, or elements of a vector."""
    assert tensor.data is not None
    shape = tuple(len(features) if i == axis else d for i, d in enumerate(tensor.data.shape))
    first, last = int(features[0]), int(features[-1]) + 1
    contiguous = np.array_equal(features, np.arange(first, last))

    def take(values: Array) -> Array:
        if contiguous:
            return values[first:last] if axis == 0 else values[:, first:last]
        return values.take(features, axis=axis)

    name = tensor.name and (f"{tensor.name}[{first}:{last}]" if contiguous else f"{tensor.name}[{first}...]")
    return constant(derive(take, (tensor.data,), tensor.data.dtype, shape), name)


def packed(tensor: Tensor) -> Packed | NoMatch:
    """What a tensor is, when it is a product that is shaped into heads."""
    turn = tensor.producer
    moved = turn is not None and isinstance(turn.op, Transpose)
    apart = turn if not moved or turn is None or turn.inputs[0] is None else turn.inputs[0].producer
    if apart is None or not isinstance(apart.op, Reshape) or apart.inputs[0] is None:
        return no("it is not shaped by a Reshape, or by one and a Transpose", tensor)
    product, dims = apart.inputs[0].producer, apart.output.type.shape
    if product is None or not isinstance(product.op, (Linear, MatMul)) or dims is None:
        return no("what is shaped is no product", apart)
    if not all(t is None or t.is_constant for t in product.inputs[1:]) or product.attributes.get("trans_a"):
        return no("the weights are not constants", product)
    if any(t is not None and t.type.rank != 2 - (i > 0) for i, t in enumerate(product.inputs[1:])):
        return no("the weights are no matrix and bias", product)
    given = product.output.type.dims
    front, parts = dims[: len(given) - 1], dims[len(given) - 1 :]
    if front != given[:-1] or not is_static(parts) or math.prod(static(parts)) != given[-1]:
        return no("the Reshape does more than to split the features", apart)
    if product.output.use_count != 1 or (moved and apart.output.use_count != 1):
        return no("the whole product is used, too", product)
    perm = turn.op.perm if turn is not None and isinstance(turn.op, Transpose) else tuple(range(len(dims)))
    return Packed(product, front, static(parts), perm)


class UnpackGatheredHeads(Rule):
    """Places of an axis that the features of a product are shaped into, besides heads, are products of their own."""

    def pattern(self, x: Any, index: Any) -> Any:
        """One of the places."""
        return of(Gather)(x, index).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """Everything that takes the product takes one place of the same axis, and leaves two axes or more."""
        found = packed(x)
        if isinstance(found, NoMatch):
            return found
        assert isinstance(root.op, Gather)
        part = found.place(root.op.axis)
        if part < 0 or len(found.parts) < 3:
            return no("the place is not one of an axis besides heads and their features", root)
        if part == len(found.parts) - 1 and found.parts[part] == 2:
            return no("pairs of features side by side are those of rotary positions", root)
        for user in x.users:
            if not isinstance(user.op, Gather) or user.op != root.op or _index(user, found.parts[part]) is None:
                return no("something takes more than one known place", user)
        return True

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """The product for this place."""
        found = packed(x)
        assert isinstance(found, Packed) and isinstance(root.op, Gather)
        part = found.place(root.op.axis)
        index = _index(root, found.parts[part])
        assert index is not None
        return found.taken(part, index, index + 1, dropped=True)


def _index(gather: Node, extent: int) -> int | None:
    """The one place that a Gather takes."""
    index = gather.inputs[1]
    if index is None or index.type.shape != ():
        return None
    value = repeated_value(index)
    return None if value is None else int(value) % extent


class UnpackSplitHeads(Rule):
    """Pieces of an axis that the features of a product are shaped into, beside heads, are products of their own."""

    def pattern(self, x: Any) -> Any:
        """All of the pieces."""
        return of(Split)(x).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """Nothing else takes the product, and all pieces are used."""
        found = packed(x)
        if isinstance(found, NoMatch):
            return found
        assert isinstance(root.op, Split)
        part = found.place(root.op.axis)
        if part < 0 or len(found.parts) < 2:
            return no("what is cut is not an axis besides heads", root)
        if x.use_count != 1 or not all(piece.use_count for piece in root.outputs):
            return no("the whole product is used, too, or not all of it", root)
        sizes = self.sizes(root, part, found)
        if len(sizes) != len(root.outputs) or (set(sizes) != {1} and len(sizes) != 3):
            return no("it is not cut into places, nor into queries, keys and values", root)
        return True

    def rewrite(self, x: Tensor, root: Node) -> Sequence[Tensor]:
        """The products."""
        found = packed(x)
        assert isinstance(found, Packed) and isinstance(root.op, Split)
        part = found.place(root.op.axis)
        ends = [0, *itertools.accumulate(self.sizes(root, part, found))]
        return [found.taken(part, start, end, dropped=False) for start, end in itertools.pairwise(ends)]

    @staticmethod
    def sizes(root: Node, part: int, found: Packed) -> Sequence[int]:
        """Extents of the pieces, those that are known."""
        axis = found.perm.index(len(found.front) + part)
        known = [piece.type.dims[axis] for piece in root.outputs]
        return [d for d in known if isinstance(d, int)]


RULES = (UnpackGatheredHeads, UnpackSplitHeads)
