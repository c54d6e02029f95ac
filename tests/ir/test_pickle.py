"""Modules are pickled and copied: long ones, those with graphs in their nodes, those over mapped files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import uair
from tests.cli.helpers import EXAMPLE
from uair.ir.compare import difference
from uair.ir.data import ArrayData, ComputedData, Data, PackedData, SplatData
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Relu
from uair.text import parse_module

BRANCH = """
%x: f32[2,3]
%c: bool[]
%a = Relu(%x)
%y = If(%c) (
  then_branch = @then() -> (%t: f32[2,3]) { %t = Add(%a, %x) },
  else_branch = @els() -> (%e: f32[2,3]) { %e = Neg(%a) }
) : f32[2,3]
return %y, %a
"""


def again(module: Module) -> Module:
    restored = pickle.loads(pickle.dumps(module))
    assert isinstance(restored, Module)
    verify(restored)
    return restored


def test_a_model(tmp_path: Path) -> None:
    module = uair.load(EXAMPLE)
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 48, 192)).astype(np.float32)}
    restored = again(module)
    assert not difference(module, restored)
    assert (restored.name, restored.metadata, restored.origin) == (module.name, module.metadata, module.origin)
    for name, value in uair.run(module, feeds).items():
        np.testing.assert_array_equal(uair.run(restored, feeds)[name], value)


def test_a_graph_in_a_node_uses_the_restored_tensors() -> None:
    module = parse_module(BRANCH)
    for other in (again(module), copy.deepcopy(module)):
        assert not difference(module, other)
        for taken in (True, False):
            feeds = {"x": np.array([[1, -2, 3], [4, -5, 6]], np.float32), "c": np.array(taken)}
            for name, value in uair.run(module, feeds).items():
                np.testing.assert_array_equal(uair.run(other, feeds)[name], value)
        first = next(iter(other.main))
        assert first.outputs[0].use_count == 3 and first.outputs[0].producer is first


def test_a_graph_longer_than_the_stack() -> None:
    module = Module(graphs={"main": Graph()})
    tensor = module.main.add_input("x", parse_module("%x: f32[2]\nreturn %x").main.inputs[0].type)
    for _ in range(5000):
        tensor = module.main.append(Node(Relu(), [tensor])).outputs[0]
    module.main.add_output("y", tensor)
    assert len(again(module).main) == len(copy.deepcopy(module).main) == 5000


def test_a_copy_may_be_changed() -> None:
    module = parse_module(BRANCH)
    other = copy.deepcopy(module)
    uair.optimize(other)
    other.main.input_names[0] = "other"
    assert not difference(module, parse_module(BRANCH))


@pytest.mark.parametrize(
    "data",
    [
        ArrayData(np.arange(6, dtype=np.float32).reshape(2, 3)),
        ArrayData(np.arange(3).astype(ml_dtypes.bfloat16)),
        PackedData(np.array([1, -2, 3], ml_dtypes.int4)),
        SplatData(2.5, DType.F16, (4, 5)),
        ComputedData(lambda a: a * 2, (ArrayData(np.ones(3, np.float32)),), DType.F32, (3,)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_constants(data: Data) -> None:
    restored = pickle.loads(pickle.dumps(data))
    assert (restored.dtype, restored.shape) == (data.dtype, data.shape) and restored.equals(data)
    shallow = copy.copy(data)
    assert shallow is not data and type(shallow) is type(data) and shallow.equals(data)
    assert copy.deepcopy(data) is data


def test_a_node_alone_is_refused() -> None:
    node = next(iter(parse_module(BRANCH).main))
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="with its graph only"):
            act(node)


def test_what_is_shown_of_results_is_short(tmp_path: Path) -> None:
    module = parse_module("%x: f32[2]\n%y = Relu(%x)\nreturn %y")
    artifact = uair.compile(module, target="cpu", output=tmp_path / "a")
    assert repr(artifact).startswith(f"<artifact '{tmp_path}/a' for cpu: ")
    (report,) = [r for r in uair.check(module) if r.target == "cpu"]
    assert repr(report) == "<check for cpu: 1 supported>"
    assert repr(uair.diff(module, module, [{"x": np.ones(2, np.float32)}])).startswith("<difference of 1 layers on 1")
