"""Search for nodes that a constraint refuses: the operators' samples, with attributes and operands changed.

A candidate is a recipe (operator and operands). Recipes are changed once, then twice, by values near the numbers that
the constraints of an entry name; the first node that makes exactly one constraint false, the others true, is that
constraint's negative case.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.data import ArrayData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ir.types import TensorType
from uair.ops import Dequantize
from uair.ops.base import Operator, attribute_kinds
from uair.targets.constraint import Constraint
from uair.text import parse_type

DTYPES = (DType.F32, DType.F16, DType.I32, DType.I64, DType.I8)
SAMPLES = 6
"""Samples of an operator that are changed."""
LIMIT = 12_000
"""Nodes that are tried for the constraints of one entry and operator."""


@attrs.frozen(eq=False)
class Operand:
    """An operand of a recipe.

    Attributes:
        dtype: element type.
        shape: extents.
        value: what a constant holds; None for zeros.
        known: whether it is a constant.
        dequantized: whether it comes from Dequantize.
    """

    dtype: DType
    shape: tuple[int, ...]
    value: Array | None = None
    known: bool = False
    dequantized: bool = False

    def tensor(self) -> Tensor:
        """A tensor that belongs to no graph; constants of any size take no memory."""
        if self.dequantized:
            integers = Tensor(TensorType(DType.I8, self.shape))
            return Dequantize()(integers, constant(np.float32(0.1)), constant(np.int8(0)))
        if not self.known:
            return Tensor(TensorType(self.dtype, self.shape))
        if self.value is not None and self.value.shape == self.shape:
            return constant(self.value)
        return constant(ArrayData(np.broadcast_to(np.zeros((), self.dtype.numpy), self.shape)))


@attrs.frozen(eq=False)
class Recipe:
    """A node to be made."""

    op: Operator
    operands: tuple[Operand | None, ...]

    def node(self) -> Node | None:
        """The node; None when there is none of these operands."""
        try:
            return self.op.node(*(None if o is None else o.tensor() for o in self.operands))
        except (UairError, ValueError, TypeError, OverflowError):  # a change that makes no sense: there are many
            return None


def find(op_type: type[Operator], constraints: Sequence[Constraint], wanted: frozenset[int]) -> dict[int, Node]:
    """For constraints, by index, a node that makes this one false and all the others true.

    Args:
        op_type: the operator.
        constraints: all that the operator has.
        wanted: those for which a node is searched; the result may lack some.
    """
    found: dict[int, Node] = {}
    for node in itertools.islice(_candidates(op_type, [c.text for c in constraints]), LIMIT):
        i = refused(node, constraints)
        if i is not None:
            found.setdefault(i, node)
            if wanted <= set(found):
                break
    return found


def refused(node: Node, constraints: Sequence[Constraint]) -> int | None:
    """The one constraint that is false; None when there is another number of them, or one is undecided."""
    wrong: list[int] = []
    for i, constraint in enumerate(constraints):
        truth = constraint.evaluate(node).truth
        if truth is not True:
            wrong.append(i)
        if truth is None or len(wrong) > 1:
            return None
    return wrong[0] if wrong else None


def _candidates(op_type: type[Operator], texts: Sequence[str]) -> Iterator[Node]:
    numbers = _numbers(texts)
    recipes = [r for r in (_recipe(s) for s in op_type.samples() if not s.because) if r is not None][:SAMPLES]
    once = [r for recipe in recipes for r in (recipe, *_changed(recipe, numbers))]
    fitting: list[Recipe] = []
    for recipe in once:
        node = recipe.node()
        if node is not None:
            fitting.append(recipe)
            yield node
    others = [n for n in numbers if n < 10] + [max(numbers)]
    for recipe in itertools.chain.from_iterable(_rounds([_changed(r, others) for r in fitting])):
        node = recipe.node()
        if node is not None:
            yield node


def _rounds(streams: Sequence[Iterable[Recipe]]) -> Iterator[list[Recipe]]:
    """One of every stream, then the next of every stream, and so on."""
    iterators = [iter(stream) for stream in streams]
    while iterators:
        now = [(it, next(it, None)) for it in iterators]
        iterators = [it for it, recipe in now if recipe is not None]
        yield [recipe for _, recipe in now if recipe is not None]


def _numbers(texts: Sequence[str]) -> list[int]:
    named = {int(n) for text in texts for n in re.findall(r"(?<![\w.])\d+(?![\w.])", text)}
    near = {m for n in named for m in (n - 1, n, n + 1, n // 9 + 1, math.isqrt(n) + 1) if m >= 0}
    return sorted(near | {0, 1, 2, 3, 4, 5})


def _recipe(sample: Any) -> Recipe | None:
    operands: list[Operand | None] = []
    for each in sample.operands:
        if each is None:
            operands.append(None)
        elif isinstance(each, str):
            type_ = parse_type(each)
            if not type_.is_tensor or not type_.is_static:
                return None
            operands.append(Operand(type_.dtype, cast("tuple[int, ...]", type_.dims)))
        else:
            array = np.asarray(each)
            operands.append(Operand(DType.from_numpy(array.dtype), array.shape, array, known=True))
    return Recipe(sample.op, tuple(operands))


def _changed(recipe: Recipe, numbers: Sequence[int]) -> Iterator[Recipe]:
    yield from _other_operands(recipe)
    yield from _other_attributes(recipe, numbers)
    yield from _other_extents(recipe, numbers)


def _other_attributes(recipe: Recipe, numbers: Sequence[int]) -> Iterator[Recipe]:
    for name, kind in attribute_kinds(type(recipe.op)).items():
        for value in _values(kind, getattr(recipe.op, name), numbers):
            try:
                yield attrs.evolve(recipe, op=attrs.evolve(recipe.op, **{name: value}))  # type: ignore[misc]
            except (UairError, ValueError, TypeError):  # the operator's own validators refuse it
                continue


def _values(kind: Any, now: Any, numbers: Sequence[int]) -> Iterator[Any]:
    if kind.base == "bool":
        yield not now
    elif kind.base == "choice":
        yield from (c for c in kind.choices if c != now)
    elif kind.base == "dtype":
        yield from DTYPES
    elif kind.base in ("int", "float"):
        yield from (n for n in (*numbers, -1) if n != now)
    elif kind.base in ("ints", "shape", "floats") and now:
        for n in numbers:
            yield (n,) * len(now)
            yield (n, *now[1:])
            yield (*now[:-1], n)
        yield now[1:]
        yield (*now, now[-1])


def _other_operands(recipe: Recipe) -> Iterator[Recipe]:
    for dtype in DTYPES:
        yield attrs.evolve(recipe, operands=tuple(_of_type(o, dtype) for o in recipe.operands))
    for i, operand in enumerate(recipe.operands):
        if operand is None:
            continue
        variants = [attrs.evolve(operand, known=not operand.known)]
        if operand.dtype.is_float:
            variants.append(attrs.evolve(operand, known=False, dequantized=True))
        scalars = (0.5, -0.5, 2.0, 9.0, 1e-9, 1e9) if operand.dtype.is_float else ()
        variants += [attrs.evolve(operand, shape=(), known=True, value=np.asarray(v, np.float32)) for v in scalars]
        variants += [attrs.evolve(operand, dtype=d, value=None) for d in DTYPES if d is not operand.dtype]
        yield from (_with(recipe, i, variant) for variant in variants)


def _other_extents(recipe: Recipe, numbers: Sequence[int]) -> Iterator[Recipe]:
    """Extents replaced wherever they occur, or at one place; axes added in front or left away."""
    shapes = [o.shape for o in recipe.operands if o is not None]
    for old in sorted({d for shape in shapes for d in shape}):
        for new in numbers:
            yield attrs.evolve(recipe, operands=tuple(_replaced(o, old, new) for o in recipe.operands))
    for i, operand in enumerate(recipe.operands):
        if operand is None:
            continue
        for axis, new in itertools.product(range(len(operand.shape)), numbers):
            shape = (*operand.shape[:axis], new, *operand.shape[axis + 1 :])
            yield _with(recipe, i, attrs.evolve(operand, shape=shape, value=None))
        for count in (1, 2, 4):
            yield _with(recipe, i, attrs.evolve(operand, shape=(*(1,) * count, *operand.shape), value=None))
        yield _with(recipe, i, attrs.evolve(operand, shape=operand.shape[1:], value=None))
    for count in (1, 2, 7):
        yield attrs.evolve(recipe, operands=tuple(_longer(o, count) for o in recipe.operands))
    yield attrs.evolve(recipe, operands=tuple(o and attrs.evolve(o, shape=o.shape[1:]) for o in recipe.operands))


def _of_type(operand: Operand | None, dtype: DType) -> Operand | None:
    """A float operand in another type."""
    return operand if operand is None or not operand.dtype.is_float else attrs.evolve(operand, dtype=dtype, value=None)


def _longer(operand: Operand | None, count: int) -> Operand | None:
    return None if operand is None else attrs.evolve(operand, shape=(*(1,) * count, *operand.shape), value=None)


def _replaced(operand: Operand | None, old: int, new: int) -> Operand | None:
    if operand is None or old not in operand.shape:
        return operand
    return attrs.evolve(operand, shape=tuple(new if d == old else d for d in operand.shape), value=None)


def _with(recipe: Recipe, i: int, operand: Operand) -> Recipe:
    return attrs.evolve(recipe, operands=(*recipe.operands[:i], operand, *recipe.operands[i + 1 :]))
