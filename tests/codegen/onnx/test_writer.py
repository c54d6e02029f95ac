"""The ONNX file itself: names, sizes at run time, weights, external data, determinism, round trip."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import zoo
from tests.codegen.onnx.running import check, run
from uair._version import __version__
from uair.atomic import OutputError
from uair.codegen.onnx import LOCATION_KEY, NotExpressible, emitter_supports, export, model_bytes, unsupported_reason
from uair.codegen.onnx import model as onnx_model
from uair.codegen.onnx.wire import chunks, varint
from uair.codegen.reference import Interpreter
from uair.frontends.onnx import load
from uair.ir import (
    Array,
    DType,
    Graph,
    Location,
    Module,
    Node,
    Origin,
    SplatData,
    Tensor,
    TensorType,
    constant,
)
from uair.ir.data import ArrayData, ComputedData
from uair.ir.dims import Dim, ceil_div, floor_div, maximum, minimum, symbol
from uair.ops.activation import HardSwish, Relu
from uair.ops.elementwise import Add, Mod
from uair.ops.indexing import Gather
from uair.ops.linear import Linear, MatMul
from uair.ops.padding import Pad
from uair.ops.shape import Expand, Reshape, Slice, Split
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager

F32 = DType.F32


def module_of(graph: Graph) -> Module:
    return Module("m", {"main": graph})


def unary(shape: Sequence[Dim], *ops: object) -> Module:
    """A chain of one-operand operators on an input x."""
    graph = Graph()
    tensor = graph.add_input("x", TensorType(F32, tuple(shape)))
    for op in ops:
        tensor = graph.append(Node(op, [tensor])).output  # type: ignore[arg-type]
    graph.add_output("y", tensor)
    return module_of(graph)


def affine(rows: int = 64, columns: int = 32) -> Module:
    """Two layers with weights of `rows` x `columns`."""
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2, columns)))
    w = constant(rng.standard_normal((rows, columns)).astype(np.float32), "w")
    b = constant(rng.standard_normal(rows).astype(np.float32), "b")
    h = graph.append(Node(Linear(), [x, w, b], name="fc1")).output
    h = graph.append(Node(Relu(), [h], name="relu")).output
    graph.add_output("y", graph.append(Node(Linear(transpose_w=False), [h, w], name="fc2")).output)
    return module_of(graph)


# ------------------------------------------------------------------------------------------------------- interface
def test_interface_names_are_kept_and_inner_names_give_way() -> None:
    graph = Graph()
    x = graph.add_input("gpu_0/x", TensorType(F32, (2,)))
    first = graph.append(Node(Relu(), [x], name="same", output_names=["y"])).output
    second = graph.append(Node(Relu(), [first], name="same", output_names=["gpu_0/x"])).output
    graph.add_output("y", graph.append(Node(Relu(), [second])).output)
    proto = check(model_bytes(module_of(graph)))
    assert [i.name for i in proto.graph.input] == ["gpu_0/x"]
    assert [o.name for o in proto.graph.output] == ["y"]
    assert [n.output[0] for n in proto.graph.node] == ["y_1", "gpu_0/x_1", "y"]
    assert [n.name for n in proto.graph.node] == ["same", "same_1", "y"]


def test_outputs_that_no_node_gives() -> None:
    """An input, a constant and a value returned twice."""
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2,)))
    c = constant(np.array([1.0, 2.0], np.float32), "c")
    r = graph.append(Node(Relu(), [x])).output
    for name, tensor in (("x", x), ("x2", x), ("c", c), ("r", r), ("r2", r)):
        graph.add_output(name, tensor)
    model = model_bytes(module_of(graph))
    check(model)
    feed = np.array([-1.0, 3.0], np.float32)
    got = run(model, {"x": feed})
    relu = np.maximum(feed, 0)
    for name, want in (("x", feed), ("x2", feed), ("c", c.numpy()), ("r", relu), ("r2", relu)):
        assert np.array_equal(got[name], want), name


def test_an_output_cannot_have_the_name_of_another_input() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2,)))
    graph.add_output("x", graph.append(Node(Relu(), [x])).output)
    with pytest.raises(NotExpressible, match="input and an output called 'x'"):
        model_bytes(module_of(graph))


def test_a_constant_used_twice_is_stored_once() -> None:
    proto = check(model_bytes(affine()))
    assert [i.name for i in proto.graph.initializer] == ["w", "b"]


# -------------------------------------------------------------------------------------------------------- metadata
def test_metadata_versions_and_types() -> None:
    module = affine()
    module.metadata["author"] = "someone"
    proto = check(model_bytes(module, opset=13))
    assert (proto.producer_name, proto.producer_version, proto.ir_version) == ("uair", __version__, 7)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 13)]
    assert {p.key: p.value for p in proto.metadata_props} == {"author": "someone"}
    assert {v.name for v in proto.graph.value_info} == {"fc1", "relu"}
    assert not check(model_bytes(module, value_info=False)).graph.value_info
    assert check(model_bytes(module, opset=13, ir_version=8)).ir_version == 8


@pytest.mark.parametrize("ir_version", [8, 10])
def test_locations_are_kept_where_the_format_has_a_place(ir_version: int) -> None:
    module = unary((2,), Relu())
    (node,) = module.main
    node.name = "act"
    node.loc = Location.fused([Location.of("conv1", "Conv"), Location.of("relu1", "Relu")], by="fuse")
    (written,) = check(model_bytes(module, ir_version=ir_version)).graph.node
    props = {p.key: p.value for p in written.metadata_props}
    text = props[LOCATION_KEY] if ir_version >= 10 else written.doc_string
    assert json.loads(text) == {"from": [["conv1", "Conv"], ["relu1", "Relu"]], "by": ["fuse"]}
    assert bool(written.doc_string) == (ir_version < 10)
    (bare,) = check(model_bytes(module, ir_version=ir_version, locations=False)).graph.node
    assert not bare.doc_string and not bare.metadata_props


def test_a_location_that_is_the_name_is_not_repeated() -> None:
    module = unary((2,), Relu())
    (node,) = module.main
    node.name, node.loc = "relu1", Location.of("relu1", "Relu")
    (written,) = check(model_bytes(module)).graph.node
    assert (written.name, written.doc_string, len(written.metadata_props)) == ("relu1", "", 0)


def test_default_attributes_are_written_when_asked() -> None:
    def names(explicit: bool) -> set[str]:
        (node,) = check(model_bytes(module, attributes_explicit=explicit)).graph.node
        return {a.name for a in node.attribute}

    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2, 3)))
    w = graph.add_input("w", TensorType(F32, (4, 3)))
    graph.add_output("y", graph.append(Node(Linear(), [x, w])).output)
    module = module_of(graph)
    assert names(True) == {"alpha", "beta", "transA", "transB"}
    assert names(False) == {"transB"}


# ---------------------------------------------------------------------------------------------------------- weights
def test_the_file_is_what_onnx_itself_writes() -> None:
    model = model_bytes(affine())
    assert onnx.load_from_string(model).SerializeToString(deterministic=True) == model


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31 - 1, 2**35])
def test_varint_is_protobufs(value: int) -> None:
    message = onnx.TensorProto(dims=[value]).SerializeToString()
    assert message[1:] == varint(value)


def test_repeated_values_are_written_in_pieces() -> None:
    data = SplatData(0.5, F32, (3, 1 << 18))
    pieces = [bytes(c) for c in chunks(data)]
    assert max(len(p) for p in pieces) <= 1 << 20
    assert b"".join(pieces) == bytes(data.tobytes())


def test_computed_weights_are_computed_when_they_are_written(tmp_path: Path) -> None:
    calls: list[int] = []

    def double(a: Array) -> Array:
        calls.append(1)
        return a * 2

    source = ArrayData(np.ones((64, 64), np.float32))
    data = ComputedData(double, (source,), F32, (64, 64))
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (1, 64)))
    graph.add_output("y", graph.append(Node(MatMul(), [x, Tensor(TensorType(F32, (64, 64)), "w", data)])).output)
    assert not calls
    export(module_of(graph), tmp_path / "m.onnx")
    assert len(calls) == 1
    got = run(str(tmp_path / "m.onnx"), {"x": np.ones((1, 64), np.float32)})
    assert np.array_equal(got["y"], np.full((1, 64), 128, np.float32))


@pytest.mark.parametrize("opset", [11, 17])
def test_a_transposed_weight_costs_no_node(opset: int) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2, 3, 4)))
    w = constant(np.arange(20, dtype=np.float32).reshape(5, 4), "w")
    graph.add_output("y", graph.append(Node(Linear(), [x, w])).output)
    model = model_bytes(module_of(graph), opset=opset)
    assert [n.op_type for n in check(model).graph.node] == ["MatMul"]
    feed = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(run(model, {"x": feed})["y"], feed @ w.numpy().T)


def test_external_data_is_aligned_and_read_back(tmp_path: Path) -> None:
    module, path = affine(), tmp_path / "m.onnx"
    export(module, path, external_data=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    proto = onnx.load(path, load_external_data=False)
    entries = {i.name: {e.key: e.value for e in i.external_data} for i in proto.graph.initializer if i.external_data}
    assert set(entries) == {"w"}  # the bias is smaller than the least external size
    assert entries["w"] == {"location": "m.onnx.data", "offset": "0", "length": str(64 * 32 * 4)}
    feed = {"x": np.ones((2, 32), np.float32)}
    assert np.array_equal(run(str(path), feed)["y"], run(model_bytes(module), feed)["y"])


def test_offsets_of_external_data_are_multiples_of_a_page(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (300,)))
    for i in range(3):
        c = constant(np.full(300, i, np.float32), f"c{i}")
        x = graph.append(Node(Add(), [x, c])).output
    graph.add_output("y", x)
    export(module_of(graph), tmp_path / "m.onnx", external_data=True)
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    offsets = [int(e.value) for i in proto.graph.initializer for e in i.external_data if e.key == "offset"]
    assert offsets == [0, 4096, 8192]
    assert (tmp_path / "m.onnx.data").stat().st_size == 8192 + 1200


def test_large_models_go_to_external_data_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "LARGEST_MODEL", 8000)
    export(affine(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").exists()
    with pytest.raises(onnx_model.ModelTooLarge, match="external data") as caught:
        export(affine(), tmp_path / "single.onnx", external_data=False)
    assert caught.value.code == "UAIR-E0610"
    assert not (tmp_path / "single.onnx").exists()


@pytest.mark.slow
def test_a_model_of_more_than_2_gib(tmp_path: Path) -> None:
    """Its weights lie behind the reach of 31 bits: onnxruntime and the importer find them there."""
    behind = np.arange(4096, dtype=np.uint8)
    graph = Graph()
    place = graph.add_input("place", TensorType(DType.I64, (2,)))
    huge = constant(SplatData(7, DType.U8, (2**31 + 4096,)), "huge")
    first = graph.append(Node(Gather(), [huge, place])).output
    low = graph.append(Node(Mod(), [place, constant(4096)])).output
    second = graph.append(Node(Gather(), [constant(behind, "behind"), low])).output
    graph.add_output("y", graph.append(Node(Add(), [first, second])).output)
    path = tmp_path / "m.onnx"
    export(module_of(graph), path)
    assert path.stat().st_size < 4096
    proto = onnx.load(path, load_external_data=False)
    offsets = {i.name: int(e.value) for i in proto.graph.initializer for e in i.external_data if e.key == "offset"}
    assert offsets == {"huge": 0, "behind": 2**31 + 4096}
    onnx.checker.check_model(str(path))
    feed = {"place": np.array([5, 2**31 + 4095])}
    want = np.array([7 + 5, (7 + 4095) % 256], np.uint8)
    np.testing.assert_array_equal(run(str(path), feed)["y"], want)
    np.testing.assert_array_equal(Interpreter(load(path)).run(feed)["y"], want)


def test_nothing_is_left_behind_on_failure(tmp_path: Path) -> None:
    def fail(a: Array) -> Array:
        raise ZeroDivisionError

    data = ComputedData(fail, (ArrayData(np.ones(4, np.float32)),), F32, (1 << 16,))
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (1 << 16,)))
    graph.add_output("y", graph.append(Node(Add(), [x, Tensor(TensorType(F32, (1 << 16,)), "w", data)])).output)
    for external in (False, True):
        with pytest.raises(ZeroDivisionError):
            export(module_of(graph), tmp_path / "m.onnx", external_data=external)
    with pytest.raises(OutputError):
        export(affine(), tmp_path / "missing" / "m.onnx")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- sizes at run time
N, M = symbol("n"), symbol("m")

CHAINS: list[tuple[Sequence[Dim], object, list[str]]] = [
    ((N, 3, 4), Reshape(shape=(N, 12)), ["Reshape"]),  # copied
    ((N, 3, M), Reshape(shape=(N, 3 * M)), ["Reshape"]),  # copied and inferred
    ((N, 6, M), Reshape(shape=(M, N * 3, 2)), ["Shape", "Gather", "Gather", "Mul", "Concat", "Reshape"]),
    ((N, 4), Reshape(shape=(floor_div(N, 2) + ceil_div(N, 2), 4)), []),
    ((N, 1), Expand(shape=(N, 5)), ["Expand"]),
    ((1, M), Expand(shape=(M + 2, M)), []),
    ((1, M), Expand(shape=(minimum(M, 3), M)), []),
    ((1, M), Expand(shape=(maximum(M, 9), M)), []),
    ((1, M), Expand(shape=(floor_div(M - 9, 4) + 6, M)), []),
    ((1, M), Expand(shape=(ceil_div(M, 4), M)), []),
    ((N, 6), Slice(axes=(0,), starts=(1,), ends=(N - 1,), steps=(1,)), []),
]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(("shape", "op", "expected"), CHAINS, ids=lambda v: repr(v) if hasattr(v, "op_type") else "")
def test_symbolic_sizes(shape: Sequence[Dim], op: object, expected: list[str], opset: int) -> None:
    module = unary(shape, op)
    model = model_bytes(module, opset=opset)
    kinds = [n.op_type for n in check(model).graph.node]
    if expected:
        assert kinds == expected
    for n, m in ((4, 7), (2, 5)):
        sizes = {"n": n, "m": m}
        concrete = [d if isinstance(d, int) else sizes[str(d)] for d in shape]
        feed = np.arange(np.prod(concrete), dtype=np.float32).reshape(concrete)
        (node,) = module.main
        (want,) = node.op.substitute(sizes).evaluate_all([feed])
        assert np.array_equal(run(model, {"x": feed})["y"], want), sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (floor_div(M, 4), ["Div"]),
        (ceil_div(M, 4), ["Add", "Div"]),
        (maximum(M, 9), ["Max"]),
        (minimum(M, 9), ["Min"]),
    ],
    ids=str,
)
def test_sizes_need_few_operators(size: Dim, expected: list[str]) -> None:
    kinds = [n.op_type for n in check(model_bytes(unary((M,), Expand(shape=(size, M))), opset=17)).graph.node]
    assert kinds == ["Shape", "Gather", *expected, "Concat", "Expand"]


def test_sums_that_differ_by_a_number_share_the_rest() -> None:
    total = floor_div(M, 4) + N
    kinds = [
        n.op_type for n in check(model_bytes(unary((N, M), Expand(shape=(total + 1, total + 2, N, M))))).graph.node
    ]
    assert kinds.count("Div") == 1 and kinds.count("Add") == 3


@pytest.mark.parametrize("opset", [11, 13])
def test_a_split_into_symbolic_parts(opset: int) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (N + 2, 3)))
    graph.add_input("n", TensorType(F32, (N,)))
    for i, part in enumerate(graph.append(Node(Split(axis=0, sizes=(2, N)), [x])).outputs):
        graph.add_output(f"y{i}", part)
    model = model_bytes(module_of(graph), opset=opset)
    check(model)
    feed = np.arange(15, dtype=np.float32).reshape(5, 3)
    got = run(model, {"x": feed, "n": np.zeros(3, np.float32)})
    assert np.array_equal(got["y0"], feed[:2]) and np.array_equal(got["y1"], feed[2:])


def test_a_size_inside_of_a_sum_is_solved_for() -> None:
    model = model_bytes(unary((2 * N + 1,), Slice(axes=(0,), starts=(0,), ends=(N,), steps=(1,))))
    feed = np.arange(9, dtype=np.float32)
    assert np.array_equal(run(model, {"x": feed})["y"], feed[:4])


def test_a_size_that_nothing_has_is_an_error() -> None:
    with pytest.raises(NotExpressible, match="the size q is needed in a shape and no tensor before has it") as caught:
        model_bytes(unary((1, 2), Expand(shape=(symbol("q"), 2))))
    assert "Expand" in caught.value.place
    assert "--shape" in caught.value.hint


def test_empty_tensors_are_reshaped_at_any_opset() -> None:
    for opset in (11, 17):
        model = model_bytes(unary((0, 3), Reshape(shape=(3, 0, 5))), opset=opset)
        check(model)
        assert run(model, {"x": np.zeros((0, 3), np.float32)})["y"].shape == (3, 0, 5)


# ------------------------------------------------------------------------------------------------------- legality
def test_what_an_opset_lacks_is_refused_with_the_next_step() -> None:
    module = unary((2,), HardSwish())
    (node,) = module.main
    assert not emitter_supports(node, 13) and emitter_supports(node, 14)
    assert unsupported_reason(node, 13) == "HardSwish has an ONNX form from opset 14 on, not at 13"
    with pytest.raises(NotExpressible, match="from opset 14 on") as caught:
        model_bytes(module, opset=13)
    assert "legalise-onnx{opset=13}" in caught.value.hint
    PassManager([LegaliseOnnx(opset=13)]).run(module)
    check(model_bytes(module, opset=13))


@pytest.mark.parametrize("mode", ["symmetric", "wrap"])
def test_padding_that_onnx_lacks_is_computed_for_open_extents(mode: Any) -> None:
    pad = Pad(pads=(0, 3, 0, -1), mode=mode)
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, symbol("n"))))
    graph.add_output("y", graph.append(pad.node(x)).output)
    module = Module("m", {"main": graph})
    PassManager([LegaliseOnnx(opset=17)]).run(module)
    model = model_bytes(module, opset=17)
    check(model)
    for extent in (2, 7):
        value = np.arange(2 * extent, dtype=np.float32).reshape(2, extent)
        np.testing.assert_array_equal(run(model, {"x": value})["y"], pad.evaluate(value))


@pytest.mark.parametrize("opset", [0, 10, 1000])
def test_opsets_out_of_reach_are_refused(opset: int) -> None:
    with pytest.raises(NotExpressible, match=f"opset {opset} cannot be written") as caught:
        model_bytes(unary((2,), Relu()), opset=opset)
    assert re.search(r"opsets 11 to \d+", caught.value.hint)


# ---------------------------------------------------------------------------------------------------- determinism
def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    for i in range(2):
        export(affine(), tmp_path / f"{i}.onnx")
    assert (tmp_path / "0.onnx").read_bytes() == (tmp_path / "1.onnx").read_bytes() == model_bytes(affine())


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet", "densenet121_real", "ppocr_cls"])
def test_a_written_model_read_and_written_again_is_the_same(name: str, opset: int, tmp_path: Path) -> None:
    files: list[bytes] = []
    path = zoo.models()[name].path
    for i in range(2):
        module = load(path)
        module.origin = Origin()
        PassManager([LegaliseOnnx(opset=opset)]).run(module)
        path = tmp_path / f"{i}.onnx"
        export(module, path, opset=opset, locations=False)
        files.append(path.read_bytes())
    assert files[0] == files[1]
