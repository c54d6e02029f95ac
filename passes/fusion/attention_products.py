"""Attention that a model spells out: a product, scale, mask, Softmax, and a second product, as MatMul or as Einsum."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Shape
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
    Softmax,
    Squeeze,
    Transpose,
    Unsqueeze,
    Where,
)
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
    """

    tensor: Tensor
    value: float | None = None
    inverted: bool = False

    def known(self) -> Array | None:
        """Where scores stay, when constants say so."""
        found = _folded(self.tensor, _DEEPEST) if self.value is not None else None
        return found if found is None or not self.inverted else np.logical_not(found)

    def kept(self) -> Tensor:
        """Where scores stay."""
        return LogicalNot()(self.tensor) if self.inverted else self.tensor


@attrs.frozen(eq=False)
class _Parts:
    q: _Operand
    k: _Operand
    v: _Operand
    scale: float
    masks: tuple[_Mask, ...]
    perm: _Perm


class RecognizeAttention(Rule):
    """softmax(scale q k^T + mask) v over three or four axes is Attention; of three the heads are missing."""

    def pattern(self, scores: Any, v: Any) -> Any:
        """The second product; what is in front of the Softmax is followed by the check."""
        return of(*_PRODUCTS)(of(Softmax)(scores).named("softmax"), v).named("root")

    def check(self, root: Node, softmax: Node) -> bool | NoMatch:
        """The products are those of attention, and the masks broadcast to the scores."""
        found = _parts(softmax, _second(root))
        return found if isinstance(found, NoMatch) else True

    def rewrite(self, root: Node, softmax: Node) -> Tensor:
        """Attention between Transposes."""
        return _attention(softmax, _second(root), root.output.type.dtype)


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
        found = _parts(softmax, self.values(v, turned))
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


def _attention(softmax: Node, second: tuple[_Operand, _Perm] | None, dtype: DType) -> Tensor:
    """What stands in the place of the second product."""
    found = _parts(softmax, second)
    assert isinstance(found, _Parts)
    size = found.q.dims[-1]
    plain = isinstance(size, int) and size > 0 and math.isclose(found.scale, 1 / math.sqrt(size), rel_tol=1e-6)
    mask, causal = _joined(found.masks, softmax.output.type.dims, dtype)
    if mask is not None and len(found.perm) == 3 and mask.type.rank == 3:
        mask = Unsqueeze(axes=(1,))(mask)
    op = Attention(scale=None if plain else found.scale, causal=causal)
    operands = [found.q.turned(), found.k.turned(), found.v.turned()]
    y = op(*operands, *(() if mask is None else (mask,)))
    perm = found.perm if len(found.perm) == 4 else _with_head(found.perm)
    y = y if _is_straight(perm) else Transpose(perm=perm)(y)
    return y if len(found.perm) == 4 else Squeeze(axes=(1,))(y)


def _is_straight(perm: _Perm) -> bool:
    return perm == tuple(range(len(perm)))


def _swapped(rank: int) -> _Perm:
    return (*range(rank - 2), rank - 1, rank - 2)


def _parts(softmax: Node, second: tuple[_Operand, _Perm] | None) -> _Parts | NoMatch:
    """What Attention takes; `second` are the values, and how the result's axes lie."""
    scores = softmax.inputs[0]
    assert scores is not None and isinstance(softmax.op, Softmax)
    rank = 0 if scores.type.shape is None else scores.type.rank
    if rank not in (3, 4) or softmax.op.axis % rank != rank - 1:
        return no("the scores are not over the last of three or four axes", softmax)
    if second is None or len(second[1]) != rank:
        return no("the second product is not that of probabilities and values", softmax)
    v, perm = second
    scale, masks, node = _front(scores)
    first = None if node is None else _first(node)
    if first is None or node is None:
        return no("what is in front of the Softmax is no scaled product of queries and keys", softmax)
    q, factor = _unscaled(first[0])
    k, more = _unscaled(first[1])
    same = q.dims[:-2] == k.dims[:-2] == v.dims[:-2] and k.dims[-2] == v.dims[-2] and q.dims[-1] == k.dims[-1]
    if not same or q.dims[:-1] != scores.type.dims[:-1]:
        return no("the shapes of queries, keys and values do not fit", softmax)
    for mask in masks:
        if not _broadcasts(mask.tensor.type.shape, scores.type.dims):
            return no("the mask does not broadcast to the scores", node)
    return _Parts(q, k, v, scale * factor * more, masks, perm)


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


def _second(root: Node) -> tuple[_Operand, _Perm] | None:
    """The values, and how the result's axes lie: probabilities [batch, heads, queries, keys] times values."""
    v = root.inputs[1]
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
    p, w, result = letters
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
def _front(scores: Tensor) -> tuple[float, tuple[_Mask, ...], Node | None]:
    """Scale and masks of scores, and the product that they are of; None when they are no such thing."""
    scale, masks, tensor = 1.0, list[_Mask](), scores
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.use_count != 1:
            break
        if isinstance(node.op, _PRODUCTS):
            return scale, tuple(masks), node
        factor = _factor(node)
        if factor is not None:
            tensor = factor[0]
            scale *= factor[1]
            continue
        step = _masked(node) if scale == 1.0 else None  # a mask under a factor would be scaled, too
        if step is None:
            break
        tensor, mask = step
        masks.append(mask)
    return scale, (), None


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
            return x, _Mask(mask)
    return None


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
        inner = _factor(node) or _masked(node)
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


def _broadcasts(shape: Shape | None, scores: Shape) -> bool:
    if shape is None or not 1 <= len(shape) <= 4:
        return False
    return all(have in (1, want) for have, want in zip(shape[::-1], scores[::-1], strict=False))


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
    parts = [_numbers(m, v, dtype, len(masks) == 1) for m, v in zip(masks, values, strict=True)]
    if not parts:
        return None, False
    total = parts[0]
    for part in parts[1:]:
        total = Add()(total, part)
    return total, False


def _numbers(mask: _Mask, known: Array | None, dtype: DType, alone: bool) -> Tensor:
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
