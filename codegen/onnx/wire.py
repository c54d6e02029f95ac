"""The protobuf wire format of a model, with the weights streamed.

onnx's own messages hold every weight as a Python object before they are serialised, and refuse 2 GiB. Here they carry
all but the weights; the bytes of each tensor go from its `Data` to the file, one tensor at a time. The result is what
protobuf itself would write: fields in order of their numbers.

Source of the field numbers: onnx.proto (ModelProto, GraphProto, TensorProto).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import attrs
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from uair.codegen.onnx.schema import ONNX_TYPE
from uair.errors import InternalError
from uair.ir.data import Data, SplatData
from uair.ir.dtype import DType

MODEL_GRAPH = 7
GRAPH_NODE = 1
GRAPH_INITIALIZER = 5
TENSOR_RAW_DATA = 9
LENGTH_DELIMITED = 2
CHUNK = 1 << 20


@attrs.frozen
class Placement:
    """Where a tensor's bytes lie in the external file, in bytes."""

    offset: int
    length: int


@attrs.frozen
class TensorPlan:
    """One initializer: what stands before its bytes, and whether they follow.

    Attributes:
        head: tag, length, and the message up to the bytes.
        data: the values; None when the head is all there is.
        nbytes: bytes in the model file.
    """

    head: bytes
    data: Data | None
    nbytes: int


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant digits first, the top bit marking that more follow."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def tag(field: int, length: int) -> bytes:
    """Head of a length-delimited field."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(length)


def plan(name: str, data: Data, placement: Placement | None, location: str) -> TensorPlan:
    """The TensorProto of an initializer; `placement` and `location` say where its bytes lie when not in the model."""
    message = TensorProto(name=name, data_type=ONNX_TYPE[data.dtype], dims=data.shape)
    if data.dtype is DType.STRING:
        message.string_data.extend(str(s).encode() for s in data.array().reshape(-1))
    elif placement is not None:
        message.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", placement.offset), ("length", placement.length)):
            message.external_data.add(key=key, value=str(value))
    else:
        nbytes = data.nbytes
        head = message.SerializeToString(deterministic=True) + tag(TENSOR_RAW_DATA, nbytes)
        head = tag(GRAPH_INITIALIZER, len(head) + nbytes) + head
        return TensorPlan(head, data, len(head) + nbytes)
    body = message.SerializeToString(deterministic=True)
    head = tag(GRAPH_INITIALIZER, len(body)) + body
    return TensorPlan(head, None, len(head))


def node_parts(name: str, nodes: Iterable[NodeProto]) -> tuple[bytes, ...]:
    """The nodes of a graph and its name as they stand in its message, in pieces."""
    parts: list[bytes] = []
    for node in nodes:
        body = node.SerializeToString(deterministic=True)
        parts += tag(GRAPH_NODE, len(body)), body
    parts.append(GraphProto(name=name).SerializeToString(deterministic=True))
    return tuple(parts)


@attrs.frozen
class ModelPlan:
    """A model ready to be written.

    Attributes:
        model: everything outside of the graph.
        nodes: the graph's nodes and name, serialised: once, as a node may hold long lists.
        interface: the graph's inputs, outputs and value types.
        tensors: the initializers.
    """

    model: ModelProto
    nodes: tuple[bytes, ...]
    interface: GraphProto
    tensors: tuple[TensorPlan, ...]

    @property
    def graph_bytes(self) -> int:
        """Length of the graph message."""
        interface: int = self.interface.ByteSize()
        return interface + sum(map(len, self.nodes)) + sum(t.nbytes for t in self.tensors)

    def write(self, file: BinaryIO) -> None:
        """Write the model, letting go of each tensor's memory when its bytes are out."""
        before, after = _split(self.model)
        file.write(before)
        file.write(tag(MODEL_GRAPH, self.graph_bytes))
        file.writelines(self.nodes)
        for tensor in self.tensors:
            file.write(tensor.head)
            if tensor.data is not None:
                write_data(file, tensor.data)
        file.write(self.interface.SerializeToString(deterministic=True))
        file.write(after)


def _split(model: ModelProto) -> tuple[bytes, bytes]:
    """The fields in front of the graph and those behind it."""
    behind = ModelProto()
    behind.opset_import.extend(model.opset_import)
    behind.metadata_props.extend(model.metadata_props)
    front = ModelProto()
    front.CopyFrom(model)
    front.ClearField("opset_import")
    front.ClearField("metadata_props")
    return front.SerializeToString(deterministic=True), behind.SerializeToString(deterministic=True)


def write_data(file: BinaryIO, data: Data) -> None:
    """Write a tensor's bytes and release its memory.

    Raises:
        InternalError: they are not as many as announced.
    """
    written = 0
    for chunk in chunks(data):
        file.write(chunk)
        written += len(chunk)
    data.release()
    if written != data.nbytes:
        raise InternalError(f"{data!r} gave {written} bytes, announced were {data.nbytes}")


def chunks(data: Data) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor; one repeated value never stands in memory as a whole."""
    size = data.dtype.numpy.itemsize
    if not isinstance(data, SplatData) or data.dtype.bits < 8 or data.size * size <= CHUNK:
        yield data.tobytes()
        return
    block = np.full(CHUNK // size, data.value).view(np.uint8).data
    left = data.nbytes
    while left:
        length = min(left, len(block))
        yield block[:length]
        left -= length


def align(offset: int, alignment: int) -> int:
    """The next multiple of `alignment`."""
    return -(-offset // alignment) * alignment


def write_external(file: BinaryIO, tensors: Mapping[str, Data], places: Mapping[str, Placement]) -> None:
    """Write the external file."""
    position = 0
    for name, place in places.items():
        file.write(bytes(place.offset - position))
        write_data(file, tensors[name])
        position = place.offset + place.length
