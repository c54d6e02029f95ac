"""What the body of a loop computes, in a normal form that does not depend on how it is written.

Values are rows [batch, n]. Products with constant matrices, sums, biases, splits and joins of the last axis all end
in one affine form: a sum of expressions, each times a matrix, and a vector. Around it stand activations and
elementwise products, which is all that the cells of recurrent layers have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops.base import Operator


@attrs.frozen(eq=False)
class Atom:
    """What comes into a step: a state, or a step of a sequence.

    Attributes:
        key: says which one it is.
        width: of its last axis.
    """

    key: Any
    width: int


@attrs.frozen(eq=False)
class Fixed:
    """A constant: a vector of the last axis, a scalar, or (as the operand of a product) a matrix."""

    value: Array


@attrs.frozen(eq=False)
class Affine:
    """The sum of expressions times matrices [width of the expression, n], and of a vector [n]."""

    terms: tuple[tuple[Expression, Array], ...]
    bias: Array


@attrs.frozen(eq=False)
class Joined:
    """Expressions behind each other along the last axis, with their widths."""

    parts: tuple[tuple[Expression, int], ...]


@attrs.frozen(eq=False)
class Applied:
    """An activation."""

    op: Operator
    argument: Expression


@attrs.frozen(eq=False)
class Product:
    """Elementwise."""

    left: Expression
    right: Expression


@attrs.frozen(eq=False)
class Complement:
    """1 - x."""

    argument: Expression


@attrs.frozen(eq=False)
class Total:
    """The sum of expressions that have no common affine form; at most one of them is affine."""

    parts: tuple[Expression, ...]


@attrs.frozen(eq=False)
class Difference:
    """Elementwise, of expressions that are not constant."""

    left: Expression
    right: Expression


Expression: TypeAlias = "Atom | Fixed | Affine | Joined | Applied | Product | Complement | Total | Difference"


def same(a: Expression, b: Expression) -> bool:
    """Whether two expressions are equal, term by term."""
    if a is b:
        return True
    if isinstance(a, Atom) or isinstance(b, Atom):
        return isinstance(a, Atom) and isinstance(b, Atom) and bool(a.key == b.key)
    if isinstance(a, Fixed) and isinstance(b, Fixed):
        return np.array_equal(a.value, b.value)
    if isinstance(a, Affine) and isinstance(b, Affine):
        if len(a.terms) != len(b.terms) or not np.array_equal(a.bias, b.bias):
            return False
        return all(same(x, y) and np.array_equal(v, w) for (x, v), (y, w) in zip(a.terms, b.terms, strict=True))
    if isinstance(a, Applied) and isinstance(b, Applied):
        return a.op == b.op and same(a.argument, b.argument)
    if isinstance(a, Product) and isinstance(b, Product):
        return same(a.left, b.left) and same(a.right, b.right) or same(a.left, b.right) and same(a.right, b.left)
    return isinstance(a, Complement) and isinstance(b, Complement) and same(a.argument, b.argument)


# ----------------------------------------------------------------------------------------------------------- arithmetic
def product(a: Expression, matrix: Array) -> Expression | None:
    """Rows times a matrix [width, n]."""
    zero = np.zeros(matrix.shape[1], matrix.dtype)
    if isinstance(a, Joined):
        if sum(width for _, width in a.parts) != len(matrix):
            return None
        at, result = 0, None
        for part, width in a.parts:
            made = product(part, matrix[at : at + width])
            result = made if result is None or made is None else total(result, made)
            at += width
            if result is None:
                return None
        return result
    if isinstance(a, Fixed):
        return None
    if isinstance(a, Affine):
        return Affine(tuple((e, w @ matrix) for e, w in a.terms), a.bias @ matrix)
    return Affine(((a, matrix),), zero)


def total(a: Expression, b: Expression) -> Expression | None:
    """The sum."""
    if isinstance(a, Fixed) and isinstance(b, Fixed):
        return Fixed(a.value + b.value)
    for vector, other in ((a, b), (b, a)):
        if isinstance(vector, Fixed):
            return _shifted(other, vector.value)
    if isinstance(a, Affine) and isinstance(b, Affine):
        return _merged(a, b)
    parts = [p for e in (a, b) for p in (e.parts if isinstance(e, Total) else (e,))]
    affine = [p for p in parts if isinstance(p, Affine)]
    if len(affine) == 2:
        merged = _merged(*affine)
        return None if merged is None else Total((*(p for p in parts if not isinstance(p, Affine)), merged))
    return Total(tuple(parts))


def _shifted(e: Expression, vector: Array) -> Expression | None:
    if isinstance(e, Total):
        changed = [_shifted(p, vector) if isinstance(p, Affine) else p for p in e.parts]
        known = [p for p in changed if p is not None]
        whole = len(known) == len(e.parts) and any(isinstance(p, Affine) for p in e.parts)
        return Total(tuple(known)) if whole else None
    if not isinstance(e, Affine):
        return None
    bias = e.bias + vector.reshape(-1)
    return Affine(e.terms, bias) if bias.shape == e.bias.shape else None


def _merged(a: Affine, b: Affine) -> Affine | None:
    if a.bias.shape != b.bias.shape:
        return None
    terms = list(a.terms)
    for e, w in b.terms:
        at = next((i for i, (known, _) in enumerate(terms) if same(known, e)), None)
        if at is None:
            terms.append((e, w))
        else:
            terms[at] = (e, terms[at][1] + w)
    return Affine(tuple(terms), a.bias + b.bias)


def scaled(a: Expression, b: Expression) -> Expression | None:
    """The elementwise product."""
    if isinstance(a, Fixed) and isinstance(b, Fixed):
        return Fixed(a.value * b.value)
    for vector, other in ((a, b), (b, a)):
        if isinstance(vector, Fixed):
            factor = vector.value.reshape(-1)
            if not isinstance(other, Affine) or factor.size not in (1, other.bias.size):
                return None
            return Affine(tuple((e, w * factor) for e, w in other.terms), other.bias * factor)
    return Product(a, b)


def difference(a: Expression, b: Expression) -> Expression | None:
    """A - b."""
    if isinstance(a, Fixed) and isinstance(b, Fixed):
        return Fixed(a.value - b.value)
    if isinstance(a, Fixed) and bool((a.value == 1).all()):
        return Complement(b)
    if isinstance(b, Fixed):
        return total(a, Fixed(-b.value))
    return None if isinstance(a, Fixed) else Difference(a, b)


def columns(e: Expression, start: int, stop: int) -> Expression | None:
    """The elements from `start` to `stop` of the last axis."""
    if isinstance(e, Affine):
        return Affine(tuple((x, w[:, start:stop]) for x, w in e.terms), e.bias[start:stop])
    if isinstance(e, Applied):
        inner = columns(e.argument, start, stop)
        return None if inner is None else Applied(e.op, inner)
    if isinstance(e, (Product, Total)):
        parts = (e.left, e.right) if isinstance(e, Product) else e.parts
        cut = [columns(p, start, stop) for p in parts]
        known = [p for p in cut if p is not None]
        if len(known) < len(parts):
            return None
        return Product(known[0], known[1]) if isinstance(e, Product) else Total(tuple(known))
    if isinstance(e, Joined):
        return _joined_columns(e.parts, start, stop)
    return None


def _joined_columns(parts: Sequence[tuple[Expression, int]], start: int, stop: int) -> Expression | None:
    at = 0
    for part, width in parts:
        if at == start and at + width == stop:
            return part
        if at <= start and stop <= at + width:
            return columns(part, start - at, stop - at)
        at += width
    return None
