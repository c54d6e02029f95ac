"""Reductions and scans. Sums and products of bools and small integers are i64, as PyTorch records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uair import ops
from uair.frontends.torch.handlers.normalization import norm
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import category
from uair.ir.dims import Dim, normal, product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()


def axes_of(node: TorchNode, x: Tensor, name: str = "dim") -> tuple[int, ...] | None:
    """The axes that an argument names; None for all of them, which is what none stands for, too."""
    value = node.get(name)
    given = () if value is None else value if isinstance(value, tuple) else (value,)
    rank = node.rank(x)
    if not given:
        return None
    if rank == 0:
        return ()
    return node.axes([int(a) for a in given], rank)


def _keepdim(node: TorchNode) -> bool:
    return bool(node.get("keepdim", False))


def _reduction(make: Any) -> Callable[[TorchNode], Tensor]:
    """A handler of a reduction whose operand has the element type of the result first."""

    def handler(node: TorchNode) -> Tensor:
        x = node.cast(node.tensor("self"), node.result.dtype)
        op = make(axes=axes_of(node, x), keepdims=_keepdim(node))
        return node(op, x)

    return handler


for _names, _make in {
    ("sum",): ops.ReduceSum,
    ("mean",): ops.ReduceMean,
    ("prod",): ops.ReduceProd,
    ("logsumexp", "special_logsumexp"): ops.ReduceLogSumExp,
}.items():
    for _name in _names:
        FAMILY.add(f"aten.{_name}", _reduction(_make))


# ------------------------------------------------------------------------------------------------ extremes
def _extreme(node: TorchNode, x: Tensor, greatest: bool) -> Tensor:
    """The greatest or least element over the axes; of bools whether any or all hold."""
    axes, keepdims = axes_of(node, x), _keepdim(node)
    if x.type.dtype is DType.BOOL:
        make: Any = ops.ReduceAny if greatest else ops.ReduceAll
    else:
        make = ops.ReduceMax if greatest else ops.ReduceMin
    return node(make(axes=axes, keepdims=keepdims), x)


@FAMILY.op("aten.amax", "aten.max.default")
def _amax(node: TorchNode) -> Tensor:
    return _extreme(node, node.tensor("self"), True)


@FAMILY.op("aten.amin", "aten.min.default")
def _amin(node: TorchNode) -> Tensor:
    return _extreme(node, node.tensor("self"), False)


@FAMILY.op("aten.aminmax")
def _aminmax(node: TorchNode) -> Result:
    x = node.tensor("self")
    return _extreme(node, x, False), _extreme(node, x, True)


@FAMILY.op("aten.max.dim")
def _max_dim(node: TorchNode) -> Result:
    return _with_place(node, True)


@FAMILY.op("aten.min.dim")
def _min_dim(node: TorchNode) -> Result:
    return _with_place(node, False)


def _with_place(node: TorchNode, greatest: bool) -> Result:
    x = node.tensor("self")
    return (
        _extreme(node, x, greatest) if node.wants(0) else None,
        _place(node, x, greatest, node.get("dim"), _keepdim(node)) if node.wants(1) else None,
    )


def _place(node: TorchNode, x: Tensor, greatest: bool, axis: int | None, keepdims: bool) -> Tensor:
    """Where the greatest or least element is; the first of several. Without an axis: in x as one row."""
    rank = node.rank(x)
    if x.type.dtype is DType.BOOL:
        x = node.cast(x, DType.U8)
    make: Any = ops.ArgMax if greatest else ops.ArgMin
    if axis is None or rank == 0:
        flat = x if rank == 1 else node(ops.Reshape(shape=(product(node.shape(x)),)), x)
        place = node(make(axis=0, keepdims=False), flat)
        return node.reshaped(place, (1,) * rank) if keepdims and rank else place
    return node(make(axis=node.axis(axis, rank), keepdims=keepdims), x)


@FAMILY.op("aten.argmax")
def _argmax(node: TorchNode) -> Tensor:
    return _place(node, node.tensor("self"), True, node.get("dim"), _keepdim(node))


@FAMILY.op("aten.argmin")
def _argmin(node: TorchNode) -> Tensor:
    return _place(node, node.tensor("self"), False, node.get("dim"), _keepdim(node))


# ------------------------------------------------------------------------------------------------ truth
def _truth(make: Any) -> Callable[[TorchNode], Tensor]:
    """Whether any or all elements are not 0; of u8 PyTorch gives u8."""

    def handler(node: TorchNode) -> Tensor:
        x = node.tensor("self")
        held = x if x.type.dtype is DType.BOOL else node(ops.NotEqual(), x, node.like(0, x))
        made = node(make(axes=axes_of(node, x), keepdims=_keepdim(node)), held)
        return node.cast(made, node.result.dtype)

    return handler


FAMILY.add("aten.any", _truth(ops.ReduceAny))
FAMILY.add("aten.all", _truth(ops.ReduceAll))


@FAMILY.op("aten.count_nonzero")
def _count_nonzero(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    held = node.cast(node(ops.NotEqual(), x, node.like(0, x)), DType.I64)
    return node(ops.ReduceSum(axes=axes_of(node, x), keepdims=False), held)


@FAMILY.op("aten.nansum")
def _nansum(node: TorchNode) -> Tensor:
    x = node.cast(node.tensor("self"), node.result.dtype)
    if category(x.type.dtype) == 2:
        x = node(ops.Where(), node(ops.IsNaN(), x), node.like(0, x), x)
    return node(ops.ReduceSum(axes=axes_of(node, x), keepdims=_keepdim(node)), x)


# ------------------------------------------------------------------------------------------------ spread
def _variance(node: TorchNode) -> tuple[Tensor, Tensor]:
    """Variance and mean over the axes: the squares' sum over the number of elements less the correction."""
    x = node.tensor("self")
    axes = axes_of(node, x)
    correction = _correction(node)
    keepdims = _keepdim(node)
    mean = node(ops.ReduceMean(axes=axes), x)
    centred = node(ops.Sub(), x, mean)
    squares = node(ops.Mul(), centred, centred)
    if correction == 0:
        variance = node(ops.ReduceMean(axes=axes, keepdims=keepdims), squares)
    else:
        total = node(ops.ReduceSum(axes=axes, keepdims=keepdims), squares)
        variance = node(ops.Div(), total, _freedom(node, x, axes, correction))
    return variance, mean


def _correction(node: TorchNode) -> float:
    """What is taken off the number of elements: 1 unless told, 0 for `unbiased=False`."""
    if "unbiased" in node.values:
        return 1 if node.get("unbiased") else 0
    value = node.get("correction")
    return 1 if value is None else value


def _freedom(node: TorchNode, x: Tensor, axes: tuple[int, ...] | None, correction: float) -> Tensor:
    count: Dim = product([d for a, d in enumerate(node.shape(x)) if axes is None or a in axes])
    if isinstance(count, int):
        return node.like(max(count - correction, 0), x)
    size = node.cast(node.number(count), x.type.dtype)
    return node(ops.Clip(min=0.0), node(ops.Sub(), size, node.like(correction, x)))


def _mean_of(node: TorchNode, mean: Tensor) -> Tensor:
    """The mean in the shape of the result: computed with its axes kept."""
    wanted = node.call.types[1]
    assert wanted is not None
    return node.reshaped(mean, wanted.dims)


@FAMILY.op("aten.var")
def _var(node: TorchNode) -> Tensor:
    return _variance(node)[0]


@FAMILY.op("aten.std")
def _std(node: TorchNode) -> Tensor:
    return node(ops.Sqrt(), _variance(node)[0])


@FAMILY.op("aten.var_mean")
def _var_mean(node: TorchNode) -> Result:
    variance, mean = _variance(node)
    return variance, _mean_of(node, mean)


@FAMILY.op("aten.std_mean")
def _std_mean(node: TorchNode) -> Result:
    variance, mean = _variance(node)
    return node(ops.Sqrt(), variance), _mean_of(node, mean)


# ------------------------------------------------------------------------------------------------ norms
@FAMILY.op("aten.linalg_vector_norm", "aten.norm")
def _vector_norm(node: TorchNode) -> Tensor:
    """The order is called ord or p; 2 unless told. 0-d tensors have one element."""
    x = node.cast(node.tensor("self"), node.result.dtype)
    order = node.get("ord", node.get("p"))
    axes = axes_of(node, x)
    every = tuple(range(node.rank(x)))
    return norm(node, x, 2.0 if order is None else float(order), every if axes is None else axes, _keepdim(node))


@FAMILY.op("aten.frobenius_norm")
def _frobenius_norm(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node(ops.ReduceL2(axes=axes_of(node, x), keepdims=_keepdim(node)), x)


# ------------------------------------------------------------------------------------------------ scans
def _scan(node: TorchNode, make: Callable[[int], Operator]) -> Tensor:
    x = node.cast(node.tensor("self"), node.result.dtype)
    rank = node.rank(x)
    return x if rank == 0 else node(make(node.axis(node.get("dim"), rank)), x)


@FAMILY.op("aten.cumsum")
def _cumsum(node: TorchNode) -> Tensor:
    return _scan(node, lambda axis: ops.CumSum(axis=axis))


@FAMILY.op("aten.cumprod")
def _cumprod(node: TorchNode) -> Tensor:
    return _scan(node, lambda axis: ops.CumProd(axis=axis))


@FAMILY.op("aten.diff")
def _diff(node: TorchNode) -> Tensor:
    """Differences of neighbours along an axis, n times; of bools, whether they differ."""
    x = node.tensor("self")
    axis = node.axis(node.get("dim", -1), node.rank(x))
    around = [t for t in (node.optional("prepend"), x, node.optional("append")) if t is not None]
    x = around[0] if len(around) == 1 else node(ops.Concat(axis=axis), *around)
    op: Operator = ops.NotEqual() if x.type.dtype is DType.BOOL else ops.Sub()
    for _ in range(node.get("n", 1)):
        last = node.extent(x, axis)
        later = node(ops.Slice(axes=(axis,), starts=(1,), ends=(last,), steps=(1,)), x)
        sooner = node(ops.Slice(axes=(axis,), starts=(0,), ends=(normal(last - 1),), steps=(1,)), x)
        x = node(op, later, sooner)
    return x
