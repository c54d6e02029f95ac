"""Element types and dtype policies of Keras, by their names."""

from __future__ import annotations

from typing import Any, cast

import attrs

from uair.frontends.common.errors import SourceOperatorError
from uair.ir.dtype import DType

DTYPES = {
    "bool": DType.BOOL,
    "int8": DType.I8,
    "uint8": DType.U8,
    "int16": DType.I16,
    "uint16": DType.U16,
    "int32": DType.I32,
    "uint32": DType.U32,
    "int64": DType.I64,
    "uint64": DType.U64,
    "float16": DType.F16,
    "bfloat16": DType.BF16,
    "float32": DType.F32,
    "float64": DType.F64,
    "complex64": DType.C64,
    "complex128": DType.C128,
    "string": DType.STRING,
    "float8_e4m3fn": DType.F8E4M3,
    "float8_e5m2": DType.F8E5M2,
}


@attrs.frozen
class Policy:
    """The type that a layer computes in, and that of its variables."""

    compute: DType
    variable: DType


def dtype_named(name: Any, place: str) -> DType:
    """An element type by its name.

    Raises:
        SourceOperatorError: there is none of the name.
    """
    found = DTYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise SourceOperatorError(f"element type {name!r} is not known", place=place)
    return found


def policy_of(given: Any, place: str) -> Policy:
    """A dtype policy, as a layer's configuration writes it: a name, or a serialized policy.

    Raises:
        SourceOperatorError: it quantizes, or is not known.
    """
    if isinstance(given, dict):
        data = cast("dict[str, Any]", given)
        config = data.get("config")
        inner: dict[str, Any] = cast("dict[str, Any]", config) if isinstance(config, dict) else {}
        if "default_policy" in inner:
            return policy_of(inner["default_policy"], place)
        given = inner.get("name", inner.get("source_name"))
        if "mode" in inner:
            given = f"{inner['mode']}_from_{inner.get('source_name')}"
    if given is None:
        return Policy(DType.F32, DType.F32)
    if isinstance(given, str) and "_from_" in given:
        raise SourceOperatorError(
            f"the layer is quantized by Keras ({given}), which also quantizes what comes in at run time",
            place=place,
            hint="give the float model, and quantize it with uair.compile(..., quantize='int8')",
        )
    if isinstance(given, str) and given.startswith("mixed_"):
        return Policy(dtype_named(given.removeprefix("mixed_"), place), DType.F32)
    dtype = dtype_named(given, place)
    return Policy(dtype, dtype)
