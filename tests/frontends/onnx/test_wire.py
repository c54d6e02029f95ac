"""The wire reader: what it cuts out, and what it refuses."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import F32, floats, model, one
from uair.errors import UairError
from uair.frontends.onnx import load, load_bytes, wire
from uair.frontends.onnx.attributes import Attributes
from uair.frontends.onnx.errors import OnnxAttributeError, OnnxModelError, OnnxTensorError
from uair.frontends.onnx.external import ExternalFiles
from uair.frontends.onnx.tensors import TensorReader
from uair.ir.data import ComputedData, MappedData
from uair.ops.custom import Opaque

LARGE = 1024


def with_tensor(tensor: TensorProto) -> onnx.ModelProto:
    shape = list(tensor.dims)
    proto = model([one("Add", "x", "w")], {"x": (tensor.data_type, shape)})
    tensor.name = "w"
    proto.graph.initializer.append(tensor)
    return proto


def constant_of(path: Path, proto: onnx.ModelProto) -> object:
    path.write_bytes(proto.SerializeToString())
    (node,) = load(path).main
    tensor = node.inputs[1]
    assert tensor is not None
    return tensor.data


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.float64])
def test_raw_data_become_views_of_the_file(tmp_path: Path, dtype: type[np.generic]) -> None:
    values = (floats(LARGE) * 100).astype(dtype)
    data = constant_of(tmp_path / "m.onnx", with_tensor(numpy_helper.from_array(values)))
    assert isinstance(data, MappedData)
    np.testing.assert_array_equal(data.array(), values)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(TensorProto.FLOAT, np.float32), (TensorProto.DOUBLE, np.float64), (TensorProto.INT32, np.int32),
     (TensorProto.INT64, np.int64), (TensorProto.INT8, np.int8), (TensorProto.UINT64, np.uint64),
     (TensorProto.UINT32, np.uint32), (TensorProto.BOOL, np.bool_), (TensorProto.UINT8, np.uint8)],
)  # fmt: skip
@pytest.mark.parametrize("size", [3, 5000])
def test_packed_fields_equal_onnx_own_parse(tmp_path: Path, kind: int, dtype: type[np.generic], size: int) -> None:
    values = (floats(size) * 1000).astype(dtype)
    if dtype is np.int64 and size > 100:
        values[:3] = [np.iinfo(np.int64).min, -1, np.iinfo(np.int64).max]
    tensor = helper.make_tensor("w", kind, [size], values.tolist())
    proto = with_tensor(tensor)
    if kind in (TensorProto.BOOL,):
        proto.graph.node[0].op_type = "And"
    data = constant_of(tmp_path / "m.onnx", proto)
    assert isinstance(data, (MappedData, ComputedData)) == (size > LARGE)
    np.testing.assert_array_equal(data.array(), numpy_helper.to_array(tensor))  # type: ignore[attr-defined]
    from_bytes = load_bytes(proto.SerializeToString()).main.constants()[0]
    np.testing.assert_array_equal(from_bytes.numpy(), numpy_helper.to_array(tensor))


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("raw", [True, False])
def test_narrow_types(tmp_path: Path, kind: int, raw: bool) -> None:
    values = rng_integers(4001)
    tensor = helper.make_tensor("w", kind, [4001], values)
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
    proto = with_tensor(tensor)
    proto.graph.node[0].CopyFrom(one("Where", "c", "x", "w"))
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, [1]))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    (constant,) = load(path).main.constants()
    want = numpy_helper.to_array(tensor)
    np.testing.assert_array_equal(constant.numpy().astype(np.float32), want.astype(np.float32))


def rng_integers(size: int) -> list[int]:
    return [(7 * i) % 8 for i in range(size)]


def test_nested_weights_are_cut_out_too() -> None:
    """In attributes, in subgraphs, in functions."""
    weights = numpy_helper.from_array(floats(LARGE), "w")
    constant = one("Constant", outputs=["c"], value=weights)
    branch = helper.make_graph([constant, one("Add", "c", "c")], "b", [], [helper.make_empty_tensor_value_info("y")])
    nodes = [one("If", "k", outputs=["y"], then_branch=branch, else_branch=branch), constant]
    function = helper.make_function("f", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    proto = model(nodes, {"k": (TensorProto.BOOL, [])}, functions=[function])
    raw = proto.SerializeToString()
    skeleton = wire.split(memoryview(raw))
    assert len(skeleton.bulk) == 4
    assert len(skeleton.data) < 1500 < 4 * 4 * LARGE
    assert {raw[b.offset : b.offset + b.nbytes] for b in skeleton.bulk} == {weights.raw_data}
    parsed = onnx.ModelProto.FromString(skeleton.data)
    assert skeleton.find(parsed.graph.node[1].attribute[0].t.raw_data) is not None


def test_a_model_without_large_fields_is_left_alone() -> None:
    raw = model([one("Relu", "x")], {"x": floats(2)}).SerializeToString()
    assert wire.split(memoryview(raw)).data == raw


def test_training_information_is_dropped() -> None:
    proto = model([one("Relu", "x")], {"x": floats(2)})
    bare = proto.SerializeToString()
    info = proto.training_info.add()
    info.algorithm.initializer.append(numpy_helper.from_array(floats(LARGE), "t"))
    assert wire.split(memoryview(proto.SerializeToString())).data == bare


def test_a_forged_marker_is_data() -> None:
    """The marker is drawn anew for every file, so a file cannot point anywhere by itself."""
    raw = with_tensor(numpy_helper.from_array(floats(LARGE))).SerializeToString()
    first, second = wire.split(memoryview(raw)), wire.split(memoryview(raw))
    assert first.marker != second.marker
    assert second.find(first.marker + b"\0\0\0\0") is None


def test_two_data_fields_are_left_to_protobuf() -> None:
    tensor = numpy_helper.from_array(floats(LARGE))
    raw = tensor.SerializeToString()
    twice = onnx.TensorProto.FromString(raw + raw)
    proto = with_tensor(tensor)
    content = proto.SerializeToString()
    assert len(twice.dims) == 2
    assert len(wire.split(memoryview(content)).bulk) == 1
    graph = onnx.GraphProto()
    graph.initializer.add().ParseFromString(tensor.SerializeToString())
    double = b"\x2a" + encoded(2 * len(raw)) + raw + raw
    assert not wire.split(memoryview(b"\x3a" + encoded(len(double)) + double)).bulk


def encoded(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


# -------------------------------------------------------------------------- malformed
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x3a\xff\xff\x7f", "truncated"),
        (b"\x3a\x80", "truncated"),
        (b"\x08" + b"\xff" * 11, "no end"),
        (b"\x3b\x01", "wire type 3"),
        (b"\x3c\x01", "wire type 4"),
        (b"\x3f\x01", "wire type 7"),
        (b"\x00\x01", "no number"),
        (b"\x39\x00\x00", "truncated"),
    ],
)
def test_malformed_bytes(content: bytes, words: str) -> None:
    with pytest.raises(OnnxModelError, match=words):
        load_bytes(content)


def test_deep_nesting_is_refused() -> None:
    """A graph in an attribute in a node in a graph, far deeper than protobuf allows."""
    content = b"\x00" * LARGE
    for _ in range(60):
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            content = tag + encoded(len(content)) + content
    content = b"\x3a" + encoded(len(content)) + content
    with pytest.raises(OnnxModelError, match="nested"):
        load_bytes(content)


def test_every_truncation_is_an_error() -> None:
    raw = with_tensor(numpy_helper.from_array(floats(LARGE))).SerializeToString()
    for end in [*range(1, 200), *range(200, len(raw), 97)]:
        try:
            module = load_bytes(raw[:end])
        except UairError as error:
            assert error.code.startswith("UAIR-E01")
        else:
            pytest.fail(f"{end} bytes of {len(raw)} gave {module!r}")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_random_bytes_are_an_error(content: bytes) -> None:
    with pytest.raises(UairError):
        load_bytes(content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_bytes_give_a_module_or_an_error(data: st.DataObject) -> None:
    raw = bytearray(BASE)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        load_bytes(bytes(raw))
    except UairError as error:
        assert str(error).startswith("UAIR-E")


BASE = model(
    [
        one("Conv", "x", "w", outputs=["c"], pads=[1, 1, 1, 1]),
        one("Shape", "c", outputs=["s"]),
        one("Reshape", "c", "s", outputs=["r"]),
        one("Clip", "r", "", "m"),
    ],
    {"x": (F32, ["n", 2, 5, 5])},
    constants={"w": floats(3, 2, 3, 3), "m": np.array(1, np.float32)},
).SerializeToString()


def test_varints() -> None:
    values = [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1]
    packed = b"".join(encoded(v) for v in values)
    assert wire.decode_varints(memoryview(packed)).tolist() == values
    assert wire.count_varints(memoryview(packed)) == len(values)
    assert wire.decode_varints(memoryview(b"")).tolist() == []
    with pytest.raises(OnnxModelError, match="truncated"):
        wire.decode_varints(memoryview(b"\x01\x80"))
    with pytest.raises(OnnxModelError, match="ten bytes"):
        wire.decode_varints(memoryview(b"\xff" * 11 + b"\x01"))


def test_size_must_be_that_of_the_shape() -> None:
    for size in (3, 4 * LARGE):
        tensor = numpy_helper.from_array(floats(size))
        tensor.dims[0] = size + 1
        with pytest.raises(OnnxTensorError, match=f"holds {4 * size} bytes"):
            load_bytes(with_tensor(tensor).SerializeToString())


@pytest.mark.parametrize("dims", [[2**62], [2**31, 2**31], [-1], [2**62, 0], [1] * 70])
def test_absurd_shapes_are_refused(dims: list[int]) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 4)
    proto = model([one("Relu", "w")], {})
    tensor.name = "w"
    proto.graph.initializer.append(tensor)
    with pytest.raises(OnnxTensorError):
        load_bytes(proto.SerializeToString())


# ------------------------------------------------------------------ lists written number by number
def one_by_one(numbers: list[int], reals: list[float], texts: list[bytes]) -> bytes:
    """A model of one node whose attributes are lists, with a tag before every element, as protobuf 2 writes."""
    attributes = [
        onnx.AttributeProto(name="i", type=onnx.AttributeProto.INTS, ints=numbers),
        onnx.AttributeProto(name="f", type=onnx.AttributeProto.FLOATS, floats=reals),
        onnx.AttributeProto(name="s", type=onnx.AttributeProto.STRINGS, strings=texts),
        onnx.AttributeProto(name="t", type=onnx.AttributeProto.TENSOR, t=numpy_helper.from_array(floats(LARGE))),
    ]
    node = onnx.NodeProto(op_type="Op", attribute=attributes)
    content: bytes = model([node], {"x": floats(2)}).SerializeToString()
    return content


def lists_of(raw: bytes) -> Attributes:
    """The attributes of the model's first node."""
    skeleton = wire.split(memoryview(raw))
    (node, *_) = onnx.ModelProto.FromString(skeleton.data).graph.node
    return Attributes(
        node.attribute, lambda: "", TensorReader(skeleton, memoryview(raw), None, ExternalFiles(None, None))
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 300), max_size=40),
    st.lists(st.binary(max_size=200), max_size=12),
    st.integers(0, 400),
)
def test_long_lists_are_cut_out_and_read_as_protobuf_reads_them(
    numbers: list[int], texts: list[bytes], times: int
) -> None:
    """What is put back is what was there, and the tensor behind the lists is found."""
    raw = one_by_one(numbers * times, [0.5, -1.0] * times, texts * (times // 4))
    attributes = lists_of(raw)
    skeleton = attributes.reader.skeleton
    assert len(skeleton.data) < 4 * LARGE
    assert attributes.integers("i", ()) == tuple(numbers * times)
    assert attributes.integer_array("i").tolist() == numbers * times
    assert attributes.numbers("f", ()) == tuple(attributes.number_array("f")) == (0.5, -1.0) * times
    parsed = dict(attributes.items())
    for attribute in parsed.values():
        attributes.reader.restore_list(attribute)
    *whole, stored = onnx.ModelProto.FromString(raw).graph.node[0].attribute
    assert [parsed[attribute.name] for attribute in whole] == whole
    found = skeleton.find(parsed["t"].t.raw_data)
    assert found is not None
    assert raw[found.offset : found.offset + found.nbytes] == stored.t.raw_data


def test_a_packed_list_is_read_as_well() -> None:
    """onnx.proto does not pack the lists of attributes; protobuf takes both forms."""
    ints, reals = list(range(1500)), [0.25, -3.0] * 1000
    packed = b"".join(encoded(value) for value in ints)
    number = np.array(reals, "<f4").tobytes()
    fields = {
        "i": b"\x42" + encoded(len(packed)) + packed + b"\xa0\x01\x07",
        "f": b"\x3a" + encoded(len(number)) + number + b"\xa0\x01\x06",
    }
    node = b"".join(
        b"\x2a" + encoded(len(body) + 3) + b"\x0a\x01" + name.encode() + body for name, body in fields.items()
    )
    raw = b"\x3a" + encoded(len(node) + 1 + len(encoded(len(node)))) + b"\x0a" + encoded(len(node)) + node
    attributes = lists_of(raw)
    assert len(wire.split(memoryview(raw)).data) < 150
    assert attributes.integer_array("i").tolist() == list(attributes.integers("i", ())) == ints
    assert attributes.number_array("f").tolist() == list(attributes.numbers("f", ())) == reals


@pytest.mark.parametrize("field", ["ints", "strings"])
@pytest.mark.parametrize(
    "stated", [onnx.AttributeProto.UNDEFINED, onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS]
)
def test_a_list_of_another_type_than_stated_is_left_to_protobuf(
    field: str, stated: onnx.AttributeProto.AttributeType
) -> None:
    attribute = onnx.AttributeProto(name="i")
    getattr(attribute, field).extend([1] * 2000 if field == "ints" else [b"LEAF"] * 2000)
    attribute.type = stated
    raw = model([onnx.NodeProto(op_type="Op", attribute=[attribute])], {"x": floats(2)}).SerializeToString()
    assert wire.split(memoryview(raw)).data == raw


@pytest.mark.parametrize("other", ["", "LEA", "LEAFY", "xJ\x04LEAFx", "J\x04LEAF", "L" * 300, "\x00", "J"])
def test_a_long_list_of_choices(other: str) -> None:
    choices: tuple[str, ...] = ("BRANCH_LEQ", "LEAF", "BRANCH_LT")
    places = [0, 1, 1, 2, 0, 1] * 400
    texts = [choices[place].encode() for place in places]
    assert lists_of(one_by_one([], [], texts)).choice_array("s", choices).tolist() == places
    texts[700:700] = [other.encode()]
    with pytest.raises(OnnxAttributeError, match="expected one of BRANCH_LEQ, LEAF, BRANCH_LT"):
        lists_of(one_by_one([], [], texts)).choice_array("s", choices)
    choices = (*choices, other)
    places[700:700] = [3]
    assert lists_of(one_by_one([], [], texts)).choice_array("s", choices).tolist() == places


def test_an_unknown_operator_keeps_its_long_lists() -> None:
    raw = onnx.ModelProto.FromString(one_by_one([7, 1 << 40] * 3000, [1.5] * 3000, [b"LEAF"] * 3000))
    (node,) = raw.graph.node
    node.domain, node.input[:], node.output[:] = "other", ["x"], ["y"]
    proto = model([node], {"x": floats(2)})
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", F32, [2]))
    proto.opset_import.append(helper.make_opsetid("other", 1))
    (kept,) = load_bytes(proto.SerializeToString()).main
    assert isinstance(kept.op, Opaque)
    assert onnx.NodeProto.FromString(base64.b64decode(kept.op.payload)) == node


def test_a_long_list_is_not_walked_number_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensembles of trees have millions of numbers; the walk asks for a bounded number of tags."""
    tags = 0
    tag = wire.Walker.tag

    def counting(self: wire.Walker, at: int, end: int) -> tuple[int, int, int]:
        nonlocal tags
        tags += 1
        return tag(self, at, end)

    monkeypatch.setattr(wire.Walker, "tag", counting)
    wire.split(memoryview(one_by_one([7, 1 << 40] * 50_000, [1.5] * 100_000, [b"LEAF"] * 100_000)))
    assert tags < 300


@pytest.mark.parametrize("element", [b"\x40\x05", b"\x3d\x00\x00\x80\x3f", b"\x4a\x04LEAF"])
def test_a_list_that_ends_early_is_refused(element: bytes) -> None:
    for cut in range(1, len(element)):
        body = element * 2000 + element[:cut]
        nested = b"\x2a" + encoded(len(body)) + body  # attribute of a node
        node = b"\x0a" + encoded(len(nested)) + nested
        raw = b"\x3a" + encoded(len(node)) + node
        with pytest.raises(OnnxModelError, match="truncated|not complete"):
            wire.split(memoryview(raw))
    whole = element * 2000
    nested = b"\x2a" + encoded(len(whole)) + whole
    node = b"\x0a" + encoded(len(nested)) + nested
    assert wire.split(memoryview(b"\x3a" + encoded(len(node)) + node)).data.endswith(whole)


def test_a_number_without_end_in_a_list_is_refused() -> None:
    body = b"\x40\x05" * 2000 + b"\x40" + b"\xff" * 10 + b"\x01" + b"\x40\x05" * 500
    nested = b"\x2a" + encoded(len(body)) + body
    node = b"\x0a" + encoded(len(nested)) + nested
    with pytest.raises(OnnxModelError, match="a number has no end"):
        wire.split(memoryview(b"\x3a" + encoded(len(node)) + node))
