"""Parts of an axis: what is split from the last axis and picked, cut piece by piece, or split behind a Transpose.

torch.nn.MultiheadAttention packs query, key and value into one product and takes them apart so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.ir.dims import is_static, static
from uair.ir.graph import Node, Tensor
from uair.ops import Gather, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze
from uair.passes.simplify.arithmetic import repeated_value
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Replacement, Rule, no, of

_NEAR = 200
"""Nodes among which the Slices of one tensor are looked for."""
MOST_AXES = 4
"""Of a Transpose that is made."""


class SqueezeBeforeTranspose(Rule):
    """A Squeeze behind a Transpose goes in front of it where it meets another operator that only changes the shape."""

    def pattern(self, x: Any) -> Any:
        """Both in a row."""
        return of(Squeeze)(of(Transpose)(x).named("turn")).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """Its axes are known, and x comes from a Reshape."""
        op = root.op
        assert isinstance(op, Squeeze)
        if not op.axes or len(root.inputs) > 1 or x.type.shape is None:
            return no("the axes that go are not known", root)
        shaped = x.producer is not None and isinstance(x.producer.op, (Reshape, Squeeze, Unsqueeze))
        return shaped or no("it would meet no Reshape", x)

    def rewrite(self, x: Tensor, turn: Node, root: Node) -> Tensor:
        """The Squeeze first."""
        op, order = root.op, turn.op
        assert isinstance(op, Squeeze) and isinstance(order, Transpose) and op.axes is not None
        rank = len(order.perm)
        gone = {order.perm[a % rank] for a in op.axes}
        kept = [a for a in range(rank) if a not in gone]
        perm = tuple(kept.index(a) for a in order.perm if a not in gone)
        return Transpose(perm=perm)(Squeeze(axes=tuple(sorted(gone)))(x))


class GatherBeforeTranspose(Rule):
    """One place of an axis that a Transpose moved is taken in front of it, where the other axes keep their order."""

    def pattern(self, x: Any, index: Any) -> Any:
        """The Transpose may have other users, which take other places."""
        return of(Gather)(of(Transpose)(x).named("turn").shared(), index).named("root")

    def check(self, turn: Node, index: Tensor, root: Node) -> bool | NoMatch:
        """The place is one known number."""
        if index.type.shape != () or repeated_value(index) is None:
            return no("the place is not one known number", index)
        rest = _rest(turn, root)
        return rest == sorted(rest) or no("the other axes change their order", turn)

    def rewrite(self, x: Tensor, index: Tensor, turn: Node, root: Node) -> Tensor:
        """The Gather alone."""
        assert isinstance(turn.op, Transpose) and isinstance(root.op, Gather)
        return Gather(axis=turn.op.perm[root.op.axis])(x, index)


def _rest(turn: Node, root: Node) -> list[int]:
    """The axes that a Gather of one place leaves, as they were before the Transpose."""
    assert isinstance(turn.op, Transpose) and isinstance(root.op, Gather)
    perm = list(turn.op.perm)
    perm.pop(root.op.axis)
    return perm


class SliceOfSplitAxis(Rule):
    """One place of an axis that a Reshape has split off is a Slice of the axis that it was split from."""

    def pattern(self, x: Any, index: Any) -> Any:
        """The Reshape may have other users, which take other places."""
        return of(Gather)(of(Reshape)(x).named("split").shared(), index).named("root")

    def check(self, x: Tensor, index: Tensor, split: Node, root: Node) -> bool | NoMatch:
        """The place is one known number, and the axis was in front of the one that is left of the split."""
        if index.type.shape != () or repeated_value(index) is None:
            return no("the place is not one known number", index)
        before, after = x.type.shape, split.output.type.shape
        assert isinstance(root.op, Gather)
        if before is None or after is None or len(after) != len(before) + 1:
            return no("the Reshape does not split one axis into two", split)
        axis = root.op.axis % len(after)
        if axis + 1 >= len(after) or not is_static(after[axis : axis + 2]) or after[axis] == 1:
            return no("the axis is not the outer one of two that are known", split)
        outer, inner = static(after[axis : axis + 2])
        same = before == (*after[:axis], outer * inner, *after[axis + 2 :])
        return same or no("the Reshape does not split this axis from one of the operand", split)

    def rewrite(self, x: Tensor, index: Tensor, split: Node, root: Node) -> Tensor:
        """The Slice."""
        value = repeated_value(index)
        assert value is not None and isinstance(root.op, Gather)
        axis = root.op.axis % split.output.type.rank
        outer, inner = static(split.output.type.dims[axis : axis + 2])
        place = int(value) % outer
        return Slice(axes=(axis,), starts=(place * inner,), ends=((place + 1) * inner,), steps=(1,))(x)


class SplitFromSlices(Rule):
    """Slices that together are all of an axis, each a part of it, are one Split."""

    def pattern(self, x: Any) -> Any:
        """The last one of them."""
        return of(Slice)(x).named("root")

    def check(self, x: Tensor, root: Node) -> bool | NoMatch:
        """The others are in front of it, not far away."""
        slices = _slices(x, root)
        if isinstance(slices, NoMatch):
            return slices
        missing, node = set(slices) - {root}, root.previous
        for _ in range(_NEAR):
            if node is None or not missing:
                break
            missing.discard(node)
            node = node.previous
        return not missing or no(
            "another one of the Slices stands behind it, or far in front of it", next(iter(missing))
        )

    def rewrite(self, x: Tensor, root: Node) -> Replacement | NoMatch:
        """One Split."""
        slices = _slices(x, root)
        if isinstance(slices, NoMatch):
            return slices
        bounds = [_bounds(node) for node in slices]
        (axis,) = {found[0] for found in bounds if found is not None}
        made = Split(axis=axis, sizes=tuple(found[2] - found[1] for found in bounds if found is not None)).node(x)
        parts = dict(zip(slices, made.outputs, strict=True))
        result = parts.pop(root)
        return Replacement((result,), {node.output: part for node, part in parts.items()}, slices)


def _slices(x: Tensor, root: Node) -> Sequence[Node] | NoMatch:
    """The Slices of x along the axis of `root`, in their order on it, when they are all of it."""
    own = _bounds(root)
    if own is None:
        return no("it does not cut one axis by known bounds, or the axis is open", root)
    found: dict[int, Node] = {}
    for user in dict.fromkeys(x.users):
        bounds = _bounds(user) if isinstance(user.op, Slice) and user.graph is root.graph else None
        if bounds is not None and bounds[0] == own[0]:
            if bounds[1] in found:
                return no("two of the Slices of this axis begin at one place", user)
            found[bounds[1]] = user
    slices = [found[start] for start in sorted(found)]
    at = 0
    for node in slices:
        bounds = _bounds(node)
        if bounds is None or bounds[1] != at:
            break
        at = bounds[2]
    whole = at == x.type.dims[own[0]] and len(slices) > 1
    return slices if whole else no("the Slices of this axis are not all of it, side by side", root)


def _bounds(node: Node) -> tuple[int, int, int] | None:
    """Axis, start and end of a Slice of one axis in steps of 1."""
    op, x = node.op, node.inputs[0]
    if not has_known_bounds(op) or x is None or x.type.shape is None or len(op.axes) != 1 or op.steps != (1,):
        return None
    axis = op.axes[0] % x.type.rank
    extent, start, end = x.type.dims[axis], op.starts[0], op.ends[0]
    if not isinstance(extent, int) or not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end, _ = slice(start, end).indices(extent)
    return (axis, start, end) if start < end else None


class SplitBeforeTranspose(Rule):
    """A Reshape that splits axes behind a Transpose goes in front of it where it meets another Reshape."""

    def pattern(self, x: Any) -> Any:
        """Reshape, Transpose, Reshape; the first one may have other users."""
        return of(Reshape)(of(Transpose)(of(Reshape)(x).named("first").shared()).named("turn")).named("root")

    def check(self, turn: Node, root: Node) -> bool | NoMatch:
        """Every axis of the Transpose is split into some of the result's, which are as few as devices take."""
        if root.output.type.shape is not None and root.output.type.rank > MOST_AXES:
            return no(f"a Transpose of more than {MOST_AXES} axes would come of it", root)
        groups = _groups(turn.output, root.output)
        return groups is not None or no("it does more than to split axes, or an extent is open", root)

    def rewrite(self, first: Node, turn: Node, root: Node) -> Tensor:
        """Both Reshapes first, which become one."""
        groups = _groups(turn.output, root.output)
        assert groups is not None and isinstance(turn.op, Transpose)
        parts = {axis: group for axis, group in zip(turn.op.perm, groups, strict=True)}
        shape: list[int] = []
        places: dict[int, list[int]] = {}
        for axis in range(len(groups)):
            places[axis] = list(range(len(shape), len(shape) + len(parts[axis])))
            shape += parts[axis]
        perm = tuple(place for axis in turn.op.perm for place in places[axis])
        return Transpose(perm=perm)(Reshape(shape=tuple(shape))(first.output))


def _groups(before: Tensor, after: Tensor) -> list[list[int]] | None:
    """What each axis is split into; None when a Reshape does something else."""
    if not before.type.is_static or not after.type.is_static or len(after.type.dims) <= len(before.type.dims):
        return None
    given = list(static(after.type.dims))
    groups: list[list[int]] = []
    for extent in static(before.type.dims):
        group, size = list[int](), 1
        while given and (size < extent or not group):
            size *= given[0]
            group.append(given.pop(0))
        if size != extent:
            return None
        groups.append(group)
    return groups if not given else None


RULES = (SqueezeBeforeTranspose, GatherBeforeTranspose, SliceOfSplitAxis, SplitFromSlices, SplitBeforeTranspose)
