"""What the elementwise families share: classes of element types, and computing in a wider type with one rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uair.ir.dims import InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._cast import finite_limits
from uair.ops._precision import compute_type
from uair.ops.base import broadcast_shapes, require

FLOATS = frozenset(d for d in DType if d.is_float)
INTEGERS = frozenset(d for d in DType if d.is_integer)
REALS = FLOATS | INTEGERS
COMPLEX = frozenset({DType.C64, DType.C128})
NUMBERS = REALS | COMPLEX
BOOLS = frozenset({DType.BOOL})
ANY = frozenset(DType)

_NAMES: tuple[tuple[frozenset[DType], str], ...] = (
    (FLOATS, "floating-point"),
    (INTEGERS, "integer"),
    (REALS, "integer or floating-point"),
    (NUMBERS, "numeric"),
    (BOOLS, "bool"),
    (FLOATS | COMPLEX, "floating-point or complex"),
)


def require_dtype(t: TensorType, allowed: frozenset[DType], name: str) -> None:
    """Refuse an operand whose element type is not one of `allowed`."""
    if t.dtype not in allowed:
        words = next((text for kinds, text in _NAMES if kinds == allowed), " or ".join(sorted(map(str, allowed))))
        require(False, "{} must be {}, is {}", name, words, t.dtype, hint="insert a Cast")


def broadcast(dtype: DType, *operands: TensorType) -> TensorType:
    """The type of an elementwise result of NumPy broadcasting; of unknown rank when an operand is."""
    shape: InferredShape = ()
    shapes: list[InferredShape] = []
    for t in operands:
        if t.shape is None:
            return TensorType(dtype, None)
        shapes.append(t.shape)
    shape = shapes[0]
    if any(s != shape for s in shapes):
        shape = broadcast_shapes(*shapes)
    return inferred(dtype, shape)


def working_type(array: Array) -> np.dtype[Any]:
    """The type in which elements are computed: f32 for narrow floats, a byte for integers narrower than one."""
    if array.dtype.isbuiltin == 1:
        return np.dtype(np.float32) if array.dtype == np.float16 else array.dtype
    dtype = DType.from_numpy(array.dtype)
    if dtype.is_integer and dtype.bits < 8:
        return np.dtype(np.int8 if dtype.is_signed else np.uint8)
    return compute_type(array)


def compute(function: Callable[..., Array], *operands: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """`function` of the operands in their working type, rounded (integers: wrapped) once to the first one's type.

    Floating-point exceptions are silent: NaN and infinities are results like others.

    Args:
        function: takes and gives arrays.
        operands: the arrays.
        dtype: type of the result when it is not that of the first operand.
    """
    with np.errstate(all="ignore"):
        result: Array = np.asarray(function(*(a.astype(working_type(a), copy=False) for a in operands)))
        return result.astype(operands[0].dtype if dtype is None else dtype, copy=False)


def clipped(x: Array, least: Any, greatest: Any) -> Array:
    """min(max(x, least), greatest) in one pass: `np.maximum` with one number takes 2.5 times as long as `np.clip`.

    NaN passes; where `least` exceeds `greatest`, the result is `greatest`. A zero that a bound gives is +0 for -0, too.

    Args:
        x: numbers of a type of NumPy's own.
        least: of x's type.
        greatest: of x's type.
    """
    result: Array = np.asarray(np.clip(x, least, greatest))
    if result.dtype.kind == "f" and not (least and greatest):
        result += result.dtype.type(0)  # -0 + 0 is +0
    return result


def mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over axes, which stay with extent 1; NaN, and no warning, where there is nothing to average."""
    total: Array = x.sum(axis=axes, keepdims=True)
    with np.errstate(all="ignore"):
        result: Array = total / x.dtype.type(math.prod(x.shape[a] for a in axes))
    return result


def scalar(value: float, like: Tensor) -> Tensor:
    """A scalar constant of another tensor's element type, for decompositions."""
    return constant(np.asarray(value).astype(like.type.dtype.numpy))


def converted(t: Tensor, dtype: DType) -> Tensor:
    """A tensor in an element type, for decompositions; the same one when it has it already."""
    from uair.ops.conversion import Cast

    return t if t.type.dtype is dtype else Cast(to=dtype)(t)


def from_beginning(indices: Tensor, extents: int | Sequence[int]) -> Tensor:
    """Indices as i64, negative ones counted from the end of axes of these extents, in a decomposition."""
    from uair.ops.comparison import Less
    from uair.ops.conversion import Cast
    from uair.ops.elementwise import Add, Where

    wide = Cast(to=DType.I64)(indices)
    shifted = Add()(wide, constant(np.array(extents, np.int64)))
    return Where()(Less()(wide, constant(np.int64(0))), shifted, wide)


def finite_range(dtype: DType) -> tuple[Any, Any]:
    """Least and greatest value for padding and reductions: infinities where the type has them."""
    if dtype is DType.BOOL:
        return False, True
    if dtype.is_integer:
        return dtype.range
    if np.isinf(np.asarray(np.inf).astype(dtype.numpy)):
        return -np.inf, np.inf
    return finite_limits(dtype)


def along_axis(axis: Tensor, rank: int, results: Sequence[Tensor]) -> Tensor:
    """The one of the results along each axis that an axis known at run time asks for, in a decomposition."""
    from uair.ops.comparison import Equal
    from uair.ops.elementwise import Cast, Mod, Where
    from uair.ops.shape import Reshape

    at = Mod()(Reshape(shape=())(Cast(to=DType.I64)(axis)), constant(np.array(rank)))
    chosen = results[0]
    for i, result in enumerate(results[1:], 1):
        chosen = Where()(Equal()(at, constant(np.array(i))), result, chosen)
    return chosen
