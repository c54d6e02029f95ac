"""Files of one operator, for those that TensorFlow's converter no longer writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "int8": schema.TensorType.INT8,
    "bool": schema.TensorType.BOOL,
}


@attrs.frozen(eq=False)
class Value:
    """A tensor of the file: an input or result of the operator (no data), a constant, a variable."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    data: np.ndarray[Any, Any] | None = None
    variable: bool = False
    scale: float = 0.0
    zero_point: int = 0


def of(data: np.ndarray[Any, Any]) -> Value:
    """A constant."""
    return Value(data.shape, data.dtype.name, data)


def built(
    kind: str,
    operands: Sequence[Value | None],
    results: Sequence[Value],
    options: str = "",
    settings: Mapping[str, Any] | None = None,
    custom: str = "",
    payload: bytes = b"",
) -> bytes:
    """A file with one operator; its operands without data are the file's inputs, its results the outputs.

    Args:
        kind: name of the builtin operator.
        operands: None for one that is left out.
        results: of the operator.
        options: name of the options table without "Options".
        settings: its fields, as the schema's Python objects spell them.
        custom: name of a custom operator.
        payload: its options.
    """
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    code = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, kind)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    code.customCode = custom or None
    empty = schema.BufferT()
    model.version, model.description = 3, "built by hand"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [empty]
    graph.tensors, graph.inputs, graph.operators = [], [], [operator]
    operator.opcodeIndex = 0
    numbers = [_add(model, value) for value in (*operands, *results)]
    operator.inputs, operator.outputs = numbers[: len(operands)], numbers[len(operands) :]
    graph.inputs = [
        n for n, v in zip(operator.inputs, operands, strict=True) if v is not None and v.data is None and not v.variable
    ]
    graph.outputs = operator.outputs
    if options:
        table = getattr(schema, f"{options}OptionsT")()
        for name, value in (settings or {}).items():
            assert hasattr(table, name), name
            setattr(table, name, value)
        second = hasattr(schema.BuiltinOptions2, f"{options}Options")
        union = schema.BuiltinOptions2 if second else schema.BuiltinOptions
        setattr(operator, f"builtinOptions{'2' if second else ''}Type", getattr(union, f"{options}Options"))
        setattr(operator, f"builtinOptions{'2' if second else ''}", table)
    if custom:
        operator.customOptions = np.frombuffer(payload, np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _add(model: Any, value: Value | None) -> int:
    if value is None:
        return -1
    (graph,) = model.subgraphs
    tensor = schema.TensorT()
    tensor.name, tensor.shape = f"t{len(graph.tensors)}", list(value.shape)
    tensor.type, tensor.isVariable, tensor.buffer = _TYPES[value.dtype], value.variable, 0
    tensor.hasRank = True
    if value.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.data.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if value.scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [value.scale], [value.zero_point]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
