"""What ONNX says about its operators at an opset: operands, element types, attribute types and defaults.

The facts come from the schemas of the installed onnx; this module asks each of them once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import attrs
import numpy as np
from onnx import AttributeProto, TensorProto, defs, helper

from uair.errors import UairError
from uair.ir.dtype import Array, DType
from uair.ir.types import Container, TensorType

OLDEST_OPSET = 11
DEFAULT_OPSET = 17  # every runtime and vendor tool in use reads it; newer operators are often without kernels
NEWEST_OPSET: int = defs.onnx_opset_version()
ML_DOMAIN = "ai.onnx.ml"  # classical machine learning: labels, trees

ONNX_TYPE: Mapping[DType, int] = {
    DType.BOOL: TensorProto.BOOL,
    DType.I2: TensorProto.INT2,
    DType.U2: TensorProto.UINT2,
    DType.I4: TensorProto.INT4,
    DType.U4: TensorProto.UINT4,
    DType.I8: TensorProto.INT8,
    DType.U8: TensorProto.UINT8,
    DType.I16: TensorProto.INT16,
    DType.U16: TensorProto.UINT16,
    DType.I32: TensorProto.INT32,
    DType.U32: TensorProto.UINT32,
    DType.I64: TensorProto.INT64,
    DType.U64: TensorProto.UINT64,
    DType.F4E2M1: TensorProto.FLOAT4E2M1,
    DType.F6E2M3: 27,  # numbers, for onnx before 1.23 has no names for them
    DType.F6E3M2: 28,
    DType.F8E4M3: TensorProto.FLOAT8E4M3FN,
    DType.F8E5M2: TensorProto.FLOAT8E5M2,
    DType.F8E4M3FNUZ: TensorProto.FLOAT8E4M3FNUZ,
    DType.F8E5M2FNUZ: TensorProto.FLOAT8E5M2FNUZ,
    DType.F8E8M0: TensorProto.FLOAT8E8M0,
    DType.F16: TensorProto.FLOAT16,
    DType.BF16: TensorProto.BFLOAT16,
    DType.F32: TensorProto.FLOAT,
    DType.F64: TensorProto.DOUBLE,
    DType.C64: TensorProto.COMPLEX64,
    DType.C128: TensorProto.COMPLEX128,
    DType.STRING: TensorProto.STRING,
}
_BY_TYPE_STRING = {
    f"tensor({TensorProto.DataType.Name(code).lower()})": dtype
    for dtype, code in ONNX_TYPE.items()
    if code in TensorProto.DataType.values()
}

CARRIERS: Mapping[DType, tuple[DType, ...]] = {
    DType.BOOL: (DType.U8, DType.I32, DType.I64, DType.F32),
    **{d: (DType.I32, DType.I64, DType.F32) for d in (DType.I2, DType.U2, DType.I4, DType.U4)},
    DType.I8: (DType.I32, DType.I64, DType.F32),
    DType.U8: (DType.I32, DType.I64, DType.F32),
    DType.I16: (DType.I32, DType.I64, DType.F32),
    DType.U16: (DType.I32, DType.I64, DType.F32),
    DType.I32: (DType.I64, DType.F64),
    DType.U32: (DType.I64, DType.F64),
    DType.F16: (DType.F32,),
    DType.BF16: (DType.F32,),
    DType.F32: (DType.F64,),
    **{d: (DType.F32,) for d in DType if d.is_float and d.bits <= 8},
}
"""Types that hold every value of a type; an operator that lacks the type computes in the first of them that it has."""


_STORAGE: Mapping[DType, DType] = {
    DType.I2: DType.I8, DType.U2: DType.U8, DType.I4: DType.I8, DType.U4: DType.U8, DType.BF16: DType.F32,
    **{d: DType.F32 for d in DType if d.is_float and d.bits <= 8},
}  # fmt: skip


def storage(dtype: DType, opset: int) -> DType:
    """The type in which a constant is stored: a wider one with the same values when the opset lacks the constant's."""
    if dtype not in _STORAGE or dtype in signature("Cast", opset).input(0).allowed:
        return dtype
    return _STORAGE[dtype]


class NotExpressible(UairError):
    """An operator, an attribute or an element type has no ONNX form at the opset asked for."""

    code = "UAIR-E0510"
    title = "No ONNX form at this opset"


@attrs.frozen
class Formal:
    """One operand or result of an ONNX operator.

    Attributes:
        variable: name of the type variable; operands of the same variable have the same type.
        allowed: the element types that tensors may have.
        holding: containers that it may be, each with the element type inside.
        variadic: whether it stands for any number of operands.
    """

    variable: str
    allowed: frozenset[DType]
    variadic: bool
    holding: frozenset[tuple[tuple[Container, ...], DType]] = frozenset()

    def takes(self, type: TensorType) -> bool:
        """Whether the operand may be of that type."""
        if type.containers:
            return (type.containers, type.dtype) in self.holding
        return type.dtype in self.allowed


@attrs.frozen
class Signature:
    """The schema of one ONNX operator at one opset.

    Attributes:
        inputs: the operands.
        outputs: the results.
        attribute_types: `AttributeProto.AttributeType` by attribute name.
        defaults: default values, where there are some.
    """

    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    attribute_types: Mapping[str, int]
    defaults: Mapping[str, AttributeProto]

    def input(self, i: int) -> Formal:
        """Operand `i`; a variadic one stands for all that follow."""
        return self.inputs[min(i, len(self.inputs) - 1)]


@functools.cache
def domain_version(domain: str, opset: int) -> int:
    """The version of another of ONNX's operator sets that was current when the default set had version `opset`.

    Raises:
        NotExpressible: ONNX had no such operator set then, or never has.
    """
    columns = ("", ML_DOMAIN, "ai.onnx.training")  # after the release and the version of the file format
    versions = [row[2:] for row in cast("list[tuple[Any, ...]]", helper.VERSION_TABLE) if row[2] <= opset]
    column = columns.index(domain) if domain in columns else len(columns)
    found = max((int(row[column]) for row in versions if column < len(row)), default=0)
    if not found:
        raise NotExpressible(f"ONNX has no operator set {domain!r} at opset {opset}")
    return found


@functools.cache
def signature(op_type: str, opset: int, domain: str = "") -> Signature:
    """The schema of an operator.

    Args:
        op_type: its name.
        opset: version of its operator set.
        domain: its operator set, ONNX's default one if not given.

    Raises:
        NotExpressible: ONNX has no such operator at that opset, or has deprecated it.
    """
    place = f"opset {opset}" if not domain else f"version {opset} of {domain}"
    try:
        schema = defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        raise NotExpressible(f"ONNX has no {op_type} at {place}") from None
    if schema.deprecated:
        raise NotExpressible(f"ONNX {op_type} is deprecated at {place}")
    constraints = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}

    def formal(parameter: Any) -> Formal:
        names = constraints.get(parameter.type_str, [parameter.type_str])
        allowed = frozenset(_BY_TYPE_STRING[n] for n in names if n in _BY_TYPE_STRING)
        holding = frozenset(found for n in names if (found := _holding(n)) is not None)
        variadic = parameter.option == defs.OpSchema.FormalParameterOption.Variadic
        return Formal(parameter.type_str, allowed, variadic, holding)

    return Signature(
        tuple(formal(p) for p in schema.inputs),
        tuple(formal(p) for p in schema.outputs),
        {name: int(cast(Any, a.type).value) for name, a in schema.attributes.items()},
        {name: a.default_value for name, a in sorted(schema.attributes.items()) if a.default_value.type},
    )


@functools.cache
def first_opset(dtype: DType) -> int:
    """The opset from which on ONNX has an element type; 1 for what it always had."""
    since = [
        schema.since_version
        for schema in defs.get_all_schemas_with_history()
        if schema.name == "Cast" and not schema.domain
        for constraint in schema.type_constraints
        if any(_BY_TYPE_STRING.get(name) is dtype for name in constraint.allowed_type_strs)
    ]
    return int(min(since, default=1))


def require_type(dtype: DType, opset: int) -> None:
    """Refuse an element type that comes later.

    Raises:
        NotExpressible: the opset lacks it.
    """
    if first_opset(dtype) > opset:
        raise NotExpressible(f"ONNX has {dtype} from opset {first_opset(dtype)} on")


_CONTAINERS = {
    "seq": Container.SEQUENCE,
    "optional": Container.OPTIONAL,
    "map(int64": Container.MAP_I64,
    "map(string": Container.MAP_STRING,
}


def _holding(text: str) -> tuple[tuple[Container, ...], DType] | None:
    """The containers and element type of a type string such as `optional(seq(tensor(float)))`; None for a tensor's."""
    containers: list[Container] = []
    while True:
        opened, _, rest = text.partition(", " if text.startswith("map") else "(")
        if opened not in _CONTAINERS:
            break
        containers.append(_CONTAINERS[opened])
        text = rest[:-1]
    dtype = _BY_TYPE_STRING.get(text) or _BY_TYPE_STRING.get(f"tensor({text})")
    return (tuple(containers), dtype) if containers and dtype is not None else None


def attribute(name: str, value: Any, kind: int | None = None) -> AttributeProto:
    """An attribute; `kind` is the type that the schema gives it, by which 1 becomes 1.0 where a number is wanted.

    A list may be an array [N]: of i64, f32, or objects that are bytes; its own type is taken for the attribute's then.

    Raises:
        TypeError: the value is not of that type.
    """
    if isinstance(value, AttributeProto):
        return value
    if isinstance(value, np.ndarray):
        return _list_attribute(name, value)
    if isinstance(value, DType):
        value = ONNX_TYPE[value]
    elif isinstance(value, bool):
        value = int(value)
    if kind == AttributeProto.FLOAT:
        value = float(value)
    elif kind == AttributeProto.FLOATS:
        value = [float(v) for v in value]
    return helper.make_attribute(name, value, attr_type=kind)


def _list_attribute(name: str, values: Array) -> AttributeProto:
    """The attribute that an array stands for; much faster than element by element where they are millions."""
    elements = values.tolist()
    if values.dtype.kind == "f":
        return AttributeProto(name=name, type=AttributeProto.FLOATS, floats=elements)
    if values.dtype.kind == "i":
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=elements)
    return AttributeProto(name=name, type=AttributeProto.STRINGS, strings=elements)
