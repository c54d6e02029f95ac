"""The operator set that a file gets when none is asked for, and what is shared in what is spelled out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import uair
from uair.text import parse_module


def gelu_file(path: Path, opset: int) -> Path:
    """A file that holds y = x + |x| and, from operator set 20 on, the Gelu of it."""
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Add", ["x", "a"], ["y" if opset < 20 else "s"])]
    if opset >= 20:
        nodes.append(helper.make_node("Gelu", ["s"], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


@pytest.mark.parametrize(("source", "written"), [(11, 17), (17, 17), (18, 18), (20, 20), (22, 20)])
def test_a_file_keeps_the_operator_set_that_was_read(tmp_path: Path, source: int, written: int) -> None:
    """From 17 to 20: from 21 on onnxruntime has GroupNormalization without a kernel."""
    uair.export_onnx(uair.load(gelu_file(tmp_path / "in.onnx", source)), tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    assert [entry.version for entry in model.opset_import] == [written]
    assert len(model.graph.node) == (2 if source < 20 else 3)


def test_tables_of_rotary_positions_are_computed_once(tmp_path: Path) -> None:
    nodes = "%a = RotaryEmbedding(%x, %c, %s)  %b = RotaryEmbedding(%a, %c, %s)  %y = RotaryEmbedding(%b, %c, %s)  "
    module = parse_module(f"%x: f32[2,3,5,8]  %c: f32[2,5,4]  %s: f32[2,5,4]  {nodes}return %y")
    uair.export_onnx(module, tmp_path / "out.onnx")
    found = Counter(node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node)
    assert found == {"Unsqueeze": 2, "Neg": 1, "Concat": 2 + 3, "Split": 3, "Mul": 6, "Add": 3}
