"""The walk over a program, with programs made by hand: no PyTorch is needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

import uair
from uair import ops
from uair.errors import InternalError, UairError
from uair.frontends.common.errors import SourceOperatorError, UnmappedOperatorError
from uair.frontends.torch import importer
from uair.frontends.torch.importer import Importer
from uair.frontends.torch.node import TorchNode
from uair.frontends.torch.program import Argument, Call, Program, ProgramGraph, Ref
from uair.ir.data import ArrayData
from uair.ir.dims import Dim, symbol
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def call(target: str, result: str, shape: TensorType | None, place: str = "", **arguments: Argument) -> Call:
    return Call(
        target, arguments, (result,), (shape,), module_path=place, module_type="torch.nn.Linear", file="net.py:7"
    )


def program(
    inputs: Mapping[str, TensorType],
    calls: Sequence[Call],
    outputs: Mapping[str, Argument],
    constants: Mapping[str, tuple[str, ArrayData]] | None = None,
    mutations: Mapping[int, str] | None = None,
) -> Program:
    stored = {name: TensorType(data.dtype, data.shape) for name, (_, data) in (constants or {}).items()}
    graph = ProgramGraph(tuple({**stored, **inputs}.items()), tuple(calls), tuple(outputs.values()))
    kept = tuple(name for i, name in enumerate(outputs) if i not in (mutations or {}))
    return Program(graph, constants or {}, {}, kept, mutations or {}, {}, "pytorch 2.13.0", (("torch", "2.13.0"),))


def imported(source: Program) -> Module:
    module = Importer(source).run("net")
    verify(module)
    return module


def test_names_origin_and_places() -> None:
    weight = ArrayData(np.ones((3, 4), np.float32))
    source = program(
        {"x": f32(2, 4)},
        [call("aten.linear.default", "linear", f32(2, 3), "head.fc", input=Ref("x"), weight=Ref("p_weight"))],
        {"logits": Ref("linear")},
        {"p_weight": ("head.fc.weight", weight)},
    )
    module = imported(source)
    (node,) = module.main
    assert module.main.input_names == ["x"] and module.main.output_names == ["logits"]
    assert (module.origin.format, module.origin.producer) == ("pytorch", "pytorch 2.13.0")
    (place,) = node.loc.sources
    assert (place.name, place.kind, place.file) == ("head.fc", "aten.linear.default", "net.py:7")
    assert node.inputs[1] is not None and node.inputs[1].name == "head.fc.weight" and node.inputs[1].data is weight
    assert node.output.name == "linear"


def test_every_operator_without_a_counterpart_is_named() -> None:
    source = program(
        {"x": f32(2)},
        [
            call("aten.no_such.default", "a", f32(2), "one", self=Ref("x")),
            call("aten.relu.default", "b", f32(2), self=Ref("a")),
            call("aten.neither.Tensor", "c", f32(2), "two", self=Ref("b")),
            call("aten.neither.Tensor", "d", f32(2), "three", self=Ref("c")),
        ],
        {"y": Ref("d")},
    )
    with pytest.raises(UnmappedOperatorError) as caught:
        imported(source)
    assert "2 operators" in caught.value.message
    assert "aten.no_such.default (once, in 'one' net.py:7)" in caught.value.message
    assert "aten.neither.Tensor (2 times, first in 'two' net.py:7)" in caught.value.message


def test_operator_of_somebodys_own_is_kept() -> None:
    source = program(
        {"x": f32(2), "y": f32(3)},
        [call("mine.mix.default", "z", f32(5), a=(Ref("x"), Ref("y")), scale=2.5, mode="fast", dtype=DType.F16)],
        {"z": Ref("z")},
    )
    (node,) = imported(source).main
    assert (node.op_type, node.attributes["domain"], node.attributes["kind"]) == ("Opaque", "mine", "mix.default")
    assert node.output.type == f32(5) and len(node.inputs) == 2
    assert json.loads(base64.b64decode(node.attributes["payload"])) == {
        "target": "mine.mix.default",
        "arguments": {"a": [{"operand": 0}, {"operand": 1}], "scale": 2.5, "mode": "fast", "dtype": {"dtype": "f16"}},
    }


def test_operator_of_somebodys_own_that_gives_no_tensor() -> None:
    source = program({"x": f32(2)}, [call("mine.count.default", "n", None, a=Ref("x"))], {"y": Ref("x")})
    with pytest.raises(UnmappedOperatorError, match=r"mine\.count\.default gives what is no tensor"):
        imported(source)


@pytest.mark.parametrize("said", [TensorType(DType.F16, (2,)), f32(2, 1), f32(3)], ids=str)
def test_handler_that_contradicts_what_is_recorded(said: TensorType) -> None:
    source = program({"x": f32(2)}, [call("aten.relu.default", "y", said, "act", self=Ref("x"))], {"y": Ref("y")})
    with pytest.raises(InternalError) as caught:
        imported(source)
    assert "aten.relu.default" in caught.value.message and "'act'" in caught.value.place


def test_argument_that_makes_no_sense() -> None:
    source = program(
        {"x": f32(2, 3)}, [call("aten.permute.default", "y", f32(3, 2), self=Ref("x"), dims=(0, 5))], {"y": Ref("y")}
    )
    with pytest.raises(SourceOperatorError, match="axis 5 is out of range") as caught:
        imported(source)
    assert "net.py:7" in caught.value.place


def test_lost_value() -> None:
    source = program({"x": f32(2)}, [call("aten.relu.default", "y", f32(2), self=Ref("lost"))], {"y": Ref("y")})
    with pytest.raises(InternalError, match="'lost'"):
        imported(source)


def test_list_of_results_of_which_some_are_used() -> None:
    parts = Call("aten.split.Tensor", {"self": Ref("x"), "split_size": 2}, ("", "b"), (f32(2), f32(1)))
    module = imported(program({"x": f32(3)}, [parts], {"y": Ref("b")}))
    assert uair.run(module, {"x": np.array([1, 2, 3], np.float32)})["y"].tolist() == [3]


def test_sizes_are_symbols_of_the_inputs_and_numbers_where_they_are_used() -> None:
    n = symbol("n")
    scaled = call("aten.mul.Tensor", "y", f32(n, 2), self=Ref("x"), other=n)
    module = imported(program({"x": f32(n, 2)}, [scaled], {"y": Ref("y"), "n": n}))
    found = uair.run(module, {"x": np.ones((3, 2), np.float32)})
    assert found["y"].tolist() == [[3, 3]] * 3 and found["n"] == 3


def test_checks_of_sizes_leave_nothing_behind() -> None:
    n = symbol("n")
    calls = [
        Call("_operator.ge", {"arg0": n, "arg1": 0}, ("ok",), (TensorType(DType.BOOL, ()),)),
        Call("aten._assert_scalar.default", {"self": Ref("ok"), "assert_msg": ""}, (), ()),
    ]
    assert len(imported(program({"x": f32(n)}, calls, {"y": Ref("x")})).main) == 0


def test_outputs_that_are_numbers_or_nothing() -> None:
    module = imported(program({"x": f32(2)}, [], {"x": Ref("x"), "none": None, "three": 3, "half": 0.5, "true": True}))
    found = uair.run(module, {"x": np.ones(2, np.float32)})
    assert list(found) == ["x", "three", "half", "true"]
    assert [found[k].dtype for k in ("three", "half", "true")] == [np.int64, np.float32, np.bool_]


def test_extent_that_only_the_data_decide_is_called_as_the_program_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def places(node: TorchNode) -> Tensor:
        return node(ops.Transpose(perm=(1, 0)), node(ops.NonZero(), node.tensor("self")))

    table = {"aten.places": places, **importer.handlers()}
    monkeypatch.setattr(importer, "handlers", lambda: table)
    found = symbol("data_0")
    source = program(
        {"x": f32(4)},
        [
            call("aten.places.default", "i", TensorType(DType.I64, (found, 1)), self=Ref("x")),
            call("aten.add.Tensor", "j", TensorType(DType.I64, (found, 1)), self=Ref("i"), other=1),
        ],
        {"j": Ref("j")},
    )
    module = imported(source)
    assert [str(node.output.type) for node in module.main] == ["i64[1,data_0]", "i64[data_0,1]", "i64[data_0,1]"]
    assert uair.run(module, {"x": np.array([0, 1, 0, 2], np.float32)})["j"].tolist() == [[2], [4]]


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("aten.index.Tensor", {"self": Ref("x"), "indices": (3,)}),
        ("aten.topk.default", {"self": Ref("x"), "k": "three"}),
        ("aten.sum.dim_IntList", {"self": Ref("x"), "dim": ("a",)}),
        ("aten.index_put.default", {"self": Ref("x"), "indices": (1.5,), "values": Ref("x")}),
    ],
)
def test_arguments_of_the_wrong_kind_are_an_error_with_a_place(target: str, arguments: dict[str, Argument]) -> None:
    source = program({"x": f32(2, 3)}, [call(target, "y", f32(2), "head.fc", **arguments)], {"y": Ref("y")})
    with pytest.raises(UairError) as caught:
        imported(source)
    assert "'head.fc' (torch.nn.Linear), net.py:7" in caught.value.place
