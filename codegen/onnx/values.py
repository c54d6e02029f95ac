"""The types of values as ONNX messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from onnx import TypeProto, ValueInfoProto

from uair.codegen.onnx.schema import ONNX_TYPE
from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import DType
from uair.ir.types import Container, TensorType


class Texts(dict[Dim, str]):
    """Printed form of symbolic extents; SymPy takes long to print, and the same extent occurs often."""

    def __missing__(self, d: Dim) -> str:
        text = self[d] = str(d)
        return text


def typed_value(name: str, type: TensorType, texts: Mapping[Dim, str]) -> ValueInfoProto:
    """A value's name and type; a symbolic extent is a dim_param, an expression in its printed form."""
    info = ValueInfoProto(name=name)
    put_type(info.type, type, texts)
    return info


def put_type(proto: TypeProto, type: TensorType, texts: Mapping[Dim, str]) -> None:
    """Write a type into a message."""
    if type.containers:
        _put_container(proto, type, texts)
        return
    tensor = proto.tensor_type
    tensor.elem_type = ONNX_TYPE[type.dtype]
    if type.shape is not None:
        tensor.shape.SetInParent()
        for d in cast(InferredShape, type.shape):
            dim = tensor.shape.dim.add()
            if isinstance(d, int):
                dim.dim_value = d
            elif d is not None:
                dim.dim_param = texts[d]


def _put_container(proto: TypeProto, type: TensorType, texts: Mapping[Dim, str]) -> None:
    outermost = type.containers[0]
    if outermost is Container.SEQUENCE:
        put_type(proto.sequence_type.elem_type, type.inner, texts)
    elif outermost is Container.OPTIONAL:
        put_type(proto.optional_type.elem_type, type.inner, texts)
    else:
        key = DType.STRING if outermost is Container.MAP_STRING else DType.I64
        proto.map_type.key_type = ONNX_TYPE[key]
        put_type(proto.map_type.value_type, type.inner, texts)
