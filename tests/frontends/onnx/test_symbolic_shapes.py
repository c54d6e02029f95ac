"""Shapes computed in the graph, written as exporters of transformers write them: every extent known, at any size.

What is known is compared with onnx's inference with data propagation, what is computed with onnxruntime.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx.helper leaves type arguments open.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, shape_inference

from tests.codegen.onnx.running import run as run_bytes
from tests.frontends.onnx.models import F32, I64, check, floats, imported, interpreted, model, one
from uair.codegen.onnx import model_bytes
from uair.ir.bounds import upper_bounds
from uair.ir.dims import symbols_of
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.passes.bind_shapes import bind_shapes

Nodes = list[onnx.NodeProto]


class Net:
    """Nodes and constants, written one after the other."""

    def __init__(self) -> None:
        self.nodes: Nodes = []
        self.constants: dict[str, Array] = {}

    def __call__(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """The result's name; lists and numbers become constants."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(one(op_type, *map(self.named, inputs), outputs=names, **attributes))
        return names[0] if outputs == 1 else names

    def named(self, value: Any) -> str:
        """The name of an input; a constant's value becomes an initializer."""
        if isinstance(value, str):
            return value
        name = f"c{len(self.constants)}"
        self.constants[name] = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        return name

    def size(self, x: str, axis: int) -> str:
        """An extent as a scalar, as torch's exporter writes it."""
        return str(self("Gather", self("Shape", x), axis, axis=0))

    def join(self, *sizes: Any) -> str:
        """A shape out of scalars."""
        pieces = [self("Unsqueeze", s, [0]) if isinstance(s, str) else [s] for s in sizes]
        return str(self("Concat", *pieces, axis=0))

    def view(self, x: str, *sizes: Any) -> str:
        """A Reshape to computed sizes."""
        return str(self("Reshape", x, self.join(*sizes)))

    def model(self, y: str, inputs: Mapping[str, Any]) -> onnx.ModelProto:
        """The whole model."""
        self.nodes.append(one("Identity", y))
        return model(self.nodes, inputs, constants=self.constants)


def heads(n: Net, x: str) -> str:
    """view(b, -1, 2, 4).transpose(1, 2), attention, and back with view(b, t, 8)."""
    b, t = n.size(x, 0), n.size(x, 1)
    split = n("Transpose", n.view(x, b, -1, 2, 4), perm=[0, 2, 1, 3])
    scores = n("MatMul", split, n("Transpose", split, perm=[0, 1, 3, 2]))
    mixed = n("MatMul", n("Softmax", n("Add", scores, causal(n, t)), axis=-1), split)
    return n.view(n("Transpose", mixed, perm=[0, 2, 1, 3]), b, t, 8)


def causal(n: Net, t: str) -> str:
    """A lower triangle of zeros in a square of -10000, by a 2-D ConstantOfShape."""
    low = helper.make_tensor("v", TensorProto.FLOAT, [1], [-1e4])
    return str(n("Trilu", n("ConstantOfShape", n.join(t, t), value=low), np.array(1), upper=1))


def positions(n: Net, x: str) -> str:
    """Learned positions sliced to the length, and added."""
    table = n("Slice", n.named(floats(1, 16, 8)), [0], n("Unsqueeze", n.size(x, 1), [0]), [1])
    return str(n("Add", x, table))


def expanded_mask(n: Net, x: str) -> str:
    """expand(b, 1, t, t) as torch writes it: -1 in the sizes is replaced by 1 with Equal and Where."""
    b, t = n.size(x, 0), n.size(x, 1)
    sizes = n.join(b, 1, t, -1)
    ones = n("ConstantOfShape", [4], value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    wanted = n("Where", n("Equal", sizes, n("Mul", ones, -1)), ones, sizes)
    row = n("Cast", n("Range", 0, t, 1), to=F32)
    return str(n("Expand", n("Unsqueeze", row, [0, 1, 2]), wanted))


def window_partition(n: Net, x: str) -> str:
    """Padding up to a multiple of 2, then windows: (2 - t % 2) % 2 and t // 2."""
    b, t = n.size(x, 0), n.size(x, 1)
    amount = n("Mod", n("Sub", 2, n("Mod", t, 2)), 2)
    padded = n("Pad", x, n("Concat", [0, 0, 0, 0], n("Unsqueeze", amount, [0]), [0], axis=0))
    windows = n.view(padded, b, n("Div", n.size(padded, 1), 2), 2, 8)
    return n.view(n("ReduceSum", windows, [2]), -1, 8)


def halves(n: Net, x: str) -> str:
    """T // 2 and the rest, by Split and by slices, joined again."""
    t = n.size(x, 1)
    half = n("Div", t, 2)
    sizes = n.join(half, n("Sub", t, half))
    a, b = n("Split", x, sizes, axis=1, outputs=2)
    return str(n("Concat", b, a, axis=1))


def repeated(n: Net, x: str) -> str:
    """Tile by a size, OneHot of that depth, TopK of half of it."""
    t = n.size(x, 1)
    index = n("Range", 0, t, 1)
    marks = n("OneHot", index, t, np.array([0, 1], np.float32))
    values, _ = n("TopK", marks, n("Unsqueeze", n("Div", n("Add", t, 1), 2), [0]), outputs=2)
    return str(n("Tile", values, n.join(n.size(x, 0), 1)))


NETS: dict[str, tuple[Callable[[Net, str], str], list[str]]] = {
    "heads": (heads, ["b", "t", "8"]),
    "positions": (positions, ["b", "t", "8"]),
    "expanded_mask": (expanded_mask, ["b", "1", "t", "t"]),
    "window_partition": (window_partition, ["b*ceiling(t/2)", "8"]),
    "halves": (halves, ["b", "t", "8"]),
    "repeated": (repeated, ["b*t", "ceiling(t/2)"]),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, list[str]]:
    build, want = NETS[request.param]
    n = Net()
    return n.model(build(n, "x"), {"x": (F32, ["b", "t", 8])}), want


def shape_of(module: Module) -> list[str]:
    return [str(d) for d in module.main.outputs[0].type.dims]


def test_every_extent_is_known(net: tuple[onnx.ModelProto, list[str]]) -> None:
    proto, want = net
    module = imported(proto)
    assert shape_of(module) == want
    inferred = shape_inference.infer_shapes(proto, data_prop=True)
    theirs = {v.name: v.type.tensor_type.shape.dim for v in (*inferred.graph.value_info, *inferred.graph.output)}
    compared = 0
    for node in module.main:
        for tensor in node.outputs:
            assert tensor.type.shape is not None
            assert set(symbols_of(tensor.type.shape)) <= {"b", "t"}, tensor
            for mine, other in zip(tensor.type.shape, theirs.get(tensor.name, ()), strict=False):
                if other.HasField("dim_value"):
                    assert mine == other.dim_value, (tensor, theirs[tensor.name])
                    compared += 1
    assert compared


@pytest.mark.parametrize("sizes", [(1, 2), (2, 5), (3, 8)], ids=str)
def test_any_size_runs(net: tuple[onnx.ModelProto, list[str]], sizes: tuple[int, int]) -> None:
    proto, _ = net
    x = floats(*sizes, 8)
    module = check(proto, {"x": x})
    (want,) = interpreted(module, {"x": x})
    (written,) = run_bytes(model_bytes(module, opset=17), {"x": x}).values()
    np.testing.assert_allclose(written, want, rtol=1e-5, atol=1e-6)
    greatest = upper_bounds(module.main.outputs[0].type.dims, {"b": 3, "t": 8})
    assert all(have <= most for have, most in zip(want.shape, greatest, strict=True))
    if sizes == (3, 8):
        assert want.shape == greatest


def test_one_size_may_be_bound(net: tuple[onnx.ModelProto, list[str]]) -> None:
    proto, want = net
    module, x = imported(proto), floats(3, 5, 8)
    (before,) = interpreted(module, {"x": x})
    assert bind_shapes(module, {}, sizes={"b": 3})
    assert shape_of(module) == [{"b": "3", "b*ceiling(t/2)": "3*ceiling(t/2)", "b*t": "3*t"}.get(d, d) for d in want]
    np.testing.assert_array_equal(interpreted(module, {"x": x})[0], before)
    assert bind_shapes(module, {"x": (None, 5, None)})
    assert module.main.outputs[0].type.is_static
    np.testing.assert_array_equal(interpreted(module, {"x": x})[0], before)


def test_sizes_cancel() -> None:
    n = Net()
    b, t = n.size("x", 0), n.size("x", 1)
    nothing = n("Sub", t, t)
    twice = n("Div", n("Mul", t, 2), 2)
    product = n("Div", n("Mul", b, t), b)
    y = n("ConstantOfShape", n.join(nothing, twice, product))
    module = imported(n.model(y, {"x": (F32, ["b", "t"])}))
    assert shape_of(module) == ["0", "t", "t"]


def broadcast(a: Sequence[Any], b: Sequence[Any]) -> list[str]:
    return shape_of(imported(model([one("Add", "x", "z")], {"x": (F32, a), "z": (F32, b)})))


def test_two_sizes_are_broadcast() -> None:
    assert broadcast(["n", 3], ["n", 1]) == ["n", "3"]
    assert broadcast(["n"], [5]) == ["5"]
    (open_,) = broadcast(["n"], ["m"])
    assert open_ not in ("n", "m")  # either may be 1
    n = Net()
    longer = n("Concat", "x", "x", "k", axis=0)
    n.constants["k"] = floats(2)
    module = imported(n.model(n("Add", longer, "z"), {"x": (F32, ["n"]), "z": (F32, ["m"])}))
    assert shape_of(module) == ["2*n + 2"]  # which is never 1


def test_sizes_that_the_data_decide_leave_the_others_known() -> None:
    n = Net()
    y = n.view("x", n.size("x", 0), n("Squeeze", "k", [0]), -1)
    proto = n.model(y, {"x": (F32, ["b", 6]), "k": (I64, [1])})
    module = imported(proto)
    b, *others = shape_of(module)
    assert b == "b" and len(others) == 2
    check(proto, {"x": floats(2, 6), "k": np.array([3])})
