"""Reduced axes that are dropped and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from uair import ops
from uair.ir.graph import Node, Tensor
from uair.ops import Reshape, Squeeze, Unsqueeze
from uair.rewrite import NoMatch, Replacement, Rule, no, of

REDUCTIONS = (ops.ReduceMean, ops.ReduceSum)
"""As normalizations have them. No maximum: x2paddle aborts (TypeError) on a softmax whose ReduceMax keeps its axes."""
OF_ONE = (
    ops.ReduceMean, ops.ReduceSum, ops.ReduceProd, ops.ReduceMax, ops.ReduceMin, ops.ReduceAll, ops.ReduceAny,
)  # fmt: skip
"""Reductions of one element that are the element."""
ELEMENTWISE = (
    ops.Abs, ops.Add, ops.Cast, ops.Clip, ops.Div, ops.Maximum, ops.Minimum, ops.Mul, ops.Neg, ops.Pow, ops.Reciprocal,
    ops.Relu, ops.Rsqrt, ops.Sqrt, ops.Sub,
)  # fmt: skip
"""What a model computes of means before their axes come back: a variance, its inverse root."""
MOST_NODES = 12
"""Nodes between the reductions and the operator that puts the axes back, at most."""


class KeepReducedAxes(Rule):
    """Reduced axes that are dropped and put back with extent 1 are kept, also through elementwise operators.

    JAX's reductions drop their axes: a normalization's mean and variance are computed without, and broadcast then.
    """

    def pattern(self) -> Any:
        """What puts axes back."""
        return of(Reshape, Unsqueeze)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """All that is computed in front comes from reductions whose axes come back where they were."""
        found = _region(root)
        return found if isinstance(found, NoMatch) else True

    def rewrite(self, root: Node) -> Replacement:
        """The same of reductions that keep their axes; who else reads a value gets it without them."""
        region = _region(root)
        assert isinstance(region, _Region) and root.inputs[0] is not None
        kept: dict[Tensor, Tensor] = {}
        for leaf, maker in region.leaves.items():
            op: Any = maker.op
            assert maker.inputs[0] is not None
            kept[leaf] = (
                maker.inputs[0] if isinstance(op, Squeeze) else attrs.evolve(op, keepdims=True)(maker.inputs[0])
            )
        for node in region.inner:
            kept[node.output] = node.op(*(None if t is None else kept.get(t, t) for t in node.inputs))
        others = {tensor: Squeeze(axes=region.axes)(kept[tensor]) for tensor in region.shared(root)}
        return Replacement((kept[root.inputs[0]],), others, [*region.leaves.values(), *region.inner])


@attrs.frozen
class _Region:
    """What is computed between reductions and a node that puts their axes back.

    Attributes:
        axes: what was dropped and comes back.
        leaves: results without the axes, and the reductions (or Squeezes of what has the axes) that made them.
        inner: elementwise nodes, operands first.
    """

    axes: tuple[int, ...]
    leaves: Mapping[Tensor, Node]
    inner: Sequence[Node]

    def shared(self, root: Node) -> list[Tensor]:
        """The values that somebody else reads, too; what a Squeeze makes stays as it is."""
        made = [leaf for leaf, maker in self.leaves.items() if not isinstance(maker.op, Squeeze)]
        made += [node.output for node in self.inner]
        reads = [tensor for node in (*self.inner, root) for tensor in node.inputs]
        return [tensor for tensor in made if tensor.use_count > sum(t is tensor for t in reads)]


def _region(root: Node) -> _Region | NoMatch:
    """What is in front of a node that puts axes back, when nothing else than reductions without them goes into it."""
    walk = _Walk(root)
    assert root.inputs[0] is not None
    failed = walk.visit(root.inputs[0])
    if failed is not None:
        return failed
    inner = walk.seen
    if len(walk.axes) != 1 or not (inner or any(not isinstance(m.op, Squeeze) for m in walk.leaves.values())):
        return no("there is no reduction in front of it", root)
    shape = next(iter(walk.leaves)).type.shape
    if any(tensor.type.shape != shape for tensor in (*walk.leaves, *(node.output for node in inner))):
        return no("a constant broadcasts what was reduced", root)
    region = _Region(next(iter(walk.axes)), walk.leaves, inner)
    return region if len(region.shared(root)) <= 1 else no("several values have other users", root)


@attrs.define
class _Walk:
    """Going from a node that puts axes back to the reductions in front of it.

    Attributes:
        root: the node.
        axes: what the reductions drop.
        leaves: as of a region.
        seen: elementwise nodes, operands first.
        met: how many elementwise nodes were met.
    """

    root: Node
    axes: set[tuple[int, ...]] = attrs.field(factory=set[tuple[int, ...]])
    leaves: dict[Tensor, Node] = attrs.field(factory=dict[Tensor, Node])
    seen: list[Node] = attrs.field(factory=list[Node])
    met: int = 0

    def visit(self, tensor: Tensor) -> NoMatch | None:
        """Look at a tensor and all in front of it; the answer says why it is not computed of reductions alone."""
        maker = tensor.producer
        if tensor in self.leaves or (tensor.data is not None and tensor.data.size == 1) or maker in self.seen:
            return None
        if maker is None or maker.graph is not self.root.graph:
            return no("it is not made by a reduction", tensor)
        axes = _dropped(maker)
        if axes is not None:
            return self._leaf(tensor, maker, axes)
        if not isinstance(maker.op, ELEMENTWISE):
            return no("it is neither a reduction that drops axes nor elementwise on such", maker)
        self.met += 1
        if self.met > MOST_NODES:
            return no(f"more than {MOST_NODES} nodes are in front of it", self.root)
        for operand in maker.inputs:
            failed = None if operand is None else self.visit(operand)
            if failed is not None:
                return failed
        self.seen.append(maker)
        return None

    def _leaf(self, tensor: Tensor, maker: Node, axes: tuple[int, ...]) -> NoMatch | None:
        assert maker.inputs[0] is not None
        kept = tuple(1 if i in axes else d for i, d in enumerate(maker.inputs[0].type.dims))
        if kept != self.root.output.type.shape:
            return no("the axes do not come back where they were", maker)
        self.leaves[tensor] = maker
        self.axes.add(axes)
        return None


def _dropped(maker: Node) -> tuple[int, ...] | None:
    """The axes that a reduction or a Squeeze drops, counted from the first; None for other nodes."""
    op: Any = maker.op
    x = maker.inputs[0] if maker.inputs else None
    if x is None or x.type.shape is None or len(maker.inputs) != 1 or not isinstance(op, (*REDUCTIONS, Squeeze)):
        return None
    if not op.axes or (not isinstance(op, Squeeze) and op.keepdims):
        return None
    return tuple(sorted(axis % len(x.type.shape) for axis in op.axes))


class DropReductionOfOne(Rule):
    """A sum, mean, product, maximum or minimum along axes of extent 1 is the operand, maybe without these axes."""

    def pattern(self, x: Any) -> Any:
        """The reductions that leave one element as it is."""
        return of(*OF_ONE)(x).named("reduce")

    def check(self, x: Tensor, reduce: Node) -> bool | NoMatch:
        """The axes are known, and each has the extent 1."""
        axes = reduce.attributes["axes"]
        if not axes or x.type.shape is None or reduce.output.type.dtype is not x.type.dtype:
            return no("the axes or the rank are not known", reduce)
        return all(x.type.dims[axis] == 1 for axis in axes) or no("an axis has more elements than one", reduce)

    def rewrite(self, x: Tensor, reduce: Node) -> Tensor:
        """The operand, or a Squeeze of it."""
        op: Any = reduce.op
        return x if op.keepdims else Squeeze(axes=tuple(axis % x.type.rank for axis in op.axes))(x)


RULES = (KeepReducedAxes, DropReductionOfOne)
