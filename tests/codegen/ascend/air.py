"""A reader of GE IR files that shares nothing with the writer: protobuf's own runtime with the schema's field numbers.

`read` refuses unknown fields and everything that CANN's reader would drop or stumble over. `run` computes a file with
NumPy, operator by operator, by what the documentation of each GE operator says.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np

from uair import ops
from uair.ir import Array, DType

descriptor_pb2, descriptor_pool, message_factory, unknown_fields = (
    importlib.import_module(f"google.protobuf.{name}")  # it ships no types
    for name in ("descriptor_pb2", "descriptor_pool", "message_factory", "unknown_fields")
)
FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
    "int64": FIELD.TYPE_INT64,
    "uint32": FIELD.TYPE_UINT32,
    "float": FIELD.TYPE_FLOAT,
    "bool": FIELD.TYPE_BOOL,
}
SCHEMA = """
ListValue: s=2*bytes i=3*int64 f=4*float b=5*bool bt=7*bytes td=8*TensorDescriptor t=9*TensorDef g=10*GraphDef
    na=11*NamedAttrs dt=12*int64 val_type=20.int64
ListInt: list_i=1*int64
ListListInt: list_list_i=1*ListInt
AttrDef: list=1|ListValue s=2|bytes i=3|int64 f=4|float b=5|bool bt=7|bytes func=10|NamedAttrs
    td=11|TensorDescriptor t=12|TensorDef g=13|GraphDef list_list_int=14|ListListInt dt=15|int64
NamedAttrs: name=1.string attr=2@AttrDef
ShapeDef: dim=1*int64
TensorDescriptor: name=1.string dtype=2.int64 shape=3.ShapeDef layout=4.string attr=5@AttrDef has_out_attr=9.bool
    size=10.int64 weight_size=11.int64 reuse_input=12.bool output_tensor=13.bool device_type=14.string
    input_tensor=15.bool real_dim_cnt=16.int64
TensorDef: desc=1.TensorDescriptor data=2.bytes
OpDef: name=1.string type=2.string input=5*string attr=10@AttrDef has_out_attr=20.bool id=21.int64
    input_desc=33*TensorDescriptor output_desc=34*TensorDescriptor subgraph_name=35*string
GraphDef: name=1.string input=4*string output=5*string op=6*OpDef attr=11@AttrDef
ModelDef: name=1.string version=2.uint32 custom_version=3.string graph=7*GraphDef attr=11@AttrDef
"""
"""ge_ir.proto of hicann/ge, graph_metadef: field=number, then `.` single, `*` repeated, `|` of the oneof, `@` map."""
DTYPES = {1: "f4", 2: "f2", 3: "i1", 4: "u1", 5: "i2", 6: "u2", 7: "i4", 8: "i8", 9: "u4", 10: "u8", 11: "?", 12: "f8"}
GE_DTYPES = {0: "f4", 1: "f2", 2: "i1", 3: "i4", 4: "u1", 6: "i2", 9: "i8", 10: "u8", 11: "f8", 12: "?"}
FORMATS = {"NCHW": 0, "ND": 2}


@cache
def messages() -> Mapping[str, Any]:
    """The message classes of the schema, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="air.proto", package="air", syntax="proto3")
    lines = SCHEMA.strip().replace("\n    ", " ").splitlines()
    for line in lines:
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        if "|" in fields:
            message.oneof_decl.add(name="value_of")
        for text in fields.split():
            _add_field(message, name, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [line.partition(":")[0] for line in lines]
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"air.{n}")) for n in names}


def _add_field(message: Any, owner: str, text: str) -> None:
    parts = re.fullmatch(r"(\w+)=(\d+)([.*|@])(\w+)", text)
    assert parts is not None, text
    name, number, mark, kind = parts.groups()
    field = message.field.add(name=name, number=int(number))
    field.label = FIELD.LABEL_REPEATED if mark in "*@" else FIELD.LABEL_OPTIONAL
    if mark == "|":
        field.oneof_index = 0
    if mark == "@":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, type=FIELD.TYPE_MESSAGE, label=FIELD.LABEL_OPTIONAL)
        value.type_name = f".air.{kind}"
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".air.{owner}.{entry.name}"
    elif kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".air.{kind}"


@cache
def prototypes() -> Mapping[str, tuple[list[str], list[str], dict[str, str]]]:
    """Input ports, output ports and attributes by operator."""
    found: dict[str, tuple[list[str], list[str], dict[str, str]]] = {}
    for line in Path(__file__).with_name("ge_protos.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, ins, outs, attributes = (part.strip() for part in f"{line} ".split("|"))
            found[name] = (ins.split(), outs.split(), dict(a.split(":") for a in attributes.split()))
    return found


# ------------------------------------------------------------------------------------------------------------- reading
@attrs.frozen
class AirOp:
    """An operator as it was read: attributes as Python values, descriptors as (port, dtype, shape, format)."""

    name: str
    type: str
    inputs: list[tuple[str, int]]
    attributes: Mapping[str, Any]
    ins: list[tuple[str, str, tuple[int, ...], str]]
    outs: list[tuple[str, str, tuple[int, ...], str]]


@attrs.frozen
class AirModel:
    """A file as it was read."""

    name: str
    ops: Mapping[str, AirOp]
    inputs: list[str]
    outputs: list[tuple[str, int]]


def read(path: Path) -> AirModel:
    """A file, after every check."""
    content = path.read_bytes()
    model = messages()["ModelDef"].FromString(content)
    assert len(model.SerializeToString()) == len(content), "protobuf itself writes another number of bytes"
    assert not list(unknown(model))
    assert model.version == 1 and len(model.graph) == 1
    graph = model.graph[0]
    found: dict[str, AirOp] = {}
    for number, message in enumerate(graph.op):
        assert message.id == number and message.name not in found
        found[message.name] = checked(message, found, path.parent)
    data = [op for op in found.values() if op.type == "Data"]
    assert [op.attributes["index"] for op in data] == list(range(len(data)))
    assert list(graph.input) == [f"{op.name}:0" for op in data]
    outputs = [endpoint(text) for text in graph.output]
    assert outputs and all(index < len(found[name].outs) for name, index in outputs)
    return AirModel(model.name, found, [op.name for op in data], outputs)


def unknown(message: Any) -> Iterator[str]:
    """Fields that the schema does not have, anywhere."""
    for field in unknown_fields.UnknownFieldSet(message):
        yield f"{message.DESCRIPTOR.name}.{field.field_number}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            parts = list(value.values())
        else:
            parts = list(value) if hasattr(value, "append") or hasattr(value, "add") else [value]
        for part in parts:
            yield from unknown(part)


def endpoint(text: str) -> tuple[str, int]:
    """Operator and number of the result."""
    name, _, index = text.rpartition(":")
    return name, int(index)


def checked(message: Any, before: Mapping[str, AirOp], folder: Path) -> AirOp:
    """An operator: its operands are results of operators before it, of the types that its own descriptors state."""
    attributes = {key: plain(value, folder) for key, value in message.attr.items()}
    op = AirOp(
        message.name,
        message.type,
        [endpoint(text) for text in message.input],
        attributes,
        [descriptor(d) for d in message.input_desc],
        [descriptor(d) for d in message.output_desc],
    )
    for (source, index), own in zip(op.inputs, op.ins, strict=op.type != "Data"):
        assert before[source].outs[index][1:] == own[1:], f"{op.name}: {own} is fed {before[source].outs[index]}"
    keys = (("_input_name", op.ins), ("_output_name", op.outs))
    for prefix, described in keys:
        assert attributes.get(f"{prefix}_key", []) == [d[0].encode() for d in described]
        assert attributes.get(f"{prefix}_value", []) == list(range(len(described)))
    require_prototype(op)
    if op.type == "Const" and "location" in attributes:
        data = (folder / attributes["location"].decode()).read_bytes()
        assert len(data) == attributes["length"] and not attributes["value"].size
        _, dtype, shape, _ = op.outs[0]
        cast(Any, attributes)["value"] = np.frombuffer(data, dtype).reshape(shape)
    return op


def require_prototype(op: AirOp) -> None:
    """Ports in the order of the prototype, attributes that it has, and all that must be given."""
    if op.type not in prototypes():
        return
    ins, outs, kinds = prototypes()[op.type]
    for ports, described in ((ins, op.ins), (outs, op.outs)):
        names = [d[0] for d in described]
        if any(p.startswith("*") for p in ports):
            stem = next(p[1:] for p in ports if p.startswith("*"))
            assert names == [f"{stem}{i}" for i in range(len(names))]
        else:
            assert names == [p.lstrip("?") for p in ports][: len(names)]
            assert len(names) >= sum(not p.startswith("?") for p in ports), (op.type, names)
    own = {k: v for k, v in op.attributes.items() if not k.startswith("_") and k not in ("location", "length")}
    assert set(own) <= set(kinds), (op.type, set(own) - set(kinds))
    assert {k for k, kind in kinds.items() if kind.endswith("!")} <= set(own)
    python = {
        "Int": int,
        "Float": float,
        "Bool": bool,
        "String": bytes,
        "ListInt": list,
        "ListListInt": list,
        "Type": str,
    }
    for key, value in own.items():
        kind = kinds[key].rstrip("!")
        assert isinstance(value, python.get(kind, np.ndarray)), (op.type, key, value)
    optional = [p[1:].encode() for p in ins if p.startswith("?")]
    assert op.attributes.get("_opt_input", []) == optional


def descriptor(message: Any) -> tuple[str, str, tuple[int, ...], str]:
    """A tensor descriptor, with what must stand beside a shape."""
    shape = tuple(message.shape.dim)
    attributes = {key: plain(value, Path()) for key, value in message.attr.items()}
    number = FORMATS[message.layout]
    assert attributes == {
        "origin_format": message.layout.encode(),
        "origin_format_for_int": number,
        "format_for_int": number,
        "origin_shape": list(shape),
        "origin_shape_initialized": True,
    }
    assert message.device_type == "NPU" and (message.layout == "ND" or len(shape) == 4)
    assert all(d > 0 for d in shape)
    return message.name, DTYPES[message.dtype], shape, message.layout


def plain(value: Any, folder: Path) -> Any:
    """An attribute as a Python value."""
    kind = value.WhichOneof("value_of")
    assert kind is not None
    content = getattr(value, kind)
    if kind == "list":
        numbers = {1: content.s, 2: content.i, 3: content.f}
        assert content.val_type in numbers, "CANN's reader drops a list without val_type"
        return list(numbers[content.val_type])
    if kind == "list_list_int":
        return [list(row.list_i) for row in content.list_list_i]
    if kind == "t":
        _, dtype, shape, _ = descriptor(content.desc)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(content.data, dtype).reshape(shape) if len(content.data) == size else np.zeros(0, dtype)
    return GE_DTYPES[content] if kind == "dt" else content


# ----------------------------------------------------------------------------------------------------------- computing
def run(model: AirModel, feeds: Mapping[str, Array]) -> list[Array]:
    """The results, in order."""
    values: dict[tuple[str, int], Array] = {}
    for op in model.ops.values():
        if op.type == "Data":
            made: list[Array] = [feeds[op.name]]
        elif op.type == "Const":
            made = [op.attributes["value"]]
        else:
            made = compute(op, [values[key] for key in op.inputs], model)
        for i, array in enumerate(made):
            _, dtype, shape, _ = op.outs[i]
            assert (array.dtype, array.shape) == (np.dtype(dtype), shape), (op.type, array.dtype, array.shape, op.outs)
            values[op.name, i] = array
    return [values[key] for key in model.outputs]


def compute(op: AirOp, x: list[Array], model: AirModel) -> list[Array]:
    """The results of one operator; those that nothing is said about (means, variances) are left out."""
    a = {k: v for k, v in op.attributes.items() if not k.startswith("_")}
    if op.type in PLAIN:
        return [np.asarray(PLAIN[op.type].evaluate(*x))]
    if op.type in ("Conv2D", "Conv2DTransposeD"):
        return [convolution(op, x, a, zero_point(op, model))]
    if op.type in ("MatMulV2", "BatchMatMulV2"):
        return [product(x, a, zero_point(op, model))]
    result = COMPUTE[op.type](x, a, op)
    return list(result) if isinstance(result, (tuple, list)) else [np.asarray(result)]


def zero_point(op: AirOp, model: AirModel) -> int:
    """The offset of the AscendQuant in front, which GE looks up."""
    producer = model.ops[op.inputs[0][0]]
    return int(producer.attributes["offset"]) if producer.type == "AscendQuant" else 0


def quad(values: list[int]) -> tuple[int, ...]:
    """top, left, bottom, right of top, bottom, left, right."""
    top, bottom, left, right = values
    return top, left, bottom, right


def convolution(op: AirOp, x: list[Array], a: Mapping[str, Any], offset: int) -> Array:
    """Both kinds, of floats and of integers."""
    assert a["data_format"] == b"NCHW" and a["strides"][:2] == a["dilations"][:2] == [1, 1]
    common: dict[str, Any] = {
        "strides": tuple(a["strides"][2:]),
        "pads": quad(a["pads"]),
        "dilations": tuple(a["dilations"][2:]),
        "groups": a["groups"],
    }
    if op.type == "Conv2DTransposeD":
        assert tuple(a["input_size"]) == op.outs[0][2]
        common["output_padding"] = tuple(a["output_padding"][2:])
    if x[0].dtype != np.int8:
        plain_class: Any = ops.Conv2D if op.type == "Conv2D" else ops.ConvTranspose2D
        return np.asarray(plain_class(**common).evaluate(*x))
    integer: Any = ops.IntegerConv2D if op.type == "Conv2D" else ops.IntegerConvTranspose2D
    bias = x[2] if len(x) > 2 else None
    return np.asarray(integer(**common).evaluate(x[0], x[1], np.int8(offset), None, bias))


def product(x: list[Array], a: Mapping[str, Any], offset: int) -> Array:
    """Matrices, the last two axes of either operand exchanged on demand."""
    turned = [a.get("transpose_x1", a.get("adj_x1")), a.get("transpose_x2", a.get("adj_x2"))]
    left, right = (np.swapaxes(m, -1, -2) if t else m for m, t in zip(x[:2], turned, strict=True))
    if left.dtype == np.int8:
        left, right = left.astype(np.int64) - offset, right.astype(np.int64)
        sums = left @ right + (x[2] if len(x) > 2 else 0)
        return np.asarray(sums).astype(np.int32)
    return np.asarray(np.matmul(left, right) + (x[2] if len(x) > 2 else 0), left.dtype)


def pooling(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    """MaxPoolV3 and AvgPoolV2 with calculated padding; rounding down."""
    assert a["padding_mode"] == b"CALCULATED" and a["data_format"] == b"NCHW" and not a["global_pooling"]
    assert not a["ceil_mode"] and a["ksize"][:2] == a["strides"][:2] == [1, 1]
    top, left, bottom, right = quad(a["pads"])
    (kh, kw), (sh, sw) = a["ksize"][2:], a["strides"][2:]
    largest = op.type == "MaxPoolV3"
    spatial = ((0, 0), (0, 0), (top, bottom), (left, right))

    def windows(values: Array, fill: float) -> Array:
        padded = np.pad(values, spatial, constant_values=fill)
        view = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), (2, 3))
        return np.asarray(view[:, :, ::sh, ::sw])

    if largest:
        lowest = -np.inf if x[0].dtype.kind == "f" else np.iinfo(x[0].dtype).min
        return np.asarray(windows(x[0], lowest).max((-1, -2)))
    counted = np.ones(x[0].shape[2:], np.float64)[None, None]
    number = windows(counted, 0 if a["exclusive"] else 1).sum((-1, -2))
    return np.asarray(windows(x[0].astype(np.float64), 0).sum((-1, -2)) / number).astype(x[0].dtype)


def sliced(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    """StridedSliceD with an end mask."""
    assert not any(a[m] for m in ("begin_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"))
    parts = zip(a["begin"], a["end"], a["strides"], strict=True)
    return x[0][tuple(slice(b, None if a["end_mask"] >> i & 1 else e, s) for i, (b, e, s) in enumerate(parts))]


def normalized(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """Zero mean and unit variance over axes; mean and variance."""
    wide = x.astype(np.float64)
    mean, variance = wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    return (wide - mean) / np.sqrt(variance + epsilon), mean.astype(x.dtype), variance.astype(x.dtype)


def layer_norm(x: list[Array], a: Mapping[str, Any], op: AirOp) -> tuple[Array, ...]:
    assert a["begin_norm_axis"] == a["begin_params_axis"]
    y, mean, variance = normalized(x[0], tuple(range(a["begin_norm_axis"], x[0].ndim)), a["epsilon"])
    return (y * x[1] + x[2]).astype(x[0].dtype), mean, variance


def instance_norm(x: list[Array], a: Mapping[str, Any], op: AirOp) -> tuple[Array, ...]:
    assert a["data_format"] == b"NCHW"
    y, mean, variance = normalized(x[0], (2, 3), a["epsilon"])
    scale, bias = (v.reshape(1, -1, 1, 1) for v in x[1:])
    return (y * scale + bias).astype(x[0].dtype), mean, variance


def batch_norm(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    assert not a["is_training"] and a["data_format"] == b"NCHW" and len(op.outs) == 6
    return np.asarray(ops.BatchNorm(epsilon=a["epsilon"]).evaluate(*x))


def resized(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    """TensorFlow's resizing, by formula."""
    values = x[0]
    for axis, new in zip((2, 3), x[1].tolist(), strict=True):
        old = values.shape[axis]
        at = np.arange(new, dtype=np.float64)
        if a["align_corners"]:
            at = at * ((old - 1) / (new - 1) if new > 1 else 0)
        elif a["half_pixel_centers"]:
            at = (at + 0.5) * old / new - (0.5 if "Bilinear" in op.type else 0)
        else:
            at = at * old / new
        if "Nearest" in op.type:
            index = np.floor(at + 0.5) if a["align_corners"] else np.floor(at)
            values = np.take(values, np.clip(index.astype(int), 0, old - 1), axis)
            continue
        at = np.maximum(at, 0)
        low = np.minimum(np.floor(at).astype(int), old - 1)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        upper = np.take(values, np.minimum(low + 1, old - 1), axis)
        values = np.take(values, low, axis) * (1 - part) + upper * part
    return values.astype(x[0].dtype)


def quantized(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    assert a["dst_type"] == 2 and a["round_mode"] == b"Round" and not a["sqrt_mode"]
    whole = np.round(np.float32(a["scale"]) * x[0].astype(np.float32) + np.float32(a["offset"]))
    return np.where(np.isnan(whole), -128, np.clip(whole, -128, 127)).astype(np.int8)


def dequantized(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    assert x[0].dtype == np.int32 and x[1].dtype == np.uint64 and not a["sqrt_mode"] and not a["relu_flag"]
    assert not (x[1] >> np.uint64(32)).any()
    scale = x[1].astype(np.uint32).view(np.float32)
    shape = [1, -1, *[1] * (x[0].ndim - 2)] if scale.size > 1 else []
    return (x[0].astype(np.float32) * scale.reshape(shape)).astype(GE_DTYPES[a["dtype"]])


def top_k(x: list[Array], a: Mapping[str, Any], op: AirOp) -> tuple[Array, Array]:
    values, indices = ops.TopK(k=int(x[1]), axis=a["dim"], largest=a["largest"], sorted=a["sorted"]).evaluate(x[0])
    return values, indices.astype(np.int32)


def split(x: list[Array], a: Mapping[str, Any], op: AirOp) -> list[Array]:
    sizes = a.get("size_splits") or [x[0].shape[a["split_dim"]] // a["num_split"]] * a["num_split"]
    assert len(sizes) == a["num_split"]
    return list(np.split(x[0], np.cumsum(sizes)[:-1], a["split_dim"]))


def padded(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    if op.type == "PadD":
        return np.pad(x[0], a["paddings"])
    assert a["paddings_contiguous"]
    mode = a["mode"].decode()
    more: dict[str, Any] = {"constant_values": x[2]} if mode == "constant" else {}
    return np.pad(x[0], x[1].reshape(-1, 2), mode=mode, **more)


def reduced(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, a, op: np.asarray(function(x[0], tuple(a["axes"]), keepdims=a["keep_dims"])).astype(x[0].dtype)


def of(cls: Any, **names: str) -> Callable[..., Array]:
    """An operator of UAIR whose attributes have other names here."""
    return lambda x, a, op: np.asarray(
        cls(**{k: a[v].decode() if isinstance(a[v], bytes) else a[v] for k, v in names.items()}).evaluate(*x)
    )


def one_hot(x: list[Array], a: Mapping[str, Any], op: AirOp) -> Array:
    return np.asarray(ops.OneHot(axis=a["axis"], depth=a["depth"]).evaluate(x[0], None, np.stack([x[2], x[1]])))


PLAIN: dict[str, Any] = {
    name: getattr(ops, name)()
    for name in (
        "Abs Acos Acosh Add Asin Asinh Atan Atanh Ceil Cos Cosh Equal Erf Floor Greater GreaterEqual HardSwish Less "
        "LessEqual LogicalAnd LogicalNot LogicalOr Maximum Minimum Mish Mul Neg Pow Reciprocal Relu Round Rsqrt Selu "
        "Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Tan Tanh"
    ).split()
} | {
    "RealDiv": ops.Div(),
    "SelectV2": ops.Where(),
    "IsNan": ops.IsNaN(),
    "Invert": ops.BitwiseNot(),
    "GatherNd": ops.GatherND(),
    "GlobalAveragePool": ops.GlobalAvgPool(),
    "Relu6": ops.Clip(min=0.0, max=6.0),
    "Identity": ops.Identity(),
}
COMPUTE: dict[str, Callable[[list[Array], Mapping[str, Any], AirOp], Any]] = {
    "Exp": lambda x, a, op: (
        ops.Exp().evaluate(x[0]) if (a["base"], a["scale"], a["shift"]) == (-1, 1, 0) else _refuse(a)
    ),
    "Log": lambda x, a, op: (
        ops.Log().evaluate(x[0]) if (a["base"], a["scale"], a["shift"]) == (-1, 1, 0) else _refuse(a)
    ),
    "LeakyRelu": of(ops.LeakyRelu, alpha="negative_slope"),
    "Elu": of(ops.Elu, alpha="alpha"),
    "Swish": of(ops.Swish, alpha="scale"),
    "HardSigmoid": of(ops.HardSigmoid, alpha="alpha", beta="beta"),
    "PRelu": lambda x, a, op: np.where(
        x[0] >= 0, x[0], x[0] * (x[1].reshape(1, -1, *[1] * (x[0].ndim - 2)) if x[1].size > 1 else x[1])
    ),
    "ClipByValue": lambda x, a, op: np.minimum(np.maximum(x[0], x[1]), x[2]),
    "MaxPoolV3": pooling,
    "AvgPoolV2": pooling,
    "SoftmaxV2": lambda x, a, op: ops.Softmax(axis=a["axes"][0]).evaluate(x[0]),
    "LogSoftmaxV2": lambda x, a, op: ops.LogSoftmax(axis=a["axes"][0]).evaluate(x[0]),
    "ConcatD": lambda x, a, op: np.concatenate(x, a["concat_dim"]) if a["N"] == len(x) else _refuse(a),
    "SplitD": split,
    "SplitVD": split,
    "SliceD": lambda x, a, op: x[0][tuple(slice(o, o + s) for o, s in zip(a["offsets"], a["size"], strict=True))],
    "StridedSliceD": sliced,
    "TransposeD": lambda x, a, op: x[0].transpose(a["perm"]),
    "Reshape": lambda x, a, op: x[0].reshape(x[1]) if (a["axis"], a["num_axes"]) == (0, -1) else _refuse(a),
    "SqueezeV2": lambda x, a, op: np.squeeze(x[0], tuple(a["axis"])),
    "UnsqueezeV2": lambda x, a, op: np.expand_dims(x[0], tuple(a["axis"])),
    "BatchNorm": batch_norm,
    "LayerNorm": layer_norm,
    "InstanceNorm": instance_norm,
    "LRN": lambda x, a, op: ops.LRN(
        size=2 * a["depth_radius"] + 1, alpha=a["alpha"] * (2 * a["depth_radius"] + 1), beta=a["beta"], bias=a["bias"]
    ).evaluate(x[0]),
    "ReduceMeanD": reduced(np.mean),
    "ReduceSumD": reduced(np.sum),
    "ReduceMaxD": reduced(np.max),
    "ReduceMinD": reduced(np.min),
    "ReduceProdD": reduced(np.prod),
    "ArgMaxV2": lambda x, a, op: np.asarray(np.argmax(x[0], int(x[1]))).astype(a["dtype"]),
    "TopK": top_k,
    "GatherV2D": lambda x, a, op: np.take(x[0], x[1], a["axis"]) if (x[1] >= 0).all() else _refuse(a),
    "ResizeBilinearV2": resized,
    "ResizeNearestNeighborV2": resized,
    "PadD": padded,
    "PadV3": padded,
    "TileD": lambda x, a, op: np.tile(x[0], a["multiples"]),
    "BroadcastTo": lambda x, a, op: np.broadcast_to(x[0], x[1]),
    "Cast": lambda x, a, op: ops.Cast(to=DType.from_numpy(np.dtype(GE_DTYPES[a["dst_type"]]))).evaluate(x[0]),
    "DepthToSpace": of(ops.DepthToSpace, block="block_size", mode="mode"),
    "SpaceToDepth": of(ops.SpaceToDepth, block="block_size"),
    "CumsumD": of(ops.CumSum, axis="axis", exclusive="exclusive", reverse="reverse"),
    "OneHotD": one_hot,
    "AscendQuant": quantized,
    "AscendDequant": dequantized,
    "AscendAntiQuant": lambda x, a, op: (
        (x[0].astype(np.float32) + np.float32(a["offset"])) * np.float32(a["scale"])
    ).astype(GE_DTYPES[a["dtype"]]),
}


def _refuse(attributes: Mapping[str, Any]) -> Any:
    raise AssertionError(f"attributes that no documentation gives a meaning for: {attributes}")
