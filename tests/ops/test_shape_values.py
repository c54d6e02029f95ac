"""Values of shape computations, and operands that become attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uair.ir.dims import Dim, ceil_div, floor_div, maximum, symbol
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType
from uair.ops import (
    Add,
    Cast,
    Concat,
    CumSum,
    Equal,
    Expand,
    Gather,
    Greater,
    IntDiv,
    Less,
    LogicalNot,
    MatMul,
    Maximum,
    Mod,
    Mul,
    NonZero,
    OneHot,
    Pad,
    Range,
    ReduceMax,
    ReduceProd,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    ScatterND,
    ShapeOf,
    SizeOf,
    Slice,
    Split,
    Squeeze,
    Sub,
    Tile,
    TopK,
    Transpose,
    Trilu,
    Unsqueeze,
    Where,
)
from uair.ops._symbolic import Unknown
from uair.ops.base import Operator
from uair.ops.shape_values import ShapeValues, infer_with_values, resolve_constants, resolve_operands

N, H = symbol("n"), symbol("h")


def tensor(*shape: Dim, dtype: DType = DType.F32) -> Tensor:
    return Tensor(TensorType(dtype, shape))


def ints(*values: int) -> Tensor:
    return constant(np.array(values, np.int64))


def scalar(value: int) -> Tensor:
    return constant(np.array(value, np.int64))


def number(value: float) -> Tensor:
    return constant(np.array(value, np.float32))


def value(t: Tensor) -> Any:
    found = ShapeValues().known(t)
    return None if found is None else found.tolist()


X = tensor(N, 3, H, 8)
SHAPE = ShapeOf()(X)


@pytest.mark.parametrize(
    ("computed", "want"),
    [
        (SHAPE, [N, 3, H, 8]),
        (ShapeOf(start=1, end=-1)(X), [3, H]),
        (SizeOf()(X), 24 * N * H),
        (Gather()(SHAPE, scalar(-2)), H),
        (Gather()(SHAPE, ints(0, 2)), [N, H]),
        (Slice(axes=(0,), starts=(1,), ends=(9,), steps=(2,))(SHAPE), [3, 8]),
        (Slice(axes=(0,), starts=(-1,), ends=(-9,), steps=(-1,))(SHAPE), [8, H, 3, N]),
        (Slice(axes=(0,), steps=(1,))(SHAPE, ints(2), ints(4)), [H, 8]),
        (Concat()(ints(-1), ShapeOf(start=2)(X)), [-1, H, 8]),
        (Squeeze(axes=(0,))(ShapeOf(end=1)(X)), N),
        (Unsqueeze(axes=(0,))(Gather()(SHAPE, scalar(0))), [N]),
        (Add()(SHAPE, scalar(1)), [N + 1, 4, H + 1, 9]),
        (Sub()(Add()(SHAPE, scalar(1)), SHAPE), [1, 1, 1, 1]),
        (Mul()(Gather()(SHAPE, scalar(0)), Gather()(SHAPE, scalar(3))), 8 * N),
        (IntDiv()(ShapeOf(start=2)(X), ints(2, 3)), [floor_div(H, 2), 2]),
        (IntDiv()(Mul()(SHAPE, SHAPE), ShapeOf(end=1)(X)), [N, floor_div(9, N), floor_div(H * H, N), floor_div(64, N)]),
        (IntDiv(rounding="floor")(Sub()(ShapeOf(start=2, end=3)(X), ints(1)), ints(2)), [floor_div(H - 1, 2)]),
        (IntDiv()(Mul()(SHAPE, scalar(-1)), scalar(2)), [-floor_div(N, 2), -1, -floor_div(H, 2), -4]),
        (Mod()(Mul()(SHAPE, scalar(4)), scalar(2)), [0, 0, 0, 0]),
        (Mod(sign="dividend")(ints(-7, 7), scalar(2)), [-1, 1]),
        (Maximum()(ShapeOf(start=1, end=2)(X), ints(5)), [5]),
        (Cast(to=DType.I32)(SHAPE), [N, 3, H, 8]),
        (Cast(to=DType.I64)(Equal()(ints(1, 2), ints(1, 1))), [1, 0]),
        (ReduceProd(keepdims=False)(SHAPE), 24 * N * H),
        (ReduceSum()(SHAPE), [N + H + 11]),
        (ReduceMax(keepdims=False)(ints(3, 9, 2)), 9),
        (ReduceProd(keepdims=False)(ShapeOf(start=4)(X)), 1),
        (Where()(Equal()(SHAPE, scalar(-1)), ints(7, 7, 7, 7), SHAPE), [N, 3, H, 8]),
        (Where()(Equal()(ints(-1, 2), scalar(-1)), ints(7, 7), ints(-1, 2)), [7, 2]),
        (LogicalNot()(Less()(SHAPE, scalar(0))), [True] * 4),
        (Expand(shape=(3,))(Gather()(SHAPE, scalar(0))), [N, N, N]),
        (Reshape(shape=(2, 2))(SHAPE), [[N, 3], [H, 8]]),
        (Transpose(perm=(1, 0))(Reshape(shape=(2, 2))(SHAPE)), [[N, H], [3, 8]]),
        (Range()(scalar(0), Gather()(SHAPE, scalar(3)), scalar(3)), [0, 3, 6]),
        (NonZero()(ints(0, 5, 7)), [[1, 2]]),
        (ScatterND()(SHAPE, constant(np.array([[0]])), ints(1)), [1, 3, H, 8]),
        (Split(axis=0, sizes=(1, 3)).node(SHAPE).outputs[1], [3, H, 8]),
    ],
)
def test_value_is_followed(computed: Tensor, want: Any) -> None:
    assert value(computed) == want


@pytest.mark.parametrize(
    "computed",
    [
        X,
        tensor(2, dtype=DType.I64),
        Add()(SHAPE, tensor(4, dtype=DType.I64)),
        Equal()(SHAPE, scalar(1)),  # whether n is 1 is not known
        Greater()(SHAPE, scalar(2)),
        IntDiv()(SHAPE, ints(0)),
        IntDiv()(Sub()(SHAPE, scalar(4)), scalar(2)),  # truncation depends on the sign
        Range()(scalar(0), Gather()(SHAPE, scalar(0)), scalar(1)),
        Gather()(ints(1, 2), Gather()(SHAPE, scalar(0))),
        ShapeOf()(Tensor(TensorType(DType.F32, None))),
        constant(np.zeros(65, np.int64)),
        Expand(shape=(100,))(scalar(1)),
        Expand(shape=(N, 100))(scalar(1)),
        Range()(scalar(0), scalar(2**60), scalar(1)),
        constant(np.ones(2, np.float32)),
        MatMul()(constant(np.ones((2, 2), np.int32)), constant(np.ones((2, 2), np.int32))),
        Gather()(ints(1, 2), scalar(5)),
    ],
)
def test_value_is_not_known(computed: Tensor) -> None:
    assert ShapeValues().known(computed) is None


def test_long_chains_do_not_recurse_and_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    evaluate = Add.evaluate

    def counted(self: Add, a: Any, b: Any) -> Any:
        nonlocal calls
        calls += 1
        return evaluate(self, a, b)

    monkeypatch.setattr(Add, "evaluate", counted)
    t = ShapeOf(end=1)(X)
    for _ in range(3000):
        t = Add()(t, ints(1))
    values = ShapeValues()
    assert values.dims(t) == (N + 3000,)
    assert values.dims(t) == (N + 3000,)
    assert calls == 3000


def test_several_results_of_one_node() -> None:
    values = ShapeValues()
    first, second = Split(axis=0, sizes=(1, 3)).node(SHAPE).outputs
    assert values.dims(second) == (3, H, 8)
    assert values.dims(first) == (N,)


Y = tensor(2, 6)
FORMS: list[tuple[Operator, list[Tensor | None], Operator]] = [
    (Reshape(), [X, Concat()(ShapeOf(end=1)(X), ints(-1))], Reshape(shape=(N, 24 * H))),
    (Reshape(shape=(3, -1)), [Y], Reshape(shape=(3, 4))),
    (Expand(), [scalar(1), SHAPE], Expand(shape=(N, 3, H, 8))),
    (Slice(axes=(0,), steps=(1,)), [Y, ints(0), ints(1)], Slice(axes=(0,), steps=(1,), starts=(0,), ends=(1,))),
    (Pad(value=2.0), [Y, ints(0, 1, 0, 1)], Pad(pads=(0, 1, 0, 1), value=2.0)),
    (Tile(), [Y, Gather()(SHAPE, ints(0, 1))], Tile(repeats=(N, 3))),
    (TopK(), [Y, ints(3)], TopK(k=3)),
    (TopK(axis=0), [Y, scalar(1)], TopK(k=1, axis=0)),
    (Resize(), [tensor(1, 1, 2, 2), ints(1, 1, 4, 4)], Resize(sizes=(1, 1, 4, 4))),
    (
        Resize(),
        [tensor(1, 1, 2, 2), None, constant(np.array([1, 1, 2, 1.5], np.float32))],
        Resize(scales=(1.0, 1.0, 2.0, 1.5)),
    ),
]


@pytest.mark.parametrize(("op", "inputs", "want"), FORMS, ids=[f[0].op_type for f in FORMS])
def test_operands_become_attributes(op: Operator, inputs: list[Tensor | None], want: Operator) -> None:
    new, remaining = resolve_operands(op, inputs, ShapeValues())
    assert new == want
    assert remaining == (inputs[0],)
    new.node(*remaining)  # it is well typed


def test_only_what_is_known_becomes_an_attribute() -> None:
    ends = tensor(1, dtype=DType.I64)
    op, remaining = resolve_operands(Slice(axes=(0,), steps=(1,)), [Y, ints(1), ends], ShapeValues())
    assert op == Slice(axes=(0,), steps=(1,), starts=(1,))
    assert remaining == (Y, None, ends)
    assert op.node(*remaining).output.type.dims[1] == 6


@pytest.mark.parametrize("op", [Relu(), Reshape(shape=(12,)), Slice(axes=(), starts=(), ends=(), steps=())])
def test_what_does_not_change_is_the_same_object(op: Operator) -> None:
    new, remaining = resolve_operands(op, [Y], ShapeValues())
    assert new is op
    assert remaining == (Y,)


def test_unknown_operands_stay() -> None:
    shape, op = tensor(2, dtype=DType.I64), Reshape()
    new, remaining = resolve_operands(op, [Y, shape], ShapeValues())
    assert new is op
    assert remaining == (Y, shape)
    count, top = Gather()(SHAPE, scalar(0)), TopK()
    new, remaining = resolve_operands(top, [Y, count], ShapeValues())  # k cannot be symbolic
    assert new is top
    assert remaining == (Y, count)


def test_a_reshape_of_unknown_rank_keeps_its_open_extent() -> None:
    x = Tensor(TensorType(DType.F32, None))
    new, _ = resolve_operands(Reshape(), [x, ints(2, -1)], ShapeValues())
    assert new == Reshape(shape=(2, -1))


UNKNOWN = tensor(1, dtype=DType.I64)
PARTLY = Concat()(ShapeOf(end=1)(X), UNKNOWN, ints(2))


@pytest.mark.parametrize(
    ("op", "inputs", "want"),
    [
        (Reshape(), [X, PARTLY], [N, None, 2]),
        (Reshape(), [X, Add()(PARTLY, ints(0, 1, 2))], [N, None, 4]),
        (Expand(), [scalar(1), PARTLY], [N, None, 2]),
        (Expand(), [tensor(5, 1), PARTLY], [N, 5, 2]),
        (Tile(), [tensor(4, 4, H), PARTLY], [4 * N, None, 2 * H]),
        (Pad(), [tensor(4, H), Concat()(UNKNOWN, ints(0, 0, 1))], [None, H + 1]),
        (Slice(axes=(0, 1), starts=(0, 0), steps=(1, 1)), [Y, Concat()(UNKNOWN, ints(2))], [None, 2]),
        (Range(), [scalar(2), Gather()(SHAPE, scalar(2)), scalar(2)], [maximum(0, ceil_div(H - 2, 2))]),
        (Range(), [Gather()(SHAPE, scalar(0)), scalar(0), scalar(-1)], [N]),
        (Range(), [scalar(0), Squeeze(axes=(0,))(UNKNOWN), scalar(1)], [None]),
        (Range(), [number(0), Cast(to=DType.F32)(Gather()(SHAPE, scalar(2))), number(2)], [maximum(0, ceil_div(H, 2))]),
        (Range(), [number(0), number(1), number(0.1)], [10]),
        (Range(), [number(0), number(np.inf), number(1)], [None]),
        (Range(), [number(0), Cast(to=DType.F32)(Gather()(SHAPE, scalar(2))), number(0.5)], [None]),
        (OneHot(axis=0), [tensor(H, dtype=DType.I64), Gather()(SHAPE, scalar(0)), tensor(2)], [N, H]),
        (TopK(), [Y, ShapeOf(end=1)(X)], [2, N]),
        (Where(), [Equal()(UNKNOWN, ints(1)), Y, Y], [2, 6]),
    ],
    ids=lambda v: getattr(v, "op_type", None),
)
def test_what_is_known_of_an_operand_decides_extents(op: Operator, inputs: list[Tensor], want: list[Any]) -> None:
    given: list[Tensor | None] = [inputs[0], None, *inputs[1:]] if op.op_type == "Slice" else list(inputs)
    values = ShapeValues()
    types = infer_with_values(op, given, values)
    assert list(types[0].dims) == want
    assert op.node(*given).outputs[0].type.rank == len(want)


def test_unknown_elements_do_not_spoil_the_others() -> None:
    values = ShapeValues()
    assert values.known(PARTLY) is None
    found = values.partial(PARTLY)
    assert found is not None and found[0] == N and found[2] == 2
    assert values.known(Gather()(PARTLY, ints(0, 2))) is not None
    chosen = Where()(Equal()(PARTLY, ints(-1, -1, 2)), ints(5, 5, 5), ints(5, 5, 7))
    assert value(chosen) == [5, 5, 5]
    assert value(Gather()(Where()(Equal()(PARTLY, ints(1, 1, 1)), PARTLY, PARTLY), ints(0, 2))) == [N, 2]
    assert values.partial(tensor(N, dtype=DType.I64)) is None


def test_constants_become_attributes_and_what_is_computed_does_not() -> None:
    computed = Gather()(SHAPE, ints(0))
    assert resolve_constants(Slice(axes=(0,), steps=(1,)), [Y, ints(1), computed]) == Slice(
        axes=(0,), starts=(1,), steps=(1,)
    )
    op = Reshape()
    assert resolve_constants(op, [Y, computed]) is op


@pytest.mark.parametrize(
    ("op", "inputs", "want"),
    [
        (ReduceSum(keepdims=False), [Y, ints(-1)], ReduceSum(axes=(1,), keepdims=False)),
        (Squeeze(), [tensor(1, 3, 1), ints(-1, 0)], Squeeze(axes=(2, 0))),
        (Squeeze(), [tensor(1, 3, 1)], Squeeze(axes=(0, 2))),
        (Unsqueeze(), [Y, ints(-1)], Unsqueeze(axes=(2,))),
        (Slice(), [Y, ints(0), ints(1), ints(-1), ints(1)], Slice(axes=(1,), starts=(0,), ends=(1,), steps=(1,))),
        (Split(axis=1, parts=2), [Y, ints(2, 4)], Split(axis=1, sizes=(2, 4))),
        (Pad(pads=(0, 0, 1, 1), value=None), [Y, None, constant(np.array([0.5], np.float32))],
         Pad(pads=(0, 0, 1, 1), value=0.5)),
        (CumSum(axis=None), [Y, scalar(1)], CumSum(axis=1)),
        (Trilu(k=None), [Y, scalar(-1)], Trilu(k=-1)),
        (OneHot(), [tensor(3, dtype=DType.I64), scalar(4), tensor(2)], OneHot(depth=4)),
    ],
    ids=lambda v: getattr(v, "op_type", None),
)  # fmt: skip
def test_more_operands_become_attributes(op: Operator, inputs: list[Tensor | None], want: Operator) -> None:
    new, remaining = resolve_operands(op, inputs, ShapeValues())
    assert new == want
    assert all(t is None or t is given for t, given in zip(remaining, inputs, strict=False))
    assert resolve_operands(new, remaining, ShapeValues())[0] is new
    new.node(*remaining)


def test_a_number_that_no_float_holds_stays_an_operand() -> None:
    large = constant(np.array(2**60 + 1))
    op = Pad(pads=(0, 0, 1, 1), value=None)
    new, remaining = resolve_operands(op, [tensor(2, 2, dtype=DType.I64), None, large], ShapeValues())
    assert new is op
    assert remaining[2] is large


def test_scattered_sizes_are_combined() -> None:
    """Sizes that go to one place are combined; where something unknown goes, nothing is known."""
    n = symbol("n")
    updates = np.array([n, 3, Unknown()], dtype=object)
    for reduction, start, want in (("add", 0, n + 3), ("mul", 1, 3 * n), ("max", 0, maximum(n, 3))):
        mode: Any = reduction
        op = ScatterND(reduction=mode)
        first, both, unknown = op.evaluate(np.full(3, start), np.array([[1], [1], [2]]), updates).tolist()
        assert (first, both) == (start, want)
        assert isinstance(unknown, Unknown)
