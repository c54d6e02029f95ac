"""A GE IR graph in memory, and its bytes.

The file is one `ge.proto.ModelDef`, nothing before or behind it; `atc --framework=1` reads it. Field numbers are those
of hicann/ge, graph_metadef/proto/ge_ir.proto, and of the subset that the copy of 2021 (Ascend/metadef) has too. What
the reader demands beyond the schema is from graph_metadef/graph/serialization/model_serialize.cc and
normal_graph/ge_tensor.cc: `val_type` in every list, `_input_name_key` and `_input_name_value`, `origin_*` beside every
shape.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from uair.atomic import atomic_file, require_space
from uair.codegen.ascend.ge.protos import IMAGE_FORMATS, PROTOS
from uair.codegen.ascend.ge.wire import Message
from uair.codegen.onnx.wire import write_data
from uair.errors import InternalError
from uair.ir.data import Data
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.types import TensorType

LARGEST = 2**31 - 1
"""Bytes that a protobuf message may have."""
SMALLEST_EXTERNAL = 1024
"""Weights of fewer bytes stay in the file."""
VERSION = 1

PROTO_TYPES = {
    DType.F32: 1, DType.F16: 2, DType.I8: 3, DType.U8: 4, DType.I16: 5, DType.U16: 6, DType.I32: 7, DType.I64: 8,
    DType.U32: 9, DType.U64: 10, DType.BOOL: 11, DType.F64: 12, DType.BF16: 27,
}  # fmt: skip
"""ge.proto.DataType, by which tensor descriptors name element types."""
GE_TYPES = {
    DType.F32: 0, DType.F16: 1, DType.I8: 2, DType.I32: 3, DType.U8: 4, DType.I16: 6, DType.I64: 9, DType.U64: 10,
    DType.F64: 11, DType.BOOL: 12,
}  # fmt: skip
"""ge::DataType, by which attributes do."""
FORMATS = {"NCHW": 0, "ND": 2}
"""ge::Format."""
LIST_STRING, LIST_INT, LIST_FLOAT = 1, 2, 3
"""AttrDef.ListValue.ListValueType."""


@attrs.frozen
class Value:
    """A result of an operator: its name, the number of the result, the tensor's type."""

    source: str
    index: int
    type: TensorType

    def __str__(self) -> str:
        return f"{self.source}:{self.index}"


@attrs.frozen
class GeOp:
    """An operator.

    Attributes:
        name: unique in the graph.
        type: GE operator.
        inputs: operands in the order of the ports.
        outputs: types of the results.
        attributes: by name; what kind each is says the prototype.
        ports: names of the input ports and the output ports that are connected.
    """

    name: str
    type: str
    inputs: tuple[Value, ...]
    outputs: tuple[TensorType, ...]
    attributes: Mapping[str, Any]
    ports: tuple[tuple[str, ...], tuple[str, ...]]

    @staticmethod
    def make(
        name: str, type: str, inputs: Sequence[Value], outputs: Sequence[TensorType], attributes: Mapping[str, Any]
    ) -> GeOp:
        """An operator checked against its prototype.

        Raises:
            InternalError: ports or attributes are not those of the prototype.
        """
        proto = PROTOS[type]
        wrong = sorted(set(attributes) - set(proto.attributes)) or sorted(proto.required - set(attributes))
        if wrong:
            raise InternalError(f"{type} {name!r}: attribute {wrong[0]!r} is missing or unknown")
        ports = (_ports(proto.inputs, len(inputs)), _ports(proto.outputs, len(outputs)))
        required = sum(not p.startswith(("?", "*")) for p in proto.inputs)
        if len(ports[0]) != len(inputs) or len(ports[1]) != len(outputs) or len(inputs) < required:
            raise InternalError(f"{type} {name!r} has {len(inputs)} operands and {len(outputs)} results")
        return GeOp(name, type, tuple(inputs), tuple(outputs), dict(attributes), ports)

    @property
    def results(self) -> tuple[Value, ...]:
        """The results."""
        return tuple(Value(self.name, i, t) for i, t in enumerate(self.outputs))


def _ports(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The first `count` ports; a port for any number takes all that the others leave."""
    found: list[str] = []
    for name in names:
        if name.startswith("*"):
            spare = count - (len(names) - 1)
            found += [f"{name[1:]}{i}" for i in range(spare)]
        else:
            found.append(name.removeprefix("?"))
    return tuple(found[:count])


@attrs.define(eq=False)
class GeGraph:
    """A graph.

    Attributes:
        name: of graph and model.
        ops: operators in topological order.
        inputs: names of the Data operators, in order.
        outputs: the graph's results, in order.
    """

    name: str
    ops: list[GeOp] = attrs.Factory(list[GeOp])
    inputs: list[str] = attrs.Factory(list[str])
    outputs: list[Value] = attrs.Factory(list[Value])

    def write(self, path: Path, *, largest: int = LARGEST) -> list[str]:
        """Write the model; weights go into files of their own when it exceeds `largest` bytes.

        Returns:
            names of the files of weights, relative to the model's folder.
        """
        images = _image_values(self.ops)
        message, external = self._message(images, None), dict[str, Data]()
        if message.nbytes > largest:
            folder = f"air_weight/{path.stem}"
            external = {f"{folder}/Const_{self.name}_{op.name}_file": _weights(op) for op in self.ops if _is_large(op)}
            message = self._message(images, folder)
        require_space(path, message.nbytes + sum(d.nbytes for d in external.values()))
        for name, data in external.items():
            target = path.parent / name
            os.makedirs(target.parent, exist_ok=True)
            with atomic_file(target) as file:
                write_data(file, data)
        with atomic_file(path) as file:
            message.write(file)
        return list(external)

    def _message(self, images: set[str], folder: str | None) -> Message:
        """ModelDef; `folder` is where weights lie that are not in the file."""
        graph = Message()
        graph.content(1, self.name)
        for name in self.inputs:
            graph.content(4, f"{name}:0")
        for value in self.outputs:
            graph.content(5, str(value))
        for number, op in enumerate(self.ops):
            location = f"{folder}/Const_{self.name}_{op.name}_file" if folder is not None and _is_large(op) else ""
            graph.message(6, _op_message(op, number, images, location))
        model = Message()
        model.content(1, self.name)
        model.integer(2, VERSION)
        model.message(7, graph)
        return model


def _weights(op: GeOp) -> Data:
    return cast("Data", op.attributes["value"])


def _is_large(op: GeOp) -> bool:
    return op.type == "Const" and _weights(op).nbytes >= SMALLEST_EXTERNAL


def _image_values(ops: Sequence[GeOp]) -> set[str]:
    """Results of rank 4 that are images: what operators on images take or give, and what element-wise ones pass on."""
    images: set[str] = set()
    for sweep in (ops, list(reversed(ops)), ops):
        for op in sweep:
            around = [v for v in (*op.inputs, *op.results) if v.type.rank == 4]
            passes = len({v.type.dims for v in around}) == 1 and op.type not in ("TransposeD", "Reshape")
            if op.type in IMAGE_FORMATS or (passes and any(str(v) in images for v in around)):
                images.update(str(v) for v in around)
    return images


def _op_message(op: GeOp, number: int, images: set[str], location: str) -> Message:
    """OpDef."""
    message = Message()
    message.content(1, op.name)
    message.content(2, op.type)
    for value in op.inputs:
        message.content(5, str(value))
    for name, attribute in sorted(_attributes(op, images, location).items()):
        message.message(10, _entry(name, attribute))
    if number:
        message.integer(21, number)
    taken = op.results if op.type == "Data" else op.inputs  # a Data operator describes what it is fed
    for port, value in zip(op.ports[0] or (("x",) if op.type == "Data" else ()), taken, strict=True):
        message.message(33, _descriptor(port, value.type, str(value) in images))
    for port, value in zip(op.ports[1], op.results, strict=True):
        message.message(34, _descriptor(port, value.type, str(value) in images))
    return message


def _attributes(op: GeOp, images: set[str], location: str) -> dict[str, Message]:
    """AttrDef messages by name: the operator's own and those that the reader looks for."""
    proto = PROTOS[op.type]
    made = {
        name: _value(proto.attributes[name], value)
        for name, value in op.attributes.items()
        if proto.attributes[name] != "Tensor"
    }
    ins = ("x",) if op.type == "Data" else op.ports[0]
    if ins:
        made["_input_name_key"] = _texts(ins)
        made["_input_name_value"] = _integers(range(len(ins)))
    made["_output_name_key"] = _texts(op.ports[1])
    made["_output_name_value"] = _integers(range(len(op.ports[1])))
    if proto.optional:
        made["_opt_input"] = _texts(proto.optional)
    if op.type == "Const":
        data = _weights(op)
        (value,) = op.results
        tensor = Message()
        tensor.message(1, _descriptor("y", value.type, str(value) in images))
        if not location and data.nbytes:
            tensor.content(2, data)
        made["value"] = _wrapped(12, tensor)
        if location:
            made["location"] = _value("String", location)
            made["length"] = _value("Int", data.nbytes)
    return made


def _descriptor(port: str, type: TensorType, image: bool) -> Message:
    """TensorDescriptor."""
    layout = "NCHW" if image else "ND"
    shape = static(type.dims)
    extents, message = Message(), Message()
    extents.integers(1, shape)
    message.content(1, port)
    message.integer(2, PROTO_TYPES[type.dtype])
    message.message(3, extents)
    message.content(4, layout)
    number = _value("Int", FORMATS[layout])
    entries = {
        "format_for_int": number,
        "origin_format": _value("String", layout),
        "origin_format_for_int": number,
        "origin_shape": _integers(shape),
        "origin_shape_initialized": _value("Bool", True),
    }
    for name, attribute in entries.items():
        message.message(5, _entry(name, attribute))
    message.content(14, "NPU")
    return message


def _entry(name: str, attribute: Message) -> Message:
    """An entry of map<string, AttrDef>."""
    message = Message()
    message.content(1, name)
    message.message(2, attribute)
    return message


def _wrapped(field: int, inner: Message) -> Message:
    message = Message()
    message.message(field, inner)
    return message


def _list(kind: int, fill: Any) -> Message:
    """AttrDef with a list; the reader drops one without `val_type`."""
    values = Message()
    fill(values)
    values.integer(20, kind)
    return _wrapped(1, values)


def _texts(texts: Iterable[str]) -> Message:
    def fill(message: Message) -> None:
        for text in texts:
            message.content(2, text)

    return _list(LIST_STRING, fill)


def _integers(numbers: Iterable[int]) -> Message:
    return _list(LIST_INT, lambda message: message.integers(3, numbers))


def _value(kind: str, value: Any) -> Message:
    """AttrDef of an attribute of this kind."""
    message = Message()
    if kind == "Int":
        message.integer(3, value)
    elif kind == "Float":
        message.floating(4, value)
    elif kind == "Bool":
        message.integer(5, int(value))
    elif kind == "String":
        message.content(2, value)
    elif kind == "Type":
        message.integer(15, GE_TYPES[value])
    elif kind == "ListInt":
        return _integers(value)
    elif kind == "ListFloat":
        return _list(LIST_FLOAT, lambda inner: inner.floats(4, value))
    elif kind == "ListListInt":
        rows = Message()
        for row in value:
            numbers = Message()
            numbers.integers(1, row)
            rows.message(1, numbers)
        return _wrapped(14, rows)
    else:
        raise InternalError(f"an attribute of kind {kind} cannot be written")
    return message
