"""Attention that a model spells out: a product, scale, mask, Softmax, and a second product, as MatMul or as Einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, Shape, is_static, normal, prevails, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    Attention,
    Div,
    Einsum,
    Expand,
    LogicalAnd,
    LogicalNot,
    MatMul,
    Mul,
    Reshape,
    Softmax,
    Squeeze,
    Tanh,
    Transpose,
    Unsqueeze,
    Where,
)
from uair.passes.fusion.attention import guarded_softmax
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of

NEVER = {DType.F16: -6e4}
"""From which number on a summand swallows every score; -1e9 in types that are not named."""
MOST_FOLDED = 1 << 22
"""Elements of masks that are computed to see what they are, at most."""
_DEEPEST = 24
_PRODUCTS = (MatMul, Einsum)
_Perm: TypeAlias = "tuple[int, ...]"


@attrs.frozen(eq=False)
class _Operand:
    """A tensor, and its axes in the order batch, heads, places, size; or without heads."""

    tensor: Tensor
    perm: _Perm

    @property
    def dims(self) -> Shape:
        return tuple(self.tensor.type.dims[p] for p in self.perm)

    def turned(self) -> Tensor:
        """The tensor with its axes in that order, and one head where it has none."""
        tensor, perm = self.tensor, self.perm
        node = tensor.producer
        if node is not None and isinstance(node.op, Transpose) and node.inputs[0] is not None:
            perm = tuple(node.op.perm[p] for p in perm)
            tensor = node.inputs[0]
        if len(perm) == 3:
            tensor, perm = Unsqueeze(axes=(1,))(tensor), _with_head(perm)
        return tensor if _is_straight(perm) else Transpose(perm=perm)(tensor)


def _with_head(perm: _Perm) -> _Perm:
    """The order of axes that has one more, the second."""
    batch, *rest = (p + (p > 0) for p in perm)
    return (batch, 1, *rest)


@attrs.frozen(eq=False)
class _Mask:
    """What is added to the scores, or which of them are replaced.

    Attributes:
        tensor: numbers that are added, or bool, true where a score stays.
        value: what the others become; None for numbers.
        inverted: whether a score stays where the tensor is false.
        by_window: whether the tensor is a constant [windows, heads or 1, queries, keys].
    """

    tensor: Tensor
    value: float | None = None
    inverted: bool = False
    by_window: bool = False

    def known(self) -> Array | None:
        """Where scores stay, when constants say so."""
        if self.value is None:
            return None if self.by_window else _kept(self.tensor)
        found = _folded(self.tensor, _DEEPEST)
        return found if found is None or not self.inverted else np.logical_not(found)

    def kept(self) -> Tensor:
        """Where scores stay."""
        return LogicalNot()(self.tensor) if self.inverted else self.tensor


@attrs.frozen(eq=False)
class _Windows:
    """Scores [images * windows, heads, queries, keys] whose masks are by window: attention over windows * heads.

    Attributes:
        images: how many there are, maybe open.
        count: windows of each.
    """

    images: Dim
    count: int

    def attention(self, op: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """With a mask [windows, heads, queries, keys]; of one image the windows are the batch."""
        if self.images == 1:
            return op(q, k, v, mask)
        merged = [Reshape(shape=self._merged(t.type.dims))(t) for t in (q, k, v)]
        own = constant(mask.numpy().reshape(1, -1, *static(mask.type.dims[2:])), mask.name)
        return Reshape(shape=(*q.type.dims[:-1], v.type.dims[-1]))(op(*merged, own))

    def _merged(self, dims: Shape) -> Shape:
        """[images * windows, heads, ...] as [images, windows * heads, ...]."""
        return (self.images, normal(dims[1] * self.count), *dims[2:])


@attrs.frozen(eq=False)
class _Front:
    """What is in front of the Softmax: a product, the numbers that it is multiplied by, and what is added.

    A softcap c means that c * tanh(scores / c) is in the place of the scores; 0 that it is not.
    """

    product: Node
    scale: float
    softcap: float
    factors: tuple[Tensor, ...]
    masks: tuple[_Mask, ...]
    windows: _Windows | None


@attrs.frozen(eq=False)
class Parts:
    """What the operands and attributes of Attention are made of; `perm` is how the axes of the result lie."""

    q: _Operand
    k: _Operand
    v: _Operand
    scale: float
    factors: tuple[Tensor, ...]
    masks: tuple[_Mask, ...]
    perm: _Perm
    softcap: float = 0.0
    windows: _Windows | None = None

    def queries(self) -> Tensor:
        """The queries, times what the scores of each head are multiplied by."""
        q = self.q.turned()
        for factor in self.factors:
            q = Mul()(q, factor)
        return q


class RecognizeAttention(Rule):
    """softmax(scale q k^T + mask) v over three or four axes is Attention; of three the heads are missing.

    A Where may put zeros in the place of what is not a number: the probabilities of queries that no key is left for.
    """

    def pattern(self, v: Any) -> Any:
        """The second product, as Einsum in both orders; what is in front of it is followed by the check."""
        probabilities = of(Softmax, Where)(...).named("probabilities")
        return [of(*_PRODUCTS)(probabilities, v).named("root"), of(Einsum)(v, probabilities).named("root")]

    def check(self, root: Node, probabilities: Node) -> bool | NoMatch:
        """The products are those of attention, and the masks broadcast to the scores."""
        softmax = _softmax(probabilities)
        if softmax is None:
            return no("it does not put zeros in the place of the probabilities that are not numbers", probabilities)
        found = parts(softmax, softmax.inputs[0], values_of(root, _values_place(root, probabilities)))
        return found if isinstance(found, NoMatch) else True

    def rewrite(self, root: Node, probabilities: Node) -> Tensor:
        """Attention between Transposes."""
        softmax = _softmax(probabilities)
        assert softmax is not None
        return _attention(softmax, values_of(root, _values_place(root, probabilities)), root.output.type.dtype)


class RecognizeTransposedAttention(Rule):
    """v softmax(scale q k^T + mask)^T, where the places are the last axis, is Attention with the places in front.

    So attention over the places of images is written, for instance in YOLOv10 and YOLO11.
    """

    def pattern(self, scores: Any, v: Any) -> Any:
        """The second product, of the values and the turned probabilities."""
        turned = of(Transpose)(of(Softmax)(scores).named("softmax")).named("turned")
        return MatMul()(v, turned).named("root")

    def check(self, v: Tensor, turned: Node, softmax: Node) -> bool | NoMatch:
        """As of the other form; the Transpose turns queries and keys."""
        found = parts(softmax, softmax.inputs[0], self.values(v, turned))
        return found if isinstance(found, NoMatch) else True

    def rewrite(self, v: Tensor, turned: Node, softmax: Node) -> Tensor:
        """Attention between Transposes."""
        return _attention(softmax, self.values(v, turned), v.type.dtype)

    @staticmethod
    def values(v: Tensor, turned: Node) -> tuple[_Operand, _Perm] | None:
        """The values, and how the result's axes lie."""
        assert isinstance(turned.op, Transpose)
        rank = len(turned.op.perm)
        swapped = _swapped(rank)
        if v.type.shape is None or v.type.rank != rank or turned.op.perm != swapped:
            return None
        return _Operand(v, swapped), swapped


def _softmax(probabilities: Node) -> Node | None:
    """The Softmax itself, or that in whose result a Where, and nothing else, puts zeros for what is not a number."""
    if not isinstance(probabilities.op, Where):
        return probabilities
    softmax = guarded_softmax(probabilities)
    condition = probabilities.inputs[0]
    private = softmax is not None and softmax.output.use_count == 2 and condition and condition.use_count == 1
    return softmax if private else None


def _attention(softmax: Node, second: tuple[_Operand, _Perm] | None, dtype: DType) -> Tensor:
    """What stands in the place of the second product."""
    found = parts(softmax, softmax.inputs[0], second)
    assert isinstance(found, Parts)
    size = found.q.dims[-1]
    plain = isinstance(size, int) and size > 0 and math.isclose(found.scale, 1 / math.sqrt(size), rel_tol=1e-6)
    op_scale = None if plain else found.scale
    q, k, v = found.queries(), found.k.turned(), found.v.turned()
    if found.windows is None:
        mask, causal = _joined(found.masks, softmax.output.type.dims, dtype)
        if mask is not None and len(found.perm) == 3 and mask.type.rank == 3:
            mask = Unsqueeze(axes=(1,))(mask)
        y: Tensor = Attention(scale=op_scale, softcap=found.softcap, causal=causal)(
            q, k, v, *(() if mask is None else (mask,))
        )
    else:
        mask = _mask_of_windows(found.masks, found.windows, softmax.output.type.dims)
        y = found.windows.attention(Attention(scale=op_scale), q, k, v, mask)
    perm = found.perm if len(found.perm) == 4 else _with_head(found.perm)
    y = y if _is_straight(perm) else Transpose(perm=perm)(y)
    return y if len(found.perm) == 4 else Squeeze(axes=(1,))(y)


def _mask_of_windows(masks: tuple[_Mask, ...], windows: _Windows, scores: Shape) -> Tensor:
    """The sum of constant masks, [windows, heads, queries, keys]; scores are [images * windows, heads, ...]."""
    shape = (windows.count, *static(scores[1:]))
    total: Array = np.zeros(shape, masks[0].tensor.type.dtype.numpy)
    for mask in masks:
        total = total + np.broadcast_to(mask.tensor.numpy(), shape)
    return constant(total, masks[0].tensor.name)


def _is_straight(perm: _Perm) -> bool:
    return perm == tuple(range(len(perm)))


def _swapped(rank: int) -> _Perm:
    return (*range(rank - 2), rank - 1, rank - 2)


def parts(softmax: Node, scores: Tensor | None, second: tuple[_Operand, _Perm] | None) -> Parts | NoMatch:
    """What Attention takes; `second` are the values, and how the result's axes lie.

    Args:
        softmax: of the scores.
        scores: its operand, or what that is joined of.
        second: see `values_of`.
    """
    assert scores is not None and isinstance(softmax.op, Softmax)
    rank = 0 if scores.type.shape is None else scores.type.rank
    if rank not in (3, 4) or softmax.op.axis % rank != rank - 1:
        return no("the scores are not over the last of three or four axes", softmax)
    if second is None or len(second[1]) != rank:
        return no("the second product is not that of probabilities and values", softmax)
    v, perm = second
    front = _front(scores)
    first = None if front is None else _first(front.product)
    if first is None or front is None:
        return no("what is in front of the Softmax is no scaled product of queries and keys", softmax)
    q, factor = _unscaled(first[0])
    k, more = _unscaled(first[1])
    same = k.dims[:-2] == v.dims[:-2] and k.dims[-2] == v.dims[-2] and q.dims[-1] == k.dims[-1]
    if not same or not _shares_heads(q.dims[:-2], k.dims[:-2]) or q.dims[:-1] != scores.type.dims[:-1]:
        return no("the shapes of queries, keys and values do not fit", softmax)
    refusal = _refused_mask(front, scores.type.dims)
    if refusal is not None:
        return refusal
    if front.windows is not None and q.dims[:-2] != k.dims[:-2]:
        return no("windows share keys and values", softmax)
    scale = front.scale * factor * more
    return Parts(q, k, v, scale, front.factors, front.masks, perm, front.softcap, front.windows)


def _shares_heads(queries: Shape, keys: Shape) -> bool:
    """Whether keys have the batch and heads of the queries, or one head for all of them."""
    return keys == queries or (len(queries) == 2 and keys == (queries[0], 1))


def _refused_mask(front: _Front, scores: Shape) -> NoMatch | None:
    """Why one of the masks cannot be Attention's."""
    shapes = [mask.tensor.type.shape for mask in front.masks if not mask.by_window]
    if not all(_broadcasts(shape, scores, shapes if front.windows is None else ()) for shape in shapes):
        return no("the mask does not broadcast to the scores", front.product)
    if front.windows is None:
        return None
    if not is_static(scores[1:]):
        return no("an extent of the windows' scores is open", front.product)
    for mask in front.masks:
        alike = mask.by_window or mask.tensor.type.rank < 4 or mask.tensor.type.dims[0] == 1
        if mask.value is not None or not mask.tensor.is_constant or not alike:
            return no("a mask beside that of the windows is no constant that is the same for all", front.product)
    return None


def _letters(node: Node) -> tuple[str, str, str] | None:
    """The letters of the operands and of the result of an Einsum of two operands; each has four different ones."""
    assert isinstance(node.op, Einsum)
    left, arrow, result = node.op.equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if (
        not arrow
        or len(terms) != 2
        or any(len(t) != 4 or not t.isalpha() or len(set(t)) != 4 for t in (*terms, result))
    ):
        return None
    return terms[0], terms[1], result


def _places(term: str, letters: str) -> _Perm:
    return tuple(term.index(letter) for letter in letters)


def _values_place(root: Node, probabilities: Node) -> int:
    """Which operand of the second product the values are."""
    return 1 if root.inputs[0] is probabilities.output else 0


def values_of(root: Node, place: int = 1) -> tuple[_Operand, _Perm] | None:
    """The values, and how the result's axes lie: probabilities [batch, heads, queries, keys] times values.

    Args:
        root: the product.
        place: which operand the values are; an Einsum may have them first.
    """
    v = root.inputs[place]
    assert v is not None
    if v.type.shape is None or v.type.rank not in (3, 4):
        return None
    if isinstance(root.op, MatMul):
        straight = tuple(range(v.type.rank))
        return (
            None if root.op.trans_a else (_Operand(v, _swapped(v.type.rank) if root.op.trans_b else straight), straight)
        )
    letters = _letters(root)
    if letters is None or v.type.rank != 4:
        return None
    *terms, result = letters
    p, w = terms[1 - place], terms[place]
    b, n, t, s = list(p)
    size = set(w) - {b, n, s}
    if len(size) != 1 or t in w or set(result) != {b, n, t, *size}:
        return None
    (d,) = size
    return _Operand(v, _places(w, f"{b}{n}{s}{d}")), _places(f"{b}{n}{t}{d}", result)


def _first(node: Node) -> tuple[_Operand, _Operand] | None:
    """Queries and keys of a product that gives scores [batch, heads, queries, keys]."""
    a, c = node.inputs
    assert a is not None and c is not None
    if any(t.type.shape is None or t.type.rank not in (3, 4) for t in (a, c)) or a.type.rank != c.type.rank:
        return None
    straight, swapped = tuple(range(a.type.rank)), _swapped(a.type.rank)
    if isinstance(node.op, MatMul):
        return _Operand(a, swapped if node.op.trans_a else straight), _Operand(
            c, straight if node.op.trans_b else swapped
        )
    letters = _letters(node)
    if letters is None:
        return None
    terms = letters[:2]
    b, n, t, s = list(letters[2])
    size = set(terms[0]) & set(terms[1]) - {b, n}
    if len(size) != 1 or not size.isdisjoint({t, s}):
        return None
    (h,) = size
    pairs = list(zip((a, c), terms, strict=True))
    for (query, ql), (key, kl) in (pairs, pairs[::-1]):
        if set(ql) == {b, n, t, h} and set(kl) == {b, n, s, h}:
            return _Operand(query, _places(ql, f"{b}{n}{t}{h}")), _Operand(key, _places(kl, f"{b}{n}{s}{h}"))
    return None


# -------------------------------------------------------------------------------------- what is in front of the Softmax
def _front(scores: Tensor) -> _Front | None:
    """Scale and masks of scores, and the product that they are of; None when they are no such thing."""
    scale, softcap, factors, masks, windows, tensor = 1.0, 0.0, list[Tensor](), list[_Mask](), None, scores
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.use_count != 1:
            break
        if isinstance(node.op, _PRODUCTS):
            return _Front(node, scale, softcap, tuple(factors), tuple(masks), windows)
        if isinstance(node.op, Tanh) and not softcap and not factors and scale > 0 and node.inputs[0] is not None:
            softcap, tensor = scale, node.inputs[0]
            continue
        factor = _factor(node)
        if factor is not None:
            tensor = factor[0]
            scale *= factor[1]
            continue
        by_head = _factor_by_head(node)
        if by_head is not None:
            tensor = by_head[0]
            factors.append(by_head[1])
            continue
        if scale != 1.0 or factors or softcap:  # a mask under a factor would be scaled, too
            break
        windowed = _masked_windows(node) if windows is None else None
        if windowed is not None:
            tensor, mask, windows = windowed
            masks.append(mask)
            continue
        step = _masked(node)
        if step is None:
            break
        tensor, mask = step
        masks.append(mask)
    return None


def _factor_by_head(node: Node) -> tuple[Tensor, Tensor] | None:
    """The scores [batch, heads, queries, keys] that constants [heads, 1, 1] multiply, and these: Swin V2's scale."""
    if not isinstance(node.op, Mul) or node.output.type.rank != 4:
        return None
    a, b = node.inputs
    assert a is not None and b is not None
    for x, c in ((a, b), (b, a)):
        dims = (1, 1, 1, *c.type.dims)[-4:] if c.is_constant and 0 < c.type.rank <= 4 else ()
        if dims[:1] == (1,) and dims[2:] == (1, 1) and x.type.shape == node.output.type.shape:
            return x, c
    return None


def _masked_windows(node: Node) -> tuple[Tensor, _Mask, _Windows] | None:
    """Scores to which a constant for each window is added between Reshapes to [images, windows, ...] and back."""
    total = node.inputs[0].producer if isinstance(node.op, Reshape) and node.inputs[0] is not None else None
    if total is None or not isinstance(total.op, Add) or total.output.use_count != 1:
        return None
    for apart, mask in (total.inputs, total.inputs[::-1]):
        split = None if apart is None else apart.producer
        if split is None or not isinstance(split.op, Reshape) or mask is None or not mask.is_constant:
            continue
        x = split.inputs[0]
        if x is None or x.type.shape is None or x.type.shape != node.output.type.shape or apart is None:
            continue
        images, count, *rest = (*apart.type.dims, 0)[:-1]
        fits = tuple(rest) == x.type.dims[1:] and apart.use_count == 1 and isinstance(count, int)
        if fits and mask.type.rank == 5 and mask.type.dims[:2] == (1, count) and _leads_to_product(x):
            assert isinstance(count, int)
            values = constant(mask.numpy()[0], mask.name)
            return x, _Mask(values, by_window=True), _Windows(images, count)
    return None


def _factor(node: Node) -> tuple[Tensor, float] | None:
    """The tensor and the number that a product by one number is of."""
    if not isinstance(node.op, (Mul, Div)):
        return None
    a, b = node.inputs
    assert a is not None and b is not None
    for x, c in ((a, b), (b, a)) if isinstance(node.op, Mul) else ((a, b),):
        value = repeated_value(c) if c.is_constant and c.type.is_static and c.type.size == 1 else None
        if value and math.isfinite(value) and x.type.shape == node.output.type.shape:
            return x, value if isinstance(node.op, Mul) else 1 / value
    return None


def _masked(node: Node) -> tuple[Tensor, _Mask] | None:
    """The scores that a mask is applied to, and the mask."""
    if isinstance(node.op, Where):
        return _replaced(node)
    if not isinstance(node.op, Add):
        return None
    a, b = node.inputs
    assert a is not None and b is not None
    for x, mask in ((a, b), (b, a)):
        if x.type.shape == node.output.type.shape and _leads_to_product(x):
            return x, _switch(mask) or _Mask(mask)
    return None


def _switch(mask: Tensor) -> _Mask | None:
    """What a Where says that gives 0 where a score stays and minus infinity where it does not."""
    node = mask.producer
    if node is None or not isinstance(node.op, Where):
        return None
    condition, kept, gone = node.inputs
    assert condition is not None and kept is not None and gone is not None
    values = [repeated_value(t) if t.is_constant else None for t in (kept, gone)]
    return _Mask(_core(condition), -math.inf) if values == [0, -math.inf] else None


def _kept(mask: Tensor) -> Array | None:
    """Where scores stay to which a constant of zeros and of numbers that swallow every score is added."""
    if not mask.is_constant or not mask.type.is_static or mask.type.size > MOST_FOLDED:
        return None
    values = mask.numpy()
    stay = values == 0
    return stay if np.all(stay | (values <= NEVER.get(mask.type.dtype, -1e9))) else None


def _replaced(node: Node) -> tuple[Tensor, _Mask] | None:
    """The scores of which a Where replaces some by a number that nothing is left of, and the mask."""
    condition, *branches = node.inputs
    assert condition is not None
    for inverted in (False, True):
        x, other = branches[::-1] if inverted else branches
        assert x is not None and other is not None
        value = repeated_value(other) if other.is_constant else None
        if value is not None and value <= NEVER.get(x.type.dtype, -1e9) and x.type.shape == node.output.type.shape:
            return x, _Mask(condition if inverted else _core(condition), value, inverted)
    return None


def _leads_to_product(tensor: Tensor) -> bool:
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.use_count != 1:
            return False
        if isinstance(node.op, _PRODUCTS):
            return True
        if isinstance(node.op, Tanh) and node.inputs[0] is not None:
            tensor = node.inputs[0]
            continue
        inner = _factor(node) or _factor_by_head(node) or _masked(node)
        if inner is None:
            return False
        tensor = inner[0]
    return False


def _core(condition: Tensor) -> Tensor:
    """A condition without what only broadcasts it: Expand, and LogicalAnd with nothing but true."""
    for _ in range(_DEEPEST):
        node = condition.producer
        if node is None:
            break
        if isinstance(node.op, Expand) and node.inputs[0] is not None:
            condition = node.inputs[0]
            continue
        if not isinstance(node.op, LogicalAnd):
            break
        a, b = node.inputs
        assert a is not None and b is not None
        if _is_true(a):
            condition = b
        elif _is_true(b):
            condition = a
        else:
            break
    return condition


def _is_true(tensor: Tensor) -> bool:
    node = tensor.producer
    if node is not None and isinstance(node.op, Expand) and node.inputs[0] is not None:
        tensor = node.inputs[0]
    known = _folded(tensor, _DEEPEST)
    return known is not None and bool(known.all())


def _broadcasts(shape: Shape | None, scores: Shape, beside: Sequence[Shape | None]) -> bool:
    """Whether a mask of a shape is as large as scores wherever the model runs, alone or in a sum with masks beside it.

    What is cut from a table, min(40, s), is s there; but alone it would be a short mask to Attention, which takes one.
    """
    if shape is None or not 1 <= len(shape) <= 4:
        return False
    for axis, (have, want) in enumerate(zip(shape[::-1], scores[::-1], strict=False), 1):
        whole = any(other is not None and len(other) >= axis and other[-axis] == want for other in beside)
        if have not in (1, want) and not (whole and prevails(want, have)):
            return False
    return True


# ------------------------------------------------------------------------------------------------------- scale and mask
def _unscaled(operand: _Operand) -> tuple[_Operand, float]:
    """Queries or keys without the number that they are multiplied by, also in front of a Transpose."""
    tensor, perm = operand.tensor, operand.perm
    node = tensor.producer
    if node is not None and isinstance(node.op, Transpose) and tensor.use_count == 1 and node.inputs[0] is not None:
        perm = tuple(node.op.perm[p] for p in perm)
        tensor = node.inputs[0]
        node = tensor.producer
    found = None if node is None or tensor.use_count != 1 else _factor(node)
    return (operand, 1.0) if found is None else (_Operand(found[0], perm), found[1])


def _joined(masks: tuple[_Mask, ...], scores: Shape, dtype: DType) -> tuple[Tensor | None, bool]:
    """One mask for all, and whether it is the causal one."""
    values = [m.known() for m in masks]
    if len(masks) == 1 and values[0] is not None and values[0].any(axis=-1).all():
        known = values[0]
        queries, keys = known.shape[-2:] if known.ndim > 1 else (0, 0)
        square = queries == keys and scores[-2:] == (queries, keys)
        if square and np.array_equal(known, np.broadcast_to(np.tri(queries, dtype=bool), known.shape)):
            return None, True
        return constant(known, masks[0].tensor.name), False
    parts = [numbers_of(m, v, dtype, len(masks) == 1) for m, v in zip(masks, values, strict=True)]
    if not parts:
        return None, False
    total = parts[0]
    for part in parts[1:]:
        total = Add()(total, part)
    return total, False


def numbers_of(mask: _Mask, known: Array | None, dtype: DType, alone: bool) -> Tensor:
    """What is added to the scores, or one bool mask.

    A bool mask gives zeros where no key is left; a large number the mean, as before.
    """
    if mask.value is None:
        return mask.tensor
    if math.isinf(mask.value) and alone:
        return mask.kept() if known is None else constant(known)
    zero, low = (np.asarray(v, dtype.numpy) for v in (0.0, mask.value))
    if known is not None:
        return constant(np.where(known, zero, low))
    return Where()(mask.kept(), constant(zero), constant(low))


def _folded(tensor: Tensor, depth: int) -> Array | None:
    """The value of a tensor that is computed from constants alone."""
    if tensor.data is not None:
        return tensor.numpy() if tensor.data.size <= MOST_FOLDED else None
    node = tensor.producer
    if node is None or depth == 0 or not node.op.deterministic or node.regions:
        return None
    if not tensor.type.is_static or tensor.type.size > MOST_FOLDED:
        return None
    operands = [None if t is None else _folded(t, depth - 1) for t in node.inputs]
    if any(t is not None and v is None for t, v in zip(node.inputs, operands, strict=True)):
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(node.op.evaluate_all(operands)[tensor.index])
    except EvaluationError:  # the numbers do not fit: the run will tell
        return None


RULES = (RecognizeAttention, RecognizeTransposedAttention)
