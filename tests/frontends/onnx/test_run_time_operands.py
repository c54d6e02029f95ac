"""Axes, bounds, sizes and counts that only the run tells: imported, interpreted, written, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.codegen.onnx.running import run as run_bytes
from tests.frontends.onnx.models import F32, I64, check, floats, imported, interpreted, model, one
from uair.codegen.onnx import NotExpressible, model_bytes
from uair.errors import EvaluationError, UairError
from uair.ir.dtype import Array
from uair.ops.shape_values import ShapeValues, resolve_operands

X = floats(2, 3, 4)
COLUMN = floats(1, 3, 1, 4)
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


def ints(*values: int, dtype: Any = np.int64) -> Array:
    return np.array(values, dtype)


def both(proto: onnx.ModelProto, feeds: dict[str, Array], opset: int, outputs: Sequence[str] = ("y",)) -> None:
    """Interpreted as onnxruntime computes it, and written again with the same result."""
    module = check(proto, feeds)
    want = dict(zip(outputs, interpreted(module, feeds), strict=True))
    for name, got in run_bytes(model_bytes(module, opset=opset), feeds).items():
        assert got.shape == want[name].shape
        np.testing.assert_allclose(got, want[name], rtol=1e-5, atol=1e-6)


def open_length(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with inputs that are lists of any length."""
    for value in proto.graph.input:
        if value.name in names:
            value.CopyFrom(helper.make_tensor_value_info(value.name, I64, [f"n_{value.name}"]))
    return proto


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_axes_of_reductions(op_type: str, keepdims: int) -> None:
    x = np.abs(X) + 0.5
    feeds = {"x": x, "a": ints(-1, 0)}
    both(model([one(op_type, "x", "a", keepdims=keepdims)], feeds, opset=18), feeds, 18)
    for axes in (ints(1), ints(2, 0, 1), ints()):
        proto = open_length(model([one(op_type, "x", "a", keepdims=keepdims)], feeds, opset=18), "a")
        both(proto, {"x": x, "a": axes}, 18)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [ints(), ints(1), ints(-1, 0)], ids=str)
def test_no_axes_may_mean_none(axes: Array, keepdims: int) -> None:
    proto = model(
        [one("ReduceSum", "x", "a", keepdims=keepdims, noop_with_empty_axes=1)], {"x": X, "a": axes}, opset=13
    )
    both(open_length(proto, "a"), {"x": X, "a": axes}, 13)


def test_axes_of_a_reduction_of_unknown_rank() -> None:
    proto = open_length(model([one("ReduceSum", "x", "a")], {"x": X, "a": ints(0)}, opset=13), "a")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    for axes in (ints(), ints(1, -1)):
        check(proto, {"x": X, "a": axes})


def test_bool_reductions() -> None:
    x = X > 0
    for op_type in ("ReduceMax", "ReduceMin"):
        feeds = {"x": x, "a": ints(1)}
        (got,) = interpreted(imported(model([one(op_type, "x", "a")], feeds, opset=20)), feeds)
        want = x.any(1, keepdims=True) if op_type == "ReduceMax" else x.all(1, keepdims=True)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("axes", [ints(0), ints(-2, 0), ints()], ids=str)
def test_axes_of_squeeze(axes: Array) -> None:
    if len(axes):
        both(model([one("Squeeze", "x", "a")], {"x": COLUMN, "a": axes}), {"x": COLUMN, "a": axes}, 17)
        proto = open_length(model([one("Squeeze", "x", "a")], {"x": COLUMN, "a": axes}), "a")
        both(proto, {"x": COLUMN, "a": axes}, 17)
    proto = model([one("Unsqueeze", "x", "a")], {"x": X, "a": axes})
    both(proto, {"x": X, "a": axes}, 17)


@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 3, 1), (1, 1, 1)], ids=str)
def test_squeeze_of_open_extents_without_axes(shape: tuple[int, ...]) -> None:
    proto = model([one("Squeeze", "x")], {"x": (F32, ["n", "m", 1])})
    both(proto, {"x": floats(*shape)}, 17)
    module = imported(model([one("Squeeze", "x")], {"x": (F32, ["n", 1, 3])}))
    assert module.main.outputs[0].type.shape is None


def test_squeeze_knows_extents_that_are_not_one() -> None:
    nodes = [one("Concat", "x", "x", "x", outputs=["c"], axis=0), one("Squeeze", "c")]
    module = imported(model(nodes, {"x": (F32, ["n", 1, 2])}))
    assert module.main.outputs[0].type.shape is None  # 3 n may be 0, but not 1: a size is needed that says so
    nodes = [one("Concat", "x", "k", "k", outputs=["c"], axis=0), one("Squeeze", "c")]
    module = imported(model(nodes, {"x": (F32, ["n", 1, 2])}, constants={"k": np.zeros((1, 1, 2), np.float32)}))
    assert [str(d) for d in module.main.outputs[0].type.dims] == ["n + 2", "2"]


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((0, 1), (2, 3), (0, 1), (1, 1)),
        ((-1,), (-100,), (-1,), (-2,)),
        ((1, 0), (2**62, -1), (2, 0), (2, 1)),
        ((), (), (), ()),
    ],
    ids=str,
)
def test_slice(starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    feeds = {"x": X} | {name: ints(*v) for name, v in zip("seap", (starts, ends, axes, steps), strict=True)}
    both(model([one("Slice", "x", "s", "e", "a", "p")], feeds, opset=13), feeds, 13)
    both(open_length(model([one("Slice", "x", "s", "e", "a", "p")], feeds, opset=13), *"seap"), feeds, 13)
    both(open_length(model([one("Slice", "x", "s", "e", "a")], feeds, opset=13), *"sea"), feeds, 11)


def test_slice_without_axes() -> None:
    feeds = {"x": X, "s": ints(1, 0), "e": ints(2, 2)}
    both(model([one("Slice", "x", "s", "e")], feeds), feeds, 17)
    both(open_length(model([one("Slice", "x", "s", "e")], feeds), "s", "e"), feeds, 17)
    both(model([one("Slice", "x", "s", "e", "", "p")], {**feeds, "p": ints(1, 2)}), {**feeds, "p": ints(1, 2)}, 17)


def test_slice_of_known_axes_keeps_the_others() -> None:
    feeds = {"x": X, "s": ints(1), "e": ints(2)}
    module = imported(model([one("Slice", "x", "s", "e", "a")], feeds, constants={"a": ints(-2)}))
    shape = module.main.outputs[0].type.dims
    assert (shape[0], shape[2]) == (2, 4)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_sizes_of_split(opset: int) -> None:
    feeds = {"x": X, "s": ints(1, 0, 3)}
    outputs = ("a", "b", "c")
    both(model([one("Split", "x", "s", axis=-1, outputs=outputs)], feeds, outputs, opset=13), feeds, opset, outputs)


@pytest.mark.parametrize("extent", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("count", [2, 3])
def test_equal_parts_of_an_open_extent(count: int, extent: int) -> None:
    outputs = [f"y{i}" for i in range(count)]
    node = one("Split", "x", axis=0, outputs=outputs, num_outputs=count)
    x = floats(extent, 2)
    parts, step = (
        interpreted(imported(model([node], {"x": (F32, ["n", 2])}, outputs, opset=18)), {"x": x}),
        -(-extent // count),
    )
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, x[i * step : (i + 1) * step])
    proto = model([node], {"x": x}, outputs, opset=18)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    for part, want in zip(interpreted(imported(proto), {"x": x}), parts, strict=True):
        np.testing.assert_array_equal(part, want)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("opset", [11, 14])
def test_diagonal_of_trilu(upper: int, opset: int) -> None:
    for k in (-1, 0, 2, 9):
        feeds = {"x": X, "k": np.array(k)}
        both(model([one("Trilu", "x", "k", upper=upper)], feeds, opset=14), feeds, opset)


@pytest.mark.parametrize("axis", [np.array(1), np.array(-1, np.int32), ints(0)], ids=str)
def test_axis_of_cumsum(axis: Array) -> None:
    feeds = {"x": X, "a": axis}
    module = imported(model([one("CumSum", "x", "a", reverse=1)], feeds, opset=14))
    (got,) = interpreted(module, feeds)
    along = int(axis.reshape(-1)[0])
    np.testing.assert_allclose(got, np.flip(np.cumsum(np.flip(X, along), along), along), rtol=1e-6)
    (written,) = run_bytes(model_bytes(module, opset=14), feeds).values()
    np.testing.assert_allclose(written, got, rtol=1e-6)


@pytest.mark.parametrize("opset", [11, 18])
def test_padding(opset: int) -> None:
    feeds = {"x": X, "p": ints(1, 0, -1, 0, 2, 1), "v": np.array(2.5, np.float32)}
    both(model([one("Pad", "x", "p", "v")], feeds, opset=13), feeds, opset)
    for axes in (ints(2, -3), ints(0, 1)):
        some = {"x": X, "p": ints(1, 0, 2, 1), "v": np.array(2.5, np.float32), "a": axes}
        both(model([one("Pad", "x", "p", "v", "a")], some, opset=18), some, opset)
        both(open_length(model([one("Pad", "x", "p", "v", "a")], some, opset=18), "p", "a"), some, opset)
    edges = {"x": X, "p": ints(1, 2)}
    both(model([one("Pad", "x", "p", "", "a", mode="edge")], edges, constants={"a": ints(-1)}, opset=18), edges, opset)


def test_the_padding_value_is_exact() -> None:
    x, value = ints(1, 2), np.array(2**60 + 1)
    module = imported(model([one("Pad", "x", "p", "v")], {"x": x}, constants={"p": ints(1, 0), "v": value}, opset=13))
    (got,) = interpreted(module, {"x": x})
    assert got.tolist() == [2**60 + 1, 1, 2]


def test_depth_of_one_hot() -> None:
    feeds = {"i": ints(0, -1, 2), "d": np.array(4), "v": np.array([2, 5], np.float32)}
    both(model([one("OneHot", "i", "d", "v", axis=0)], feeds), feeds, 17)
    module = imported(model([one("OneHot", "i", "d", "v")], {"i": feeds["i"]}, constants={n: feeds[n] for n in "dv"}))
    assert module.main.outputs[0].type.dims == (3, 4)


@pytest.mark.parametrize(
    ("node", "feeds", "opset"),
    [
        (one("Squeeze", "x", "a"), {"x": COLUMN, "a": ints(0)}, 12),
        (one("Unsqueeze", "x", "a"), {"x": X, "a": ints(0)}, 12),
        (one("ReduceMax", "x", "a"), {"x": X, "a": ints(0)}, 17),
        (one("ReduceSum", "x", "a"), {"x": X, "a": ints(0)}, 12),
    ],
    ids=lambda v: getattr(v, "op_type", ""),
)
def test_older_opsets_have_no_such_operand(node: Any, feeds: dict[str, Array], opset: int) -> None:
    module = imported(model([node], feeds, opset=18))
    with pytest.raises(NotExpressible, match="axes as an attribute before opset") as caught:
        model_bytes(module, opset=opset)
    assert caught.value.hint


def test_constants_are_written_as_attributes_at_older_opsets() -> None:
    module = imported(model([one("ReduceMax", "x", "a")], {"x": X, "a": ints(-1)}, opset=18))
    node = next(iter(module.main))
    from uair.ir.graph import constant

    node.set_input(1, constant(ints(-1)))
    data = model_bytes(module, opset=11)
    (got,) = run_bytes(data, {"x": X, "a": ints(0)}).values()
    np.testing.assert_allclose(got, X.max(-1, keepdims=True))


@pytest.mark.parametrize(
    ("node", "feeds"),
    [
        (one("ReduceSum", "x", "a"), {"x": X, "a": ints(3)}),
        (one("ReduceSum", "x", "a"), {"x": X, "a": ints(0, -3)}),
        (one("Squeeze", "x", "a"), {"x": COLUMN, "a": ints(1)}),
        (one("Unsqueeze", "x", "a"), {"x": X, "a": ints(7)}),
        (one("Slice", "x", "s", "e", "a", "p"), {"x": X, "s": ints(0), "e": ints(1), "a": ints(0), "p": ints(0)}),
        (one("Split", "x", "s", outputs=["y", "z"]), {"x": X, "s": ints(1, 2)}),
        (one("CumSum", "x", "a"), {"x": X, "a": ints(5)}),
        (one("Pad", "x", "a"), {"x": X, "a": ints(0, 0, -5, 0, 0, 0)}),
    ],
    ids=lambda v: getattr(v, "op_type", ""),
)
def test_senseless_values_are_refused_when_the_model_runs(node: Any, feeds: dict[str, Array]) -> None:
    module = imported(model([node], feeds, node.output, opset=18))
    with pytest.raises(EvaluationError):
        interpreted(module, feeds)


def test_wrong_numbers_of_values_are_refused_at_import() -> None:
    for node, feeds in (
        (one("Squeeze", "x", "a"), {"x": X, "a": (I64, [1])}),
        (one("ReduceSum", "x", "a"), {"x": X, "a": (I64, [4])}),
        (one("Split", "x", "a", outputs=["y", "z"]), {"x": X, "a": (I64, [3])}),
        (one("Pad", "x", "a"), {"x": X, "a": (I64, [5])}),
        (one("Trilu", "x", "a"), {"x": X, "a": (I64, [2])}),
    ):
        with pytest.raises(UairError):
            imported(model([node], feeds, node.output, opset=18))


def test_settled_operators_stay_as_they_are() -> None:
    module = imported(model([one("Squeeze", "x", "a")], {"x": COLUMN}, constants={"a": ints(-2)}))
    node = next(iter(module.main))
    assert node.attributes["axes"] == (2,)
    assert resolve_operands(node.op, node.inputs, ShapeValues())[0] is node.op


def shapeless(proto: onnx.ModelProto, **shapes: list[str | int] | None) -> onnx.ModelProto:
    """The model with inputs of other declared shapes; None for a rank that is not known."""
    for value in proto.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    return proto


@pytest.mark.parametrize("target", [(0, -1, 2), (0, 0, -1), (4, 3, 2)])
@pytest.mark.parametrize("x", [["a", "b", "c"], None])
@pytest.mark.parametrize("s", [[3], ["n"], None])
def test_zeros_in_a_shape_of_any_length_copy_extents(
    target: tuple[int, ...], x: list[str | int] | None, s: list[str | int] | None
) -> None:
    feeds = {"x": X, "s": ints(*target)}
    both(shapeless(model([one("Reshape", "x", "s")], feeds), x=x, s=s), feeds, 17)


def test_zeros_in_a_known_shape_copy_extents_of_an_operand_of_any_rank() -> None:
    proto = model([one("Reshape", "x", "s")], {"x": X}, constants={"s": ints(0, -1)})
    both(shapeless(proto, x=None), {"x": X}, 17)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
def test_an_axis_of_an_operand_of_any_rank(name: str) -> None:
    both(shapeless(model([one(name, "x", axis=-2)], {"x": X}), x=None), {"x": X}, 17)


def test_slice_1_of_an_operand_of_any_rank() -> None:
    node = one("Slice", "x", starts=[1, -3], ends=[2, 100], axes=[0, 2])
    both(shapeless(model([node], {"x": X}, opset=9), x=None), {"x": X}, 17)
