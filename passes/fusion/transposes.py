"""Transposes moved to where fewer of them do: behind sums of transposed tensors, to a later Transpose, past reductions.

A region of nodes that compute the same whatever the order of the axes is (`propagate_layout.moves`) takes what is in
front of its Transposes instead, and one Transpose stands behind it, if any. These rules run when all is recognized that
exporters spell out around Transposes: attention, rotary positions, normalizations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs

import uair.ops
from uair.ir.graph import Node, Tensor
from uair.ops import ArgMax, ArgMin, Concat, Transpose
from uair.ops.base import Operator
from uair.ops.reduction import Reduction
from uair.passes.propagate_layout.moves import Move, Order, Perm, move, moved_constant
from uair.rewrite import NoMatch, Replacement, Rule, no, of

MOST_NODES = 64
"""Of a region; what exporters leave between Transposes is shorter."""

_OPERATORS: tuple[type[Operator], ...] = tuple(getattr(uair.ops, name) for name in uair.ops.OPERATORS)
JOINS = (*(op for op in _OPERATORS if op.elementwise), Concat)
EXTREMES = (ArgMax, ArgMin)
REDUCTIONS = (*(op for op in _OPERATORS if issubclass(op, Reduction)), *EXTREMES)


@attrs.frozen
class Root:
    """The last node of a region, as it computes on operands in the other form.

    Attributes:
        move: its operator; None where it vanishes.
        carried: operand numbers that are taken in the other form.
        behind: the Transpose that makes its result what it was; None where none is needed.
    """

    move: Move | None
    carried: tuple[int, ...]
    behind: Perm | None = None


@attrs.frozen
class Region:
    """Nodes that can compute on what is in front of Transposes.

    Attributes:
        order: the other form, that in front of the Transposes.
        root: the last node.
        moves: the nodes in front of it, in their order.
        gone: Transposes that nothing else needs.
        added: tensors that are transposed for it.
    """

    order: Order
    root: Root
    moves: dict[Node, Move]
    gone: tuple[Node, ...]
    added: tuple[Tensor, ...]

    @property
    def gain(self) -> int:
        """How many Transposes fewer it leaves."""
        return len(self.gone) + (self.root.move is None) - len(self.added) - (self.root.behind is not None)


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes one."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def best_region(node: Node) -> Region | None:
    """The region in front of a node that saves most Transposes; None where there is none with a Transpose."""
    found = [region for perm in _perms_above(node) if (region := _region(node, perm)) is not None and region.gone]
    return max(found, key=lambda region: region.gain, default=None)


# ----------------------------------------------------------------------------------------------------- finding a region
def _perms_above(node: Node) -> list[Perm]:
    """The permutations that a region in front of a node could do without."""
    found: dict[Perm, None] = {}
    seen, todo = {node}, [node]
    while todo and len(seen) <= MOST_NODES:
        for tensor in todo.pop().inputs:
            maker = None if tensor is None else tensor.producer
            if maker is None or maker in seen or maker.graph is not node.graph:
                continue
            if isinstance(maker.op, Transpose):
                found[maker.op.perm] = None
            elif all(user in seen for each in maker.outputs for user in each.users):
                seen.add(maker)
                todo.append(maker)
    return list(found)


def _region(node: Node, perm: Perm) -> Region | None:
    """The region in front of a node on what Transposes by `perm` read."""
    order = Order(inverse(perm))
    root = _root(node, perm, order)
    if root is None or not _fits(node, root.carried, order):
        return None
    moves: dict[Node, Move] = {}
    inside, operands = {node}, [node.inputs[i] for i in root.carried]
    waiting = dict.fromkeys(operands)
    while waiting:
        tensor = waiting.popitem()[0]
        maker = None if tensor is None else tensor.producer
        if maker is None or maker in inside or maker.graph is not node.graph or len(inside) > MOST_NODES:
            continue
        if any(user not in inside for each in maker.outputs for user in each.users):
            continue  # another node that may come into the region reads it: it is looked at again then
        moved = move(maker, "kept", order)
        if moved is None or not moved.results or isinstance(maker.op, Transpose):
            continue
        if _fits(maker, moved.carried, order):
            inside.add(maker)
            moves[maker] = moved
            waiting.update(dict.fromkeys(maker.inputs[i] for i in moved.carried))
    return _worthwhile(Region(order, root, moves, (), ()), node, perm)


def _root(node: Node, perm: Perm, order: Order) -> Root | None:
    """The last node of a region, on operands in the other form."""
    op: Any = node.op
    if isinstance(op, Transpose):
        if len(op.perm) != len(perm):
            return None
        composed = tuple(perm[i] for i in op.perm)
        changes = composed != tuple(range(len(perm)))
        return Root(Move(Transpose(perm=composed), (0,)) if changes else None, (0,))
    if isinstance(op, REDUCTIONS):
        return _reduced(node, perm)
    moved = move(node, "kept", order)
    return None if moved is None else Root(moved, moved.carried, perm if moved.results else None)


def _reduced(node: Node, perm: Perm) -> Root | None:
    """A reduction in front of the Transpose, which has fewer axes behind it."""
    op: Any = node.op
    given = (op.axis,) if isinstance(op, EXTREMES) else op.axes
    x = node.inputs[0]
    if len(node.inputs) != 1 or x is None or x.type.shape is None or x.type.rank != len(perm):
        return None
    if given is None:
        return None if isinstance(op, EXTREMES) else Root(Move(op, (0,)), (0,), perm if op.keepdims else None)
    axes = tuple(sorted(perm[a] for a in given))
    moved = attrs.evolve(cast(Any, op), **({"axis": axes[0]} if isinstance(op, EXTREMES) else {"axes": axes}))
    if op.keepdims:
        return Root(Move(moved, (0,)), (0,), perm)
    left = [axis for axis in perm if axis not in axes]
    behind = tuple(sorted(left).index(axis) for axis in left)
    return Root(Move(moved, (0,)), (0,), behind if left != sorted(left) else None)


def _fits(node: Node, carried: Iterable[int], order: Order) -> bool:
    """Whether the operands in the other form are constants or have all axes."""
    operands = (node.inputs[i] for i in carried)
    return all(t is not None and (t.is_constant or order.covers(t.type.rank)) for t in operands)


def _worthwhile(region: Region, node: Node, perm: Perm) -> Region:
    """The region without the nodes whose operands take more Transposes than their results would."""
    while True:
        region = _counted(region, node, perm)
        for maker in region.moves:
            if any(t.producer in region.moves for t in maker.inputs if t is not None):
                continue
            rest = {each: moved for each, moved in region.moves.items() if each is not maker}
            less = _counted(attrs.evolve(region, moves=rest), node, perm)
            if less.gain > region.gain:
                region = less
                break
        else:
            return region


def _counted(region: Region, node: Node, perm: Perm) -> Region:
    """The region with what it saves and costs."""
    inside = {node, *region.moves}
    operands = [node.inputs[i] for i in region.root.carried]
    operands += [maker.inputs[i] for maker, moved in region.moves.items() for i in moved.carried]
    gone, added = dict[Node, None](), dict[Tensor, None]()
    for tensor in operands:
        maker = None if tensor is None else tensor.producer
        if tensor is None or tensor.is_constant or maker in inside:
            continue
        if maker is None or not isinstance(maker.op, Transpose) or maker.op.perm != perm:
            added[tensor] = None
        elif all(user in inside for user in tensor.users):
            gone[maker] = None
    return attrs.evolve(region, gone=tuple(gone), added=tuple(added))


# ------------------------------------------------------------------------------------------------------ carrying it out
def carried_out(region: Region, node: Node) -> Replacement:
    """The region's nodes in the other form, and the Transpose behind them."""
    perm = inverse(region.order.perm or ())
    made: dict[Tensor, Tensor] = {}

    def other(tensor: Tensor) -> Tensor:
        """A tensor in the other form."""
        if tensor.data is not None:
            single = tensor.type.size == 1 and tensor.type.rank < len(perm)
            return tensor if single else moved_constant(tensor, region.order, len(perm))
        if tensor not in made:
            maker = tensor.producer
            if maker is not None and isinstance(maker.op, Transpose) and maker.op.perm == perm:
                made[tensor] = _operand(maker)
            else:
                made[tensor] = Transpose(perm=region.order.of(len(perm)))(tensor)
        return made[tensor]

    def results(maker: Node, moved: Move) -> tuple[Tensor, ...]:
        operands = [other(t) if t is not None and i in moved.carried else t for i, t in enumerate(maker.inputs)]
        return moved.op.node(*operands).outputs

    for maker, moved in reversed(region.moves.items()):  # users were found first
        for old, new in zip(maker.outputs, results(maker, moved), strict=True):
            new.name = old.name
            made[old] = new
    root = region.root
    last = results(node, root.move) if root.move is not None else (other(_operand(node)),)
    if root.behind is not None:
        last = tuple(Transpose(perm=root.behind)(t) for t in last)
    return Replacement(last, stands_for=(*region.moves, *region.gone))


def _operand(node: Node) -> Tensor:
    tensor = node.inputs[0]
    assert tensor is not None
    return tensor


# ---------------------------------------------------------------------------------------------------------------- rules
class JoinTransposes(Rule):
    """Of several transposed operands one result is transposed: a sum of two, or of their squares.

    The Transpose then stands behind the activation that follows, for which a device need not pass over it.
    """

    def pattern(self) -> Any:
        """Operators that work element by element, and Concat."""
        return of(*JOINS)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Fewer Transposes are left, of no more elements."""
        region = best_region(node)
        if region is None:
            return no("no Transpose in front of it is moved behind it", node)
        if region.gain <= 0:
            return no("no fewer Transposes would be left", region.gone[0])
        if _continues(node):
            return no("the operator behind it is the end of its chain", node)
        return _no_larger(region, node) or no("the result is larger than what is transposed in front of it", node)

    def rewrite(self, node: Node) -> Replacement:
        """What is in front of the Transposes, and one behind."""
        return _rewritten(node)


class JoinTransposesAround(Rule):
    """Two Transposes with operators between them that take axes in any order are one, or none when they cancel."""

    def pattern(self) -> Any:
        """The last Transpose."""
        return of(Transpose)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Fewer Transposes are left."""
        region = best_region(node)
        if region is None:
            return no("no Transpose in front of it meets it", node)
        return region.gain > 0 or no("no fewer Transposes would be left", region.gone[0])

    def rewrite(self, node: Node) -> Replacement:
        """What is in front of the first ones, and what both do together behind."""
        return _rewritten(node)


class ReduceBeforeTranspose(Rule):
    """A reduction in front of which axes are moved takes them where they were; what it leaves may still be moved."""

    def pattern(self) -> Any:
        """Reductions, and the positions of extremes."""
        return of(*REDUCTIONS)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Fewer Transposes are left, or one of the smaller result."""
        region = best_region(node)
        if region is None:
            return no("no Transpose in front of it is moved behind it", node)
        smaller = region.gain == 0 and not region.added
        return region.gain > 0 or smaller or no("as many Transposes would be left", region.gone[0])

    def rewrite(self, node: Node) -> Replacement:
        """The reduction of other axes."""
        return _rewritten(node)


def _rewritten(node: Node) -> Replacement:
    region = best_region(node)
    assert region is not None
    return carried_out(region, node)


def _continues(node: Node) -> bool:
    """Whether nothing but an operator with one operand that is no constant, element by element, reads a result."""
    users = list(node.outputs[0].uses) if len(node.outputs) == 1 else []
    if len(users) != 1 or users[0][0].graph is not node.graph or not users[0][0].op.elementwise:
        return False
    user, number = users[0]
    rest = [t for i, t in enumerate(user.inputs) if i != number and t is not None]
    return all(t.is_constant for t in rest) and user.outputs[0].type.shape == node.outputs[0].type.shape


def _no_larger(region: Region, node: Node) -> bool:
    """Whether the Transpose behind a region has no more elements to move than those in front of it."""
    if region.root.behind is None or isinstance(node.op, Concat):
        return True
    result = node.outputs[0].type
    gone = [each.output.type for each in region.gone]
    if all(t.is_static for t in (result, *gone, *(t.type for t in region.added))):
        return result.size <= sum(t.size for t in gone) - sum(t.type.size for t in region.added)
    return any(t.shape == result.shape for t in gone)


RULES = (JoinTransposesAround, ReduceBeforeTranspose, JoinTransposes)
