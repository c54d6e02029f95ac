"""`keras.ops` functions called on symbolic tensors, which a functional model holds beside its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uair import ops
from uair.frontends.keras.dtypes import dtype_named
from uair.frontends.keras.model import leaves
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dims import Dim, floor_div, product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops.base import Operator

FAMILY = Family()

Make = Callable[[], Operator]

_UNARY: dict[str, Make] = {
    "Abs": ops.Abs, "Absolute": ops.Abs, "Fabs": ops.Abs, "Arccos": ops.Acos, "Arccosh": ops.Acosh, "Arcsin": ops.Asin,
    "Arcsinh": ops.Asinh, "Arctan": ops.Atan, "Arctanh": ops.Atanh, "Ceil": ops.Ceil, "Cos": ops.Cos, "Cosh": ops.Cosh,
    "Erf": ops.Erf, "Exp": ops.Exp, "Expm1": ops.Expm1, "Floor": ops.Floor, "Isinf": ops.IsInf, "Isnan": ops.IsNaN,
    "Log": ops.Log, "Log1p": ops.Log1p, "LogicalNot": ops.LogicalNot, "Negative": ops.Neg, "Reciprocal": ops.Reciprocal,
    "Rsqrt": ops.Rsqrt, "Sign": ops.Sign, "Sin": ops.Sin, "Sinh": ops.Sinh, "Sqrt": ops.Sqrt, "Tan": ops.Tan,
    "Trunc": ops.Trunc, "StopGradient": ops.Identity, "Copy": ops.Identity,
}  # fmt: skip
_BINARY: dict[str, Make] = {
    "Add": ops.Add, "Subtract": ops.Sub, "Multiply": ops.Mul, "Maximum": ops.Maximum, "Minimum": ops.Minimum,
    "Power": ops.Pow, "Arctan2": ops.Atan2, "Equal": ops.Equal, "NotEqual": ops.NotEqual, "Less": ops.Less,
    "LessEqual": ops.LessEqual, "Greater": ops.Greater, "GreaterEqual": ops.GreaterEqual,
}  # fmt: skip
_LOGICAL: dict[str, Make] = {"LogicalAnd": ops.LogicalAnd, "LogicalOr": ops.LogicalOr, "LogicalXor": ops.LogicalXor}
_REDUCTIONS: dict[str, Any] = {
    "Sum": ops.ReduceSum, "Mean": ops.ReduceMean, "Max": ops.ReduceMax, "Amax": ops.ReduceMax, "Min": ops.ReduceMin,
    "Amin": ops.ReduceMin, "Prod": ops.ReduceProd, "Logsumexp": ops.ReduceLogSumExp, "Any": ops.ReduceAny,
    "All": ops.ReduceAll,
}  # fmt: skip


def _floated(n: KerasNode, x: Tensor) -> Tensor:
    """Integers and bool become f32, as Keras's functions of real numbers make them."""
    return x if x.type.dtype.is_float or x.type.dtype is DType.C64 else n.cast(x, DType.F32)


def _operand(n: KerasNode, value: Any) -> Tensor | Any:
    if isinstance(value, np.ndarray):
        return constant(value)
    return value


def common(n: KerasNode, a: Any, b: Any, *, real: bool = False) -> tuple[Tensor, Tensor]:
    """Two operands, tensors or numbers, in the type that Keras promotes them to.

    A Python number is weak: it takes the tensor's type unless it is a float beside an integer, which gives f32. Of two
    tensors floats win over integers; two different half types give f32.
    """
    a, b = _operand(n, a), _operand(n, b)
    found = [v for v in (a, b) if isinstance(v, Tensor)]
    n.require(bool(found), "none of its operands is a tensor")
    dtype = found[0].type.dtype
    if len(found) == 2:
        dtype = _promoted(dtype, found[1].type.dtype)
    elif not dtype.is_float and any(isinstance(v, float) for v in (a, b)):
        dtype = DType.F32
    elif dtype is DType.BOOL and any(isinstance(v, int) and not isinstance(v, bool) for v in (a, b)):
        dtype = DType.I32
    if real and not dtype.is_float:
        dtype = DType.F32
    return _as(n, a, dtype), _as(n, b, dtype)


def _as(n: KerasNode, value: Any, dtype: DType) -> Tensor:
    if isinstance(value, Tensor):
        return n.cast(value, dtype)
    if isinstance(value, (list, tuple, int, float, bool)):
        return constant(np.asarray(value, dtype.numpy))
    n.refuse(f"an operand is {str(value)[:80]!r}")


def _promoted(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if a.is_float and b.is_float:
        return DType.F32 if {a, b} == {DType.F16, DType.BF16} else max(a, b, key=lambda d: d.bits)
    if a.is_float or b.is_float:
        return a if a.is_float else b
    return DType.from_numpy(np.promote_types(a.numpy, b.numpy))


# ------------------------------------------------------------------- elementwise
def _unary(make: Make) -> Callable[[KerasNode], Result]:
    whole = make in (ops.Abs, ops.Sign, ops.Neg, ops.Identity, ops.LogicalNot, ops.Trunc)
    return lambda n: n(make(), n.x if whole else _floated(n, n.x))


def _binary(make: Make) -> Callable[[KerasNode], Result]:
    return lambda n: n(make(), *common(n, n.argument(0, "x1"), n.argument(1, "x2")))


def _logical(make: Make) -> Callable[[KerasNode], Result]:
    return lambda n: n(make(), *(_as(n, _operand(n, n.argument(i, f"x{i + 1}")), DType.BOOL) for i in range(2)))


for _name, _make in _UNARY.items():
    FAMILY.add(f"ops.{_name}", _unary(_make))
for _name, _make in _BINARY.items():
    FAMILY.add(f"ops.{_name}", _binary(_make))
for _name, _make in _LOGICAL.items():
    FAMILY.add(f"ops.{_name}", _logical(_make))


@FAMILY.op("ops.Divide", "ops.TrueDivide")
def _divide(n: KerasNode) -> Result:
    return n(ops.Div(), *common(n, n.argument(0, "x1"), n.argument(1, "x2"), real=True))


@FAMILY.op("ops.FloorDivide")
def _floor_divide(n: KerasNode) -> Result:
    a, b = common(n, n.argument(0, "x1"), n.argument(1, "x2"))
    return n(ops.Floor(), n(ops.Div(), a, b)) if a.type.dtype.is_float else n(ops.IntDiv(rounding="floor"), a, b)


@FAMILY.op("ops.Mod")
def _mod(n: KerasNode) -> Result:
    return n(ops.Mod(sign="divisor"), *common(n, n.argument(0, "x1"), n.argument(1, "x2")))


@FAMILY.op("ops.Square")
def _square(n: KerasNode) -> Result:
    return n(ops.Mul(), n.x, n.x)


@FAMILY.op("ops.Round")
def _round(n: KerasNode) -> Result:
    n.require(n.get("decimals", 0) == 0, "decimals are not expressed")
    return n(ops.Round(), n.x)


@FAMILY.op("ops.Clip")
def _clip(n: KerasNode) -> Result:
    low, high = n.get("x_min"), n.get("x_max")
    numbers = all(v is None or isinstance(v, (int, float)) for v in (low, high))
    n.require(numbers, "its bounds are tensors", "use keras.ops.maximum and minimum")
    return n(ops.Clip(min=None if low is None else float(low), max=None if high is None else float(high)), n.x)


@FAMILY.op("ops.Where")
def _where(n: KerasNode) -> Result:
    condition = n.cast(n.tensor(0, "condition"), DType.BOOL)
    n.require(n.argument(1, "x1") is not None, "gives indices, as many as the data say")
    return n(ops.Where(), condition, *common(n, n.argument(1, "x1"), n.argument(2, "x2")))


@FAMILY.op("ops.Cast")
def _cast(n: KerasNode) -> Result:
    return n.cast(n.x, dtype_named(n.get("dtype"), n.place))


@FAMILY.op("ops.ZerosLike", "ops.OnesLike")
def _like(n: KerasNode) -> Result:
    x = n.x
    value = n.like(1 if n.op_type == "ops.OnesLike" else 0, x)
    return n(ops.Expand(shape=n.shape(x)), value)


# ------------------------------------------------------------------- reductions
def _axes_of(n: KerasNode, x: Tensor) -> tuple[int, ...] | None:
    given = n.layer.config.get("axis")
    if given is None:
        return None
    return n.axes([given] if isinstance(given, int) else n.integers_of(given, "axis"), n.rank(x))


def _reduction(make: Any) -> Callable[[KerasNode], Result]:
    def handler(n: KerasNode) -> Result:
        x = n.cast(n.x, DType.BOOL) if make in (ops.ReduceAny, ops.ReduceAll) else n.x
        if make in (ops.ReduceMean, ops.ReduceLogSumExp):
            x = _floated(n, x)
        if x.type.dtype is DType.BOOL and make in (ops.ReduceSum, ops.ReduceProd):
            x = n.cast(x, DType.I32)
        n.require(n.get("dtype") in (None, str(x.type.dtype)), "dtype is not expressed", "use keras.ops.cast")
        return n(make(axes=_axes_of(n, x), keepdims=n.flag("keepdims")), x)

    return handler


for _name, _make in _REDUCTIONS.items():
    FAMILY.add(f"ops.{_name}", _reduction(_make))


@FAMILY.op("ops.Var", "ops.Std")
def _variance(n: KerasNode) -> Result:
    """The biased one."""
    x = _floated(n, n.x)
    axes, keep = _axes_of(n, x), n.flag("keepdims")
    deviation = n(ops.Sub(), x, n(ops.ReduceMean(axes=axes, keepdims=True), x))
    y = n(ops.ReduceMean(axes=axes, keepdims=keep), n(ops.Mul(), deviation, deviation))
    return n(ops.Sqrt(), y) if n.op_type == "ops.Std" else y


@FAMILY.op("ops.Argmax", "ops.Argmin")
def _position(n: KerasNode) -> Result:
    x, axis = n.x, n.layer.config.get("axis")
    if axis is None:
        x, axis = n.reshaped(x, (product(n.shape(x)),)), 0
    make = ops.ArgMax if n.op_type == "ops.Argmax" else ops.ArgMin
    return n.cast(n(make(axis=n.axis(axis, n.rank(x)), keepdims=n.flag("keepdims")), x), DType.I32)


@FAMILY.op("ops.Cumsum", "ops.Cumprod")
def _running(n: KerasNode) -> Result:
    x = n.x
    make = ops.CumSum if n.op_type == "ops.Cumsum" else ops.CumProd
    return n(make(axis=n.axis(n.integer("axis"), n.rank(x))), x)


@FAMILY.op("ops.TopK")
def _top_k(n: KerasNode) -> Result:
    x = n.x
    values, places = n.all(ops.TopK(k=n.integer("k"), axis=n.rank(x) - 1), x)
    return [values, n.cast(places, DType.I32)]


@FAMILY.op("ops.Normalize")
def _normalize(n: KerasNode) -> Result:
    x, order = n.x, n.get("order", 2)
    n.require(order in (1, 2) and isinstance(n.get("axis", -1), int), "only norms 1 and 2 along one axis are expressed")
    axis = n.axis(n.get("axis", -1), n.rank(x))
    return n(ops.LpNormalize(axis=axis, p=order, epsilon=n.number("epsilon", 1e-12)), x)


# ------------------------------------------------------------------- products
@FAMILY.op("ops.Matmul")
def _matmul(n: KerasNode) -> Result:
    return n(ops.MatMul(), *common(n, n.argument(0, "x1"), n.argument(1, "x2")))


@FAMILY.op("ops.Einsum")
def _einsum(n: KerasNode) -> Result:
    operands = [t for t in leaves(list(n.args)) if isinstance(t, Tensor)]
    return n(ops.Einsum(equation=str(n.get("subscripts")).replace(" ", "")), *operands)


# ------------------------------------------------------------------- shapes
@FAMILY.op("ops.Reshape")
def _reshape(n: KerasNode) -> Result:
    x = n.x
    target = n.layer.config.get("newshape", n.layer.config.get("shape"))
    target = [target] if isinstance(target, int) else list(target)
    n.require(all(d is None or isinstance(d, int) for d in target), f"its shape {target} is computed")
    sizes: list[Dim] = [-1 if d is None else d for d in target]
    n.require(sizes.count(-1) <= 1, f"newshape is {target}")
    if -1 in sizes:
        rest: Dim = 1
        for d in sizes:
            rest = rest * (1 if d == -1 else d)
        sizes[sizes.index(-1)] = floor_div(product(n.shape(x)), rest)
    return n.reshaped(x, tuple(sizes))


@FAMILY.op("ops.Transpose")
def _transpose(n: KerasNode) -> Result:
    x, rank = n.x, n.rank(n.x)
    given = n.layer.config.get("axes")
    return n.transposed(x, tuple(reversed(range(rank))) if given is None else n.axes(given, rank))


@FAMILY.op("ops.Swapaxes")
def _swapaxes(n: KerasNode) -> Result:
    x, rank = n.x, n.rank(n.x)
    order = list(range(rank))
    a, b = n.axis(n.integer("axis1"), rank), n.axis(n.integer("axis2"), rank)
    order[a], order[b] = order[b], order[a]
    return n.transposed(x, tuple(order))


@FAMILY.op("ops.ExpandDims")
def _expand_dims(n: KerasNode) -> Result:
    x, given = n.x, n.get("axis")
    items = [given] if isinstance(given, int) else list(given)
    rank = n.rank(x) + len(items)
    places, extents = n.axes(items, rank), iter(n.shape(x))
    return n.reshaped(x, tuple(1 if i in places else next(extents) for i in range(rank)))


@FAMILY.op("ops.Squeeze")
def _squeeze(n: KerasNode) -> Result:
    x = n.x
    axes = _axes_of(n, x)
    gone = [i for i, d in enumerate(n.shape(x)) if d == 1] if axes is None else list(axes)
    return n.reshaped(x, tuple(d for i, d in enumerate(n.shape(x)) if i not in gone))


@FAMILY.op("ops.Concatenate")
def _concatenate(n: KerasNode) -> Result:
    xs = n.xs
    dtype = xs[0].type.dtype
    for x in xs:
        dtype = _promoted(dtype, x.type.dtype)
    return n(ops.Concat(axis=n.axis(n.get("axis", 0), n.rank(xs[0]))), *(n.cast(x, dtype) for x in xs))


@FAMILY.op("ops.Stack")
def _stack(n: KerasNode) -> Result:
    xs = n.xs
    axis = n.axis(n.get("axis", 0), n.rank(xs[0]) + 1)
    parts = [n.reshaped(x, (*n.shape(x)[:axis], 1, *n.shape(x)[axis:])) for x in xs]
    return n(ops.Concat(axis=axis), *parts)


@FAMILY.op("ops.Split")
def _split(n: KerasNode) -> Result:
    x, given = n.x, n.get("indices_or_sections")
    axis = n.axis(n.get("axis", 0), n.rank(x))
    if isinstance(given, int):
        return list(n.parts(x, axis, given))
    extent = n.extent(x, axis)
    n.require(isinstance(extent, int), "the extent that is split must be known")
    borders = [0, *n.integers_of(given, "indices_or_sections"), extent]
    sizes = tuple(int(b) - int(a) for a, b in zip(borders, borders[1:], strict=False))  # type: ignore[arg-type]
    n.require(all(s >= 0 for s in sizes), f"indices are {given}")
    return list(n.all(ops.Split(axis=axis, sizes=sizes), x))


@FAMILY.op("ops.Flip")
def _flip(n: KerasNode) -> Result:
    x = n.x
    axes = _axes_of(n, x)
    return n(ops.Flip(axes=tuple(range(n.rank(x))) if axes is None else axes), x)


@FAMILY.op("ops.BroadcastTo")
def _broadcast_to(n: KerasNode) -> Result:
    return n(ops.Expand(shape=n.integers_of(n.get("shape"), "shape")), n.x)


@FAMILY.op("ops.Tile")
def _tile(n: KerasNode) -> Result:
    x, given = n.x, n.get("repeats")
    repeats = (given,) if isinstance(given, int) else n.integers_of(given, "repeats")
    rank = max(n.rank(x), len(repeats))
    x = n.reshaped(x, (*[1] * (rank - n.rank(x)), *n.shape(x)))
    return n(ops.Tile(repeats=(*[1] * (rank - len(repeats)), *repeats)), x)


@FAMILY.op("ops.Pad")
def _pad(n: KerasNode) -> Result:
    x, mode = n.x, str(n.get("mode", "constant"))
    given: Any = n.get("pad_width")
    pairs = (
        [(given, given)] * n.rank(x) if isinstance(given, int) else [n.integers_of(p, "pad_width", 2) for p in given]
    )
    pairs = list(pairs) * n.rank(x) if len(pairs) == 1 else pairs
    n.require(len(pairs) == n.rank(x), f"pad_width is {given!r}")
    n.require(mode in ("constant", "reflect"), f"mode {mode!r} is not expressed", "use constant or reflect")
    value = n.argument(1, "constant_values")
    pads = tuple(a for a, _ in pairs) + tuple(b for _, b in pairs)
    return n(ops.Pad(pads=pads, mode=mode, value=float(value or 0.0)), x)  # type: ignore[arg-type]


# ------------------------------------------------------------------- indexing
@FAMILY.op("ops.Take")
def _take(n: KerasNode) -> Result:
    x, indices = n.tensor(0, "x"), _operand(n, n.argument(1, "indices", n.layer.config.get("indices")))
    axis = n.layer.config.get("axis")
    if axis is None:
        x, axis = n.reshaped(x, (product(n.shape(x)),)), 0
    chosen = indices if isinstance(indices, Tensor) else constant(np.asarray(indices, np.int64))
    if chosen.type.dtype not in (DType.I32, DType.I64):
        chosen = n.cast(chosen, DType.I32)
    return n(ops.Gather(axis=n.axis(axis, n.rank(x))), x, chosen)


@FAMILY.op("ops.OneHot")
def _one_hot(n: KerasNode) -> Result:
    """A row of zeros for an index that is out of range."""
    x = n.x
    dtype = dtype_named(n.get("dtype", "float32"), n.place)
    axis = n.axis(n.get("axis", -1), n.rank(x) + 1)
    places = constant(np.arange(n.integer("num_classes"), dtype=x.type.dtype.numpy))
    shape = n.shape(x)
    wide = n.reshaped(x, (*shape[:axis], 1, *shape[axis:]))
    row = n.reshaped(places, tuple(places.type.dims[0] if i == axis else 1 for i in range(len(shape) + 1)))
    return n.cast(n(ops.Equal(), wide, row), dtype)


@FAMILY.op("ops.GetItem")
def _get_item(n: KerasNode) -> Result:
    """x[key] for numbers, slices, None and an Ellipsis."""
    x, key = n.tensor(0, "x"), n.argument(1, "key")
    parts = list(key) if isinstance(key, (list, tuple)) else [key]
    used = sum(p is not None and p is not Ellipsis for p in parts)
    n.require(used <= n.rank(x) and parts.count(Ellipsis) <= 1, f"the key {str(key)[:80]} does not fit")
    whole = [slice(None)] * (n.rank(x) - used)
    at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    parts = [*parts[:at], *whole, *parts[at + 1 :]]
    return _indexed(n, x, parts)


def _indexed(n: KerasNode, x: Tensor, parts: list[Any]) -> Tensor:
    cuts: list[tuple[int, int, int, int]] = []
    kept: list[int | None] = []
    axis = 0
    for part in parts:
        if part is None:
            kept.append(None)
            continue
        if isinstance(part, int) and not isinstance(part, bool):
            cuts.append((axis, part, 2**31 - 1 if part == -1 else part + 1, 1))
        elif isinstance(part, slice) and all(
            v is None or isinstance(v, int) for v in (part.start, part.stop, part.step)
        ):
            cuts += _cut(part, axis)
            kept.append(axis)
        else:
            n.refuse(f"an index is {str(part)[:80]!r}", "use keras.ops.take")
        axis += 1
    if cuts:
        axes, starts, ends, steps = (tuple(c[i] for c in cuts) for i in range(4))
        x = n(ops.Slice(axes=axes, starts=starts, ends=ends, steps=steps), x)
    shape = n.shape(x)
    return n.reshaped(x, tuple(1 if a is None else shape[a] for a in kept))


def _cut(part: slice, axis: int) -> list[tuple[int, int, int, int]]:
    if part.start is None and part.stop is None and part.step in (None, 1):
        return []
    step = 1 if part.step is None else part.step
    far = 2**31 - 1
    start = part.start if part.start is not None else (0 if step > 0 else far)
    stop = part.stop if part.stop is not None else (far if step > 0 else -far)
    return [(axis, start, stop, step)]
