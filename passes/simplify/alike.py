"""Parts of an axis with which the same is done side by side before they are joined again: it is done with all at once.

V-JEPA 2 turns each third of the features of queries and keys by itself, one for each axis of a film.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dims import Dim, Shape, is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, LabelEncoder, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Replacement, Rule, no, of

_DEEPEST = 24
"""Operators between the parts and where they are joined."""

Tensors: TypeAlias = "tuple[Tensor, ...]"
Build: TypeAlias = "Callable[[], Tensor]"


@attrs.define
class _Joining:
    """How tensors that are computed alike come of one: found first, built when all fits.

    Attributes:
        nodes: those that compute the tensors, and then nobody needs.
        cuts: Splits of which some neighbouring parts are joined, and from which to which one.
        found: by tensors and the axis along which they are joined, how to build what joins them.
        built: what was built, by the same keys, and Splits by the nodes that they stand for.
        others: parts of the Splits in `cuts` that are taken from others now.
    """

    nodes: dict[Node, None] = attrs.Factory(dict[Node, None])
    cuts: dict[Node, tuple[int, int]] = attrs.Factory(dict[Node, "tuple[int, int]"])
    found: dict[tuple[Tensors, int], Build | NoMatch] = attrs.Factory(dict[tuple[Tensors, int], Any])
    built: dict[Any, Any] = attrs.Factory(dict[Any, Any])
    others: dict[Tensor, Tensor] = attrs.Factory(dict[Tensor, Tensor])

    # -------------------------------------------------------------------------------------------------- what is joined
    def joined(self, tensors: Tensors, axis: int, depth: int = 0) -> Build | NoMatch:
        """How to build the Concat of tensors along an axis without a Concat."""
        key = tensors, axis
        if key not in self.found:
            made = self._joined(tensors, axis, depth)
            self.found[key] = made if isinstance(made, NoMatch) else lambda: self.once(key, made)
        return self.found[key]

    def once(self, key: Any, build: Callable[[], Any]) -> Any:
        """Build something the first time that it is asked for."""
        if key not in self.built:
            self.built[key] = build()
        return self.built[key]

    def _joined(self, tensors: Tensors, axis: int, depth: int) -> Build | NoMatch:
        if all(t.is_constant for t in tensors):
            return lambda: _constants(tensors, axis, [t.type.dims[axis] for t in tensors])
        nodes = [t.producer for t in tensors if t.producer is not None]
        cut = self._cut(tensors, axis)
        if cut is not None:
            return cut
        first = nodes[0] if len(nodes) == len(tensors) else None
        if first is None or depth == _DEEPEST or any(type(n.op) is not type(first.op) for n in nodes):
            return no("the tensors are not computed alike, of parts of one tensor", tensors[-1])
        if len(dict.fromkeys(nodes)) != len(nodes) or not all(_is_known(t) for n in nodes for t in n.inputs):
            return no("they are no neighbouring parts of one tensor in order, or a rank is open", tensors[-1])
        self.nodes.update(dict.fromkeys(nodes))
        if isinstance(first.op, (Reshape, Squeeze, Unsqueeze)):
            return self._reshaped(nodes, tensors, axis, depth)
        if any(n.op != first.op for n in nodes):
            return no("the operators differ", tensors[-1])
        if isinstance(first.op, Transpose):
            return self._same(nodes, first.op.perm[axis], depth)
        if isinstance(first.op, (Split, Slice, Concat)):
            return self._along_other_axis(nodes, tensors, axis, depth)
        if first.op.elementwise and not isinstance(first.op, LabelEncoder):
            return self._elementwise(nodes, tensors, axis, depth)
        return no("the operator is not known to do the same for all parts", first)

    def _cut(self, tensors: Tensors, axis: int) -> Build | None:
        """The tensor of which these are neighbouring parts, or a part of it."""
        parts = [_part(t, axis) for t in tensors]
        first, last = parts[0], parts[-1]
        if first is None or last is None or len(parts) < 2:
            return None
        x = first[0]
        if any(b is None or a is None or a[2] != b[1] or b[0] is not x for a, b in itertools.pairwise(parts)):
            return None
        if (first[1], last[2]) == (0, x.type.dims[axis]):
            return lambda: x
        split = tensors[0].producer
        assert split is not None
        if not isinstance(split.op, Split):
            return lambda: Slice(axes=(axis,), starts=(first[1],), ends=(last[2],), steps=(1,))(x)
        if any(t.producer is not split for t in tensors) or split in self.cuts:
            return None
        self.cuts[split] = tensors[0].index, tensors[-1].index
        return lambda: self._split(split, tensors)

    def _split(self, split: Node, tensors: Tensors) -> Tensor:
        """The part of a Split into fewer that several of its parts are."""
        first, last = tensors[0].index, tensors[-1].index
        axis = split.attributes["axis"] % tensors[0].type.rank
        sizes = [d for t in split.outputs if isinstance(d := t.type.dims[axis], int)]
        x = split.inputs[0]
        assert x is not None
        sizes[first : last + 1] = [sum(sizes[first : last + 1])]
        made = Split(axis=axis, sizes=tuple(sizes)).node(x)
        kept = [*split.outputs[: first + 1], *split.outputs[last + 1 :]]
        self.others.update({old: new for old, new in zip(kept, made.outputs, strict=True) if old not in tensors})
        return made.outputs[first]

    # ------------------------------------------------------------------------------------------- what is done with all
    def _same(self, nodes: Sequence[Node], axis: int, depth: int) -> Build | NoMatch:
        """One operator on the joined first operands."""
        x = self.joined(_operands(nodes, 0), axis, depth + 1)
        return x if isinstance(x, NoMatch) else lambda: nodes[0].op(x())

    def _reshaped(self, nodes: Sequence[Node], tensors: Tensors, axis: int, depth: int) -> Build | NoMatch:
        """A Reshape of the joined operands, where as many elements are in front of the axis before and after."""
        operands, shapes = _operands(nodes, 0), [t.type.dims for t in tensors]
        source = _axis_before(operands[0].type.dims, shapes[0], axis)
        if source is None or any(len(n.inputs) > 1 for n in nodes):
            return no("a Reshape cuts across the axis", nodes[0])
        if not _differ_along(operands, source) or not _differ_along(tensors, axis):
            return no("the shapes differ besides the axis", nodes[0])
        x, extents = self.joined(operands, source, depth + 1), [shape[axis] for shape in shapes]
        if isinstance(x, NoMatch) or not is_static(extents):
            return no("an extent is open", nodes[0]) if not isinstance(x, NoMatch) else x
        shape = tuple(sum(static(extents)) if i == axis else d for i, d in enumerate(shapes[0]))
        return lambda: Reshape(shape=shape)(x())

    def _along_other_axis(self, nodes: Sequence[Node], tensors: Tensors, axis: int, depth: int) -> Build | NoMatch:
        """One Split, Slice or Concat along an axis that is not the one of the parts."""
        op = nodes[0].op
        index = tensors[0].index
        rank = tensors[0].type.rank
        own = op.axes if has_known_bounds(op) else () if isinstance(op, Slice) else (nodes[0].attributes["axis"],)
        if not own or axis in [a % rank for a in own] or any(t.index != index for t in tensors):
            return no("it is along the axis of the parts, or the parts are not alike", nodes[0])
        operands = [self.joined(_operands(nodes, i), axis, depth + 1) for i in range(len(nodes[0].inputs))]
        given = [build for build in operands if not isinstance(build, NoMatch)]
        if len(given) != len(operands) or not _differ_along(tensors, axis):
            return next((each for each in operands if isinstance(each, NoMatch)), no("the shapes differ", nodes[0]))
        return lambda: self.once(tuple(nodes), lambda: nodes[0].op.node(*(build() for build in given))).outputs[index]

    def _elementwise(self, nodes: Sequence[Node], tensors: Tensors, axis: int, depth: int) -> Build | NoMatch:
        """One operator of joined operands; those that are the same for all parts stay."""
        given: list[Build] = []
        for i in range(len(nodes[0].inputs)):
            build = self._broadcast(_operands(nodes, i), tensors, axis, depth)
            if isinstance(build, NoMatch):
                return build
            given.append(build)
        return lambda: nodes[0].op(*(build() for build in given))

    def _broadcast(self, operands: Tensors, tensors: Tensors, axis: int, depth: int) -> Build | NoMatch:
        own = axis - tensors[0].type.rank + operands[0].type.rank
        if any(t.type.rank != operands[0].type.rank for t in operands):
            return no("the ranks of operands differ", operands[0])
        extents = [t.type.dims[axis] for t in tensors]
        given = [t.type.dims[own] if own >= 0 else 1 for t in operands]
        if given == [1] * len(given) and all(t is operands[0] for t in operands):
            return lambda: operands[0]
        if given == extents:
            return self.joined(operands, own, depth + 1)
        if own >= 0 and is_static(extents) and all(t.is_constant for t in operands):
            return lambda: _constants(operands, own, extents)
        return no("an operand is repeated along the axis of the parts", operands[-1])


def _operands(nodes: Sequence[Node], i: int) -> Tensors:
    return tuple(t for n in nodes if (t := n.inputs[i]) is not None)


def _is_known(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.type.shape is not None


def _part(tensor: Tensor, axis: int) -> tuple[Tensor, int, int] | None:
    """What a tensor is a part of along an axis, from where to where."""
    node = tensor.producer
    x = node.inputs[0] if node is not None and isinstance(node.op, (Split, Slice)) else None
    if node is None or x is None or x.type.shape is None:
        return None
    op, extent = node.op, x.type.dims[axis]
    if isinstance(op, Split):
        sizes = [t.type.dims[axis] for t in node.outputs]
        if op.axis % x.type.rank != axis or not is_static(sizes):
            return None
        start = sum(static(sizes)[: tensor.index])
        return x, start, start + static(sizes)[tensor.index]
    if not has_known_bounds(op) or [a % x.type.rank for a in op.axes] != [axis] or op.steps != (1,):
        return None
    if not isinstance(extent, int) or not is_static(op.starts) or not is_static(op.ends):
        return None
    start, end, _ = slice(op.starts[0], op.ends[0]).indices(extent)
    return x, start, end


def _constants(tensors: Tensors, axis: int, extents: Sequence[Dim]) -> Tensor:
    """Constants side by side, each repeated to an extent along the axis where it has one number there."""
    sizes = static(extents)
    sources = [t.data for t in tensors if t.data is not None]

    def join(*values: Array) -> Array:
        whole = zip(values, sizes, strict=True)
        return np.concatenate([v if v.shape[axis] == n else v.repeat(n, axis) for v, n in whole], axis)

    shape = tuple(sum(sizes) if i == axis else d for i, d in enumerate(static(tensors[0].type.dims)))
    return constant(derive(join, tuple(sources), sources[0].dtype, shape), tensors[0].name)


def _differ_along(tensors: Tensors, axis: int) -> bool:
    """Whether all other extents are equal."""
    return len({(*t.type.dims[:axis], *t.type.dims[axis + 1 :]) for t in tensors}) == 1


def _axis_before(before: Shape, after: Shape, axis: int) -> int | None:
    """The axis in front of a Reshape in front of which there are as many elements as in front of `axis` behind it."""
    wanted = after[:axis]
    found = [i for i in range(len(before)) if before[:i] == wanted or _as_many(before[:i], wanted)]
    return next((i for i in found if before[i] != 1), found[-1] if found else None)


def _as_many(a: Shape, b: Shape) -> bool:
    return is_static(a) and is_static(b) and 0 not in a and math.prod(static(a)) == math.prod(static(b))


class JoinedPartsAtOnce(Rule):
    """Neighbouring parts of a tensor with which the same is done before a Concat joins them are not taken apart."""

    def pattern(self) -> Any:
        """Any Concat."""
        return of(Concat)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """Operands side by side are computed alike, and nothing else takes what is computed on the way."""
        found = self.run(root)
        return found if isinstance(found, NoMatch) else True

    def rewrite(self, root: Node) -> Replacement:
        """The operators once, for all of the parts."""
        found = self.run(root)
        assert not isinstance(found, NoMatch) and isinstance(root.op, Concat)
        joining, (start, end), build = found
        made = build()
        operands = [*root.inputs[:start], made, *root.inputs[end:]]
        result = made if len(operands) == 1 else root.op(*operands)
        return Replacement((result,), joining.others, tuple(joining.nodes))

    @classmethod
    def run(cls, root: Node) -> tuple[_Joining, tuple[int, int], Build] | NoMatch:
        """The first operands side by side that are computed alike, from which to which one."""
        answer: NoMatch | None = no("no operands side by side are computed alike", root)
        if not all(_is_known(t) for t in root.inputs):
            return no("the rank of an operand is open", root)
        operands = tuple(t for t in root.inputs if t is not None)
        axis = root.attributes["axis"] % operands[0].type.rank
        for start, end in _runs(operands):
            joining = _Joining()
            build = joining.joined(operands[start:end], axis)
            answer = build if isinstance(build, NoMatch) else cls.taken_elsewhere(joining, root)
            if not isinstance(build, NoMatch) and answer is None:
                return joining, (start, end), build
        assert answer is not None
        return answer

    @staticmethod
    def taken_elsewhere(joining: _Joining, root: Node) -> NoMatch | None:
        """What besides the Concat takes something that is computed on the way, or a part of a Split that goes."""
        inside = {*joining.nodes, root}
        gone = [t for node in joining.nodes for t in node.outputs]
        for split, (first, last) in joining.cuts.items():
            gone += split.outputs[first : last + 1]
        for tensor in gone:
            if any(user not in inside for user in tensor.users):
                return no("something else takes what is computed of one part", tensor)
        return None


def _runs(operands: Tensors) -> Iterator[tuple[int, int]]:
    """Where operands side by side come of operators of one kind that compute something."""
    kinds = [None if t.producer is None or t.use_count > 1 else type(t.producer.op) for t in operands]
    start = 0
    for kind, group in itertools.groupby(kinds):
        end = start + len(list(group))
        if kind is not None and kind not in (Split, Slice, Concat) and end - start > 1:
            yield start, end
        start = end


RULES = (JoinedPartsAtOnce,)
